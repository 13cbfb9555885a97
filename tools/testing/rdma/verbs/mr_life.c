// SPDX-License-Identifier: GPL-2.0
/*
 * The life of regions: what they hold while they live is accounted exactly,
 * and given back when they end, whoever uses them then.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static struct ibv_mr *reg(void *addr, size_t len)
{
	return ibv_reg_mr(rxe[0].pd, addr, len, ACCESS_ALL);
}

/* VmPin counts the pages that a region touches, and counts them back. */
static enum ktap_result run_accounting(const void *arg)
{
	static const struct {
		size_t off, len;
		long pages;
	} cases[] = {
		{ 0, 1, 1 }, { 0, PAGE, 1 }, { PAGE - 1, 1, 1 },
		{ PAGE - 1, 2, 2 }, { 1, PAGE, 2 }, { 100, 5 * PAGE, 6 },
		{ 0, 2 * MIB, 512 }, { 4095, 2 * MIB + 2, 514 },
	};
	unsigned char *p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long before = pinned_pages(), more;
	size_t i;

	(void)arg;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ibv_mr *mr = reg(p + cases[i].off, cases[i].len);

		if (!mr)
			return ktap_fail("ibv_reg_mr: %s", strerror(errno));
		more = pinned_pages() - before;
		ibv_dereg_mr(mr);
		if (more != cases[i].pages)
			return ktap_fail("%zu bytes at %zu: %ld pages",
					 cases[i].len, cases[i].off, more);
		if (pinned_pages() != before)
			return ktap_fail("%ld pages left", pinned_pages());
	}
	munmap(p, 4 * MIB);
	return KTAP_PASS;
}

/* A page in two regions counts twice, and stays until both are gone. */
static enum ktap_result run_two_on_one_page(const void *arg)
{
	long before = pinned_pages();
	struct ibv_mr *a, *b;
	struct sealed s;

	(void)arg;
	if (sealed_map(&s, PAGE))
		return ktap_fail("set-up");
	a = reg(s.map, PAGE);
	b = reg(s.map + 100, 100);
	if (!a || !b || pinned_pages() != before + 2)
		return ktap_fail("%ld pages", pinned_pages() - before);
	ibv_dereg_mr(a);
	if (pinned_pages() != before + 1 || !sealed_is_pinned(&s))
		return ktap_fail("the page went with the first region");
	ibv_dereg_mr(b);
	if (pinned_pages() != before || sealed_is_pinned(&s))
		return ktap_fail("the page stays after the second region");
	sealed_destroy(&s);
	return KTAP_PASS;
}

#define NR_MANY 2000

/* Many at once, over the same memory; each works. */
static enum ktap_result run_many(const void *arg)
{
	static struct ibv_mr *mr[NR_MANY];
	long before = pinned_pages(), pages = 0;
	struct sealed s;
	int i;

	(void)arg;
	if (sealed_map(&s, 64 * PAGE))
		return ktap_fail("set-up");
	for (i = 0; i < NR_MANY; i++) {
		mr[i] = reg(s.map + i % 60 * PAGE, (i % 4 + 1) * PAGE);
		if (!mr[i])
			return ktap_fail("region %d: %s", i, strerror(errno));
		pages += i % 4 + 1;
	}
	if (pinned_pages() - before != pages)
		return ktap_fail("%ld pages instead of %ld",
				 pinned_pages() - before, pages);
	for (i = NR_MANY - 1; i >= 0; i--)
		ibv_dereg_mr(mr[i]);
	if (pinned_pages() != before || sealed_is_pinned(&s))
		return ktap_fail("pages stay");
	sealed_destroy(&s);
	return KTAP_PASS;
}

#define CYCLES 3000

static int cycle(unsigned char *map, size_t len, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		size_t off = i * 37 % 5000;
		struct ibv_mr *mr = reg(map + off, len - off - i % 3);

		if (!mr || ibv_dereg_mr(mr))
			return -errno;
	}
	return 0;
}

/* Over and over: no memory is lost, though some of it comes back late. */
static enum ktap_result run_cycles(const void *arg)
{
	long before = pinned_pages(), slab;
	int tries, err;
	struct sealed s;

	(void)arg;
	err = sealed_map(&s, 64 * PAGE);
	if (!err)
		err = cycle(s.map, s.len, CYCLES / 10);
	slab = slab_bytes();
	if (!err)
		err = cycle(s.map, s.len, CYCLES);
	if (err)
		return ktap_fail("%s", strerror(-err));
	for (tries = 0; slab_bytes() - slab > CYCLES * 32; tries++) {
		if (!slab_is_exact())
			break;
		if (tries == 100)
			return ktap_fail("%ld bytes of slab more",
					 slab_bytes() - slab);
		usleep(100000);
	}
	if (pinned_pages() != before || sealed_is_pinned(&s))
		return ktap_fail("pages stay");
	sealed_destroy(&s);
	return KTAP_PASS;
}

static void *cycle_thread(void *map)
{
	return (void *)(intptr_t)cycle(map, 16 * PAGE, 400);
}

static enum ktap_result run_cycles_threads(const void *arg)
{
	long before = pinned_pages();
	pthread_t thread[4];
	struct sealed s;
	void *err;
	int i;

	(void)arg;
	if (sealed_map(&s, 16 * PAGE))
		return ktap_fail("set-up");
	for (i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, cycle_thread, s.map);
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], &err);
		if (err)
			return ktap_fail("%s", strerror(-(intptr_t)err));
	}
	if (pinned_pages() != before || sealed_is_pinned(&s))
		return ktap_fail("%ld pages left", pinned_pages() - before);
	sealed_destroy(&s);
	return KTAP_PASS;
}

static void *dereg_thread(void *mr)
{
	return (void *)(intptr_t)ibv_dereg_mr(mr);
}

static enum ktap_result run_dereg_elsewhere(const void *arg)
{
	long before = pinned_pages();
	struct ibv_mr *mr;
	pthread_t thread;
	struct sealed s;
	void *err;

	(void)arg;
	if (sealed_map(&s, 10 * PAGE))
		return ktap_fail("set-up");
	mr = reg(s.map, s.len);
	if (!mr)
		return ktap_fail("ibv_reg_mr: %s", strerror(errno));
	pthread_create(&thread, NULL, dereg_thread, mr);
	pthread_join(thread, &err);
	if (err || pinned_pages() != before || sealed_is_pinned(&s))
		return ktap_fail("pages stay");
	sealed_destroy(&s);
	return KTAP_PASS;
}

/* The memory is unmapped before its region ends: the region keeps it. */
static enum ktap_result run_unmap_first(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = MIB,
	};
	struct transfer t = { .op = operation("write"), .len = MIB };
	struct transfer_status status;
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	t.local = &f.local;
	t.remote = &f.remote;
	munmap(f.remote.mem.base, f.remote.mem.size);
	f.remote.mem.base = NULL;
	err = transfer_run(&f.conn, &t, &status);
	if (!err && status.a)
		err = -EREMOTEIO;
	if (!err) {	/* and what was written can be read back */
		t.op = operation("read");
		memset(f.local.mem.base, 0, f.local.mem.size);
		err = transfer_run(&f.conn, &t, &status);
	}
	if (!err)
		err = status.a ? -EREMOTEIO : region_check_all(&f.local);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Every request but those already done ends in an error, and nothing crashes. */
static int dereg_in_traffic(struct fixture *f, enum ibv_wr_opcode opcode,
			    bool at_remote)
{
	struct ibv_sge sge = region_sge(&f->local, 0, MIB);
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = f->remote.iova,
			.rkey = f->remote.mr->rkey,
		},
	};
	struct region *r = at_remote ? &f->remote : &f->local;
	int i, err = 0, bad = 0;
	struct ibv_wc wc;

	for (i = 0; !err && i < 16; i++)
		err = end_post_send(&f->conn.a, &wr);
	if (!err)
		err = end_wait(&f->conn.a, &wc);
	if (!err)
		err = -ibv_dereg_mr(r->mr);
	r->mr = NULL;
	for (i = 1; !err && i < 16; i++) {
		err = end_wait(&f->conn.a, &wc);
		bad += wc.status != IBV_WC_SUCCESS;
	}
	if (!err && !bad)
		err = -ENOTRECOVERABLE;
	return err;
}

static enum ktap_result run_dereg_in_traffic(const void *arg)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
	};
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_far,
		.head = 9, .len = MIB, .tail = 9,
	};
	long before = pinned_pages();
	int round, err = 0;

	(void)arg;
	for (round = 0; !err && round < 12; round++) {
		struct fixture f;

		err = fixture_create(&f, &rc, &attr, &attr);
		if (!err)
			err = dereg_in_traffic(&f, opcodes[round % 2],
					       round & 2);
		fixture_destroy(&f);
	}
	if (err)
		return ktap_fail("round %d: %s", round, strerror(-err));
	if (pinned_pages() != before)
		return ktap_fail("%ld pages left", pinned_pages() - before);
	return KTAP_PASS;
}

struct shared {
	struct region *local, *remote;
	int nr, err;
};

/* Write and read back a slice of one region, that others use as well. */
static int use_slice(struct shared *s)
{
	const u32 slice = MIB / 4;
	u64 off = s->nr * slice;
	struct transfer t = {
		.op = operation("write"), .local = s->local,
		.remote = s->remote, .local_off = off, .remote_off = off,
		.len = slice,
	};
	struct transfer_status status;
	struct rdma_conn c;
	int i, err = conn_open(&c, &rxe[0], &rxe[1], IBV_QPT_RC, false);

	for (i = 0; !err && i < 20; i++) {
		t.op = operation("write");
		fill_pattern(s->local->addr + off, slice, i * 7 + s->nr);
		err = transfer_run(&c, &t, &status);
		if (!err && status.a)
			err = -EREMOTEIO;
		if (err)
			break;
		if (memcmp(s->local->addr + off, s->remote->addr + off, slice)) {
			err = -EBADMSG;
			break;
		}
		memset(s->local->addr + off, 0, slice);
		t.op = operation("read");
		err = transfer_run(&c, &t, &status);
		if (!err && status.a)
			err = -EREMOTEIO;
		if (!err && memcmp(s->local->addr + off, s->remote->addr + off,
				   slice))
			err = -EBADMSG;
	}
	conn_close(&c);
	return err;
}

static void *slice_thread(void *arg)
{
	struct shared *s = arg;

	s->err = use_slice(s);
	return NULL;
}

static enum ktap_result run_threads(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_far,
		.head = 9, .len = MIB, .tail = 9,
	};
	struct shared s[4];
	pthread_t thread[4];
	struct fixture f;
	int i, err = fixture_create(&f, &rc, &attr, &attr);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; i < 4; i++) {
		s[i] = (struct shared) { &f.local, &f.remote, i, 0 };
		pthread_create(&thread[i], NULL, slice_thread, &s[i]);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		err = err ? err : s[i].err;
	}
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* What RDMA wrote to a file's page is in the file when the region is gone. */
static enum ktap_result run_dirty(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("file"), .iova = &iova_same,
		.head = 5, .len = 5 * MIB, .tail = 5,
	};
	struct transfer t = { .op = operation("write"), .len = 5 * MIB };
	unsigned char *back = malloc(6 * MIB);
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);

	(void)arg;
	if (err || !back)
		return ktap_fail("set-up: %s", strerror(-err));
	t.local = &f.local;
	t.remote = &f.remote;
	err = transfer_verify(&f.conn, &t);
	ibv_dereg_mr(f.remote.mr);
	f.remote.mr = NULL;
	munmap(f.remote.mem.base, f.remote.mem.size);
	f.remote.mem.base = NULL;
	if (!err && pread(f.remote.mem.fd, back, f.remote.mem.size, 0) !=
	    (ssize_t)f.remote.mem.size)
		err = -errno;
	if (!err && memcmp(back, f.remote.model, f.remote.mem.size))
		err = -EBADMSG;
	fixture_destroy(&f);
	free(back);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

struct dirty_test {
	const char *memory;
	int access;
	bool written;		/* by the peer */
};

/*
 * A page that a peer may have written is marked when its region ends, for no
 * page table says so: a page is not dropped then, but written back. One that
 * it could only read is not. (A page of a tmpfs file is always marked, and
 * memory of other files cannot be registered for writing.)
 */
static enum ktap_result check_dirty(const struct dirty_test *t,
				    struct fixture *f)
{
	struct transfer x = {
		.op = operation(t->written ? "write" : "read"),
		.local = &f->local, .remote = &f->remote,
		.len = f->remote.len,
	};
	size_t size = f->remote.mem.size;
	long before, after;
	int err = transfer_verify(&f->conn, &x);

	if (err)
		return ktap_fail("%s", strerror(-err));
	before = dirty_pages(f->remote.mem.base, size);
	ibv_dereg_mr(f->remote.mr);
	f->remote.mr = NULL;
	after = dirty_pages(f->remote.mem.base, size);
	/* MGLRU takes the dirty bit of a page table over when it ages pages. */
	if (before)
		return ktap_skip("%ld pages were marked before", before);
	if (after != (t->written ? (long)(size / PAGE) : 0))
		return ktap_fail("%ld of %zu pages are dirty", after,
				 size / PAGE);
	return KTAP_PASS;
}

static enum ktap_result run_marked_dirty(const void *arg)
{
	const struct dirty_test *t = arg;
	struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = 4 * MIB,
	};
	struct region_attr remote = {
		.kind = memory_kind(t->memory), .iova = &iova_same,
		.len = 4 * MIB, .access = t->access,
	};
	struct fixture f;
	int err = fixture_create(&f, &rc, &local, &remote);
	enum ktap_result res;

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	res = check_dirty(t, &f);
	fixture_destroy(&f);
	return res;
}

static void add_dirty(void)
{
	static const struct dirty_test tests[] = {
		{ "anon", ACCESS_ALL, true },
		{ "anon", IBV_ACCESS_REMOTE_READ, false },
		{ "thp", ACCESS_ALL, true },
		{ "thp", IBV_ACCESS_REMOTE_READ, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run_marked_dirty, &tests[i], "life/marked_dirty/%s/%s",
			 tests[i].memory, tests[i].written ? "write" : "read");
}

#define NR_QPS	3
#define NR_RECV	2

static int qp_state(struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state, .port_num = PAIR_PORT };
	int mask = IBV_QP_STATE;

	if (state == IBV_QPS_INIT)
		mask |= IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
	return -ibv_modify_qp(qp, &attr, mask);
}

/* Receives that nothing comes for, and that end when the queue pair does. */
static int flush_receives(struct ibv_qp *qp)
{
	struct ibv_recv_wr wr = { 0 }, *bad;
	int i, err = qp_state(qp, IBV_QPS_INIT);

	for (i = 0; !err && i < NR_RECV; i++) {
		wr.wr_id = i;
		err = -ibv_post_recv(qp, &wr, &bad);
	}
	return err ? err : qp_state(qp, IBV_QPS_ERR);
}

/* All of each queue pair that is not reset, in order, and none of the other. */
static int check_flushed(struct ibv_cq *cq, struct ibv_qp **qp, int reset)
{
	int left = (NR_QPS - 1) * NR_RECV, next[NR_QPS] = { 0 };
	time_t end = time(NULL) + 60;
	struct ibv_wc wc;
	int i, n;

	while (left) {
		n = ibv_poll_cq(cq, 1, &wc);
		if (!n && time(NULL) < end)
			continue;
		if (n != 1)
			return -ETIMEDOUT;
		for (i = 0; i < NR_QPS; i++)
			if (qp[i]->qp_num == wc.qp_num)
				break;
		if (i == NR_QPS || i == reset || wc.wr_id != (u64)next[i]++)
			return -EBADMSG;
		left--;
	}
	return ibv_poll_cq(cq, 1, &wc) ? -EEXIST : 0;
}

static int reset_round(struct ibv_cq *cq, struct ibv_qp **qp, int reset)
{
	int i, err = 0;

	for (i = 0; !err && i < NR_QPS; i++)
		err = flush_receives(qp[i]);
	usleep(10000);		/* for completions to be there */
	if (!err)
		err = qp_state(qp[reset], IBV_QPS_RESET);
	if (!err)
		err = check_flushed(cq, qp, reset);
	for (i = 0; !err && i < NR_QPS; i++)
		err = qp_state(qp[i], IBV_QPS_RESET);
	return err;
}

/* A queue pair that is used again does not see what it did before. */
static enum ktap_result run_reset_qp(const void *arg)
{
	struct ibv_cq *cq = ibv_create_cq(rxe[0].ctx, 15, NULL, NULL, 0);
	struct ibv_qp_init_attr attr = {
		.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = 1, .max_recv_wr = NR_RECV,
			 .max_send_sge = 1, .max_recv_sge = 1 },
	};
	struct ibv_qp *qp[NR_QPS] = { NULL };
	int i, err = cq ? 0 : -errno;

	(void)arg;
	for (i = 0; !err && i < NR_QPS; i++) {
		qp[i] = ibv_create_qp(rxe[0].pd, &attr);
		err = qp[i] ? 0 : -errno;
	}
	/* Often enough for the completion queue to wrap at any place. */
	for (i = 0; !err && i < 60; i++)
		err = reset_round(cq, qp, i % NR_QPS);
	for (i = 0; i < NR_QPS; i++)
		if (qp[i])
			ibv_destroy_qp(qp[i]);
	if (cq)
		ibv_destroy_cq(cq);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

int main(int argc, char **argv)
{
	ktap_add(run_accounting, NULL, "life/accounting");
	ktap_add(run_two_on_one_page, NULL, "life/two_on_one_page");
	ktap_add(run_many, NULL, "life/many");
	ktap_add(run_cycles, NULL, "life/cycles");
	ktap_add(run_cycles_threads, NULL, "life/cycles_threads");
	ktap_add(run_dereg_elsewhere, NULL, "life/dereg_in_other_thread");
	ktap_add(run_unmap_first, NULL, "life/unmap_first");
	ktap_add(run_dereg_in_traffic, NULL, "life/dereg_in_traffic");
	ktap_add(run_threads, NULL, "life/threads_on_one_region");
	ktap_add(run_dirty, NULL, "life/dirty");
	add_dirty();
	ktap_add(run_reset_qp, NULL, "life/reset_qp");
	return fixture_main(argc, argv);
}
