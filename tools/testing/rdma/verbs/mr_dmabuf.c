// SPDX-License-Identifier: GPL-2.0
/*
 * Memory regions of dma-bufs: every operation moves the right bytes, whoever
 * made the dma-buf; bad input and allocations that fail give the errno that
 * other devices give, and leave nothing; the memory lives as long as the region
 * does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_dmabuf.h"
#include "fixture.h"
#include "inject.h"
#include "ktap.h"
#include "resources.h"
#include "sweep.h"

#define MIB	(1024 * 1024UL)

/* Neither end of a region is on a page boundary. */
#define HEAD	1234
#define LEN	(5 * MIB + 777)
#define TAIL	321

/* More pages than the list of ranges keeps in one piece */
#define FAIL_LEN	(5 * MIB / 2 + 777)
/* Bytes that move after a failure */
#define MOVED		10000
/*
 * Debugging does not allocate the same each time, so an allocation can be
 * passed over in one round.
 */
#define ROUNDS		2

static const struct path rc = { "rc", IBV_QPT_RC, false, false };
static const struct path ud = { "ud", IBV_QPT_UD, false, false };

static const char unsupported[] = "this kernel's rxe has no MRs of dma-bufs";

struct data_test {
	const struct memory_kind *local, *remote;
	const struct iova_kind *iova;
	const struct path *path;
	const struct operation *op;
};

static enum ktap_result run_data_test(const void *arg)
{
	const struct data_test *t = arg;
	struct region_attr local = {
		.kind = t->local, .iova = t->iova,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	const char *missing = memory_missing(t->local);
	struct region_attr remote = local;
	struct fixture f;
	int err;

	if (missing)
		return ktap_skip("%s", missing);
	remote.kind = t->remote;
	err = fixture_create(&f, t->path, &local, &remote);
	if (err == -EOPNOTSUPP && stock_kernel())
		return ktap_skip(unsupported);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = sweep(&f.conn, t->op, &f.local, &f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static void add_data(const struct memory_kind *local,
		     const struct memory_kind *remote,
		     const struct iova_kind *iova, const struct path *path)
{
	const struct operation *op;

	for (op = operations; op->name; op++) {
		struct data_test *t;

		if (!operation_valid(op, path->type))
			continue;
		t = calloc(1, sizeof(*t));
		*t = (struct data_test) { local, remote, iova, path, op };
		ktap_add(run_data_test, t, "data/%s/%s/%s/%s/%s", local->name,
			 remote->name, iova->name, path->name, op->name);
	}
}

static void add_data_tests(void)
{
	const struct memory_kind *heap = memory_kind("heap");
	const struct memory_kind *cma = memory_kind("cma");
	size_t i;

	for (i = 0; i < nr_dmabuf_kinds; i++)
		add_data(&dmabuf_kinds[i], &dmabuf_kinds[i], &iova_far, &rc);
	add_data(&dmabuf_kinds[0], memory_kind("scattered"), &iova_zero, &rc);
	add_data(memory_kind("thp"), heap, &iova_same, &rc);
	add_data(cma, memory_kind("scattered"), &iova_zero, &rc);
	add_data(&dmabuf_kinds[0], heap, &iova_same, &ud);
}

/* The same, with data: the fd is closed before the first byte moves. */
static enum ktap_result run_closed_fd_data(const void *arg)
{
	struct region_attr attr = {
		.kind = arg, .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	const char *missing = memory_missing(attr.kind);
	struct fixture f;
	int err;

	if (missing)
		return ktap_skip("%s", missing);
	err = fixture_create(&f, &rc, &attr, &attr);
	if (err == -EOPNOTSUPP && stock_kernel())
		return ktap_skip(unsupported);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	close(f.local.mem.fd);
	close(f.remote.mem.fd);
	f.local.mem.fd = -1;
	f.remote.mem.fd = -1;
	err = sweep(&f.conn, operation("write"), &f.local, &f.remote);
	if (!err)
		err = sweep(&f.conn, operation("read"), &f.local, &f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The remote region is registered again and again, while allocations fail. */
struct tries {
	struct fixture f;
	struct region_attr attr;
	struct holdings held;
};

/* The exporter allocates for the first importer only: each try has another. */
static int renew(struct tries *t)
{
	region_destroy(&t->f.remote);
	return region_map(&t->f.remote, &t->attr);
}

static int move(struct fixture *f, const char *op, u64 local_off)
{
	const struct transfer t = {
		.op = operation(op), .local = &f->local, .remote = &f->remote,
		.local_off = local_off, .remote_off = f->remote.len - MOVED,
		.len = MOVED,
	};

	return transfer_verify(&f->conn, &t);
}

/* To the end of the region: it is there if all of it is. And back. */
static int moves_data(struct fixture *f)
{
	int err = move(f, "write", 0);

	return err ? err : move(f, "read", MOVED);
}

/* One registration, the nth allocation of which fails, if it makes so many. */
static enum ktap_result fail_one(struct injection *inj, void *arg)
{
	struct tries *t = arg;
	struct region *r = &t->f.remote;
	int err = renew(t);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	inject_begin(inj);
	err = region_register(r, &rxe[1], &t->attr);
	inject_end(inj);
	inj->refused = err;
	if (err && err != -ENOMEM)
		return ktap_fail("%s instead of ENOMEM", strerrorname_np(-err));
	if (err && !holdings_same(&t->held))
		return ktap_fail("something is left");
	if (err)
		err = region_register(r, &rxe[1], &t->attr);
	if (err)
		return ktap_fail("the next one: %s", strerrorname_np(-err));
	err = moves_data(&t->f);
	return err ? ktap_fail("the data: %s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result fail_all(struct tries *t)
{
	int err = renew(t);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	holdings_now(&t->held);
	return inject_each(ROUNDS, t, fail_one);
}

static enum ktap_result run_failures(const void *arg)
{
	struct tries t = {
		.attr = {
			.kind = arg, .iova = &iova_far,
			.head = HEAD, .len = FAIL_LEN, .tail = TAIL,
		},
	};
	struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_same,
		.len = 2 * MOVED,
	};
	const char *missing = memory_missing(arg);
	enum ktap_result result = inject_prepare();
	struct holdings before;
	int err;

	if (result != KTAP_PASS)
		return result;
	if (missing)
		return ktap_skip("%s", missing);
	holdings_now(&before);
	err = fixture_create(&t.f, &rc, &local, &t.attr);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	result = fail_all(&t);
	fixture_destroy(&t.f);
	if (result == KTAP_PASS && !holdings_same(&before))
		result = ktap_fail("something is left in the end");
	return result;
}

static void add_failures(const char *kind)
{
	ktap_add(run_failures, memory_kind(kind), "fail/%s", kind);
}

int main(int argc, char **argv)
{
	size_t i;

	srand(1);
	bad_dmabuf_add(&rxe[0], ACCESS_ALL);
	for (i = 0; i < nr_dmabuf_kinds; i++)
		ktap_add(run_closed_fd_data, &dmabuf_kinds[i],
			 "life/closed_fd/%s", dmabuf_kinds[i].name);
	add_failures("udmabuf");
	add_failures("heap");
	add_failures("cma");
	add_data_tests();
	return fixture_main(argc, argv);
}
