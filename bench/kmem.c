// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kmem.h"

static void write_one(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		err(1, "%s", path);
	close(fd);
}

/* Empty slabs go back to the page allocator. */
static void shrink_slabs(void)
{
	glob_t found;
	size_t i;

	errno = ENOENT;
	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &found))
		err(1, "/sys/kernel/slab (the kernel needs CONFIG_SLUB_DEBUG)");
	for (i = 0; i < found.gl_pathc; i++)
		write_one(found.gl_pathv[i]);
	globfree(&found);
}

/*
 * The sum over all zones of the free pages, and of those that a processor has
 * at hand, which do not count as free.
 */
u64 kmem_free_pages(void)
{
	unsigned long nr;
	u64 sum = 0;
	char line[256];
	FILE *f;

	shrink_slabs();
	/* Counters of each processor flow into those of the zone. */
	write_one("/proc/sys/vm/stat_refresh");
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		err(1, "/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " pages free %lu", &nr) == 1 ||
		    sscanf(line, " count: %lu", &nr) == 1)
			sum += nr;
	fclose(f);
	return sum;
}
