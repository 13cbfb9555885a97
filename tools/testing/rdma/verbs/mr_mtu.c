// SPDX-License-Identifier: GPL-2.0
/*
 * Two ends that do not agree on the path's MTU, 1024 and 4096. A message that
 * fits in one packet of the smaller is as good as any. A longer one may fail, but
 * not hang, never succeed with wrong bytes, and touch none beside its own. Both
 * ends can be used again, as soon as they agree.
 */
#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

#define SMALL	1024
#define LEN	(128 * 1024)

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

struct mtu_kind {
	const char *name, *memory;
	int access;
};

static const struct mtu_kind kinds[] = {
	{ "pinned", "scattered" },
	{ "odp", "anon", ACCESS_ALL | IBV_ACCESS_ON_DEMAND },
	{ "udmabuf", "udmabuf" },
};

static const char * const names[] = {
	"send", "send_imm", "write", "write_imm", "read",
};

static const struct {
	const char *name;
	enum ibv_mtu a, b;
} ends[] = {
	{ "1024_to_4096", IBV_MTU_1024, IBV_MTU_4096 },
	{ "4096_to_1024", IBV_MTU_4096, IBV_MTU_1024 },
};

static const u32 sizes[] = {
	1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 4096, 4097, 4096 + SMALL,
	65536,
};

struct mtu_test {
	const struct mtu_kind *kind;
	const struct operation *op;
	enum ibv_mtu a, b;
};

static int agree_on(struct rdma_conn *c, enum ibv_mtu a, enum ibv_mtu b)
{
	c->a.mtu = a;
	c->b.mtu = b;
	return conn_reset(c);
}

/* Of a message that failed, each byte is there or is not. */
static int check_partly(const struct region *to, u64 to_off,
			const struct region *from, u64 from_off, u32 len)
{
	const unsigned char *old = to->model + to->head + to_off;
	const unsigned char *new = from->model + from->head + from_off;
	const unsigned char *is = to->addr + to_off;
	u32 i;

	for (i = 0; i < len; i++) {
		if (is[i] == old[i] || is[i] == new[i])
			continue;
		ktap_diag("byte %u of %u: %#x, was %#x, sent %#x", i, len,
			  is[i], old[i], new[i]);
		return -EBADMSG;
	}
	return 0;
}

static int check_failed(const struct transfer *t)
{
	bool read = t->op->flags & OP_TO_LOCAL;
	struct region *to = read ? t->local : t->remote;
	struct region *from = read ? t->remote : t->local;
	u64 to_off = read ? t->local_off : t->remote_off;
	u64 from_off = read ? t->remote_off : t->local_off;
	int err = check_partly(to, to_off, from, from_off, t->len);

	/* The bytes beside it */
	if (!err)
		memcpy(region_model(to, to_off), to->addr + to_off, t->len);
	if (!err)
		err = region_check_all(to);
	return err ? err : region_check_all(from);
}

static int check_done(const struct transfer *t)
{
	int err;

	transfer_model(t);
	err = region_check_all(t->local);
	return err ? err : region_check_all(t->remote);
}

static int one(struct fixture *f, const struct mtu_test *mt, u32 len)
{
	struct transfer t = {
		.op = mt->op, .local = &f->local, .remote = &f->remote,
		.local_off = 4000, .remote_off = 7 * 4096 - 77, .len = len,
		.seed = len,
	};
	struct transfer_status status;
	int err = agree_on(&f->conn, mt->a, mt->b);

	if (err)
		return err;
	region_fill(&f->local, 2 * len);
	region_fill(&f->remote, 2 * len + 1);
	err = transfer_run(&f->conn, &t, &status);
	if (err)
		return err;
	if (!status.a && !status.b)
		err = check_done(&t);
	else if (len <= SMALL)
		err = -EREMOTEIO;
	else
		err = check_failed(&t);
	if (err)
		ktap_diag("requester: %s, responder: %s",
			  ibv_wc_status_str(status.a),
			  ibv_wc_status_str(status.b));
	if (!err)
		err = agree_on(&f->conn, 0, 0);
	return err ? err : transfer_verify(&f->conn, &t);
}

static enum ktap_result run_mtu(const void *arg)
{
	const struct mtu_test *t = arg;
	struct region_attr attr = {
		.kind = memory_kind(t->kind->memory), .iova = &iova_same,
		.head = 55, .len = LEN, .tail = 55, .access = t->kind->access,
	};
	struct fixture f;
	size_t i;
	int err;

	if (stock_kernel() && (t->kind->access || attr.kind->dmabuf))
		return ktap_skip("the unpatched rxe cannot, or moves wrong bytes");
	err = fixture_create(&f, &rc, &attr, &attr);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	/* An answer that never comes is to be asked for once more, not for ever. */
	f.conn.retries = 1;
	for (i = 0; i < ARRAY_SIZE(sizes) && !err; i++)
		err = one(&f, t, sizes[i]);
	fixture_destroy(&f);
	return err ? ktap_fail("%u bytes: %s", sizes[i - 1], strerror(-err)) :
		     KTAP_PASS;
}

#define NR_TESTS (ARRAY_SIZE(ends) * ARRAY_SIZE(kinds) * ARRAY_SIZE(names))

int main(int argc, char **argv)
{
	static struct mtu_test tests[NR_TESTS];
	size_t i;

	for (i = 0; i < NR_TESTS; i++) {
		size_t op = i % ARRAY_SIZE(names);
		size_t kind = i / ARRAY_SIZE(names) % ARRAY_SIZE(kinds);
		size_t end = i / ARRAY_SIZE(names) / ARRAY_SIZE(kinds);

		tests[i] = (struct mtu_test) {
			&kinds[kind], operation(names[op]), ends[end].a,
			ends[end].b,
		};
		ktap_add(run_mtu, &tests[i], "mtu/%s/%s/%s", ends[end].name,
			 kinds[kind].name, names[op]);
	}
	return fixture_main(argc, argv);
}
