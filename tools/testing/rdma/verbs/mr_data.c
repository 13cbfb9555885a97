// SPDX-License-Identifier: GPL-2.0
/*
 * Every operation moves the right bytes, and no others, between memory regions
 * of every kind of memory, at every kind of offset.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)

/* Neither end of a region is on a page boundary. */
#define HEAD	1234
#define LEN	(5 * MIB + 777)
#define TAIL	321

static const struct path paths[] = {
	{ "rc",		 IBV_QPT_RC, false, false },
	{ "rc_srq",	 IBV_QPT_RC, true,  false },
	{ "rc_loopback", IBV_QPT_RC, false, true },
	{ "uc",		 IBV_QPT_UC, false, false },
	{ "ud",		 IBV_QPT_UD, false, false },
};

struct data_test {
	const struct memory_kind *memory;
	const struct iova_kind *iova;
	const struct path *path;
	const struct operation *op;
};

/* The side that only gives data may be read-only memory, the other may not. */
static int setup(struct fixture *f, const struct data_test *t)
{
	const struct memory_kind *anon = memory_kind("anon");
	struct region_attr local = {
		.kind = t->memory, .iova = t->iova,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct region_attr remote = local;

	if (t->memory->read_only && t->op->flags & OP_TO_LOCAL)
		local.kind = anon;
	else if (t->memory->read_only)
		remote.kind = anon;
	return fixture_create(f, t->path, &local, &remote);
}

struct piece {
	u64 off;
	u32 len;
};

/* Offset of the first 2 MiB boundary of the address in the region. */
static u64 boundary(const struct region *r)
{
	return -(uintptr_t)r->addr & (2 * MIB - 1);
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

static int move(struct fixture *f, struct transfer *t, size_t max)
{
	if (t->op->flags & OP_8_BYTES) {
		t->len = 8;
		t->local_off = fit(t->local, t->local_off, 8);
		t->remote_off = transfer_align(t->remote,
					       fit(t->remote, t->remote_off, 8));
	} else if (t->len > max) {
		return 0;
	}
	t->seed++;
	return transfer_verify(&f->conn, t);
}

/* Each edge of one side with any offset of the other, and both at once. */
static int move_edges(struct fixture *f, struct transfer *t, size_t max)
{
	struct piece local[32], remote[32];
	size_t i, nr = edge_pieces(t->local, local);
	int err = 0;

	edge_pieces(t->remote, remote);
	for (i = 0; !err && i < nr; i++) {
		t->len = local[i].len;
		t->local_off = local[i].off;
		t->remote_off = any_offset(t->remote, t->len);
		err = move(f, t, max);
		if (err)
			break;
		t->local_off = any_offset(t->local, t->len);
		t->remote_off = remote[i].off;
		err = move(f, t, max);
		if (err)
			break;
		t->local_off = local[i].off;
		err = move(f, t, max);
	}
	return err;
}

static int move_lengths(struct fixture *f, struct transfer *t, size_t max)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(lengths); i++) {
		t->len = lengths[i];
		t->local_off = any_offset(t->local, t->len);
		t->remote_off = any_offset(t->remote, t->len);
		err = move(f, t, max);
	}
	return err;
}

/* The whole region in one message. */
static int move_whole(struct fixture *f, struct transfer *t, size_t max)
{
	t->len = t->local->len;
	t->local_off = 0;
	t->remote_off = 0;
	return move(f, t, max);
}

static enum ktap_result run_data_test(const void *arg)
{
	const struct data_test *t = arg;
	struct transfer transfer = { .op = t->op };
	struct fixture f;
	size_t max;
	int err = setup(&f, t);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	transfer.local = &f.local;
	transfer.remote = &f.remote;
	max = operation_max(t->op, &f.conn);
	err = move_edges(&f, &transfer, max);
	if (!err)
		err = move_lengths(&f, &transfer, max);
	if (!err)
		err = move_whole(&f, &transfer, max);
	if (!err)
		err = region_check_all(&f.local);
	if (!err)
		err = region_check_all(&f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Read-only memory can be the source only. */
static bool sensible(const struct data_test *t)
{
	const unsigned int both = OP_TO_LOCAL | OP_TO_REMOTE;

	if (!operation_valid(t->op, t->path->type))
		return false;
	if (t->path->srq && !(t->op->flags & OP_RECV))
		return false;
	return !t->memory->read_only ||
	       !((t->op->flags & both) == both || t->op->flags & OP_NO_LOCAL);
}

static void add(const struct memory_kind *memory, const struct iova_kind *iova,
		const struct path *path)
{
	const struct operation *op;

	for (op = operations; op->name; op++) {
		struct data_test *t = calloc(1, sizeof(*t));

		*t = (struct data_test) { memory, iova, path, op };
		if (sensible(t))
			ktap_add(run_data_test, t, "data/%s/%s/%s/%s",
				 memory->name, iova->name, path->name,
				 op->name);
		else
			free(t);
	}
}

static void add_data_tests(void)
{
	size_t i;

	for (i = 0; i < nr_memory_kinds; i++)
		add(&memory_kinds[i], &iova_same, &paths[0]);
	for (i = 0; i < ARRAY_SIZE(paths); i++)
		add(memory_kind("scattered"), &iova_far, &paths[i]);
	for (i = 0; i < ARRAY_SIZE(paths); i++)
		add(memory_kind("thp"), &iova_zero, &paths[i]);
}

int main(int argc, char **argv)
{
	srand(1);
	add_data_tests();
	return fixture_main(argc, argv);
}
