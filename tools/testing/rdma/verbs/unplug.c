// SPDX-License-Identifier: GPL-2.0
/*
 * Regions whose device goes while requests are under way: by `rdma link del`,
 * or with the net device below it. What the regions held is given back at once,
 * the process can deregister and leave, and whoever has a device still can go on
 * using it.
 *
 * It takes the network of ./lab apart and puts it together again, so it runs in
 * a boot of its own.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define LEN	(1024UL * 1024)
#define PATIENCE 120	/* seconds, for what is bound to happen at some time */
#define LIVES	20	/* requests after which traffic is under way */

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static const struct kind {
	const char *name, *memory;
	int access;
} kinds[] = {
	{ "pinned", "anon" },
	{ "odp", "anon", ACCESS_ALL | IBV_ACCESS_ON_DEMAND },
	{ "udmabuf", "udmabuf" },
};

/* What goes, and which devices go with it */
static const struct way {
	const char *name, *command;
	bool gone[2];
} ways[] = {
	{ "link_of_responder", "rdma link del rxe1", { false, true } },
	{ "link_of_requester", "rdma link del rxe0", { true, false } },
	{ "netdev", "ip link del net1", { true, true } },
};

struct unplug_test {
	const struct kind *kind;
	const struct way *way;
};

/* As the VM's agent made it; see tools/testing/rdma/vm/net.c */
static const char make_network[] =
	"set -e\n"
	"if ! [ -e /sys/class/net/net0 ]; then\n"
	"	ip link add net0 mtu 9000 type veth peer name net1 mtu 9000\n"
	"	ip address add 10.0.0.1/24 dev net0\n"
	"	ip address add 10.0.0.2/24 dev net1\n"
	"	for end in net0 net1; do\n"
	"		echo 1 >/proc/sys/net/ipv4/conf/$end/accept_local\n"
	"		echo 0 >/proc/sys/net/ipv4/conf/$end/rp_filter\n"
	"		ip link set $end up\n"
	"	done\n"
	"	ip route add 10.0.0.2 dev net0 src 10.0.0.1 table 100\n"
	"	ip route add 10.0.0.1 dev net1 src 10.0.0.2 table 100\n"
	"fi\n"
	"for n in 0 1; do\n"
	"	[ -e /sys/class/infiniband/rxe$n ] ||\n"
	"		rdma link add rxe$n type rxe netdev net$n\n"
	"done\n";

static bool is_there(int nr)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/infiniband/rxe%d", nr);
	return !access(path, F_OK);
}

/* A port is up when it is ACTIVE and has the GID of its address. */
static bool is_up(int nr)
{
	struct ibv_port_attr port = { 0 };
	struct rdma_dev dev;
	bool up;

	if (rdma_dev_open(&dev, nr ? "rxe1" : "rxe0"))
		return false;
	up = !ibv_query_port(dev.ctx, PAIR_PORT, &port) &&
	     port.state == IBV_PORT_ACTIVE &&
	     dev.gid.raw[10] == 0xff && dev.gid.raw[15] == nr + 1;
	rdma_dev_close(&dev);
	return up;
}

static bool wait_for(bool (*state)(int nr), bool want)
{
	time_t begun = time(NULL);
	int nr;

	for (nr = 0; nr < 2; nr++)
		while (state(nr) != want) {
			if (time(NULL) - begun > PATIENCE)
				return false;
			usleep(10000);
		}
	return true;
}

/* What the process that has the devices tells its parent, and is told */
struct shared {
	atomic_int requests, unplugged;
};

/* The next completion, a negative errno value, or -ENODEV: none will come. */
static int wait_or_unplugged(struct rdma_conn *c, struct ibv_wc *wc,
			     const struct shared *s, bool requester_goes)
{
	time_t begun = time(NULL);
	int n;

	while (!(n = ibv_poll_cq(c->a.cq, 1, wc))) {
		if (requester_goes && atomic_load(&s->unplugged))
			return -ENODEV;
		if (time(NULL) - begun > PATIENCE)
			return -ETIMEDOUT;
		usleep(50);
	}
	return n < 0 ? -EIO : 0;
}

/* Write and read by turns, until that fails; why it did, or negative errno. */
static int traffic(struct fixture *f, struct shared *s, bool requester_goes)
{
	struct ibv_wc wc = { 0 };
	int i, err = 0;

	for (i = 0; !err && !wc.status; i++) {
		struct ibv_sge sge = region_sge(&f->local, 0, LEN);
		struct ibv_send_wr wr = {
			.sg_list = &sge, .num_sge = 1,
			.opcode = i & 1 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { f->remote.iova, f->remote.mr->rkey },
		};

		err = end_post_send(&f->conn.a, &wr);
		/* A few at a time */
		if (!err && i >= 4)
			err = wait_or_unplugged(&f->conn, &wc, s, requester_goes);
		if (!err && !wc.status)
			atomic_fetch_add(&s->requests, 1);
	}
	return err ? err : (int)wc.status;
}

/* A device that is gone says EIO to all commands. */
static bool deregisters(struct region *r, bool gone)
{
	int err = ibv_dereg_mr(r->mr);

	r->mr = NULL;
	if (!err || (gone && err == EIO))
		return true;
	ktap_diag("ibv_dereg_mr: %s", strerror(err));
	return false;
}

static bool registers(struct rdma_dev *dev, struct region *r)
{
	struct ibv_mr *mr = ibv_reg_mr(dev->pd, r->addr, r->len, ACCESS_ALL);

	if (mr)
		return !ibv_dereg_mr(mr);
	ktap_diag("%s: ibv_reg_mr: %s", dev->name, strerror(errno));
	return false;
}

static const char *traffic_ended(int err, const struct way *way)
{
	if (err == IBV_WC_RETRY_EXC_ERR || err == IBV_WC_WR_FLUSH_ERR ||
	    err == IBV_WC_FATAL_ERR)
		return NULL;
	/* Regions go before the queue pair that was made before them. */
	if (way->gone[1] && err == IBV_WC_REM_ACCESS_ERR)
		return NULL;
	if (way->gone[0] && err == IBV_WC_LOC_PROT_ERR)
		return NULL;
	if (way->gone[0] && err < 0 && err != -ETIMEDOUT)
		return NULL;
	ktap_diag("traffic: %s", err < 0 ? strerror(-err) :
		  ibv_wc_status_str(err));
	return "traffic did not end as it should";
}

static const char *after(struct fixture *f, const struct unplug_test *t)
{
	const struct way *way = t->way;
	bool pinned = !t->kind->access && !memory_kind(t->kind->memory)->dmabuf;
	long left = pinned ? (!way->gone[0] + !way->gone[1]) * LEN / 4096 : 0;

	if (pinned_pages() != left) {
		ktap_diag("pages in VmPin: %ld instead of %ld", pinned_pages(),
			  left);
		return "what the device's regions held was not given back";
	}
	if (!deregisters(&f->local, way->gone[0]) ||
	    !deregisters(&f->remote, way->gone[1]))
		return "dereg";
	/* The memory is the process's, as ever. */
	region_fill(&f->local, 7);
	region_fill(&f->remote, 8);
	if (!memory_kind(t->kind->memory)->dmabuf &&
	    ((!way->gone[0] && !registers(&rxe[0], &f->local)) ||
	     (!way->gone[1] && !registers(&rxe[1], &f->remote))))
		return "the device that is left";
	return NULL;
}

static const char *child(const struct unplug_test *t, struct shared *s)
{
	struct region_attr attr = {
		.kind = memory_kind(t->kind->memory), .iova = &iova_same,
		.len = LEN, .access = t->kind->access,
	};
	const char *what;
	struct fixture f;
	int err;

	if (rdma_pair_open(rxe))
		return "set-up: the devices";
	err = fixture_create(&f, &rc, &attr, &attr);
	if (!err) {
		f.conn.retries = 2;
		err = conn_reset(&f.conn);
	}
	if (err) {
		ktap_diag("%s", strerror(-err));
		return "set-up";
	}
	what = traffic_ended(traffic(&f, s, t->way->gone[0]), t->way);
	while (!atomic_load(&s->unplugged))
		usleep(1000);
	if (!what)
		what = after(&f, t);
	if (f.local.mr)
		ibv_dereg_mr(f.local.mr);
	if (f.remote.mr)
		ibv_dereg_mr(f.remote.mr);
	f.local.mr = NULL;
	f.remote.mr = NULL;
	fixture_destroy(&f);
	rdma_pair_close(rxe);
	return what;
}

static bool unplug(const struct way *way)
{
	time_t begun = time(NULL);
	int nr;

	if (system(way->command))
		return false;
	/* A net device takes its RDMA device along a little later. */
	for (nr = 0; nr < 2; nr++)
		while (way->gone[nr] && is_there(nr)) {
			if (time(NULL) - begun > PATIENCE)
				return false;
			usleep(1000);
		}
	return true;
}

static enum ktap_result run_unplug(const void *arg)
{
	const struct unplug_test *t = arg;
	struct holdings was;
	struct shared *s;
	int status = 0;
	bool gone;
	pid_t pid;

	if (stock_kernel() && memory_kind(t->kind->memory)->dmabuf)
		return ktap_skip("the unpatched rxe registers no dma-buf");
	if (system(make_network) || !wait_for(is_up, true))
		return ktap_fail("set-up: the network");
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return ktap_fail("set-up: %s", strerror(errno));
	holdings_now(&was);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		const char *what = child(t, s);

		if (what)
			ktap_diag("%s", what);
		fflush(stdout);
		_exit(what ? 1 : 0);
	}
	while (atomic_load(&s->requests) < LIVES &&
	       !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	if (atomic_load(&s->requests) < LIVES)
		return ktap_fail("the traffic ended by itself");
	gone = unplug(t->way);
	atomic_store(&s->unplugged, 1);
	if (waitpid(pid, &status, 0) != pid || status)
		return ktap_fail("the process: status %#x", status);
	munmap(s, sizeof(*s));
	if (!gone)
		return ktap_fail("%s: the device is still there",
				 t->way->command);
	return holdings_same(&was) ? KTAP_PASS : ktap_fail("something is left");
}

int main(int argc, char **argv)
{
	static struct unplug_test tests[ARRAY_SIZE(kinds) * ARRAY_SIZE(ways)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		tests[i] = (struct unplug_test) {
			&kinds[i % ARRAY_SIZE(kinds)],
			&ways[i / ARRAY_SIZE(kinds)],
		};
		ktap_add(run_unplug, &tests[i], "unplug/%s/%s",
			 tests[i].way->name, tests[i].kind->name);
	}
	return ktap_main(argc, argv);
}
