// SPDX-License-Identifier: GPL-2.0
/*
 * Every operation moves the right bytes, and no others, between regions with
 * on-demand paging at one end, the other or both, at every kind of offset.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"
#include "sweep.h"

#define MIB	(1024 * 1024UL)

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
	bool local, remote;	/* which end is ODP */
};

static int access_to(const struct memory_kind *kind, bool odp)
{
	int access = kind->read_only ? IBV_ACCESS_REMOTE_READ : ACCESS_ALL;

	return odp ? access | IBV_ACCESS_ON_DEMAND : access;
}

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
	local.access = access_to(local.kind, t->local);
	remote.access = access_to(remote.kind, t->remote);
	return fixture_create(f, t->path, &local, &remote);
}

static enum ktap_result run_data_test(const void *arg)
{
	const struct data_test *t = arg;
	struct fixture f;
	int err = setup(&f, t);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = sweep(&f.conn, t->op, &f.local, &f.remote);
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

static void add(const char *name, struct data_test test)
{
	for (test.op = operations; test.op->name; test.op++) {
		struct data_test *t;

		if (!sensible(&test))
			continue;
		t = malloc(sizeof(*t));
		*t = test;
		ktap_add(run_data_test, t, "%s/%s/%s/%s/%s", name,
			 t->memory->name, t->iova->name, t->path->name,
			 t->op->name);
	}
}

static void add_data_tests(void)
{
	struct data_test t = {
		.iova = &iova_same, .path = &paths[0],
		.local = true, .remote = true,
	};
	size_t i;

	for (i = 0; i < nr_memory_kinds; i++) {
		t.memory = &memory_kinds[i];
		add("odp", t);
	}
	t.iova = &iova_far;
	t.memory = memory_kind("scattered");
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		t.path = &paths[i];
		add("odp", t);
	}
	t.path = &paths[0];
	t.iova = &iova_zero;
	t.memory = memory_kind("thp");
	t.remote = false;
	add("local", t);
	t.local = false;
	t.remote = true;
	add("remote", t);
}

int main(int argc, char **argv)
{
	srand(1);
	add_data_tests();
	return fixture_main(argc, argv);
}
