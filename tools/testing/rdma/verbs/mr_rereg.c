// SPDX-License-Identifier: GPL-2.0
/*
 * Change a region that is registered. libibverbs' provider for rxe has no
 * ibv_rereg_mr(), so the kernel is asked for it by a command of our own.
 */
#include <errno.h>
#include <rdma/ib_user_verbs.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define HEAD	1234
#define LEN	(3UL * 1024 * 1024)
#define TAIL	321

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

struct rereg_command {
	struct ib_uverbs_cmd_hdr hdr;
	struct ib_uverbs_rereg_mr rereg;
};

static int rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd,
		 const struct region *to, int access)
{
	struct ib_uverbs_rereg_mr_resp resp = { 0 };
	struct rereg_command cmd = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(cmd) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.rereg = {
			.response = (uintptr_t)&resp,
			.mr_handle = mr->handle,
			.flags = flags,
			.access_flags = access,
			.pd_handle = pd ? pd->handle : 0,
		},
	};

	if (to) {
		cmd.rereg.start = (uintptr_t)to->addr;
		cmd.rereg.length = to->len;
		cmd.rereg.hca_va = to->iova;
	}
	if (write(mr->context->cmd_fd, &cmd, sizeof(cmd)) != sizeof(cmd))
		return -errno;
	mr->lkey = resp.lkey;
	mr->rkey = resp.rkey;
	return 0;
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
		err = rereg(f.remote.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL,
			    IBV_ACCESS_REMOTE_READ);
	if (!err)
		err = move(&f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = move(&f, "read", IBV_WC_SUCCESS);
	if (!err)
		err = rereg(f.remote.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL,
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
	if (!err && rereg(f.remote.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL,
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
	if (!err && rereg(f.remote.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL,
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
		err = rereg(f.remote.mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0);
	if (!err)
		err = move(&f, "read", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = rereg(f.remote.mr, IBV_REREG_MR_CHANGE_PD, rxe[1].pd,
			    NULL, 0);
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	fixture_destroy(&f);
	if (!err)
		err = -ibv_dealloc_pd(pd);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* rxe cannot do this for now. It must say so, and leave the region as it is. */
static enum ktap_result run_translation(const void *arg)
{
	long pinned;
	struct fixture f;
	int err = setup(&f, 0);

	(void)arg;
	pinned = pinned_pages();
	if (!err && rereg(f.remote.mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL,
			  &f.local, 0) != -EOPNOTSUPP)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = move(&f, "write", IBV_WC_SUCCESS);
	if (!err && pinned_pages() != pinned)
		err = -EBADMSG;
	return verdict(&f, err);
}

int main(int argc, char **argv)
{
	ktap_add(run_access, NULL, "rereg/access");
	ktap_add(run_access_upgrade, NULL, "rereg/access_upgrade");
	ktap_add(run_bad_access, NULL, "rereg/bad_access");
	ktap_add(run_pd, NULL, "rereg/pd");
	ktap_add(run_translation, NULL, "rereg/translation");
	return fixture_main(argc, argv);
}
