// SPDX-License-Identifier: GPL-2.0
/*
 * Requests that come again. A requester that waits too long for an answer sends
 * its request again, with the same packet number, and the copy may arrive when
 * the answer is long there and the region gone. Nor is a copy what it seems: the
 * peer can make any.
 */
#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "ktap.h"

#define MIB	(1024UL * 1024)

/* Reads and atomics that the responder keeps, for copies of them. */
#define KEPT	16

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static int setup(struct fixture *f)
{
	const struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = MIB,
	};

	return fixture_create(f, &rc, &attr, &attr);
}

static struct transfer read_of(struct fixture *f, u64 off, u32 len)
{
	return (struct transfer) {
		.op = operation("read"), .local = &f->local,
		.remote = &f->remote, .remote_off = off, .len = len,
		.rkey = f->remote.mr->rkey,
	};
}

static int read_first(struct fixture *f, u64 off, u32 len)
{
	struct transfer read = read_of(f, off, len);

	return transfer_verify(&f->conn, &read);
}

/* With the packet number of a request from before, and how it must end. */
static int run_again(struct fixture *f, const struct transfer *read, u32 psn,
		     enum ibv_wc_status expected)
{
	struct transfer_status status;
	int err;

	/* What is dropped is sent again, but not for ever. */
	f->conn.retries = expected == IBV_WC_RETRY_EXC_ERR ? 1 : 0;
	err = conn_restart(&f->conn, psn);
	if (!err)
		err = transfer_run(&f->conn, read, &status);
	if (err || status.a == expected)
		return err;
	ktap_diag("%u bytes at %llu: %s", read->len,
		  (unsigned long long)read->remote_off,
		  ibv_wc_status_str(status.a));
	return -EBADMSG;
}

static int read_again(struct fixture *f, u32 psn, u64 off, u32 len,
		      enum ibv_wc_status expected)
{
	struct transfer read = read_of(f, off, len);

	return run_again(f, &read, psn, expected);
}

static enum ibv_qp_state state_of(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	return ibv_query_qp(qp, &attr, IBV_QP_STATE, &init) ? IBV_QPS_UNKNOWN :
							      attr.qp_state;
}

/* A copy of a read comes when the region is gone: who asks for it is told. */
static int late_read(struct fixture *f, u32 len, u32 psn)
{
	struct transfer read = read_of(f, 0, len);

	ibv_dereg_mr(f->remote.mr);
	f->remote.mr = NULL;
	return run_again(f, &read, psn, IBV_WC_REM_ACCESS_ERR);
}

/* But that is no error of the connection: the next region can be used. */
static int use_after(struct fixture *f, u32 psn)
{
	struct transfer write = {
		.op = operation("write"), .local = &f->local,
		.remote = &f->remote, .len = 100,
	};
	struct region *r = &f->remote;

	if (state_of(f->conn.b.qp) != IBV_QPS_RTS) {
		ktap_diag("the late read has ended the connection");
		return -ECONNRESET;
	}
	r->mr = ibv_reg_mr_iova(rxe[1].pd, r->addr, r->len, r->iova, ACCESS_ALL);
	if (!r->mr || conn_restart(&f->conn, psn))
		return -errno;
	return transfer_verify(&f->conn, &write);
}

static enum ktap_result run_late_read(const void *arg)
{
	const u32 packets = *(const u32 *)arg;
	u32 len = packets * rdma_dev_mtu(&rxe[1]);
	struct fixture f;
	int err = setup(&f);
	u32 psn = f.conn.a.psn;

	if (!err)
		err = read_first(&f, 0, len);
	if (!err)
		err = late_read(&f, len, psn);
	if (!err)
		err = use_after(&f, psn + packets);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A part of what was asked for first may be asked for again, and nothing else. */
static enum ktap_result run_part(const void *arg)
{
	struct fixture f;
	int err = setup(&f);
	u32 psn = f.conn.a.psn;

	(void)arg;
	if (!err)
		err = read_first(&f, 1000, 100);
	if (!err)
		err = read_again(&f, psn, 1099, 1, IBV_WC_SUCCESS);
	if (!err)
		err = read_again(&f, psn, 1150, 1, IBV_WC_RETRY_EXC_ERR);
	if (!err)
		err = read_again(&f, psn, 1000, 100, IBV_WC_SUCCESS);
	if (!err)
		err = read_again(&f, psn, 999, 1, IBV_WC_RETRY_EXC_ERR);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/*
 * The value that an atomic returned, an address, must not be taken for that of
 * a read, with the key and the length of the one that was kept there before.
 */
static enum ktap_result run_other_request(const void *arg)
{
	const u64 secret = MIB / 2;
	struct transfer add = { .op = operation("fetch_add") };
	struct fixture f;
	int i, err = setup(&f);
	u32 psn = f.conn.a.psn + KEPT;
	u64 at;

	(void)arg;
	for (i = 0; !err && i < KEPT; i++)
		err = read_first(&f, i, 100);
	if (!err) {
		at = f.remote.iova + secret;
		memcpy(f.remote.addr, &at, sizeof(at));
		memcpy(region_model(&f.remote, 0), &at, sizeof(at));
		add.local = &f.local;
		add.remote = &f.remote;
		add.len = sizeof(at);
		err = transfer_verify(&f.conn, &add);
	}
	if (!err)
		err = read_again(&f, psn, secret, 100, IBV_WC_RETRY_EXC_ERR);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

int main(int argc, char **argv)
{
	static const u32 packets[] = { 1, 5 };

	ktap_add(run_late_read, &packets[0], "again/late_read/one_packet");
	ktap_add(run_late_read, &packets[1], "again/late_read/packets");
	ktap_add(run_part, NULL, "again/part");
	ktap_add(run_other_request, NULL, "again/other_request");
	return fixture_main(argc, argv);
}
