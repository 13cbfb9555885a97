// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)

struct piece {
	u64 off;
	u32 len;
};

/* Offset of a 2 MiB boundary of the address, with room before it. */
static u64 boundary(const struct region *r)
{
	u64 off = -(uintptr_t)r->addr & (2 * MIB - 1);

	return off < 64 * KIB ? off + 2 * MIB : off;
}

/* Offset of the first page boundary. */
static u64 page_end(const struct region *r)
{
	return -(uintptr_t)r->addr & (4 * KIB - 1);
}

/* Places where an offset goes wrong first: ends and boundaries. */
static size_t edge_pieces(const struct region *r, struct piece *p)
{
	u64 page = page_end(r), huge = boundary(r);
	const struct piece edges[] = {
		{ 0, 0 },
		{ 0, 1 },
		{ r->len - 1, 1 },
		{ r->len, 0 },
		{ page - 1, 1 },
		{ page, 1 },
		{ page - 1, 2 },
		{ page - 3, 7 },
		{ page, 4 * KIB },
		{ page - 1, 4 * KIB + 2 },
		{ huge - 1, 2 },
		{ huge, 64 },
		{ huge - 64, 64 },
		{ huge - 4 * KIB - 5, 9 * KIB },
		{ huge + 2 * MIB - 33 * KIB, 66 * KIB + 1 },
		{ r->len - 100, 100 },
		{ 0, 100 },
	};

	memcpy(p, edges, sizeof(edges));
	return ARRAY_SIZE(edges);
}

static const u32 lengths[] = {
	1, 2, 3, 4, 5, 7, 8, 9, 15, 63, 64, 65, 255, 256, 257, 1023, 1024,
	1025, 2048, 4095, 4096, 4097, 8191, 12289, 65535, 65536, 65537,
	1 * MIB - 1, 1 * MIB,
};

static u64 any_offset(const struct region *r, u32 len)
{
	return ((u64)rand() << 8 ^ rand()) % (r->len - len + 1);
}

static u64 fit(const struct region *r, u64 off, u32 len)
{
	return off > r->len - len ? r->len - len : off;
}

static bool known_wrong(const struct rdma_conn *c, const struct transfer *t)
{
	u64 in_page = (t->remote->iova + t->remote_off) % (4 * KIB);

	return c->short_reads_wrong && t->op->flags & OP_TO_LOCAL &&
	       (!t->len || (t->len < 64 && in_page + t->len > 4 * KIB));
}

static int move(struct rdma_conn *c, struct transfer *t, size_t max)
{
	if (known_wrong(c, t))
		return 0;
	if (t->op->flags & OP_8_BYTES) {
		t->len = 8;
		t->local_off = fit(t->local, t->local_off, 8);
		t->remote_off = transfer_align(t->remote,
					       fit(t->remote, t->remote_off, 8));
	} else if (t->len > max) {
		return 0;
	}
	t->seed++;
	return transfer_verify(c, t);
}

/* Each edge of one side with any offset of the other, and both at once. */
static int move_edges(struct rdma_conn *c, struct transfer *t, size_t max)
{
	struct piece local[32], remote[32];
	size_t i, nr = edge_pieces(t->local, local);
	int err = 0;

	edge_pieces(t->remote, remote);
	for (i = 0; !err && i < nr; i++) {
		t->len = local[i].len;
		t->local_off = local[i].off;
		t->remote_off = any_offset(t->remote, t->len);
		err = move(c, t, max);
		if (err)
			break;
		t->local_off = any_offset(t->local, t->len);
		t->remote_off = remote[i].off;
		err = move(c, t, max);
		if (err)
			break;
		t->local_off = local[i].off;
		err = move(c, t, max);
	}
	return err;
}

static int move_lengths(struct rdma_conn *c, struct transfer *t, size_t max)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(lengths); i++) {
		t->len = lengths[i];
		t->local_off = any_offset(t->local, t->len);
		t->remote_off = any_offset(t->remote, t->len);
		err = move(c, t, max);
	}
	return err;
}

/* The whole region in one message. */
static int move_whole(struct rdma_conn *c, struct transfer *t, size_t max)
{
	t->len = t->local->len;
	t->local_off = 0;
	t->remote_off = 0;
	return move(c, t, max);
}

int sweep(struct rdma_conn *c, const struct operation *op,
	  struct region *local, struct region *remote)
{
	struct transfer t = { .op = op, .local = local, .remote = remote };
	size_t max = operation_max(op, c);
	int err = move_edges(c, &t, max);

	if (!err)
		err = move_lengths(c, &t, max);
	if (!err)
		err = move_whole(c, &t, max);
	if (!err)
		err = region_check_all(local);
	return err ? err : region_check_all(remote);
}
