/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every operation that moves data, as one table: how to post it, and what it
 * must do to the memory of either side.
 */
#ifndef OPERATION_H
#define OPERATION_H

#include "memory.h"
#include "rdma_pair.h"

enum operation_flags {
	OP_REMOTE	= 1 << 0,	/* names memory of the peer, by rkey */
	OP_RECV		= 1 << 1,	/* takes a receive of the peer */
	OP_TO_LOCAL	= 1 << 2,	/* writes local memory */
	OP_TO_REMOTE	= 1 << 3,	/* writes memory of the peer */
	OP_INLINE	= 1 << 4,
	OP_8_BYTES	= 1 << 5,	/* exactly 8, aligned at the peer */
	OP_IMM		= 1 << 6,
	OP_NO_LOCAL	= 1 << 7,	/* has no local memory */
	OP_FLUSH	= 1 << 8,
};

struct operation {
	const char *name;
	int opcode;
	unsigned int flags;
};

/* Ends with a NULL name. */
extern const struct operation operations[];

const struct operation *operation(const char *name);
bool operation_valid(const struct operation *op, enum ibv_qp_type type);
/* The longest message that it takes on this connection. */
size_t operation_max(const struct operation *op, const struct rdma_conn *c);

/* One use of an operation: len bytes, at an offset into a region each. */
struct transfer {
	const struct operation *op;
	struct region *local, *remote;
	u64 local_off, remote_off;
	u32 len;
	u32 rkey;		/* 0: the one of the remote region */
	u32 lkey;
	u64 seed;		/* makes operands of atomics differ */
	bool lost;		/* the peer drops it, and says so to nobody */
	bool persistent;	/* a flush, to persistence */
};

/* The place nearest to an offset whose address 8 divides, as atomics ask. */
u64 transfer_align(const struct region *r, u64 off);

struct transfer_status {
	enum ibv_wc_status a, b;
};

/*
 * Post it, wait for the completions of both ends and give their status. Fails
 * (errno) only where a completion is missing or says something else than what
 * was asked for.
 */
int transfer_run(struct rdma_conn *c, const struct transfer *t,
		 struct transfer_status *status);
/* Do to the model what the transfer does to memory. */
void transfer_model(const struct transfer *t);
/* All in one: run, expect success, compare both regions around the bytes. */
int transfer_verify(struct rdma_conn *c, const struct transfer *t);

#endif
