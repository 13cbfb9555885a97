// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "quiet.h"
#include "write.h"

/* No two words are the same, and none is what fresh memory holds. */
static void fill_words(struct memory *mem)
{
	u64 *word = mem->base;
	size_t i;

	for (i = 0; i < mem->size / sizeof(*word); i++)
		word[i] = (i + 1) * 0x9e3779b97f4a7c15ULL;
}

void writer_open(struct writer *w, size_t size)
{
	int ret = rdma_pair_open(w->dev);

	if (!ret)
		ret = conn_open(&w->conn, &w->dev[0], &w->dev[1], IBV_QPT_RC, false);
	errno = -ret;
	if (ret)
		err(1, "cannot connect rxe0 to rxe1");
	memory_map(&w->from, SCATTERED, (size + PAGE - 1) / PAGE * PAGE);
	fill_words(&w->from);
	w->from_mr = reg(w->dev[0].pd, &w->from);
}

void writer_close(struct writer *w)
{
	conn_close(&w->conn);
	dereg(w->from_mr);
	memory_unmap(&w->from);
	rdma_pair_close(w->dev);
}

struct ibv_pd *writer_pd(const struct writer *w)
{
	return w->dev[1].pd;
}

static void wait_for_it(struct writer *w)
{
	struct ibv_wc wc;
	int n;

	while (!(n = ibv_poll_cq(w->conn.a.cq, 1, &wc)))
		sched_yield();
	errno = EIO;
	if (n < 0)
		err(1, "cannot poll");
	if (wc.status != IBV_WC_SUCCESS)
		errx(1, "RDMA write: %s", ibv_wc_status_str(wc.status));
}

u64 writer_run(struct writer *w, const struct ibv_mr *to, u64 iova, size_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)w->from.base, .length = len,
		.lkey = w->from_mr->lkey,
	};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED,
		.sg_list = &sge, .num_sge = 1,
		.wr.rdma = { .remote_addr = iova, .rkey = to->rkey },
	};
	u64 begin, took;

	quiet_poll();
	begin = quiet_now();
	errno = -end_post_send(&w->conn.a, &wr);
	if (errno)
		err(1, "cannot post");
	wait_for_it(w);
	took = now() - begin;
	quiet_begin();
	return took;
}

bool writer_check(const struct writer *w, const void *at, size_t len)
{
	return !memcmp(w->from.base, at, len);
}
