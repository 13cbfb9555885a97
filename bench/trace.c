// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace.h"

#define TRACING "/sys/kernel/debug/tracing/events/"

const char * const trace_names[NR_TRACE] = {
	[TRACE_MAP] = "map",
	[TRACE_UNMAP] = "unmap",
	[TRACE_FLUSH] = "flush",
	[TRACE_FLUSH_MAP] = "flush_map",
	[TRACE_QI] = "qi",
};

static const char * const events[NR_TRACE] = {
	[TRACE_MAP] = "iommu/map",
	[TRACE_UNMAP] = "iommu/unmap",
	[TRACE_FLUSH] = "intel_iommu/cache_tag_flush_range",
	[TRACE_FLUSH_MAP] = "intel_iommu/cache_tag_flush_range_np",
	[TRACE_QI] = "intel_iommu/qi_submit",
};

static struct counter {
	int fd;
	u64 last;
} counters[NR_TRACE];

static u64 event_id(const char *event)
{
	unsigned long long id;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), TRACING "%s/id", event);
	f = fopen(path, "r");
	if (!f)
		err(1, "%s", path);
	errno = EINVAL;
	if (fscanf(f, "%llu", &id) != 1)
		err(1, "%s", path);
	fclose(f);
	return id;
}

static u64 read_counter(const struct counter *c)
{
	u64 value;

	errno = EIO;
	if (read(c->fd, &value, sizeof(value)) != sizeof(value))
		err(1, "cannot read a counter");
	return value;
}

void trace_start(void)
{
	int i;

	for (i = 0; i < NR_TRACE; i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_TRACEPOINT,
			.size = sizeof(attr),
			.config = event_id(events[i]),
		};

		counters[i].fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
					 PERF_FLAG_FD_CLOEXEC);
		if (counters[i].fd < 0)
			err(1, "cannot count %s", events[i]);
		counters[i].last = 0;
	}
}

void trace_take(u64 count[NR_TRACE])
{
	int i;

	for (i = 0; i < NR_TRACE; i++) {
		u64 value = read_counter(&counters[i]);

		count[i] = value - counters[i].last;
		counters[i].last = value;
	}
}

void trace_stop(void)
{
	int i;

	for (i = 0; i < NR_TRACE; i++)
		close(counters[i].fd);
}

void trace_print(const char *name, const u64 *count)
{
	int i;

	printf(", \"%s\": {", name);
	for (i = 0; i < NR_TRACE; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", trace_names[i],
		       count[i]);
	printf("}");
}
