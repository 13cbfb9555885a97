/* SPDX-License-Identifier: GPL-2.0 */
/*
 * RDMA writes from rxe0 to rxe1, one at a time.
 */
#ifndef WRITE_H
#define WRITE_H

#include <stdbool.h>

#include "../tools/testing/rdma/verbs/rdma_pair.h"
#include "device.h"
#include "memory.h"

struct writer {
	struct rdma_dev dev[2];
	struct rdma_conn conn;
	struct memory from;
	struct ibv_mr *from_mr;
};

/* To write up to size bytes. Each dies where it fails. */
void writer_open(struct writer *w, size_t size);
void writer_close(struct writer *w);
/* Where regions to write to belong. */
struct ibv_pd *writer_pd(const struct writer *w);
/* Write all of the memory from its region's start on; how long it took. */
u64 writer_run(struct writer *w, const struct ibv_mr *to, u64 iova, size_t len);
/* Whether a write brought what it should have. */
bool writer_check(const struct writer *w, const void *at, size_t len);

#endif
