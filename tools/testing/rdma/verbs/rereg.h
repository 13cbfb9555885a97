/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Register a region again by a command of our own: ibv_rereg_mr() knows no iova
 * but the address, and checks much before the kernel can.
 */
#ifndef REREG_H
#define REREG_H

#include <infiniband/verbs.h>
#include <stddef.h>

#include "util.h"

struct rereg {
	int flags;		/* IBV_REREG_MR_*, or what the kernel must refuse */
	struct ibv_pd *pd;
	const void *addr;
	size_t len;
	u64 iova;
	int access;
};

/* 0 or a negative errno value. The keys in mr are the new ones afterwards. */
int rereg_mr(struct ibv_mr *mr, const struct rereg *to);

#endif
