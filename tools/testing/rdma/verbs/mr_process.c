// SPDX-License-Identifier: GPL-2.0
/*
 * Regions and the processes that made them: however a process ends, its pages
 * are given back, and a fork leaves each side with its own memory.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static int wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -ECHILD : 0;
}

/* The last descriptor of a dead process may be closed a little later. */
static bool stays_pinned(struct sealed *s)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (!sealed_is_pinned(s))
			return false;
		usleep(20000);
	}
	return true;
}

static int open_and_reg(struct sealed *s, struct rdma_dev *dev)
{
	int err = rdma_dev_open(dev, "rxe0");

	if (err)
		return err;
	return ibv_reg_mr(dev->pd, s->map, s->len, ACCESS_ALL) ? 0 : -errno;
}

/* Whatever a child pinned when it left is given back. */
static enum ktap_result gives_back(size_t len, int (*child)(struct sealed *s))
{
	struct sealed s;
	pid_t pid;
	int err;

	if (sealed_map(&s, len))
		return ktap_fail("set-up");
	pid = fork();
	if (!pid)
		_exit(child(&s));
	err = wait_child(pid);
	if (err)
		return ktap_fail("child: %s", strerror(-err));
	if (stays_pinned(&s))
		return ktap_fail("pages stay after the process");
	sealed_destroy(&s);
	return KTAP_PASS;
}

/* A process leaves without a word. */
static int reg_and_leave(struct sealed *s)
{
	struct rdma_dev dev;

	return open_and_reg(s, &dev) || pinned_pages() != 300;
}

static enum ktap_result run_exit(const void *arg)
{
	(void)arg;
	return gives_back(300 * PAGE, reg_and_leave);
}

/*
 * A process registers, forks and leaves; its child keeps the descriptor. The
 * region lives on, accounted to the process that is gone.
 */
static int leave_child_behind(struct sealed *s, int ready, int leave)
{
	struct rdma_dev dev;
	int err = open_and_reg(s, &dev);
	char c = 0;
	pid_t pid;

	if (err)
		return 1;
	pid = fork();
	if (pid)
		return pid < 0;
	munmap(s->map, s->len);
	/* What the parent pinned is not the child's. */
	c = pinned_pages() != 0;
	if (write(ready, &c, 1) != 1 || read(leave, &c, 1) < 0)
		_exit(1);
	_exit(0);
}

static enum ktap_result run_inherit(const void *arg)
{
	int ready[2], leave[2], err;
	struct sealed s;
	pid_t pid;
	char c = 1;

	(void)arg;
	if (sealed_map(&s, 300 * PAGE) || pipe(ready) || pipe(leave))
		return ktap_fail("set-up");
	pid = fork();
	if (!pid) {
		close(leave[1]);
		_exit(leave_child_behind(&s, ready[1], leave[0]));
	}
	err = wait_child(pid);
	if (err || read(ready[0], &c, 1) != 1 || c)
		return ktap_fail("child: %s, VmPin %s", strerror(-err),
				 c ? "inherited" : "not");
	if (!sealed_is_pinned(&s))
		return ktap_fail("the pages went with the first process");
	close(leave[1]);	/* the grandchild goes */
	if (stays_pinned(&s))
		return ktap_fail("pages stay after the last process");
	close(ready[0]);
	close(ready[1]);
	close(leave[0]);
	sealed_destroy(&s);
	return KTAP_PASS;
}

/* Requests without end, both ways, until somebody stops this process. */
static void traffic(struct sealed *s)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
	};
	struct ibv_mr *local, *remote;
	struct rdma_dev dev[2];
	struct rdma_conn c;
	struct ibv_wc wc;
	int i;

	if (rdma_pair_open(dev) ||
	    conn_open(&c, &dev[0], &dev[1], IBV_QPT_RC, false))
		_exit(1);
	local = ibv_reg_mr(dev[0].pd, s->map, MIB, ACCESS_ALL);
	remote = ibv_reg_mr(dev[1].pd, s->map + MIB, MIB, ACCESS_ALL);
	if (!local || !remote)
		_exit(1);
	for (i = 0; ; i++) {
		struct ibv_sge sge = {
			(uintptr_t)s->map, MIB, local->lkey,
		};
		struct ibv_send_wr wr = {
			.sg_list = &sge, .num_sge = 1,
			.opcode = opcodes[i % 2],
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = {
				.remote_addr = (uintptr_t)s->map + MIB,
				.rkey = remote->rkey,
			},
		};

		if (end_post_send(&c.a, &wr))
			_exit(1);
		if (i >= 8 && (end_wait(&c.a, &wc) || wc.status))
			_exit(1);
		s->map[2 * MIB] = i < 200 ? i : 200;	/* a sign of life */
	}
}

/* The traffic of the process that writes this byte is under way. */
static bool lives(const unsigned char *life)
{
	return __atomic_load_n(life, __ATOMIC_RELAXED) >= 10;
}

static enum ktap_result run_kill(const void *arg)
{
	int round, status;

	(void)arg;
	for (round = 0; round < 8; round++) {
		unsigned char *life;
		struct sealed s;
		pid_t pid;

		if (sealed_map(&s, 2 * MIB + PAGE))
			return ktap_fail("set-up");
		life = s.map + 2 * MIB;
		*life = 0;
		pid = fork();
		if (!pid)
			traffic(&s);
		while (!lives(life) && !waitpid(pid, &status, WNOHANG))
			usleep(1000);
		if (!lives(life))
			return ktap_fail("the traffic ended by itself");
		usleep(round * 3000);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (stays_pinned(&s))
			return ktap_fail("pages stay after the process");
		sealed_destroy(&s);
	}
	return KTAP_PASS;
}

/*
 * Fork a child that compares its memory with the model it has, but not before
 * let_child_check().
 */
static pid_t fork_to_check(struct region *r, int *go)
{
	int ends[2], err;
	pid_t pid;
	char c;

	if (pipe(ends))
		return -errno;
	pid = fork();
	if (!pid) {
		close(ends[1]);
		if (read(ends[0], &c, 1) < 0)
			_exit(1);
		_exit(region_check_all(r) != 0);
	}
	err = pid < 0 ? -errno : 0;
	close(ends[0]);
	*go = ends[1];
	return err ? err : pid;
}

static int let_child_check(pid_t pid, int go)
{
	close(go);
	return wait_child(pid);
}

/*
 * Fork with a region live. RDMA goes on with the parent's memory, and the child
 * keeps what was there at the fork.
 */
static int check_fork(struct fixture *f)
{
	struct transfer t = {
		.op = operation("write"), .local = &f->local,
		.remote = &f->remote, .len = MIB,
	};
	int go, err, child;
	pid_t pid = fork_to_check(&f->remote, &go);

	if (pid < 0)
		return pid;
	memset(f->remote.mem.base, 0x77, f->remote.mem.size);
	memset(f->remote.model, 0x77, f->remote.mem.size);
	err = transfer_verify(&f->conn, &t);
	if (!err)
		err = region_check_all(&f->remote);
	child = let_child_check(pid, go);
	return err ? err : child;
}

static enum ktap_result run_fork(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind(arg), .iova = &iova_same,
		.head = 9, .len = MIB, .tail = 9,
	};
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = check_fork(&f);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/*
 * Memory shared with a child at the fork, then registered only to be read: it
 * is the parent's own copy that is read, later writes of the parent included.
 */
static enum ktap_result run_fork_before(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = MIB,
	};
	struct transfer t = { .op = operation("read"), .len = MIB };
	struct fixture f;
	int go, child, err = fixture_create(&f, &rc, &attr, &attr);
	pid_t pid;

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	ibv_dereg_mr(f.remote.mr);
	f.remote.mr = NULL;
	pid = fork_to_check(&f.remote, &go);
	if (pid < 0)
		return ktap_fail("fork: %s", strerror(-pid));
	f.remote.mr = ibv_reg_mr(rxe[1].pd, f.remote.addr, MIB,
				 IBV_ACCESS_REMOTE_READ);
	if (!f.remote.mr)
		return ktap_fail("ibv_reg_mr: %s", strerror(errno));
	region_fill(&f.remote, 99);
	t.local = &f.local;
	t.remote = &f.remote;
	err = transfer_verify(&f.conn, &t);
	child = let_child_check(pid, go);
	err = err ? err : child;
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A process goes, with a window bound to a region: both go. */
static int bind_and_leave(struct sealed *s)
{
	struct ibv_mw_bind bind = { .send_flags = IBV_SEND_SIGNALED };
	struct rdma_dev dev[2];
	struct rdma_conn c;
	struct ibv_mw *mw;
	struct ibv_wc wc;

	if (rdma_pair_open(dev) ||
	    conn_open(&c, &dev[0], &dev[1], IBV_QPT_RC, false))
		return 1;
	bind.bind_info = (struct ibv_mw_bind_info) {
		.mr = ibv_reg_mr(dev[0].pd, s->map, s->len, ACCESS_ALL),
		.addr = (uintptr_t)s->map, .length = s->len,
		.mw_access_flags = IBV_ACCESS_REMOTE_READ,
	};
	mw = ibv_alloc_mw(dev[0].pd, IBV_MW_TYPE_1);
	return !mw || ibv_bind_mw(c.a.qp, mw, &bind) || end_wait(&c.a, &wc) ||
	       wc.status;
}

static enum ktap_result run_exit_with_window(const void *arg)
{
	(void)arg;
	return gives_back(30 * PAGE, bind_and_leave);
}

int main(int argc, char **argv)
{
	ktap_add(run_exit, NULL, "process/exit");
	ktap_add(run_inherit, NULL, "process/inherit");
	ktap_add(run_exit_with_window, NULL, "process/exit_with_window");
	ktap_add(run_kill, NULL, "process/kill_in_traffic");
	ktap_add(run_fork, "anon", "process/fork/anon");
	ktap_add(run_fork, "thp", "process/fork/thp");
	ktap_add(run_fork, "hugetlb", "process/fork/hugetlb");
	ktap_add(run_fork_before, NULL, "process/fork/before");
	return fixture_main(argc, argv);
}
