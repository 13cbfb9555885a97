/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that is the BAR of QEMU's ivshmem, which this process has by vfio: a
 * dma-buf of it is a peer's memory, without struct page, that can go away.
 */
#ifndef BAR_H
#define BAR_H

#include "memory.h"
#include "vfio.h"

/* The function; open while there is memory of it. */
extern struct vfio ivshmem;

int ivshmem_open(void);

/* From its start; and in ranges that are in no order, at least 5 MiB. */
extern const struct memory_kind bar, bar_ranges;

/* The process lets go of the function, and with it of the region's mapping. */
void bar_close_under(struct region *r);

#endif
