/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEVICE_H
#define DEVICE_H

#include <infiniband/verbs.h>

#include "memory.h"

#define ACCESS_PINNED	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ)
#define ACCESS_ODP	(ACCESS_PINNED | IBV_ACCESS_ON_DEMAND)

/* Each dies where it fails. */
struct ibv_pd *open_pd(const char *name);	/* on the RDMA device of that name */
struct ibv_mr *reg(struct ibv_pd *pd, const struct memory *mem);
struct ibv_mr *reg_odp(struct ibv_pd *pd, const struct memory *mem);
void dereg(struct ibv_mr *mr);
/*
 * What the library keeps of a region is no memory of the kernel's: have it take the
 * pages for so many before that is counted. The array is for it to use.
 */
void warm_library(struct ibv_pd *pd, struct ibv_mr **mr, int nr);

/*
 * Kernel memory that some regions of the same memory hold, all at once: as many
 * as need a lot of it, or the most.
 */
u64 regions_memory(struct ibv_pd *pd, const struct memory *mem,
		   struct ibv_mr *(*make)(struct ibv_pd *pd,
					  const struct memory *mem),
		   int most, int *regions);

#endif
