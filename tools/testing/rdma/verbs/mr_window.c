// SPDX-License-Identifier: GPL-2.0
/*
 * Memory windows: what is bound can be reached through the window's key, all
 * operations move the right bytes, and nothing can be reached any more once
 * the window is invalidated, by either side, or gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

#define HEAD	1234
#define LEN	(3UL * 1024 * 1024)
#define TAIL	321

/*
 * The window: no page boundary at its ends, a 2 MiB boundary of the address in
 * it. HEAD + WINDOW_OFF can be divided by 8, so that what is aligned in a
 * window that counts from zero is aligned in memory too.
 */
#define WINDOW_OFF	4102
#define WINDOW_LEN	(LEN - 2 * WINDOW_OFF)

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

struct window_kind {
	const char *name;
	enum ibv_mw_type type;
	bool zero_based;
};

static const struct window_kind kinds[] = {
	{ "type1", IBV_MW_TYPE_1, false },
	{ "type2", IBV_MW_TYPE_2, false },
	{ "type2_zero", IBV_MW_TYPE_2, true },
};

struct window {
	struct fixture f;
	struct ibv_mw *mw;
	/* The peer's region as seen through the window. */
	struct region view;
	const struct window_kind *kind;
};

struct window_test {
	const struct window_kind *kind;
	const struct memory_kind *memory;
	const struct operation *op;
	enum ktap_result (*run)(const struct window_test *t, struct window *w);
	int access;
};

#define WINDOW_ACCESS (ACCESS_ALL & ~(IBV_ACCESS_MW_BIND | IBV_ACCESS_LOCAL_WRITE))

static int wait_ok(struct rdma_end *end)
{
	struct ibv_wc wc;
	int err = end_wait(end, &wc);

	return err || !wc.status ? err : -EREMOTEIO;
}

static int bind_type_1(struct window *w, const struct ibv_mw_bind_info *info)
{
	struct ibv_mw_bind bind = {
		.bind_info = *info, .send_flags = IBV_SEND_SIGNALED,
	};

	return -ibv_bind_mw(w->f.conn.b.qp, w->mw, &bind);
}

static int bind_type_2(struct window *w, const struct ibv_mw_bind_info *info)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_mw = {
			.mw = w->mw,
			.rkey = ibv_inc_rkey(w->mw->rkey),
			.bind_info = *info,
		},
	};
	int err = end_post_send(&w->f.conn.b, &wr);

	if (!err)
		w->mw->rkey = wr.bind_mw.rkey;
	return err;
}

static int window_bind(struct window *w, u64 off, u64 len, int access)
{
	struct region *r = &w->f.remote;
	struct ibv_mw_bind_info info = {
		.mr = r->mr, .addr = r->iova + off, .length = len,
		.mw_access_flags = access,
	};
	int err;

	if (w->kind->zero_based)
		info.mw_access_flags |= IBV_ACCESS_ZERO_BASED;
	err = w->kind->type == IBV_MW_TYPE_1 ? bind_type_1(w, &info) :
					       bind_type_2(w, &info);
	return err ? err : wait_ok(&w->f.conn.b);
}

static int window_create(struct window *w, const struct window_test *t)
{
	struct region_attr attr = {
		.kind = t->memory, .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	int err;

	memset(w, 0, sizeof(*w));
	w->kind = t->kind;
	err = fixture_create(&w->f, &rc, &attr, &attr);
	if (err)
		return err;
	w->mw = ibv_alloc_mw(rxe[1].pd, t->kind->type);
	if (!w->mw)
		return -errno;
	err = window_bind(w, WINDOW_OFF, WINDOW_LEN, t->access);
	w->view = w->f.remote;
	if (t->kind->zero_based)
		w->view.iova = -(u64)WINDOW_OFF;
	return err;
}

static void window_destroy(struct window *w)
{
	/* A window of type 2 keeps a hold on its queue pair until it is gone. */
	if (w->mw)
		ibv_dealloc_mw(w->mw);
	fixture_destroy(&w->f);
}

static struct transfer through(struct window *w, const struct operation *op,
			       u64 off, u32 len)
{
	if (op->flags & OP_8_BYTES) {
		len = 8;
		off += -(w->f.remote.iova + off) & 7;
	}
	return (struct transfer) {
		.op = op,
		.local = &w->f.local,
		.remote = &w->view,
		.local_off = 12345,
		.remote_off = off,
		.len = len,
		.rkey = w->mw->rkey,
	};
}

static int expect(struct window *w, struct transfer *x,
		  enum ibv_wc_status want)
{
	struct transfer_status got;
	int err = transfer_run(&w->f.conn, x, &got);

	if (!err && got.a != want) {
		ktap_diag("%s instead of %s", ibv_wc_status_str(got.a),
			  ibv_wc_status_str(want));
		err = -EBADMSG;
	}
	return err ? err : region_check_all(&w->f.remote);
}

static enum ktap_result verdict(int err)
{
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* First and last bytes of the window, and the middle. */
static enum ktap_result run_data(const struct window_test *t, struct window *w)
{
	size_t max = operation_max(t->op, &w->f.conn);
	u32 len = max < 100 * 1024 ? max : 100 * 1024;
	const u64 offs[] = {
		WINDOW_OFF, WINDOW_OFF + 1, 1024 * 1024 - 5,
		2 * 1024 * 1024 - HEAD - 64,
		WINDOW_OFF + WINDOW_LEN - len - 8,
		WINDOW_OFF + WINDOW_LEN - len,
	};
	struct transfer x;
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(offs); i++) {
		/* An aligned access must not leave at the end. */
		if (t->op->flags & OP_8_BYTES && i == ARRAY_SIZE(offs) - 1)
			break;
		x = through(w, t->op, offs[i], len);
		x.seed = i;
		err = transfer_verify(&w->f.conn, &x);
	}
	if (!err)
		err = region_check_all(&w->f.remote);
	return verdict(err);
}

/* The window lacks the right, though its region has it. */
static enum ktap_result run_right(const struct window_test *t,
				  struct window *w)
{
	struct transfer x = through(w, t->op, 5000, 100);

	return verdict(expect(w, &x, IBV_WC_REM_ACCESS_ERR));
}

/* Neither beyond this end nor before this start, and nothing is written. */
static enum ktap_result refused_at(const struct window_test *t, struct window *w,
				   u64 start, u64 end)
{
	bool aligned = t->op->flags & OP_8_BYTES;
	struct transfer x = through(w, t->op, aligned ? end : end - 99, 100);
	int err = expect(w, &x, IBV_WC_REM_ACCESS_ERR);

	if (err)
		return verdict(err);
	err = conn_reset(&w->f.conn);
	x = through(w, t->op, aligned ? start - 8 : start - 1, 100);
	return verdict(err ? err : expect(w, &x, IBV_WC_REM_ACCESS_ERR));
}

static enum ktap_result run_outside_region(const struct window_test *t,
					   struct window *w)
{
	return refused_at(t, w, 0, LEN);
}

/* In the region, but not in what of it the peer was given. */
static enum ktap_result run_outside_window(const struct window_test *t,
					   struct window *w)
{
	return refused_at(t, w, WINDOW_OFF, WINDOW_OFF + WINDOW_LEN);
}

/* It would end where it begins, and have all addresses in it. */
static enum ktap_result run_bind_wraps(const struct window_test *t,
				       struct window *w)
{
	struct ibv_mw *good = w->mw;
	int err;

	w->mw = ibv_alloc_mw(rxe[1].pd, t->kind->type);
	if (!w->mw) {
		w->mw = good;
		return ktap_fail("set-up: %s", strerror(errno));
	}
	err = window_bind(w, 100, -(u64)100, t->access);
	ibv_dealloc_mw(w->mw);
	w->mw = good;
	return err == -EREMOTEIO || err == -EINVAL ? KTAP_PASS :
		ktap_fail("it can be bound: %s", strerror(-err));
}

/* The owner takes the window back. */
static enum ktap_result run_local_invalidate(const struct window_test *t,
					     struct window *w)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_LOCAL_INV,
		.send_flags = IBV_SEND_SIGNALED,
		.invalidate_rkey = w->mw->rkey,
	};
	struct transfer x = through(w, t->op, 5000, 100);
	int err = end_post_send(&w->f.conn.b, &wr);

	if (!err)
		err = wait_ok(&w->f.conn.b);
	return verdict(err ? err : expect(w, &x, IBV_WC_REM_ACCESS_ERR));
}

/* The peer gives it back, with a message that arrives all the same. */
static int send_invalidate(struct window *w)
{
	struct region *to = &w->f.remote, *from = &w->f.local;
	struct ibv_sge sge = region_sge(from, 77, 9000);
	struct ibv_sge room = region_sge(to, 2 * 1024 * 1024 - 4000, 9000);
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_SEND_WITH_INV,
		.send_flags = IBV_SEND_SIGNALED,
		.invalidate_rkey = w->mw->rkey,
	};
	struct ibv_wc wc = { 0 };
	int err = end_post_recv(&w->f.conn.b, &room, 1);

	if (!err)
		err = end_post_send(&w->f.conn.a, &wr);
	if (!err)
		err = wait_ok(&w->f.conn.a);
	if (!err)
		err = end_wait(&w->f.conn.b, &wc);
	/* rxe gives the kernel's flag for "with invalidate", not libibverbs'. */
	if (!err && (wc.status || wc.invalidated_rkey != w->mw->rkey)) {
		ktap_diag("%s, key %#x instead of %#x",
			  ibv_wc_status_str(wc.status), wc.invalidated_rkey,
			  w->mw->rkey);
		err = -EBADMSG;
	}
	memcpy(region_model(to, 2 * 1024 * 1024 - 4000),
	       region_model(from, 77), 9000);
	return err ? err : region_check_all(to);
}

static enum ktap_result run_send_invalidate(const struct window_test *t,
					    struct window *w)
{
	struct transfer x = through(w, t->op, 5000, 100);
	int err = send_invalidate(w);

	return verdict(err ? err : expect(w, &x, IBV_WC_REM_ACCESS_ERR));
}

static enum ktap_result run_dealloc(const struct window_test *t,
				    struct window *w)
{
	struct transfer x = through(w, t->op, 5000, 100);
	int err = -ibv_dealloc_mw(w->mw);

	w->mw = NULL;
	return verdict(err ? err : expect(w, &x, IBV_WC_REM_ACCESS_ERR));
}

/* A region with a window on it stays, and works, until the window is gone. */
static enum ktap_result run_dereg(const struct window_test *t,
				  struct window *w)
{
	struct transfer x = through(w, t->op, 5000, 100);
	int err = ibv_dereg_mr(w->f.remote.mr);

	if (!err) {
		w->f.remote.mr = NULL;
		return ktap_fail("the region went with a window bound to it");
	}
	err = transfer_verify(&w->f.conn, &x);
	if (!err)
		err = -ibv_dealloc_mw(w->mw);
	w->mw = NULL;
	if (!err)
		err = -ibv_dereg_mr(w->f.remote.mr);
	if (!err)
		w->f.remote.mr = NULL;
	return verdict(err);
}

static enum ktap_result run_window_test(const void *arg)
{
	const struct window_test *t = arg;
	enum ktap_result res;
	struct window w;
	int err = window_create(&w, t);

	res = err ? ktap_fail("set-up: %s", strerror(-err)) : t->run(t, &w);
	window_destroy(&w);
	return res;
}

static struct window_test *add(const struct window_kind *kind,
			       const struct memory_kind *memory,
			       const struct operation *op, const char *what,
			       enum ktap_result (*run)(const struct window_test *,
						       struct window *))
{
	struct window_test *t = calloc(1, sizeof(*t));

	*t = (struct window_test) { kind, memory, op, run, WINDOW_ACCESS };
	ktap_add(run_window_test, t, "window/%s/%s/%s/%s", kind->name,
		 memory->name, op->name, what);
	return t;
}

static void add_kind(const struct window_kind *kind)
{
	const struct memory_kind *memory = memory_kind("scattered");
	const struct operation *op, *write = operation("write");

	for (op = operations; op->name; op++) {
		if (!(op->flags & OP_REMOTE))
			continue;
		add(kind, memory, op, "data", run_data);
		add(kind, memory_kind("thp"), op, "data", run_data);
		add(kind, memory, op, "right", run_right)->access =
			op->opcode == IBV_WR_RDMA_READ ?
			IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ;
	}
	add(kind, memory, write, "outside_region", run_outside_region);
	add(kind, memory, operation("read"), "outside_region",
	    run_outside_region);
	add(kind, memory, write, "outside_window", run_outside_window);
	add(kind, memory, operation("read"), "outside_window",
	    run_outside_window);
	add(kind, memory, operation("fetch_add"), "outside_window",
	    run_outside_window);
	add(kind, memory, write, "bind_wraps", run_bind_wraps);
	add(kind, memory, write, "dealloc", run_dealloc);
	add(kind, memory, write, "dereg", run_dereg);
	if (kind->type == IBV_MW_TYPE_1)
		return;
	add(kind, memory, write, "local_invalidate", run_local_invalidate);
	add(kind, memory, write, "send_invalidate", run_send_invalidate);
	add(kind, memory, operation("read"), "send_invalidate",
	    run_send_invalidate);
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		add_kind(&kinds[i]);
	return fixture_main(argc, argv);
}
