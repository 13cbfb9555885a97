// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exporter.h"

#define PAGE	4096UL
#define STRIDE	271UL	/* prime */

int udmabuf_create(int memfd, u64 offset, u64 size)
{
	struct udmabuf_create create = {
		.memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC,
		.offset = offset, .size = size,
	};
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd, err;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, UDMABUF_CREATE, &create);
	err = -errno;
	close(dev);
	return fd < 0 ? err : fd;
}

/* Out of order, so that neighbours are none in physical memory. */
static int scatter(int memfd, size_t size)
{
	size_t i, nr = size / PAGE;

	for (i = 0; i < nr; i++)
		if (pwrite(memfd, "", 1, i * STRIDE % nr * PAGE) != 1)
			return -EIO;
	return 0;
}

static int make_memfd(size_t size, unsigned int flags)
{
	int memfd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	int err = 0;

	if (memfd < 0)
		return -errno;
	if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) || ftruncate(memfd, size))
		err = -errno;
	if (!err && !(flags & MFD_HUGETLB))
		err = scatter(memfd, size);
	if (!err)
		return memfd;
	close(memfd);
	return err;
}

/* The memfd itself is not needed any more: the dma-buf keeps its pages. */
int udmabuf_alloc(size_t size, unsigned int flags)
{
	int memfd = make_memfd(size, flags);
	int fd;

	if (memfd < 0)
		return memfd;
	fd = udmabuf_create(memfd, 0, size);
	close(memfd);
	return fd;
}

static int alloc_from(const char *path, size_t size)
{
	struct dma_heap_allocation_data data = {
		.len = size, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (heap < 0)
		return -errno;
	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		err = -errno;
	close(heap);
	return err ? err : (int)data.fd;
}

int heap_alloc(size_t size)
{
	return alloc_from("/dev/dma_heap/system", size);
}

int cma_alloc(size_t size)
{
	return alloc_from("/dev/dma_heap/default_cma_region", size);
}
