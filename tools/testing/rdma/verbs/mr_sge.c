// SPDX-License-Identifier: GPL-2.0
/*
 * Lists of many pieces, each in another region of another kind of memory: the
 * bytes go where they belong whatever the two lists are cut into.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

#define NR_REGIONS	3
#define REGION_LEN	(5UL << 20)
#define MAX_PIECES	16

static const char * const kinds[NR_REGIONS] = { "scattered", "thp", "memfd" };

struct list {
	struct region region[NR_REGIONS];
	struct ibv_sge sge[MAX_PIECES];
	int of[MAX_PIECES];	/* the region that a piece is in */
	u64 off[MAX_PIECES];
	int nr;
	size_t len;
};

struct sge_test {
	enum ibv_wr_opcode opcode;
	bool srq;
	const u32 *local, *remote;	/* lengths of pieces, END at the end */
};

#define END UINT32_MAX

static const u32 many[] = {
	1, 0, 4096, 3, 70000, 511, 0, 8192, 13, 100000, 1, 777, 4095, 2, END
};

static const u32 halves[] = { 93841, 93850, END };
static const u32 one[] = { 187691, END };
static const u32 bytes[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, END };
static const u32 bytes_one[] = { 13, END };

static void list_destroy(struct list *l)
{
	int i;

	for (i = 0; i < NR_REGIONS; i++)
		region_destroy(&l->region[i]);
}

static int list_create(struct list *l, struct rdma_dev *dev, u64 seed)
{
	struct region_attr attr = {
		.iova = &iova_far, .head = 77, .len = REGION_LEN, .tail = 99,
	};
	int i, err;

	memset(l, 0, sizeof(*l));
	for (i = 0; i < NR_REGIONS; i++) {
		attr.kind = memory_kind(kinds[i]);
		err = region_create(&l->region[i], dev, &attr);
		if (err) {
			list_destroy(l);
			return err;
		}
		region_fill(&l->region[i], seed + i);
	}
	return 0;
}

/* Piece i lies in region i modulo 3, behind the one before, with a gap. */
static void list_cut(struct list *l, const u32 *lengths)
{
	u64 next[NR_REGIONS] = { 0, (2UL << 20) - 3000, 4000 };
	struct region *r;

	for (l->nr = 0, l->len = 0; lengths[l->nr] != END; l->nr++) {
		int i = l->nr % NR_REGIONS;

		r = &l->region[i];
		l->of[l->nr] = i;
		l->off[l->nr] = next[i];
		l->sge[l->nr] = region_sge(r, next[i], lengths[l->nr]);
		next[i] += lengths[l->nr] + 5;
		l->len += lengths[l->nr];
	}
}

/* Copy between the model of a list's pieces and one flat buffer. */
static void list_model(struct list *l, unsigned char *flat, bool to_flat)
{
	int i;

	for (i = 0; i < l->nr; i++) {
		unsigned char *m = region_model(&l->region[l->of[i]],
						l->off[i]);
		u32 len = l->sge[i].length;

		memcpy(to_flat ? flat : m, to_flat ? m : flat, len);
		flat += len;
	}
}

static int list_check(const struct list *l)
{
	int i, err = 0;

	for (i = 0; !err && i < NR_REGIONS; i++)
		err = region_check_all(&l->region[i]);
	return err;
}

static int move(const struct sge_test *t, struct rdma_conn *c, struct list *a,
		struct list *b)
{
	struct ibv_send_wr wr = {
		.sg_list = a->sge,
		.num_sge = a->nr,
		.opcode = t->opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = b->sge[0].addr,
			.rkey = b->region[0].mr->rkey,
		},
	};
	struct ibv_wc wc = { 0 };
	int err = 0;

	if (t->opcode == IBV_WR_SEND)
		err = end_post_recv(&c->b, b->sge, b->nr);
	if (!err)
		err = end_post_send(&c->a, &wr);
	if (!err)
		err = end_wait(&c->a, &wc);
	if (!err && !wc.status && t->opcode == IBV_WR_SEND)
		err = end_wait(&c->b, &wc);
	if (!err && wc.status) {
		ktap_diag("status: %s", ibv_wc_status_str(wc.status));
		err = -EREMOTEIO;
	}
	return err;
}

static int move_and_check(const struct sge_test *t, struct rdma_conn *c,
			  struct list *a, struct list *b)
{
	bool back = t->opcode == IBV_WR_RDMA_READ;
	unsigned char *flat = malloc(a->len);
	int err = flat ? move(t, c, a, b) : -ENOMEM;

	if (!err) {
		list_model(back ? b : a, flat, true);
		list_model(back ? a : b, flat, false);
		err = list_check(a);
	}
	if (!err)
		err = list_check(b);
	free(flat);
	return err;
}

static enum ktap_result run_sge_test(const void *arg)
{
	const struct sge_test *t = arg;
	struct rdma_conn c = { 0 };
	struct list a, b;
	int err, again;

	err = list_create(&a, &rxe[0], 10);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = list_create(&b, &rxe[1], 20);
	if (err)
		goto out_a;
	err = conn_open(&c, &rxe[0], &rxe[1], IBV_QPT_RC, t->srq);
	if (err)
		goto out_b;
	list_cut(&a, t->local);
	list_cut(&b, t->remote);
	for (again = 0; !err && again < 3; again++)
		err = a.len == b.len ? move_and_check(t, &c, &a, &b) : -EINVAL;
	conn_close(&c);
out_b:
	list_destroy(&b);
out_a:
	list_destroy(&a);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static const struct {
	const char *name;
	struct sge_test test;
} tests[] = {
	{ "send_many_to_many",	{ IBV_WR_SEND, false, many, many } },
	{ "send_many_to_halves", { IBV_WR_SEND, false, many, halves } },
	{ "send_halves_to_many", { IBV_WR_SEND, false, halves, many } },
	{ "send_bytes_to_bytes", { IBV_WR_SEND, false, bytes, bytes } },
	{ "send_srq_one_to_many", { IBV_WR_SEND, true, one, many } },
	{ "write_many",		{ IBV_WR_RDMA_WRITE, false, many, one } },
	{ "write_bytes",	{ IBV_WR_RDMA_WRITE, false, bytes, bytes_one } },
	{ "read_many",		{ IBV_WR_RDMA_READ, false, many, one } },
	{ "read_halves",	{ IBV_WR_RDMA_READ, false, halves, one } },
	{ "read_bytes",		{ IBV_WR_RDMA_READ, false, bytes, bytes_one } },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run_sge_test, &tests[i].test, "sge/%s", tests[i].name);
	return fixture_main(argc, argv);
}
