// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"
#include "traffic.h"

#define WORDS		(TRAFFIC_REMOTE / sizeof(u64))
#define SOME		3	/* rounds that are waited for */
#define LIMIT_SECONDS	60	/* for them, on the slowest emulated machine */

/* Run it; its status, where nothing is wrong with it. */
static int run_one(struct traffic *tr, const struct transfer *t,
		   enum ibv_wc_status *status)
{
	struct transfer_status both = { 0 };
	int err = transfer_run(&tr->f->conn, t, &both);

	*status = both.a;
	if (err) {
		ktap_diag("%s: %s", t->op->name, strerror(-err));
		return err;
	}
	if (both.a == IBV_WC_SUCCESS)
		return 0;
	if (both.a != IBV_WC_REM_ACCESS_ERR) {
		ktap_diag("%s: %s", t->op->name, ibv_wc_status_str(both.a));
		return -EBADMSG;
	}
	return conn_reset(&tr->f->conn);
}

static int check_read(const u64 *words, u64 number)
{
	size_t i;

	for (i = 0; i < WORDS; i++) {
		if (words[i] == number)
			continue;
		ktap_diag("wrote %llu, and read back %llu, word %zu",
			  (unsigned long long)number,
			  (unsigned long long)words[i], i);
		return -EBADMSG;
	}
	return 0;
}

static int run_round(struct traffic *tr, u64 number)
{
	struct region *local = &tr->f->local, *remote = &tr->f->remote;
	struct transfer t = {
		.op = operation("write"), .local = local, .remote = remote,
		.len = TRAFFIC_REMOTE,
	};
	u64 *words = (u64 *)local->addr;
	enum ibv_wc_status status;
	size_t i;
	int err;

	for (i = 0; i < WORDS; i++)
		words[i] = number;
	t.remote_off = number % (remote->len / t.len) * t.len;
	err = run_one(tr, &t, &status);
	if (!err && status == IBV_WC_SUCCESS) {
		t.op = operation("read");
		t.local_off = t.len;
		err = run_one(tr, &t, &status);
	}
	if (!err && status == IBV_WC_SUCCESS)
		err = check_read(words + WORDS, number);
	if (!err)
		atomic_store(status ? &tr->bad : &tr->good, number);
	return err;
}

static void *run(void *arg)
{
	struct traffic *tr = arg;
	int err = 0;

	while (!err && !atomic_load(&tr->stop))
		err = run_round(tr, atomic_fetch_add(&tr->begun, 1) + 1);
	atomic_store(&tr->err, err);
	return NULL;
}

int traffic_start(struct traffic *tr, struct fixture *f)
{
	memset(tr, 0, sizeof(*tr));
	tr->f = f;
	return -pthread_create(&tr->thread, NULL, run, tr);
}

int traffic_stop(struct traffic *tr)
{
	atomic_store(&tr->stop, true);
	pthread_join(tr->thread, NULL);
	return atomic_load(&tr->err);
}

/* Wait for rounds that end in one way, and none in the other. */
static int wait_rounds(struct traffic *tr, atomic_ullong *this_way,
		       atomic_ullong *other_way, const char *what)
{
	u64 from = atomic_load(&tr->begun);
	time_t start = time(NULL);
	int err = 0;

	while (!err && atomic_load(this_way) < from + SOME) {
		usleep(1000);
		err = atomic_load(&tr->err);
		if (!err && atomic_load(other_way) > from)
			err = -EBADMSG;
		if (!err && time(NULL) - start > LIMIT_SECONDS)
			err = -ETIMEDOUT;
	}
	if (err)
		ktap_diag("traffic was to %s from round %llu on", what,
			  (unsigned long long)from);
	return err;
}

int traffic_goes_on(struct traffic *tr)
{
	return wait_rounds(tr, &tr->good, &tr->bad, "go on");
}

int traffic_fails(struct traffic *tr)
{
	return wait_rounds(tr, &tr->bad, &tr->good, "fail");
}
