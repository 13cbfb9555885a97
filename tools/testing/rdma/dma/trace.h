/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A trace of our own, of what the IOMMU is told to map and to unmap.
 */
#ifndef TRACE_H
#define TRACE_H

/* Bytes, and of what was mapped first the address, and the memory. */
struct mapped {
	unsigned long long mapped, unmapped, first, memory;
};

/* 0 or a negative errno value. */
int trace_start(void);
/* What was mapped and unmapped since the last call. */
struct mapped trace_take(void);

#endif
