// SPDX-License-Identifier: GPL-2.0
/*
 * What each test asks for: the traffic goes on until the memory is revoked, its
 * accesses fail from when that is done, and none lands. Where the memory comes
 * back, so does the traffic, with the same MR; where it does not, the MR can be
 * deregistered.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bar.h"
#include "bar_traffic.h"
#include "ktap.h"
#include "traffic.h"

#define HEAD	1240		/* whole words, so that they can be found */
#define PARTS	20
#define TIMES	5

static int setup(struct fixture *f, const struct memory_kind *kind)
{
	static const struct path rc = { "rc", IBV_QPT_RC, false, false };
	struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_zero,
		.len = TRAFFIC_LOCAL,
	};
	struct region_attr remote = {
		.kind = kind, .iova = &iova_far, .head = HEAD,
		.len = PARTS * TRAFFIC_REMOTE,
	};
	int err = fixture_create(f, &rc, &local, &remote);

	if (!err)
		memset(f->remote.mem.base, 0, f->remote.mem.size);
	return err;
}

/* What happens while there is traffic: 0, or -errno once the reason was told. */
typedef int (*event_fn)(struct traffic *tr, const void *arg);

static enum ktap_result with_traffic(const struct memory_kind *kind,
				     event_fn event, const void *arg)
{
	struct traffic tr;
	struct fixture f;
	int stopped, err = setup(&f, kind);

	if (!err) {
		err = traffic_start(&tr, &f);
		if (err)
			fixture_destroy(&f);
	}
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = traffic_goes_on(&tr);
	if (!err)
		err = event(&tr, arg);
	stopped = traffic_stop(&tr);
	fixture_destroy(&f);
	if (!err)
		err = stopped;
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The function does not answer, and answers again, many times. */
static int disable_often(struct traffic *tr, const void *arg)
{
	int i, err = 0, on_err;

	(void)arg;
	for (i = 0; i < TIMES && !err; i++) {
		err = vfio_enable_memory(&ivshmem, 0);
		if (!err)
			err = traffic_fails(tr);
		on_err = vfio_enable_memory(&ivshmem, 1);
		if (!err)
			err = on_err;
		if (!err)
			err = traffic_goes_on(tr);
	}
	return err;
}

static enum ktap_result run_disable(const void *arg)
{
	return with_traffic(arg, disable_often, NULL);
}

struct reset_test {
	const struct memory_kind *kind;
	int (*reset)(const struct vfio *v);
};

/* Rounds that come upon a reset fail. It is so short that one may miss them. */
static int reset_often(struct traffic *tr, const void *arg)
{
	const struct reset_test *t = arg;
	int i, err = 0, noticed = 0;

	for (i = 0; i < 2 * TIMES && !err; i++) {
		u64 bad = atomic_load(&tr->bad);

		err = t->reset(&ivshmem);
		if (!err)
			err = traffic_goes_on(tr);
		noticed += atomic_load(&tr->bad) != bad;
	}
	if (!err && !noticed) {
		ktap_diag("no access failed while the function was reset");
		err = -EBADMSG;
	}
	return err;
}

static enum ktap_result run_reset(const void *arg)
{
	const struct reset_test *t = arg;

	if (!vfio_can_reset(&ivshmem))
		return ktap_skip("it cannot be reset: not below a port of its own");
	return with_traffic(t->kind, reset_often, t);
}

/* Who lets go of the function, and what makes it come back. */
struct leave_test {
	const struct memory_kind *kind;
	int (*take)(const char *name);	/* NULL: this process, by itself */
	int (*back)(void);
	bool fd_closed;			/* only the MR has the dma-buf */
};

struct taker {
	pthread_t thread;
	int (*take)(const char *name);
	char name[sizeof(ivshmem.name)];
	int err;
};

static void *take(void *arg)
{
	struct taker *t = arg;

	t->err = t->take(t->name);
	return NULL;
}

static int wait_wanted(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, 60000) == 1)
		return 0;
	ktap_diag("nobody asks for the function");
	return -ETIMEDOUT;
}

/* The newest round that was begun when the function was closed. */
static u64 close_under(struct traffic *tr)
{
	bar_close_under(&tr->f->remote);
	return atomic_load(&tr->begun);
}

/* While its taker only waits for the function, nothing is revoked. */
static int give_up(struct traffic *tr, const struct leave_test *test, u64 *last)
{
	struct taker t = { .take = test->take };
	int wanted = vfio_wanted(&ivshmem), err;

	if (wanted < 0)
		return wanted;
	memcpy(t.name, ivshmem.name, sizeof(t.name));
	err = -pthread_create(&t.thread, NULL, take, &t);
	if (err) {
		close(wanted);
		return err;
	}
	err = wait_wanted(wanted);
	if (!err)
		err = traffic_goes_on(tr);
	*last = close_under(tr);
	pthread_join(t.thread, NULL);
	close(wanted);
	return err ? err : t.err;
}

/* The newest round of which there is a word in the memory. */
static u64 newest(const struct memory *mem)
{
	const u64 *word = (const u64 *)mem->base;
	const u64 *end = word + mem->size / sizeof(*word);
	u64 max = 0;

	for (; word < end; word++)
		if (*word > max)
			max = *word;
	return max;
}

/* The function is open again, and an MR of before is still in use. */
static int nothing_lands(struct traffic *tr, const struct memory_kind *kind,
			 u64 last)
{
	struct memory mem = { .size = tr->f->remote.mem.size, .fd = -1 };
	int err = kind->map(&mem);
	u64 found;

	if (err)
		return err;
	found = newest(&mem);
	memset(mem.base, 0, mem.size);
	err = traffic_fails(tr);
	if (!err && (!found || found > last || newest(&mem))) {
		ktap_diag("no round after %llu was to land, but %llu has, and %llu later",
			  (unsigned long long)last, (unsigned long long)found,
			  (unsigned long long)newest(&mem));
		err = -EBADMSG;
	}
	memory_unmap(&mem);
	return err;
}

static int leave(struct traffic *tr, const void *arg)
{
	const struct leave_test *t = arg;
	struct memory *mem = &tr->f->remote.mem;
	int err = 0;
	u64 last;

	if (t->fd_closed) {
		close(mem->fd);
		mem->fd = -1;
		err = traffic_goes_on(tr);
	}
	if (!err && t->take)
		err = give_up(tr, t, &last);
	else if (!err)
		last = close_under(tr);
	if (!err)
		err = traffic_fails(tr);
	if (!err && t->back)
		err = t->back();
	if (!err)
		err = ivshmem_open();
	return err ? err : nothing_lands(tr, t->kind, last);
}

static enum ktap_result run_leave(const void *arg)
{
	const struct leave_test *t = arg;
	enum ktap_result result = with_traffic(t->kind, leave, t);

	if (ivshmem.fd < 0 && ivshmem_open())
		return ktap_fail("cannot open the function again");
	return result;
}

static void add_reset(const char *name, const struct memory_kind *kind,
		      int (*reset)(const struct vfio *v))
{
	struct reset_test *t = calloc(1, sizeof(*t));

	*t = (struct reset_test) { kind, reset };
	ktap_add(run_reset, t, "traffic/%s/%s", name, kind->name);
}

static void add_leave(const char *name, int (*take)(const char *name),
		      int (*back)(void))
{
	const struct leave_test tests[] = {
		{ &bar, take, back, false },
		{ &bar, take, back, true },
		{ &bar_ranges, take, back, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		struct leave_test *t = malloc(sizeof(*t));

		*t = tests[i];
		ktap_add(run_leave, t, "traffic/%s/%s%s", name, t->kind->name,
			 t->fd_closed ? "/fd_closed" : "");
	}
}

void bar_traffic_add(void)
{
	const struct memory_kind *kinds[] = { &bar, &bar_ranges };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ktap_add(run_disable, kinds[i], "traffic/disable/%s",
			 kinds[i]->name);
		add_reset("reset", kinds[i], vfio_reset);
		add_reset("reset_bus", kinds[i], vfio_reset_bus);
	}
	add_leave("close", NULL, NULL);
	add_leave("unbind", vfio_unbind, NULL);
	add_leave("remove", vfio_remove, vfio_rescan);
}
