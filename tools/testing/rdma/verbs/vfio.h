/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI function in the hands of this process, by vfio: its BAR mapped, and
 * exported as dma-bufs.
 *
 * Functions that return int return 0 or a negative errno value.
 */
#ifndef RDMA_VFIO_H
#define RDMA_VFIO_H

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

struct memory;

struct vfio {
	char name[16];		/* of the function, as in sysfs */
	int iommufd, fd;
	u64 config;		/* offset of the configuration space in the fd */
	u64 bar;		/* and of the BAR */
	size_t bar_size;
};

/* QEMU's ivshmem: a BAR of any size that is plain memory. */
#define IVSHMEM_VENDOR	0x1af4
#define IVSHMEM_DEVICE	0x1110
#define IVSHMEM_BAR	2

struct vfio_range {
	u64 offset, len;
};

/*
 * Take the first function with these IDs from whatever driver has it. -ENODEV
 * where there is none.
 */
int vfio_open(struct vfio *v, u32 vendor, u32 device, unsigned int bar);
void vfio_close(struct vfio *v);

/* The fd of a dma-buf of ranges of the BAR, or a negative errno value. */
int vfio_dmabuf(const struct vfio *v, unsigned int bar,
		const struct vfio_range *ranges, u32 nr);

/* The same for mem->size bytes, and a mapping of them in the same order. */
int vfio_memory(const struct vfio *v, unsigned int bar,
		const struct vfio_range *ranges, u32 nr, struct memory *mem);

/* Put the function into an I/O address space of v->iommufd, and out of it. */
int vfio_attach(const struct vfio *v, u32 ioas);
int vfio_detach(const struct vfio *v);

/* Let the function do DMA, or not. */
int vfio_enable_dma(const struct vfio *v, int on);

/* Let the function answer to its BARs, or not: the latter revokes dma-bufs. */
int vfio_enable_memory(const struct vfio *v, int on);

/*
 * Reset the function, or the bus that it is on. Both revoke its dma-bufs for as
 * long as that takes. QEMU's ivshmem cannot be reset unless it is alone on its
 * bus, below a root port.
 */
bool vfio_can_reset(const struct vfio *v);
int vfio_reset(const struct vfio *v);
int vfio_reset_bus(const struct vfio *v);

/* An eventfd, signalled when the kernel wants the function back; or -errno. */
int vfio_wanted(const struct vfio *v);

/*
 * Take the function of that name from vfio-pci, or from the machine altogether:
 * what a driver's or the device's removal is. Either waits until who has the
 * function open has closed it. After the latter, only vfio_rescan() finds it.
 */
int vfio_unbind(const char *name);
int vfio_remove(const char *name);
int vfio_rescan(void);

#endif
