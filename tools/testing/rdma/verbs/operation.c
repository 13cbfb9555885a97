// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ktap.h"
#include "operation.h"

#define WRITES_PEER (OP_REMOTE | OP_TO_REMOTE)

/* Not work request opcodes of ibv_post_send(); the extended API has them. */
#define WR_FLUSH	1000
#define WR_ATOMIC_WRITE	1001

const struct operation operations[] = {
	{ "send",	  IBV_WR_SEND,		OP_RECV },
	{ "send_imm",	  IBV_WR_SEND_WITH_IMM,	OP_RECV | OP_IMM },
	{ "send_inline",  IBV_WR_SEND,		OP_RECV | OP_INLINE },
	{ "write",	  IBV_WR_RDMA_WRITE,	WRITES_PEER },
	{ "write_imm",	  IBV_WR_RDMA_WRITE_WITH_IMM,
						WRITES_PEER | OP_RECV | OP_IMM },
	{ "write_inline", IBV_WR_RDMA_WRITE,	WRITES_PEER | OP_INLINE },
	{ "read",	  IBV_WR_RDMA_READ,	OP_REMOTE | OP_TO_LOCAL },
	{ "cmp_swap",	  IBV_WR_ATOMIC_CMP_AND_SWP,
					WRITES_PEER | OP_TO_LOCAL | OP_8_BYTES },
	{ "fetch_add",	  IBV_WR_ATOMIC_FETCH_AND_ADD,
					WRITES_PEER | OP_TO_LOCAL | OP_8_BYTES },
	{ "atomic_write", WR_ATOMIC_WRITE,
					WRITES_PEER | OP_8_BYTES | OP_NO_LOCAL },
	{ "flush_range",  WR_FLUSH,	OP_REMOTE | OP_NO_LOCAL | OP_FLUSH },
	{ "flush_mr",	  WR_FLUSH,	OP_REMOTE | OP_NO_LOCAL | OP_FLUSH },
	{ }
};

const struct operation *operation(const char *name)
{
	const struct operation *op;

	for (op = operations; op->name; op++)
		if (!strcmp(op->name, name))
			return op;
	abort();
}

bool operation_valid(const struct operation *op, enum ibv_qp_type type)
{
	switch (type) {
	case IBV_QPT_UD:
		return !(op->flags & OP_REMOTE);
	case IBV_QPT_UC:
		return !(op->flags & (OP_TO_LOCAL | OP_8_BYTES | OP_FLUSH));
	default:
		return true;
	}
}

size_t operation_max(const struct operation *op, const struct rdma_conn *c)
{
	if (op->flags & OP_8_BYTES)
		return 8;
	if (op->flags & OP_INLINE)
		return PAIR_INLINE;
	if (c->type == IBV_QPT_UD)
		return rdma_dev_mtu(c->a.dev);
	return 1UL << 31;
}

static u32 imm_of(const struct transfer *t)
{
	return htonl(0xabcd0000 ^ t->len ^ (u32)t->remote_off);
}

static u64 operand(const struct transfer *t)
{
	u64 value;

	fill_pattern(&value, sizeof(value), t->seed + 77);
	return value;
}

/* Every other one compares equal. */
static u64 compare_of(const struct transfer *t)
{
	u64 old;

	memcpy(&old, region_model(t->remote, t->remote_off), sizeof(old));
	return old ^ (t->seed & 1);
}

static u32 rkey_of(const struct transfer *t)
{
	return t->rkey ? t->rkey : t->remote->mr->rkey;
}

static int post_extended(struct rdma_conn *c, const struct transfer *t)
{
	struct ibv_qp_ex *qp = c->a.qpx;
	u64 addr = t->remote->iova + t->remote_off, value = operand(t);
	bool whole = !strcmp(t->op->name, "flush_mr");

	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	if (t->op->opcode == WR_ATOMIC_WRITE)
		ibv_wr_atomic_write(qp, rkey_of(t), addr, &value);
	else
		ibv_wr_flush(qp, rkey_of(t), addr, t->len,
			     t->persistent ? IBV_FLUSH_PERSISTENT :
					     IBV_FLUSH_GLOBAL,
			     whole ? IBV_FLUSH_MR : IBV_FLUSH_RANGE);
	return -ibv_wr_complete(qp);
}

static void set_remote(struct rdma_conn *c, const struct transfer *t,
		       struct ibv_send_wr *wr)
{
	u64 addr = t->remote->iova + t->remote_off;

	if (t->op->flags & OP_8_BYTES) {
		wr->wr.atomic.remote_addr = addr;
		wr->wr.atomic.rkey = rkey_of(t);
		wr->wr.atomic.swap = operand(t);
		wr->wr.atomic.compare_add = operand(t);
		if (t->op->opcode == IBV_WR_ATOMIC_CMP_AND_SWP)
			wr->wr.atomic.compare_add = compare_of(t);
	} else if (t->op->flags & OP_REMOTE) {
		wr->wr.rdma.remote_addr = addr;
		wr->wr.rdma.rkey = rkey_of(t);
	} else if (c->type == IBV_QPT_UD) {
		wr->wr.ud.ah = c->a.ah;
		wr->wr.ud.remote_qpn = c->b.qp->qp_num;
		wr->wr.ud.remote_qkey = PAIR_QKEY;
	}
}

static int post_request(struct rdma_conn *c, const struct transfer *t)
{
	struct ibv_sge sge = region_sge(t->local, t->local_off, t->len);
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = t->op->opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.imm_data = imm_of(t),
	};

	if (t->op->flags & OP_NO_LOCAL)
		return post_extended(c, t);
	if (t->lkey)
		sge.lkey = t->lkey;
	if (t->op->flags & OP_INLINE) {
		sge.addr = (uintptr_t)t->local->addr + t->local_off;
		wr.send_flags |= IBV_SEND_INLINE;
	}
	set_remote(c, t, &wr);
	return end_post_send(&c->a, &wr);
}

/* A datagram's receive starts with room for the routing header. */
static int post_receive(struct rdma_conn *c, const struct transfer *t)
{
	struct ibv_sge sge[2] = {
		{
			.addr = (uintptr_t)c->b.grh,
			.length = sizeof(c->b.grh),
			.lkey = c->b.grh_mr ? c->b.grh_mr->lkey : 0,
		},
		region_sge(t->remote, t->remote_off, t->len),
	};

	if (t->op->flags & OP_REMOTE)
		return end_post_recv(&c->b, NULL, 0);
	if (c->type == IBV_QPT_UD)
		return end_post_recv(&c->b, sge, 2);
	return end_post_recv(&c->b, &sge[1], 1);
}

static int check_received(struct rdma_conn *c, const struct transfer *t,
			  const struct ibv_wc *wc)
{
	u32 len = t->len + (c->type == IBV_QPT_UD ? sizeof(c->b.grh) : 0);

	if (wc->byte_len != len) {
		ktap_diag("received %u bytes instead of %u", wc->byte_len, len);
		return -EBADMSG;
	}
	if (!(t->op->flags & OP_IMM))
		return 0;
	if (!(wc->wc_flags & IBV_WC_WITH_IMM) || wc->imm_data != imm_of(t)) {
		ktap_diag("received immediate data %#x instead of %#x",
			  wc->imm_data, imm_of(t));
		return -EBADMSG;
	}
	return 0;
}

/*
 * Some writes tell nobody of their arrival, and no lost request does. What
 * follows on the same queue pair arrives after them.
 */
static int follow_up(struct rdma_conn *c, const struct transfer *t)
{
	/* siw wants a list, if an empty one. */
	struct ibv_sge nothing = region_sge(t->local, 0, 0);
	struct ibv_sge no_room = region_sge(t->remote, 0, 0);
	struct ibv_send_wr wr = {
		.sg_list = &nothing, .num_sge = 1,
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;
	int err = end_post_recv(&c->b, &no_room, 1);

	if (!err)
		err = end_post_send(&c->a, &wr);
	if (!err)
		err = end_wait(&c->a, &wc);
	if (!err)
		err = end_wait(&c->b, &wc);
	return err;
}

u64 transfer_align(const struct region *r, u64 off)
{
	off += -(r->iova + off) & 7;
	return off > r->len - 8 ? off - 8 : off;
}

static bool local_error(enum ibv_wc_status status)
{
	return status == IBV_WC_LOC_PROT_ERR ||
	       status == IBV_WC_LOC_QP_OP_ERR || status == IBV_WC_WR_FLUSH_ERR;
}

int transfer_run(struct rdma_conn *c, const struct transfer *t,
		 struct transfer_status *status)
{
	struct ibv_wc wc = { 0 };
	int err = 0;

	status->b = IBV_WC_SUCCESS;
	if (t->op->flags & OP_RECV)
		err = post_receive(c, t);
	if (!err)
		err = post_request(c, t);
	if (!err)
		err = end_wait(&c->a, &wc);
	if (err)
		return err;
	status->a = wc.status;

	if (t->lost || (c->unacknowledged &&
			!(t->op->flags & (OP_RECV | OP_TO_LOCAL))))
		return status->a ? 0 : follow_up(c, t);
	/* No receive is used up by a request that never got on the way. */
	if (!(t->op->flags & OP_RECV) || local_error(status->a))
		return 0;
	err = end_wait(&c->b, &wc);
	if (err)
		return err;
	status->b = wc.status;
	return status->b ? 0 : check_received(c, t, &wc);
}

static void model_atomic(const struct transfer *t, void *remote)
{
	u64 old, new = operand(t);

	memcpy(&old, remote, sizeof(old));
	if (t->op->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		new += old;
	else if (t->op->opcode == IBV_WR_ATOMIC_CMP_AND_SWP && t->seed & 1)
		new = old;
	memcpy(remote, &new, sizeof(new));
	if (t->op->flags & OP_TO_LOCAL)
		memcpy(region_model(t->local, t->local_off), &old, sizeof(old));
}

void transfer_model(const struct transfer *t)
{
	void *remote = region_model(t->remote, t->remote_off);
	void *local = region_model(t->local, t->local_off);

	if (t->op->flags & OP_FLUSH)
		return;
	if (t->op->flags & OP_8_BYTES)
		model_atomic(t, remote);
	else if (t->op->flags & OP_TO_LOCAL)
		memcpy(local, remote, t->len);
	else
		memcpy(remote, local, t->len);
}

static int wrong_status(const struct transfer *t, const char *end,
			enum ibv_wc_status status)
{
	ktap_diag("%s of %u bytes, local offset %llu, remote offset %llu: %s: %s",
		  t->op->name, t->len, (unsigned long long)t->local_off,
		  (unsigned long long)t->remote_off, end,
		  ibv_wc_status_str(status));
	return -EREMOTEIO;
}

int transfer_verify(struct rdma_conn *c, const struct transfer *t)
{
	struct transfer_status status;
	int err = transfer_run(c, t, &status);

	if (err)
		return err;
	if (status.a)
		return wrong_status(t, "requester", status.a);
	if (status.b)
		return wrong_status(t, "responder", status.b);
	transfer_model(t);
	err = region_check(t->local, t->local_off, t->len);
	if (!err)
		err = region_check(t->remote, t->remote_off, t->len);
	if (err)
		ktap_diag("after %s of %u bytes, local offset %llu, remote offset %llu",
			  t->op->name, t->len, (unsigned long long)t->local_off,
			  (unsigned long long)t->remote_off);
	return err;
}
