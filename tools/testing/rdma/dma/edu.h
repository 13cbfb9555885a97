/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The edu device, open while the tests run, and what the tests do with it.
 *
 * All functions that return int return 0 or a negative errno value.
 */
#ifndef EDU_H
#define EDU_H

#include <infiniband/edudv.h>

#include "memory.h"

/* All access that the device offers. */
#define EDU_ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ)

/* What the device moves at a time; the longer copy is cut into these. */
#define EDU_CHUNK	2048

extern struct rdma_dev edu;

int edu_open(struct rdma_dev *dev);
/* The same of the second one and so on, where QEMU has more: from 0. */
int edu_open_nth(struct rdma_dev *dev, int nth);
void edu_close(struct rdma_dev *dev);

/* The type of the device's IOMMU domain, empty without an IOMMU. */
void edu_iommu_type(char *type, size_t size);
/* The VM's IOMMU translates the device's addresses (see ./lab exec --iommu). */
bool edu_is_translated(void);
/* Address bits of the device. */
unsigned int edu_bits(void);

/* A region of the edu device: region_create() with access that it offers. */
int edu_region(struct region *r, const struct memory_kind *kind,
	       const struct iova_kind *iova, size_t head, size_t len);

int edu_copy(struct ibv_mr *dst, u64 dst_off, struct ibv_mr *src, u64 src_off,
	     u64 len);
/* Copy between regions, and compare all that is around with what should be. */
int edu_copy_verify(struct region *dst, u64 dst_off, struct region *src,
		    u64 src_off, u64 len);
/*
 * The device sees len bytes from addr on where this process has them. @block:
 * NULL, or gets the size of the blocks of its page table.
 */
int edu_check(struct ibv_mr *mr, const void *addr, size_t len, u64 *block);
/* All pages that it has, of which there are so many, are where the process has them. */
int edu_check_some(struct ibv_mr *mr, u64 at_least);

/* Open the device, run all tests added, close it: the rest of main(). */
int edu_main(int argc, char **argv);

#endif
