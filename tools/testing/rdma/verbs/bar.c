// SPDX-License-Identifier: GPL-2.0
#include <sys/mman.h>

#include "bar.h"

#define MIB	(1024 * 1024UL)

struct vfio ivshmem;

int ivshmem_open(void)
{
	return vfio_open(&ivshmem, IVSHMEM_VENDOR, IVSHMEM_DEVICE, IVSHMEM_BAR);
}

static int map_bar(struct memory *mem)
{
	const struct vfio_range all = { 0, mem->size };

	return vfio_memory(&ivshmem, IVSHMEM_BAR, &all, 1, mem);
}

/* Each range of another length, and no two next to each other. */
static int map_bar_ranges(struct memory *mem)
{
	const struct vfio_range ranges[] = {
		{ 8 * MIB, 2 * MIB },
		{ 4 * MIB, 4096 },
		{ 0, 2 * MIB },
		{ 11 * MIB, mem->size - 4 * MIB - 4096 },
	};

	return vfio_memory(&ivshmem, IVSHMEM_BAR, ranges, ARRAY_SIZE(ranges),
			   mem);
}

const struct memory_kind bar = {
	"bar", 4096, false, true, map_bar
};

const struct memory_kind bar_ranges = {
	"bar_ranges", 4096, false, true, map_bar_ranges
};

void bar_close_under(struct region *r)
{
	munmap(r->mem.base, r->mem.size);
	r->mem.base = NULL;
	vfio_close(&ivshmem);
}
