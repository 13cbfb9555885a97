// SPDX-License-Identifier: GPL-2.0
/*
 * Change a region that is registered: its rights, its domain, its memory. What
 * it was before can then be reached by nobody; what fails changes nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bad_input.h"
#include "fixture.h"
#include "ktap.h"
#include "rereg.h"
#include "resources.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)

#define HEAD	1234
#define LEN	(3UL * 1024 * 1024)
#define TAIL	321

#define ODP	(ACCESS_ALL | IBV_ACCESS_ON_DEMAND)
#define TRANS	IBV_REREG_MR_CHANGE_TRANSLATION
#define PD	IBV_REREG_MR_CHANGE_PD
#define ACCESS	IBV_REREG_MR_CHANGE_ACCESS

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

/* In place, of all that does not change the memory. */
static int rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, int access)
{
	return rereg_mr(mr, &(struct rereg) {
		.flags = flags, .pd = pd, .access = access,
	});
}

static int setup(struct fixture *f, int access)
{
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct region_attr remote = attr;

	remote.access = access;
	return fixture_create(f, &rc, &attr, &remote);
}

/* Move all of the region; afterwards, good or bad, the pair works again. */
static int move(struct fixture *f, const char *op, enum ibv_wc_status want)
{
	struct transfer t = {
		.op = operation(op), .local = &f->local, .remote = &f->remote,
		.len = LEN,
	};
	struct transfer_status status;
	int err;

	if (!want)
		return transfer_verify(&f->conn, &t);
	err = transfer_run(&f->conn, &t, &status);
	if (!err && status.a != want) {
		ktap_diag("%s: %s instead of %s", op,
			  ibv_wc_status_str(status.a), ibv_wc_status_str(want));
		err = -EBADMSG;
	}
	if (!err)
		err = region_check_all(&f->remote);
	return err ? err : conn_reset(&f->conn);
}

static enum ktap_result verdict(struct fixture *f, int err)
{
	fixture_destroy(f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_access(const void *arg)
{
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	if (!err)
		err = rereg(f.remote.mr, ACCESS, NULL,
			    IBV_ACCESS_REMOTE_READ);
	if (!err)
		err = move(&f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "read", IBV_WC_SUCCESS);
	if (!err)
		err = rereg(f.remote.mr, ACCESS, NULL,
			    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!err)
		err = move(&f, "read", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	return verdict(&f, err);
}

/* Pages pinned to be read cannot become writable. */
static enum ktap_result run_access_upgrade(const void *arg)
{
	struct fixture f;
	int err = setup(&f, IBV_ACCESS_REMOTE_READ);

	(void)arg;
	if (!err && rereg(f.remote.mr, ACCESS, NULL,
			  ACCESS_ALL) != -EACCES)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = move(&f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "read", IBV_WC_SUCCESS);
	return verdict(&f, err);
}

static enum ktap_result run_bad_access(const void *arg)
{
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	if (!err && rereg(f.remote.mr, ACCESS, NULL,
			  IBV_ACCESS_REMOTE_WRITE) != -EINVAL)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	return verdict(&f, err);
}

/* In another domain, the queue pairs of the first cannot reach it. */
static enum ktap_result run_pd(const void *arg)
{
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct fixture f;
	int err = pd ? setup(&f, 0) : -errno;

	(void)arg;
	if (!err)
		err = rereg(f.remote.mr, PD, pd, 0);
	if (!err)
		err = move(&f, "read", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = rereg(f.remote.mr, PD, rxe[1].pd, 0);
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	fixture_destroy(&f);
	if (!err)
		err = -ibv_dealloc_pd(pd);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* What the memory is registered as does not change without the memory. */
static enum ktap_result run_kind(const void *arg)
{
	static const struct {
		int before, after, want;
		enum ibv_wc_status read;
	} cases[] = {
		{ ACCESS_ALL, ODP, -EOPNOTSUPP },
		{ ODP, ACCESS_ALL, -EOPNOTSUPP },
		{ ODP, ODP | IBV_ACCESS_HUGETLB, -EOPNOTSUPP },
		{ ODP, IBV_ACCESS_ON_DEMAND | IBV_ACCESS_LOCAL_WRITE |
		       IBV_ACCESS_REMOTE_WRITE, 0, IBV_WC_REM_ACCESS_ERR },
		{ ACCESS_ALL, ACCESS_ALL | IBV_ACCESS_FLUSH_PERSISTENT, -EINVAL },
	};
	int err = 0;
	size_t i;

	(void)arg;
	for (i = 0; !err && i < ARRAY_SIZE(cases); i++) {
		struct fixture f;
		int got;

		err = setup(&f, cases[i].before);
		if (err)
			break;
		got = rereg(f.remote.mr, ACCESS, NULL, cases[i].after);
		if (got != cases[i].want) {
			ktap_diag("case %zu: %s", i, strerror(-got));
			err = -EBADMSG;
		}
		if (!err)
			err = move(&f, "write", IBV_WC_SUCCESS);
		if (!err)
			err = move(&f, "read", cases[i].read);
		fixture_destroy(&f);
	}
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Stock rxe cannot do this. It says so, and leaves the region as it is. */
static enum ktap_result run_refused(const void *arg)
{
	struct rereg to = { .flags = TRANS };
	long pinned;
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	pinned = pinned_pages();
	to.addr = f.local.addr;
	to.len = f.local.len;
	to.iova = f.local.iova;
	if (!err && rereg_mr(f.remote.mr, &to) != -EOPNOTSUPP)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	if (!err && pinned_pages() != pinned)
		err = -EBADMSG;
	return verdict(&f, err);
}

/* Memory that no region is registered for. */
static int spare_create(struct region *r, struct rdma_dev *dev,
			const struct region_attr *attr)
{
	int err = region_create(r, dev, attr);

	if (err)
		return err;
	region_fill(r, 3);
	err = -ibv_dereg_mr(r->mr);
	r->mr = NULL;
	return err;
}

/* Have the region be on the other memory, which gets the memory it was on. */
static int swap_memory(struct region *r, struct region *spare, int flags,
		       struct ibv_pd *pd, int access)
{
	struct region was = *r;
	struct rereg to = {
		.flags = TRANS | flags, .pd = pd,
		.addr = spare->addr, .len = spare->len, .iova = spare->iova,
		.access = access,
	};
	int err = rereg_mr(r->mr, &to);

	if (err)
		return err;
	*r = *spare;
	r->mr = was.mr;
	*spare = was;
	spare->mr = NULL;
	return 0;
}

static long pages(const struct region *r, int access)
{
	uintptr_t from = (uintptr_t)r->addr;

	if (access & IBV_ACCESS_ON_DEMAND)
		return 0;
	return (from + r->len - 1) / PAGE - from / PAGE + 1;
}

struct memory_test {
	const char *name;
	const char *from, *to;
	const struct iova_kind *from_iova, *to_iova;
	size_t to_len;
	int from_access, to_access;
};

/* All operations move the bytes of the memory that the region is on now. */
static int move_all(struct fixture *f)
{
	const struct operation *op;
	int err = 0;

	for (op = operations; !err && op->name; op++) {
		u64 max = operation_max(op, &f->conn);
		struct transfer t = {
			.op = op, .local = &f->local, .remote = &f->remote,
			.len = f->remote.len < f->local.len ? f->remote.len :
							      f->local.len,
		};

		if (t.len > max)
			t.len = max;
		if (op->flags & OP_8_BYTES)
			t.remote_off = transfer_align(&f->remote, 0);
		err = transfer_verify(&f->conn, &t);
	}
	if (!err)
		err = region_check_all(&f->local);
	return err ? err : region_check_all(&f->remote);
}

static int refuse(struct fixture *f, struct transfer *t,
		  enum ibv_wc_status want)
{
	struct transfer_status status;
	int err = transfer_run(&f->conn, t, &status);

	if (!err && status.a != want) {
		ktap_diag("%s: %s instead of %s", t->op->name,
			  ibv_wc_status_str(status.a), ibv_wc_status_str(want));
		err = -EBADMSG;
	}
	return err ? err : conn_reset(&f->conn);
}

/* Neither the old key nor the old addresses reach anything. */
static int check_old(struct fixture *f, struct region *old, u32 old_key,
		     bool addresses)
{
	struct region at_old = *old;
	struct transfer t = {
		.op = operation("write"), .local = &f->local,
		.remote = &f->remote, .len = 8, .rkey = old_key,
	};
	int err = refuse(f, &t, IBV_WC_REM_ACCESS_ERR);

	t.op = operation("read");
	if (!err)
		err = refuse(f, &t, IBV_WC_REM_ACCESS_ERR);
	t.remote = &at_old;
	if (!err)
		err = refuse(f, &t, IBV_WC_REM_ACCESS_ERR);
	t.rkey = f->remote.mr->rkey;
	if (!err && addresses)
		err = refuse(f, &t, IBV_WC_REM_ACCESS_ERR);
	return err ? err : region_check_all(old);
}

static int change_memory(const struct memory_test *t, struct fixture *f,
			 struct region *spare)
{
	long pinned = pinned_pages() - pages(&f->remote, t->from_access);
	u32 key = f->remote.mr->rkey;
	int err = move(f, "write", IBV_WC_SUCCESS);

	if (!err)
		err = swap_memory(&f->remote, spare,
				  t->from_access == t->to_access ? 0 : ACCESS,
				  NULL, t->to_access);
	if (err)
		return err;
	pinned += pages(&f->remote, t->to_access);
	if (pinned_pages() != pinned) {
		ktap_diag("VmPin is %ld pages instead of %ld", pinned_pages(),
			  pinned);
		return -EBADMSG;
	}
	err = move_all(f);
	return err ? err : check_old(f, spare, key,
				     t->from_iova != t->to_iova);
}

static enum ktap_result run_memory(const void *arg)
{
	const struct memory_test *t = arg;
	struct region_attr local = {
		.kind = memory_kind("scattered"), .iova = &iova_same,
		.head = HEAD, .len = LEN, .tail = TAIL,
	}, from = local, to = local;
	long pinned = pinned_pages();
	struct region spare = { 0 };
	struct fixture f;
	int err;

	from.kind = memory_kind(t->from);
	from.iova = t->from_iova;
	from.access = t->from_access;
	to.kind = memory_kind(t->to);
	to.iova = t->to_iova;
	if (t->to_len)
		to.len = t->to_len;
	err = fixture_create(&f, &rc, &local, &from);
	if (!err)
		err = spare_create(&spare, &rxe[1], &to);
	if (!err)
		err = change_memory(t, &f, &spare);
	fixture_destroy(&f);
	region_destroy(&spare);
	if (!err && pinned_pages() != pinned)
		return ktap_fail("VmPin: %ld pages left",
				 pinned_pages() - pinned);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The requester's region: what is sent, and what a read fills. */
static enum ktap_result run_local(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct region spare = { 0 };
	struct transfer t = { .op = operation("write"), .len = 9000 };
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[0], &attr);
	if (!err) {
		t.lkey = f.local.mr->lkey;
		err = swap_memory(&f.local, &spare, 0, NULL, 0);
	}
	if (!err)
		err = move_all(&f);
	t.local = &f.local;
	t.remote = &f.remote;
	if (!err)	/* what rxe says of all that it cannot send */
		err = refuse(&f, &t, IBV_WC_WR_FLUSH_ERR);
	t.op = operation("read");
	if (!err)
		err = refuse(&f, &t, IBV_WC_LOC_PROT_ERR);
	if (!err)
		err = region_check_all(&f.local);
	if (!err)
		err = region_check_all(&f.remote);
	if (!err)
		err = region_check_all(&spare);
	region_destroy(&spare);
	return verdict(&f, err);
}

/* Rights that are not named stay; those that are, count for the new memory. */
static enum ktap_result run_rights(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct region spare = { 0 };
	struct fixture f;
	int err = setup(&f, IBV_ACCESS_REMOTE_READ);

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[1], &attr);
	if (!err)
		err = swap_memory(&f.remote, &spare, 0, NULL, 0);
	if (!err)
		err = move(&f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "read", IBV_WC_SUCCESS);
	if (!err)
		err = swap_memory(&f.remote, &spare, ACCESS, NULL,
				  IBV_ACCESS_LOCAL_WRITE |
				  IBV_ACCESS_REMOTE_WRITE);
	if (!err)
		err = move(&f, "read", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	region_destroy(&spare);
	return verdict(&f, err);
}

/* Memory, domain and rights at once. */
static enum ktap_result run_all(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("thp"), .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct region spare = { 0 };
	struct fixture f;
	int err = pd ? setup(&f, 0) : -errno;

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[1], &attr);
	if (!err)
		err = swap_memory(&f.remote, &spare, PD | ACCESS, pd,
				  IBV_ACCESS_REMOTE_READ);
	if (!err)
		err = move(&f, "read", IBV_WC_REM_ACCESS_ERR);
	/* Nothing of the old domain's is left in the new one, nor the reverse. */
	if (!err && ibv_dealloc_pd(pd) != EBUSY)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = swap_memory(&f.remote, &spare, PD, rxe[1].pd, 0);
	if (!err)
		err = -ibv_dealloc_pd(pd);
	if (!err)
		err = move(&f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "read", IBV_WC_SUCCESS);
	region_destroy(&spare);
	return verdict(&f, err);
}

/* To all memory of the process, and back. */
static enum ktap_result run_implicit(const void *arg)
{
	struct rereg all = {
		.flags = TRANS | ACCESS, .len = SIZE_MAX, .access = ODP,
	};
	struct rereg back = { .flags = TRANS | ACCESS, .access = ACCESS_ALL };
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_same,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);

	(void)arg;
	if (!err)
		err = rereg_mr(f.remote.mr, &all);
	if (!err)
		err = move_all(&f);
	back.addr = f.remote.addr;
	back.len = f.remote.len;
	back.iova = f.remote.iova;
	if (!err)
		err = rereg_mr(f.remote.mr, &back);
	if (!err)
		err = move_all(&f);
	return verdict(&f, err);
}

/* A dma-buf stays what it is: no other driver changes that either. */
static enum ktap_result run_dmabuf(const void *arg)
{
	static const int flags[] = { TRANS, PD, ACCESS, TRANS | ACCESS };
	struct region_attr attr = {
		.kind = &dmabuf_kinds[0], .iova = &iova_same,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);
	size_t i;

	(void)arg;
	for (i = 0; !err && i < ARRAY_SIZE(flags); i++) {
		struct rereg to = {
			.flags = flags[i], .pd = pd, .addr = f.remote.addr,
			.len = f.remote.len, .iova = f.remote.iova,
			.access = IBV_ACCESS_REMOTE_READ,
		};

		if (rereg_mr(f.remote.mr, &to) != -EOPNOTSUPP)
			err = -ENOTRECOVERABLE;
	}
	if (!err)
		err = move_all(&f);
	ibv_dealloc_pd(pd);
	return verdict(&f, err);
}

/* The call that programs use keeps what it says of the region right. */
static enum ktap_result run_library(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_same,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct region spare = { 0 };
	struct fixture f;
	struct ibv_mr *mr;
	int err = fixture_create(&f, &rc, &attr, &attr);

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[1], &attr);
	if (err)
		goto out;
	mr = f.remote.mr;
	if (ibv_rereg_mr(mr, TRANS, NULL, spare.addr, 0, 0) !=
	    IBV_REREG_MR_ERR_INPUT || errno != EINVAL)
		err = -ENOTRECOVERABLE;
	if (!err && (ibv_rereg_mr(mr, TRANS, NULL, (void *)PAGE, PAGE, 0) !=
		     IBV_REREG_MR_ERR_CMD || errno != EFAULT))
		err = -ENOTRECOVERABLE;
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	if (!err && ibv_rereg_mr(mr, TRANS | PD | ACCESS, pd, spare.addr,
				 spare.len, ACCESS_ALL))
		err = -errno;
	if (!err && (mr->addr != spare.addr || mr->length != spare.len ||
		     mr->pd != pd))
		err = -EBADMSG;
	if (!err && ibv_rereg_mr(mr, PD, rxe[1].pd, NULL, 0, 0))
		err = -errno;
	if (!err) {
		spare.mr = mr;
		f.remote.mr = NULL;
		region_destroy(&f.remote);
		f.remote = spare;
		memset(&spare, 0, sizeof(spare));
		err = move_all(&f);
	}
	if (!err)
		err = -ibv_dealloc_pd(pd);
out:
	region_destroy(&spare);
	return verdict(&f, err);
}

static int one_page(struct input *in)
{
	in->len = PAGE;
	return 0;
}

/* Access that rxe does not offer, or that contradicts itself. */
static const struct bad_input bad_access[] = {
	{ "remote_write_only", one_page, EINVAL, IBV_ACCESS_REMOTE_WRITE },
	{ "huge_page_access", one_page, EOPNOTSUPP,
	  ACCESS_ALL | IBV_ACCESS_HUGETLB },
	{ "persistent_ram", one_page, EINVAL,
	  ACCESS_ALL | IBV_ACCESS_FLUSH_PERSISTENT },
};

static enum ktap_result run_bad(const void *arg)
{
	enum ktap_result res;
	struct fixture f;
	int err = setup(&f, 0);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	res = bad_input_run_again(f.remote.mr, ACCESS_ALL, arg);
	if (res != KTAP_PASS) {
		fixture_destroy(&f);
		return res;
	}
	return verdict(&f, move(&f, "write", IBV_WC_SUCCESS));
}

/* Flags and handles that say nothing, or nothing that is there. */
static enum ktap_result run_bad_flags(const void *arg)
{
	struct ibv_pd none = { .handle = 0x7fffffff };
	static const struct {
		int flags, want;
	} cases[] = {
		{ 0, -EINVAL }, { 1 << 3, -EOPNOTSUPP },
		{ TRANS | 1 << 30, -EOPNOTSUPP }, { TRANS | PD, -ENOENT },
	};
	struct fixture f;
	int err = setup(&f, 0);
	size_t i;

	(void)arg;
	for (i = 0; !err && i < ARRAY_SIZE(cases); i++) {
		struct rereg to = {
			.flags = cases[i].flags, .pd = &none,
			.addr = f.local.addr, .len = f.local.len,
			.iova = f.local.iova,
		};
		int got = rereg_mr(f.remote.mr, &to);

		if (got != cases[i].want) {
			ktap_diag("flags %#x: %s", to.flags, strerror(-got));
			err = -EBADMSG;
		}
	}
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	return verdict(&f, err);
}

static enum ktap_result run_inject(const void *arg)
{
	(void)arg;
	return bad_input_inject_again(rxe[1].pd, ACCESS_ALL);
}

/* 0, a status where the window could not be bound, or negative. */
static int bind(struct rdma_end *end, struct ibv_mw *mw, struct ibv_mr *mr,
		const struct region *r)
{
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = {
			.mr = mr, .addr = r->iova, .length = PAGE,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
		},
	};
	struct ibv_wc wc = { 0 };
	int err = -ibv_bind_mw(end->qp, mw, &bind);

	if (!err)
		err = end_wait(end, &wc);
	return err ? err : (int)wc.status;
}

/* Whatever changes is refused, and nothing of it is left. */
static int change_bound(struct fixture *f, struct ibv_mw *mw,
			struct ibv_pd *pd)
{
	static const struct bad_input bound = { "bound", one_page, EINVAL };
	struct transfer t = {
		.op = operation("write"), .local = &f->local,
		.remote = &f->remote, .len = PAGE, .rkey = mw->rkey,
	};

	if (bad_input_run_again(f->remote.mr, ACCESS_ALL, &bound) != KTAP_PASS)
		return -ENOTRECOVERABLE;
	if (rereg(f->remote.mr, PD, pd, 0) != -EINVAL ||
	    rereg(f->remote.mr, ACCESS, NULL, ACCESS_ALL) != -EINVAL)
		return -ENOTRECOVERABLE;
	return transfer_verify(&f->conn, &t);
}

static enum ktap_result run_window(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("thp"), .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct ibv_mw *mw = ibv_alloc_mw(rxe[1].pd, IBV_MW_TYPE_1);
	struct region spare = { 0 };
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[1], &attr);
	if (!err)
		err = bind(&f.conn.b, mw, f.remote.mr, &f.remote);
	if (!err)
		err = change_bound(&f, mw, pd);
	if (!err)
		err = -ibv_dealloc_mw(mw);
	if (!err)
		err = swap_memory(&f.remote, &spare, 0, NULL, 0);
	/* The new region takes windows as the old one did. */
	mw = ibv_alloc_mw(rxe[1].pd, IBV_MW_TYPE_1);
	if (!err)
		err = bind(&f.conn.b, mw, f.remote.mr, &f.remote);
	if (!err)
		err = change_bound(&f, mw, pd);
	if (mw)
		ibv_dealloc_mw(mw);
	ibv_dealloc_pd(pd);
	region_destroy(&spare);
	return verdict(&f, err < 0 ? err : err ? -EREMOTEIO : 0);
}

#define RACE_SECONDS	4
/* rxe waits for 50 seconds where somebody holds a region that is to end. */
#define STUCK_SECONDS	40

struct race {
	struct fixture f;
	/* What the region was last; a key of before may be used, and is refused. */
	struct ibv_mr mr;
	bool stop;
	pthread_mutex_t lock;	/* for these two */
	int bound, refused, err;
};

static bool race_goes_on(struct race *r, struct ibv_mr *mr)
{
	bool stop;

	pthread_mutex_lock(&r->lock);
	*mr = r->mr;
	stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	return !stop;
}

/* Bind windows to the region, whatever it is then, and give them back. */
static void *bind_thread(void *arg)
{
	struct race *r = arg;
	struct ibv_mr mr;
	int err = 0;

	while (!err && race_goes_on(r, &mr)) {
		struct ibv_mw *mw = ibv_alloc_mw(rxe[1].pd, IBV_MW_TYPE_1);

		err = mw ? bind(&r->f.conn.b, mw, &mr, &r->f.remote) : -errno;
		if (err > 0) {
			r->refused++;
			err = conn_reset(&r->f.conn);
		} else if (!err) {
			r->bound++;
			usleep(rand() % 2000);
		}
		if (mw)
			ibv_dealloc_mw(mw);
		usleep(rand() % 2000);
	}
	r->err = err;
	return NULL;
}

static int rereg_race(struct race *r, const struct region *spare)
{
	const struct region *memory[] = { spare, &r->f.remote };
	int changed = 0, refused = 0, err = 0;
	time_t end = time(NULL) + RACE_SECONDS;

	while (!err && time(NULL) < end) {
		const struct region *next = memory[changed & 1];
		struct rereg to = {
			.flags = TRANS, .addr = next->addr, .len = next->len,
			.iova = next->iova,
		};
		time_t start = time(NULL);

		err = rereg_mr(r->f.remote.mr, &to);
		if (time(NULL) - start > STUCK_SECONDS)
			return -ETIMEDOUT;
		if (err == -EINVAL) {
			refused++;
			err = 0;
		} else if (!err) {
			changed++;
			pthread_mutex_lock(&r->lock);
			r->mr = *r->f.remote.mr;
			pthread_mutex_unlock(&r->lock);
		}
	}
	ktap_diag("region changed %d times, refused %d times; windows: %d bound, %d refused",
		  changed, refused, r->bound, r->refused);
	return err || (changed && refused && r->bound) ? err : -ENODATA;
}

/*
 * Windows are bound while the region changes. It never changes under one: that
 * would hold the region that is to end.
 */
static enum ktap_result run_window_race(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_far, .len = 4 * PAGE,
	};
	struct race r = { .lock = PTHREAD_MUTEX_INITIALIZER };
	long pinned = pinned_pages();
	struct region spare = { 0 };
	pthread_t thread;
	int err = fixture_create(&r.f, &rc, &attr, &attr);

	(void)arg;
	if (!err)
		err = spare_create(&spare, &rxe[1], &attr);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	r.mr = *r.f.remote.mr;
	pthread_create(&thread, NULL, bind_thread, &r);
	err = rereg_race(&r, &spare);
	pthread_mutex_lock(&r.lock);
	r.stop = true;
	pthread_mutex_unlock(&r.lock);
	pthread_join(thread, NULL);
	if (!err)
		err = r.err;
	if (!err)
		err = -ibv_dereg_mr(r.f.remote.mr);
	if (!err)
		r.f.remote.mr = NULL;
	fixture_destroy(&r.f);
	region_destroy(&spare);
	if (!err && pinned_pages() != pinned)
		err = -EBADMSG;
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/*
 * Requests are under way to, or from, the memory that the region leaves. What
 * comes after is refused, and not one byte more is written to that memory.
 */
static int leave_in_traffic(struct fixture *f, struct region *spare,
			    enum ibv_wr_opcode opcode)
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
	struct region *r = opcode == IBV_WR_RDMA_READ ? &f->local : &f->remote;
	struct ibv_wc wc;
	int i, err = 0, bad = 0;

	for (i = 0; !err && i < 16; i++)
		err = end_post_send(&f->conn.a, &wr);
	if (!err)
		err = end_wait(&f->conn.a, &wc);
	if (!err)
		err = swap_memory(r, spare, 0, NULL, 0);
	if (!err)
		region_fill(spare, 4);
	for (i = 1; !err && i < 16; i++) {
		err = end_wait(&f->conn.a, &wc);
		bad += wc.status != IBV_WC_SUCCESS;
	}
	if (!err && !bad)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = region_check_all(spare);
	if (!err)
		err = conn_reset(&f->conn);
	return err ? err : move_all(f);
}

static enum ktap_result run_traffic(const void *arg)
{
	const int *access = arg;
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_far,
		.head = 9, .len = MIB, .tail = 9, .access = *access,
	};
	long pinned = pinned_pages();
	int round, err = 0;

	for (round = 0; !err && round < 12; round++) {
		bool read = round & 1;
		struct region spare = { 0 };
		struct fixture f;

		err = fixture_create(&f, &rc, &attr, &attr);
		if (!err)
			err = spare_create(&spare, &rxe[!read], &attr);
		if (!err)
			err = leave_in_traffic(&f, &spare, read ?
					       IBV_WR_RDMA_READ :
					       IBV_WR_RDMA_WRITE);
		fixture_destroy(&f);
		region_destroy(&spare);
	}
	if (err)
		return ktap_fail("round %d: %s", round, strerror(-err));
	if (pinned_pages() != pinned)
		return ktap_fail("%ld pages left", pinned_pages() - pinned);
	return KTAP_PASS;
}

#define LONG_READ (32 * MIB)

/* A read that is being answered ends where it is not allowed any more. */
static int change_in_read(struct fixture *f, int flags, struct ibv_pd *pd)
{
	struct ibv_sge sge = region_sge(&f->local, 0, LONG_READ);
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = f->remote.iova,
			.rkey = f->remote.mr->rkey,
		},
	};
	time_t end = time(NULL) + STUCK_SECONDS;
	struct ibv_wc wc = { 0 };
	int err;

	memset(f->local.addr, 0, PAGE);
	memset(f->remote.addr, 1, PAGE);
	err = end_post_send(&f->conn.a, &wr);
	while (!err && !__atomic_load_n(f->local.addr, __ATOMIC_RELAXED))
		err = time(NULL) > end ? -ETIMEDOUT : 0;
	if (!err)
		err = rereg(f->remote.mr, flags, pd, IBV_ACCESS_LOCAL_WRITE |
			    IBV_ACCESS_REMOTE_WRITE);
	if (!err)
		err = end_wait(&f->conn.a, &wc);
	if (!err && wc.status != IBV_WC_REM_ACCESS_ERR) {
		ktap_diag("%s", ibv_wc_status_str(wc.status));
		err = -EBADMSG;
	}
	return err;
}

static enum ktap_result run_read(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_far,
		.len = LONG_READ,
	};
	struct ibv_pd *pd = ibv_alloc_pd(rxe[1].ctx);
	struct fixture f;
	int err = pd ? fixture_create(&f, &rc, &attr, &attr) : -errno;

	if (!err)
		err = change_in_read(&f, *(const int *)arg, pd);
	fixture_destroy(&f);
	if (!err)
		err = -ibv_dealloc_pd(pd);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

#define CYCLES 3000

static int cycle(struct region *a, struct region *b, int nr)
{
	int i, err = 0;

	for (i = 0; !err && i < nr; i++) {
		struct rereg to = {
			.flags = TRANS | ACCESS,
			.addr = i & 1 ? a->addr : b->addr,
			.len = a->len - i % 5000,
			.access = i % 3 ? ACCESS_ALL : ODP,
		};

		to.iova = (uintptr_t)to.addr;
		err = rereg_mr(a->mr, &to);
	}
	return err;
}

/* Over and over, of either kind: no memory is lost, if some comes back late. */
static enum ktap_result run_cycles(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("scattered"), .iova = &iova_same,
		.head = 5, .len = 64 * PAGE, .tail = 5,
	};
	long pinned = pinned_pages(), slab;
	struct region a = { 0 }, b = { 0 };
	int tries, err = region_create(&a, &rxe[1], &attr);

	(void)arg;
	if (!err)
		err = spare_create(&b, &rxe[1], &attr);
	if (!err)
		err = cycle(&a, &b, CYCLES);
	slab = slab_bytes();
	if (!err)
		err = cycle(&a, &b, CYCLES);
	for (tries = 0; !err && slab_bytes() - slab > CYCLES * 32; tries++) {
		if (!slab_is_exact())
			break;
		if (tries == 100)
			err = -ENOMEM;
		usleep(100000);
	}
	region_destroy(&a);
	region_destroy(&b);
	if (!err && pinned_pages() != pinned)
		err = -EBADMSG;
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static void add_translation(void)
{
	static const struct memory_test memory[] = {
		{ "pinned", "scattered", "thp", &iova_same, &iova_far },
		{ "same_iova", "thp", "scattered", &iova_far, &iova_far },
		{ "to_zero", "scattered", "hugetlb", &iova_same, &iova_zero },
		{ "shorter", "scattered", "anon", &iova_same, &iova_far, 5000 },
		{ "longer", "scattered", "scattered", &iova_zero, &iova_same,
		  LEN + MIB },
		{ "to_odp", "scattered", "anon", &iova_same, &iova_far, 0,
		  ACCESS_ALL, ODP },
		{ "from_odp", "anon", "scattered", &iova_far, &iova_same, 0,
		  ODP, ACCESS_ALL },
		{ "odp", "thp", "anon", &iova_far, &iova_same, 0, ODP, ODP },
	};
	static const int pinned = ACCESS_ALL, odp = ODP;
	static const int rights = ACCESS, domain = PD;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(memory); i++)
		ktap_add(run_memory, &memory[i], "rereg/memory/%s",
			 memory[i].name);
	ktap_add(run_local, NULL, "rereg/memory/local");
	ktap_add(run_rights, NULL, "rereg/memory/rights");
	ktap_add(run_all, NULL, "rereg/memory/domain_and_rights");
	ktap_add(run_implicit, NULL, "rereg/memory/implicit");
	ktap_add(run_dmabuf, NULL, "rereg/memory/dmabuf");
	ktap_add(run_library, NULL, "rereg/library");
	for (i = 0; i < nr_bad_inputs; i++)
		ktap_add(run_bad, &bad_inputs[i], "rereg/bad/%s",
			 bad_inputs[i].name);
	for (i = 0; i < ARRAY_SIZE(bad_access); i++)
		ktap_add(run_bad, &bad_access[i], "rereg/bad/%s",
			 bad_access[i].name);
	ktap_add(run_bad_flags, NULL, "rereg/bad/flags");
	ktap_add(run_inject, NULL, "rereg/bad/allocation_failures");
	ktap_add(run_window, NULL, "rereg/window");
	ktap_add(run_window_race, NULL, "rereg/window_race");
	ktap_add(run_traffic, &pinned, "rereg/traffic/pinned");
	ktap_add(run_traffic, &odp, "rereg/traffic/odp");
	ktap_add(run_read, &rights, "rereg/traffic/rights");
	ktap_add(run_read, &domain, "rereg/traffic/domain");
	ktap_add(run_cycles, NULL, "rereg/cycles");
}

int main(int argc, char **argv)
{
	ktap_add(run_access, NULL, "rereg/access");
	ktap_add(run_access_upgrade, NULL, "rereg/access_upgrade");
	ktap_add(run_bad_access, NULL, "rereg/bad_access");
	ktap_add(run_pd, NULL, "rereg/pd");
	if (stock_kernel()) {
		ktap_add(run_refused, NULL, "rereg/memory/refused");
	} else {
		ktap_add(run_kind, NULL, "rereg/kind");
		add_translation();
	}
	return fixture_main(argc, argv);
}
