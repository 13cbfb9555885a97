// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rdma_pair.h"

/*
 * A completion that never comes would hang the whole run. This bounds the
 * wait; it is far beyond what the slowest emulated machine needs.
 */
#define LOST_COMPLETION_SECONDS 120

static struct ibv_context *open_by_name(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;
	int i;

	for (i = 0; list && list[i] && !ctx; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			ctx = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	return ctx;
}

int rdma_dev_open(struct rdma_dev *dev, const char *name)
{
	struct ibv_port_attr port = { 0 };

	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->ctx = open_by_name(name);
	if (!dev->ctx)
		return -ENODEV;
	dev->pd = ibv_alloc_pd(dev->ctx);
	if (!dev->pd || ibv_query_port(dev->ctx, PAIR_PORT, &port) ||
	    ibv_query_gid(dev->ctx, PAIR_PORT, PAIR_GID_INDEX, &dev->gid)) {
		int err = errno ? -errno : -EIO;

		rdma_dev_close(dev);
		return err;
	}
	dev->mtu = port.active_mtu;
	return 0;
}

void rdma_dev_close(struct rdma_dev *dev)
{
	if (dev->pd)
		ibv_dealloc_pd(dev->pd);
	if (dev->ctx)
		ibv_close_device(dev->ctx);
	memset(dev, 0, sizeof(*dev));
}

int rdma_pair_open(struct rdma_dev dev[2])
{
	static const char * const names[2] = { "rxe0", "rxe1" };
	int i, err;

	for (i = 0; i < 2; i++) {
		err = rdma_dev_open(&dev[i], names[i]);
		if (err) {
			fprintf(stderr, "%s: %s. Run this as ./lab exec -- PROGRAM\n",
				names[i], strerror(-err));
			return err;
		}
	}
	return 0;
}

void rdma_pair_close(struct rdma_dev dev[2])
{
	rdma_dev_close(&dev[0]);
	rdma_dev_close(&dev[1]);
}

static u64 send_ops(enum ibv_qp_type type)
{
	u64 ops = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM;

	if (type == IBV_QPT_UD)
		return ops;
	ops |= IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM;
	if (type == IBV_QPT_UC)
		return ops;
	return ops | IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_BIND_MW |
	       IBV_QP_EX_WITH_LOCAL_INV | IBV_QP_EX_WITH_SEND_WITH_INV |
	       IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |
	       IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD |
	       IBV_QP_EX_WITH_ATOMIC_WRITE | IBV_QP_EX_WITH_FLUSH;
}

static int end_create(struct rdma_end *end, struct rdma_dev *dev,
		      enum ibv_qp_type type, bool srq)
{
	struct ibv_srq_init_attr srq_attr = {
		.attr = { .max_wr = 64, .max_sge = 16 },
	};
	struct ibv_qp_init_attr_ex attr = {
		.qp_type = type,
		.cap = {
			.max_send_wr = 64,
			.max_recv_wr = 64,
			.max_send_sge = 16,
			.max_recv_sge = 16,
			.max_inline_data = PAIR_INLINE,
		},
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = dev->pd,
		.send_ops_flags = send_ops(type),
	};

	end->dev = dev;
	end->psn = rand() & 0xffffff;
	end->cq = ibv_create_cq(dev->ctx, 256, NULL, NULL, 0);
	if (!end->cq)
		return -errno;
	if (srq) {
		end->srq = ibv_create_srq(dev->pd, &srq_attr);
		if (!end->srq)
			return -errno;
	}
	attr.send_cq = end->cq;
	attr.recv_cq = end->cq;
	attr.srq = end->srq;
	end->qp = ibv_create_qp_ex(dev->ctx, &attr);
	if (!end->qp)
		return -errno;
	end->qpx = ibv_qp_to_qp_ex(end->qp);
	return 0;
}

static void end_destroy(struct rdma_end *end)
{
	if (end->ah)
		ibv_destroy_ah(end->ah);
	if (end->qp)
		ibv_destroy_qp(end->qp);
	if (end->grh_mr)
		ibv_dereg_mr(end->grh_mr);
	if (end->srq)
		ibv_destroy_srq(end->srq);
	if (end->cq)
		ibv_destroy_cq(end->cq);
	memset(end, 0, sizeof(*end));
}

static struct ibv_ah_attr ah_to(const struct rdma_dev *dev)
{
	return (struct ibv_ah_attr) {
		.is_global = 1,
		.port_num = PAIR_PORT,
		.grh = {
			.dgid = dev->gid,
			.sgid_index = PAIR_GID_INDEX,
			.hop_limit = 64,
		},
	};
}

static int to_init(struct rdma_end *end, enum ibv_qp_type type)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = PAIR_PORT,
		.qkey = PAIR_QKEY,
		.qp_access_flags = (ACCESS_ALL & ~IBV_ACCESS_MW_BIND) |
				   IBV_ACCESS_FLUSH_PERSISTENT,
	};
	int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;

	mask |= type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS;
	return -ibv_modify_qp(end->qp, &attr, mask);
}

static enum ibv_mtu path_mtu(const struct rdma_end *end,
			     const struct rdma_end *peer)
{
	if (end->mtu)
		return end->mtu;
	return end->dev->mtu < peer->dev->mtu ? end->dev->mtu : peer->dev->mtu;
}

static int to_ready(struct rdma_end *end, const struct rdma_end *peer,
		    const struct rdma_conn *c)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = path_mtu(end, peer),
		.dest_qp_num = peer->qp->qp_num,
		.rq_psn = peer->psn,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = ah_to(peer->dev),
	};
	int rtr = IBV_QP_STATE, rts = IBV_QP_STATE | IBV_QP_SQ_PSN;
	int err;

	if (c->type != IBV_QPT_UD)
		rtr |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
		       IBV_QP_RQ_PSN;
	if (c->type == IBV_QPT_RC) {
		rtr |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
		rts |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
		       IBV_QP_MAX_QP_RD_ATOMIC;
	}
	err = -ibv_modify_qp(end->qp, &attr, rtr);
	if (err)
		return err;

	attr.qp_state = IBV_QPS_RTS;
	attr.sq_psn = end->psn;
	attr.timeout = 17;
	attr.retry_cnt = c->retries ? c->retries : 7;
	attr.rnr_retry = c->rnr_fails ? 0 : 7;
	attr.max_rd_atomic = 16;
	return -ibv_modify_qp(end->qp, &attr, rts);
}

static int bring_up(struct rdma_conn *c)
{
	int err = to_init(&c->a, c->type);

	if (!err)
		err = to_init(&c->b, c->type);
	if (!err)
		err = to_ready(&c->a, &c->b, c);
	if (!err)
		err = to_ready(&c->b, &c->a, c);
	return err;
}

static int prepare_datagrams(struct rdma_conn *c)
{
	struct ibv_ah_attr attr = ah_to(c->b.dev);

	c->a.ah = ibv_create_ah(c->a.dev->pd, &attr);
	if (!c->a.ah)
		return -errno;
	c->b.grh_mr = ibv_reg_mr(c->b.dev->pd, c->b.grh, sizeof(c->b.grh),
				 IBV_ACCESS_LOCAL_WRITE);
	return c->b.grh_mr ? 0 : -errno;
}

int conn_open(struct rdma_conn *c, struct rdma_dev *a, struct rdma_dev *b,
	      enum ibv_qp_type type, bool srq)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->type = type;
	c->srq = srq;
	c->unacknowledged = type != IBV_QPT_RC;
	err = end_create(&c->a, a, type, false);
	if (!err)
		err = end_create(&c->b, b, type, srq);
	if (!err)
		err = bring_up(c);
	if (!err && type == IBV_QPT_UD)
		err = prepare_datagrams(c);
	if (err)
		conn_close(c);
	return err;
}

static void drain(struct rdma_end *end)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(end->cq, 1, &wc) > 0)
		;
}

static int reset_and_bring_up(struct rdma_conn *c)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	int err;

	err = -ibv_modify_qp(c->a.qp, &attr, IBV_QP_STATE);
	if (!err)
		err = -ibv_modify_qp(c->b.qp, &attr, IBV_QP_STATE);
	if (err)
		return err;
	drain(&c->a);
	drain(&c->b);
	return bring_up(c);
}

/*
 * The requester hears of an error before the responder has finished with it,
 * and rxe may then put a queue pair that was just reset into the error state.
 */
int conn_reset(struct rdma_conn *c)
{
	int err, tries = 10;

	do {
		err = reset_and_bring_up(c);
	} while (err == -EINVAL && tries--);
	return err;
}

int conn_restart(struct rdma_conn *c, u32 psn)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	int err = -ibv_modify_qp(c->a.qp, &attr, IBV_QP_STATE);

	if (err)
		return err;
	drain(&c->a);
	c->a.psn = psn & 0xffffff;
	err = to_init(&c->a, c->type);
	return err ? err : to_ready(&c->a, &c->b, c);
}

void conn_close(struct rdma_conn *c)
{
	end_destroy(&c->a);
	end_destroy(&c->b);
}

int end_post_recv(struct rdma_end *end, struct ibv_sge *sge, int num_sge)
{
	struct ibv_recv_wr wr = { .sg_list = sge, .num_sge = num_sge };
	struct ibv_recv_wr *bad;

	return end->srq ? -ibv_post_srq_recv(end->srq, &wr, &bad) :
			  -ibv_post_recv(end->qp, &wr, &bad);
}

int end_post_send(struct rdma_end *end, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	return -ibv_post_send(end->qp, wr, &bad);
}

int end_wait(struct rdma_end *end, struct ibv_wc *wc)
{
	time_t start = time(NULL);
	unsigned int spins = 0;
	int n;

	while (!(n = ibv_poll_cq(end->cq, 1, wc))) {
		if (++spins < 1000)
			sched_yield();
		else
			usleep(50);
		if (time(NULL) - start > LOST_COMPLETION_SECONDS)
			return -ETIMEDOUT;
	}
	return n < 0 ? -EIO : 0;
}
