// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "textfile.h"
#include "trace.h"

#define TRACING	"/sys/kernel/debug/tracing/instances/dma"

int trace_start(void)
{
	int err = mkdir(TRACING, 0700) && errno != EEXIST ? -errno : 0;

	if (!err)
		err = write_text("4096", TRACING "/buffer_size_kb");
	if (!err)
		err = write_text("1", TRACING "/events/iommu/map/enable");
	if (!err)
		err = write_text("1", TRACING "/events/iommu/unmap/enable");
	return err;
}

static void count_line(struct mapped *m, const char *line)
{
	unsigned long long first, last, memory, size, unmapped;
	const char *text;

	text = strstr(line, ": map: IOMMU: iova=");
	if (text && sscanf(text, ": map: IOMMU: iova=%llx - %llx paddr=%llx size=%llu",
			   &first, &last, &memory, &size) == 4) {
		if (!m->mapped) {
			m->first = first;
			m->memory = memory;
		}
		m->mapped += size;
	}
	text = strstr(line, ": unmap: IOMMU: iova=");
	if (text && sscanf(text, ": unmap: IOMMU: iova=%llx - %llx size=%llu unmapped_size=%llu",
			   &first, &last, &size, &unmapped) == 4)
		m->unmapped += unmapped;
}

struct mapped trace_take(void)
{
	struct mapped m = { 0 };
	char line[512];
	FILE *f = fopen(TRACING "/trace", "r");

	while (f && fgets(line, sizeof(line), f))
		count_line(&m, line);
	if (f)
		fclose(f);
	write_text("", TRACING "/trace");	/* empties it */
	return m;
}
