// SPDX-License-Identifier: GPL-2.0
/*
 * An access that a region does not allow fails at the side it concerns, or is
 * dropped where the transport knows no answer, and moves nothing: one byte out
 * of either end, a wrong or stale key, a missing right, another protection
 * domain, a misaligned atomic.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

/* Inside one page, so that what lies beyond the ends is pinned too. */
#define HEAD	1234
#define LEN	1500
#define TAIL	1000

enum wrong {
	REMOTE_BEFORE,
	REMOTE_AFTER,
	REMOTE_TOO_LONG,
	REMOTE_WRAPS,
	REMOTE_KEY,
	REMOTE_STALE_KEY,
	REMOTE_RIGHT,
	REMOTE_PD,
	REMOTE_MISALIGNED,
	LOCAL_BEFORE,
	LOCAL_AFTER,
	LOCAL_KEY,
	LOCAL_RIGHT,
	NR_WRONG,
};

static const char * const wrong_names[NR_WRONG] = {
	"remote_before", "remote_after", "remote_too_long", "remote_wraps",
	"remote_key", "remote_stale_key", "remote_right", "remote_pd",
	"remote_misaligned", "local_before", "local_after", "local_key",
	"local_right",
};

struct bounds_test {
	const struct path *path;
	const struct memory_kind *memory;
	const struct operation *op;
	enum wrong wrong;
};

static const struct path paths[] = {
	{ "rc", IBV_QPT_RC, false, false },
	{ "uc", IBV_QPT_UC, false, false },
	{ "ud", IBV_QPT_UD, false, false },
};

/* The last access that fits starts here. */
static u64 last_fit(const struct transfer *t, const struct region *r)
{
	return r->len - t->len;
}

/* Move to the nearest place that 8 divides and that is still out of bounds. */
static u64 out_of_bounds(const struct transfer *t, const struct region *r,
			 bool after)
{
	u64 off = after ? last_fit(t, r) + 1 : (u64)-1;

	if (t->op->flags & OP_8_BYTES && r == t->remote) {
		if (after)
			off += -(r->iova + off) & 7;
		else
			off -= (r->iova + off) & 7;
	}
	return off;
}

static int use_stale_key(struct fixture *f, struct transfer *t)
{
	struct ibv_mr *mr = ibv_reg_mr_iova(f->conn.b.dev->pd, f->remote.addr,
					    f->remote.len, f->remote.iova,
					    ACCESS_ALL);

	if (!mr)
		return -errno;
	t->rkey = mr->rkey;
	return -ibv_dereg_mr(mr);
}

/*
 * Register the region once more, with other rights or in another domain, and
 * use that key. The caller deregisters it.
 */
static int use_other_mr(struct region *r, struct ibv_pd *pd, int access,
			u32 *key, struct ibv_mr **mr)
{
	*mr = ibv_reg_mr_iova(pd, r->addr, r->len, r->iova, access);
	if (!*mr)
		return -errno;
	*key = (*mr)->rkey;
	return 0;
}

/* All rights but the one that the operation needs. */
static int rights_without(const struct operation *op)
{
	if (op->flags & OP_FLUSH)
		return ACCESS_ALL & ~IBV_ACCESS_FLUSH_GLOBAL;
	if (op->opcode == IBV_WR_RDMA_READ)
		return ACCESS_ALL & ~IBV_ACCESS_REMOTE_READ;
	if (op->opcode == IBV_WR_ATOMIC_CMP_AND_SWP ||
	    op->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		return ACCESS_ALL & ~IBV_ACCESS_REMOTE_ATOMIC;
	return ACCESS_ALL & ~IBV_ACCESS_REMOTE_WRITE;
}

struct extra {
	struct ibv_pd *pd;
	struct ibv_mr *mr;
};

static int spoil(struct fixture *f, struct transfer *t, enum wrong wrong,
		 struct extra *extra)
{
	switch (wrong) {
	case REMOTE_BEFORE:
	case REMOTE_AFTER:
		t->remote_off = out_of_bounds(t, t->remote,
					      wrong == REMOTE_AFTER);
		return 0;
	case REMOTE_TOO_LONG:
		t->remote_off = 0;
		t->len = t->remote->len + 1;
		return 0;
	case REMOTE_WRAPS:
		t->remote_off = -8 - t->remote->iova;
		return 0;
	case REMOTE_KEY:
		t->rkey = t->remote->mr->rkey ^ 0x55;
		return 0;
	case REMOTE_STALE_KEY:
		return use_stale_key(f, t);
	case REMOTE_RIGHT:
		return use_other_mr(t->remote, f->conn.b.dev->pd,
				    rights_without(t->op), &t->rkey,
				    &extra->mr);
	case REMOTE_PD:
		extra->pd = ibv_alloc_pd(f->conn.b.dev->ctx);
		if (!extra->pd)
			return -errno;
		return use_other_mr(t->remote, extra->pd, ACCESS_ALL, &t->rkey,
				    &extra->mr);
	case REMOTE_MISALIGNED:
		t->remote_off += 4;
		return 0;
	case LOCAL_BEFORE:
	case LOCAL_AFTER:
		t->local_off = out_of_bounds(t, t->local, wrong == LOCAL_AFTER);
		return 0;
	case LOCAL_KEY:
		t->lkey = t->local->mr->lkey ^ 0x55;
		return 0;
	case LOCAL_RIGHT:
		return use_other_mr(t->local, f->conn.a.dev->pd,
				    IBV_ACCESS_REMOTE_READ, &t->lkey,
				    &extra->mr);
	default:
		return -EINVAL;
	}
}

static bool is_remote(enum wrong wrong)
{
	return wrong < LOCAL_BEFORE;
}

/* Without acknowledgements nobody hears that an rkey is not for this access. */
static bool is_dropped(const struct bounds_test *t)
{
	return is_remote(t->wrong) && t->op->flags & OP_REMOTE &&
	       t->path->type != IBV_QPT_RC;
}

/*
 * A send knows no remote key, so its remote errors are those of the receive: a
 * bad work request there, which the sender hears as a remote operation error
 * if it hears anything.
 * A local error is found before the request leaves, and rxe then flushes the
 * request with the rest of the queue; or where the answer has no place to go.
 */
static struct transfer_status expected(const struct bounds_test *t)
{
	struct transfer_status s = { IBV_WC_SUCCESS, IBV_WC_SUCCESS };

	if (is_dropped(t))
		return s;
	if (!is_remote(t->wrong)) {
		s.a = t->op->flags & OP_TO_LOCAL ? IBV_WC_LOC_PROT_ERR :
						   IBV_WC_WR_FLUSH_ERR;
	} else if (t->wrong == REMOTE_MISALIGNED) {
		s.a = IBV_WC_REM_INV_REQ_ERR;
	} else if (t->op->flags & OP_REMOTE) {
		s.a = IBV_WC_REM_ACCESS_ERR;
		if (t->op->flags & OP_RECV)
			s.b = IBV_WC_REM_ACCESS_ERR;
	} else {
		if (t->path->type == IBV_QPT_RC)
			s.a = IBV_WC_REM_OP_ERR;
		s.b = IBV_WC_LOC_QP_OP_ERR;
	}
	return s;
}

/* An atomic takes place before its answer is found to have no place. */
static void model_half_done(const struct bounds_test *t, struct transfer *x)
{
	struct transfer good = *x;

	if (is_remote(t->wrong) || !(t->op->flags & OP_8_BYTES))
		return;
	good.local_off = 0;
	transfer_model(&good);
	memcpy(x->local->model, x->local->mem.base, x->local->mem.size);
}

/* A good transfer, after the connection was taken through RESET. */
static int go_on(const struct bounds_test *t, struct fixture *f)
{
	struct transfer x = {
		.op = operation(t->path->type == IBV_QPT_UD ? "send" : "write"),
		.local = &f->local,
		.remote = &f->remote,
		.len = LEN,
	};
	size_t most = operation_max(x.op, &f->conn);
	int err = conn_reset(&f->conn);

	if (x.len > most)
		x.len = most;
	return err ? err : transfer_verify(&f->conn, &x);
}

static enum ktap_result check(const struct bounds_test *t, struct transfer *x,
			      struct fixture *f)
{
	struct transfer_status want = expected(t), got;
	int err = transfer_run(&f->conn, x, &got);

	if (err)
		return ktap_fail("%s", strerror(-err));
	if (got.a != want.a)
		return ktap_fail("requester: %s instead of %s",
				 ibv_wc_status_str(got.a),
				 ibv_wc_status_str(want.a));
	if (got.b != want.b)
		return ktap_fail("responder: %s instead of %s",
				 ibv_wc_status_str(got.b),
				 ibv_wc_status_str(want.b));
	if (region_check_all(x->local))
		return ktap_fail("local memory changed");
	model_half_done(t, x);
	if (region_check_all(x->remote))
		return ktap_fail("remote memory changed");

	/* The regions, at least, are as good as before. */
	err = go_on(t, f);
	return err ? ktap_fail("afterwards: %s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_bounds_test(const void *arg)
{
	const struct bounds_test *t = arg;
	struct region_attr attr = {
		.kind = t->memory, .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct extra extra = { 0 };
	enum ktap_result res;
	struct transfer x;
	struct fixture f;
	int err;

	err = fixture_create(&f, t->path, &attr, &attr);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	x = (struct transfer) {
		.op = t->op,
		.local = &f.local,
		.remote = &f.remote,
		.len = t->op->flags & OP_8_BYTES ? 8 : 100,
		.local_off = 200,
		.remote_off = 300 + (-(f.remote.iova + 300) & 7),
		.lost = is_dropped(t),
	};
	err = spoil(&f, &x, t->wrong, &extra);
	res = err ? ktap_fail("set-up: %s", strerror(-err)) : check(t, &x, &f);
	if (extra.mr)
		ibv_dereg_mr(extra.mr);
	fixture_destroy(&f);
	if (extra.pd)
		ibv_dealloc_pd(extra.pd);
	return res;
}

/* Not every operation can be wrong in every way. */
static bool sensible(const struct operation *op, enum wrong wrong)
{
	bool whole_mr = !strcmp(op->name, "flush_mr");

	switch (wrong) {
	case REMOTE_BEFORE:
	case REMOTE_AFTER:
		return !whole_mr;
	case REMOTE_WRAPS:
		return op->flags & OP_REMOTE && !(op->flags & OP_8_BYTES) &&
		       !whole_mr;
	case REMOTE_TOO_LONG:
		return op->opcode == IBV_WR_RDMA_READ ||
		       !strcmp(op->name, "flush_range");
	case REMOTE_MISALIGNED:	/* of the others, the library refuses it */
		return op->flags & OP_8_BYTES && op->flags & OP_NO_LOCAL;
	case LOCAL_BEFORE:
	case LOCAL_AFTER:
	case LOCAL_KEY:
		return !(op->flags & (OP_NO_LOCAL | OP_INLINE));
	case LOCAL_RIGHT:
		return op->flags & OP_TO_LOCAL;
	default:
		return op->flags & OP_REMOTE;
	}
}

static void add(const struct path *path, const struct memory_kind *memory)
{
	const struct operation *op;
	int wrong;

	for (op = operations; op->name; op++) {
		if (!operation_valid(op, path->type))
			continue;
		for (wrong = 0; wrong < NR_WRONG; wrong++) {
			struct bounds_test *t;

			if (!sensible(op, wrong))
				continue;
			t = calloc(1, sizeof(*t));
			*t = (struct bounds_test) { path, memory, op, wrong };
			ktap_add(run_bounds_test, t, "bounds/%s/%s/%s/%s",
				 path->name, memory->name, op->name,
				 wrong_names[wrong]);
		}
	}
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		add(&paths[i], memory_kind("scattered"));
		add(&paths[i], memory_kind("hugetlb"));
	}
	return fixture_main(argc, argv);
}
