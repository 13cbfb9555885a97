/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEVICE_H
#define DEVICE_H

#include <infiniband/verbs.h>

#include "memory.h"

/* Each dies where it fails. */
struct ibv_pd *open_pd(const char *name);	/* on the RDMA device of that name */
struct ibv_mr *reg(struct ibv_pd *pd, const struct memory *mem);
void dereg(struct ibv_mr *mr);

#endif
