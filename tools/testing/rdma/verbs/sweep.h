/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One operation at the places where an offset goes wrong first, in all lengths,
 * and over whole regions.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "operation.h"

/* The regions are of one length, of some MiB. 0 or a negative errno value. */
int sweep(struct rdma_conn *c, const struct operation *op,
	  struct region *local, struct region *remote);

#endif
