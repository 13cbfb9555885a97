/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel asks of the IOMMU on behalf of this thread: how often it
 * comes by each of a few tracepoints.
 */
#ifndef TRACE_H
#define TRACE_H

#include "util.h"

enum trace_event {
	TRACE_MAP,		/* a range mapped */
	TRACE_UNMAP,		/* a span unmapped */
	TRACE_FLUSH,		/* of the IOTLB, after unmapping */
	TRACE_FLUSH_MAP,	/* the same after mapping */
	TRACE_QI,		/* requests to the IOMMU, flushes of any kind */
	NR_TRACE,
};

extern const char * const trace_names[NR_TRACE];

/* From here on they count, and cost time. Dies where the kernel has none. */
void trace_start(void);
/* How often each came by since the last call, or the start. */
void trace_take(u64 count[NR_TRACE]);
void trace_stop(void);
/* A member of a JSON object that is an object of counts. */
void trace_print(const char *name, const u64 *count);

#endif
