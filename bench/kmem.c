// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmem.h"
#include "util.h"

/* Objects in use, their size, pages of a slab, slabs */
#define SLABINFO "%*s %lu %*u %lu %*u %lu : tunables %*u %*u %*u " \
		 ": slabdata %*u %lu"

/* By now the kernel has freed what it only meant to free (kfree_rcu). */
#define SETTLE_SECONDS	6
#define SETTLE_TRIES	5
/*
 * By then workers that have nothing to do have ended (IDLE_WORKER_TIMEOUT). Where
 * the VM counts instructions, it takes no time to sleep.
 */
#define WORKERS_SECONDS	310

static void write_one(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		err(1, "%s", path);
	close(fd);
}

/* Freed objects that a processor keeps at hand do not count as free. */
static void shrink_slabs(void)
{
	static glob_t found;	/* kept: memory of our own counts, too */
	size_t i;

	errno = ENOENT;
	if (!found.gl_pathc &&
	    glob("/sys/kernel/slab/*/shrink", 0, NULL, &found))
		err(1, "/sys/kernel/slab (the kernel needs CONFIG_SLUB_DEBUG)");
	for (i = 0; i < found.gl_pathc; i++)
		write_one(found.gl_pathv[i]);
}

/*
 * Pages wait in a batch before they join a list of the kernel's, and one that
 * was freed meanwhile is not free before it has. This is about this processor's
 * batches: where things are counted, the VM has no other.
 */
static void drain_batches(void)
{
	static char page[2 * PAGE];
	char *p = page + (-(uintptr_t)page & (PAGE - 1));

	if (madvise(p, PAGE, MADV_COLD))
		err(1, "madvise");
}

static FILE *open_proc(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		err(1, "%s", path);
	return f;
}

/* Bytes in objects of all slabs, and the pages of the slabs. */
static void read_slabs(unsigned long *bytes, unsigned long *pages)
{
	unsigned long objects, size, pages_each, slabs;
	FILE *f = open_proc("/proc/slabinfo");
	char line[512];

	*bytes = 0;
	*pages = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, SLABINFO, &objects, &size, &pages_each,
			   &slabs) != 4)
			continue;
		*bytes += objects * size;
		*pages += slabs * pages_each;
	}
	fclose(f);
	errno = EINVAL;
	if (!*pages)
		err(1, "/proc/slabinfo names no slab");
}

/* Free pages of all zones, with those that a processor keeps at hand. */
static unsigned long read_free_pages(void)
{
	FILE *f = open_proc("/proc/zoneinfo");
	unsigned long nr, sum = 0;
	char line[256];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " pages free %lu", &nr) == 1 ||
		    sscanf(line, " count: %lu", &nr) == 1)
			sum += nr;
	fclose(f);
	return sum;
}

static long long read_used(void)
{
	unsigned long slab_bytes, slab_pages, free_pages;

	drain_batches();
	sleep(SETTLE_SECONDS);
	shrink_slabs();
	/* Counters of each processor flow into those of the zone. */
	write_one("/proc/sys/vm/stat_refresh");
	read_slabs(&slab_bytes, &slab_pages);
	free_pages = read_free_pages();
	return (long long)slab_bytes -
	       (long long)((slab_pages + free_pages) * PAGE);
}

static void settle_once(void)
{
	static bool settled;

	if (settled)
		return;
	settled = true;
	/* Memory of our own that we free stays ours */
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	sleep(WORKERS_SECONDS);
}

/* What is freed late may itself free something late. */
long long kmem_used(void)
{
	int tries = SETTLE_TRIES;
	long long used, last;

	settle_once();
	used = read_used();
	do {
		last = used;
		used = read_used();
	} while (used != last && --tries);
	return used;
}
