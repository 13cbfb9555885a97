// SPDX-License-Identifier: GPL-2.0
/*
 * Memory regions of dma-bufs: every operation moves the right bytes, whoever
 * made the dma-buf; bad input gives the errno that other devices give, and
 * leaves nothing; the memory lives as long as the region does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_dmabuf.h"
#include "fixture.h"
#include "ktap.h"
#include "sweep.h"

#define MIB	(1024 * 1024UL)

/* Neither end of a region is on a page boundary. */
#define HEAD	1234
#define LEN	(5 * MIB + 777)
#define TAIL	321

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

int main(int argc, char **argv)
{
	size_t i;

	srand(1);
	bad_dmabuf_add(&rxe[0], ACCESS_ALL);
	for (i = 0; i < nr_dmabuf_kinds; i++)
		ktap_add(run_closed_fd_data, &dmabuf_kinds[i],
			 "life/closed_fd/%s", dmabuf_kinds[i].name);
	add_data_tests();
	return fixture_main(argc, argv);
}
