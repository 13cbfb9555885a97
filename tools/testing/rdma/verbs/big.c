// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "big.h"
#include "memory.h"

#define MIB	(1024UL * 1024)

static int map_views(struct big *b, size_t head, int fd)
{
	size_t off;

	b->map_len = (head + b->len + BIG_BLOCK - 1) / BIG_BLOCK *
		     BIG_BLOCK;
	b->map = mmap(NULL, b->map_len + 2 * MIB, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->map == MAP_FAILED)
		return -errno;
	b->map += -(uintptr_t)b->map & (2 * MIB - 1);
	for (off = 0; off < b->map_len; off += BIG_BLOCK)
		if (mmap(b->map + off, BIG_BLOCK, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return -errno;
	b->block = mmap(NULL, BIG_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			0);
	return b->block == MAP_FAILED ? -errno : 0;
}

int big_map(struct big *b, int memfd_flags, size_t len, size_t head)
{
	int fd, err;

	*b = (struct big) { .len = len };
	if (memfd_flags & MFD_HUGETLB)
		memory_reserve_huge_pages(BIG_BLOCK / (2 * MIB));
	fd = memfd_create("block", MFD_CLOEXEC | memfd_flags);
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, BIG_BLOCK) ? -errno : map_views(b, head, fd);
	close(fd);
	if (err)
		return err;
	fill_pattern(b->block, BIG_BLOCK, 5);
	b->addr = b->map + head;
	b->iova = iova_far.iova(b->addr);
	return 0;
}

void big_destroy(struct big *b)
{
	if (b->mr)
		ibv_dereg_mr(b->mr);
	if (b->block)
		munmap(b->block, BIG_BLOCK);
	if (b->map)
		munmap(b->map, b->map_len);
}

void big_peek(const struct big *b, u64 off, void *to, size_t len)
{
	size_t at = (b->addr - b->map + off) % BIG_BLOCK, n = BIG_BLOCK - at;

	n = n < len ? n : len;
	memcpy(to, b->block + at, n);
	memcpy((char *)to + n, b->block, len - n);
}
