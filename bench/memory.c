// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

#define HUGE_SIZE	(2 * MIB)
#define CHANCE		3

/* Bits of /proc/kpageflags */
#define KPF_DIRTY	4
#define KPF_THP		22

/*
 * All memory begins where a huge page may. How large the blocks of a device's
 * own table can be depends on where memory begins, and is no part of this.
 */
static void *map(size_t size)
{
	const size_t align = HUGE_SIZE;
	char *p = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (p == MAP_FAILED)
		err(1, "mmap of %zu bytes", size);
	skip = -(uintptr_t)p & (align - 1);
	if (skip)
		munmap(p, skip);
	munmap(p + skip + size, align - skip);
	return p + skip;
}

/*
 * The page allocator hands out neighbours to one who asks for page after page,
 * so take the pages in random order. The same one each time: two runs are to
 * count the same instructions.
 */
static void touch(struct memory *mem, size_t page)
{
	size_t i, j, nr = mem->size / page;
	u32 *order = malloc(nr * sizeof(*order));
	unsigned int seed = 1;

	if (!order)
		err(1, "no memory");
	for (i = 0; i < nr; i++) {
		j = rand_r(&seed) % (i + 1);
		order[i] = order[j];
		order[j] = i;
	}
	for (i = 0; i < nr; i++)
		((char *)mem->base)[order[i] * page] = 1;
	free(order);
}

static int open_proc(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		err(1, "%s (only root may read it)", path);
	return fd;
}

static void read_at(int fd, u64 *entry, size_t nr, u64 first)
{
	size_t len = nr * sizeof(*entry);

	errno = EIO;		/* what a short read is */
	if (pread(fd, entry, len, first * sizeof(*entry)) != (ssize_t)len)
		err(1, "cannot read %zu bytes of what /proc says of pages", len);
}

static u64 *read_pfns(const struct memory *mem)
{
	u64 *pfn = malloc(mem->nr_pages * sizeof(*pfn));
	int fd = open_proc("/proc/self/pagemap");
	size_t i;

	if (!pfn)
		err(1, "no memory");
	read_at(fd, pfn, mem->nr_pages, (uintptr_t)mem->base / PAGE);
	close(fd);
	for (i = 0; i < mem->nr_pages; i++)
		pfn[i] &= (1ULL << 55) - 1;
	return pfn;
}

static size_t count_runs(const u64 *pfn, size_t nr)
{
	size_t i, runs = 1;

	for (i = 1; i < nr; i++)
		runs += pfn[i] != pfn[i - 1] + 1;
	return runs;
}

/* How many pages have a flag. */
static size_t count_flag(const u64 *pfn, size_t nr, int bit)
{
	int fd = open_proc("/proc/kpageflags");
	size_t i, n, k, count = 0;
	u64 flags[512];

	for (i = 0; i < nr; i += n) {
		n = 1;
		while (n < ARRAY_SIZE(flags) && i + n < nr &&
		       pfn[i + n] == pfn[i] + n)
			n++;
		read_at(fd, flags, n, pfn[i]);
		for (k = 0; k < n; k++)
			count += flags[k] >> bit & 1;
	}
	close(fd);
	return count;
}

size_t memory_count_dirty(const struct memory *mem)
{
	u64 *pfn = read_pfns(mem);
	size_t count = count_flag(pfn, mem->nr_pages, KPF_DIRTY);

	free(pfn);
	return count;
}

/* Of a few pages, some may be neighbours by chance. */
static void check_layout(struct memory *mem)
{
	u64 *pfn = read_pfns(mem);

	mem->nr_runs = count_runs(pfn, mem->nr_pages);
	mem->nr_huge = count_flag(pfn, mem->nr_pages, KPF_THP);
	free(pfn);
	errno = EINVAL;
	if (mem->kind == SCATTERED &&
	    mem->nr_runs + CHANCE < mem->nr_pages - mem->nr_pages / 100)
		err(1, "%zu pages lie in %zu runs: not scattered", mem->nr_pages,
		    mem->nr_runs);
	if (mem->kind == HUGE && mem->nr_huge != mem->nr_pages)
		err(1, "only %zu of %zu pages lie in huge pages: too little free memory?",
		    mem->nr_huge, mem->nr_pages);
}

void memory_reserve(struct memory *mem, enum memory_kind kind, size_t size)
{
	*mem = (struct memory) {
		.base = map(size), .size = size, .kind = kind,
		.nr_pages = size / PAGE,
	};
	if (madvise(mem->base, size,
		    kind == HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "madvise");
}

void memory_fill(struct memory *mem)
{
	touch(mem, mem->kind == HUGE ? HUGE_SIZE : PAGE);
	check_layout(mem);
}

void memory_drop(const struct memory *mem)
{
	if (madvise(mem->base, mem->size, MADV_DONTNEED))
		err(1, "madvise");
}

void memory_map(struct memory *mem, enum memory_kind kind, size_t size)
{
	memory_reserve(mem, kind, size);
	memory_fill(mem);
}

void memory_fill_file(int memfd, size_t size)
{
	struct memory mem = {
		.size = size, .kind = SCATTERED, .nr_pages = size / PAGE,
		.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			     memfd, 0),
	};

	if (mem.base == MAP_FAILED)
		err(1, "mmap of a memfd");
	memory_fill(&mem);
	memory_unmap(&mem);
}

void memory_unmap(const struct memory *mem)
{
	if (munmap(mem->base, mem->size))
		err(1, "munmap");
}
