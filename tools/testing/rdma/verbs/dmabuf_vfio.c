// SPDX-License-Identifier: GPL-2.0
/*
 * Memory regions in the BAR of a PCI function that is in the hands of this
 * process, QEMU's ivshmem: memory without struct page, that goes away.
 *
 * The function has to be there, and an IOMMU for vfio, so this program is not
 * one of the others, but run by the suite dmabuf.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bar.h"
#include "bar_traffic.h"
#include "fixture.h"
#include "ktap.h"
#include "sweep.h"

#define MIB	(1024 * 1024UL)
#define HEAD	1234
#define LEN	(5 * MIB + 777)
#define TAIL	321

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static int setup(struct fixture *f, const struct memory_kind *local_kind,
		 const struct memory_kind *remote_kind)
{
	struct region_attr local = {
		.kind = local_kind, .iova = &iova_far,
		.head = HEAD, .len = LEN, .tail = TAIL,
	};
	struct region_attr remote = local;

	remote.kind = remote_kind;
	return fixture_create(f, &rc, &local, &remote);
}

struct data_test {
	const struct memory_kind *kind;
	const struct operation *op;
	bool local;
};

static enum ktap_result run_data_test(const void *arg)
{
	const struct memory_kind *anon = memory_kind("anon");
	const struct data_test *t = arg;
	struct fixture f;
	int err = t->local ? setup(&f, t->kind, anon) : setup(&f, anon, t->kind);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = sweep(&f.conn, t->op, &f.local, &f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The CPU's atomics do not reach over PCI: an error, and nothing changed. */
static enum ktap_result run_atomic_test(const void *arg)
{
	struct transfer_status status = { 0 };
	struct fixture f;
	struct transfer t;
	int err = setup(&f, memory_kind("anon"), &bar);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	t = (struct transfer) {
		.op = arg, .local = &f.local, .remote = &f.remote, .len = 8,
		.remote_off = transfer_align(&f.remote, 64),
	};
	err = transfer_run(&f.conn, &t, &status);
	if (!err && status.a != IBV_WC_REM_ACCESS_ERR)
		err = -EBADMSG;
	if (!err)
		err = region_check_all(&f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s, status %s", strerror(-err),
			       ibv_wc_status_str(status.a)) : KTAP_PASS;
}

/* One transfer of 64 KiB, which must end as expected. */
static int try(struct fixture *f, const char *op, enum ibv_wc_status expect)
{
	struct transfer_status status = { 0 };
	struct transfer t = {
		.op = operation(op), .local = &f->local, .remote = &f->remote,
		.len = 65536, .local_off = 4000, .remote_off = 100,
	};
	int err = transfer_run(&f->conn, &t, &status);

	if (err)
		return err;
	if (status.a != expect) {
		ktap_diag("%s: %s instead of %s", op,
			  ibv_wc_status_str(status.a), ibv_wc_status_str(expect));
		return -EBADMSG;
	}
	if (expect == IBV_WC_SUCCESS)
		transfer_model(&t);
	return expect == IBV_WC_SUCCESS ? 0 : conn_reset(&f->conn);
}

/* No access while the function does not answer, and again when it does. */
static int revoke_and_back(struct fixture *f)
{
	int err = try(f, "write", IBV_WC_SUCCESS);

	if (!err)
		err = vfio_enable_memory(&ivshmem, 0);
	if (!err)
		err = try(f, "write", IBV_WC_REM_ACCESS_ERR);
	if (!err)
		err = try(f, "read", IBV_WC_REM_ACCESS_ERR);
	if (vfio_enable_memory(&ivshmem, 1))
		return -EIO;
	if (!err)
		err = region_check_all(&f->remote);
	if (!err)
		err = try(f, "write", IBV_WC_SUCCESS);
	if (!err)
		err = try(f, "read", IBV_WC_SUCCESS);
	return err ? err : region_check_all(&f->remote);
}

static enum ktap_result run_revoke_test(const void *arg)
{
	struct fixture f;
	int i, err = setup(&f, memory_kind("anon"), arg);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; i < 5 && !err; i++)
		err = revoke_and_back(&f);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* While it is revoked, a region cannot be made; the errno says why. */
static enum ktap_result run_register_revoked(const void *arg)
{
	const struct vfio_range range = { 0, MIB };
	int fd = vfio_dmabuf(&ivshmem, IVSHMEM_BAR, &range, 1), err;
	struct ibv_mr *mr;

	(void)arg;
	if (fd < 0)
		return ktap_fail("dma-buf: %s", strerror(-fd));
	vfio_enable_memory(&ivshmem, 0);
	errno = 0;
	mr = ibv_reg_dmabuf_mr(rxe[0].pd, 0, MIB, 0, fd, ACCESS_ALL);
	err = errno;
	vfio_enable_memory(&ivshmem, 1);
	if (!mr && err == ENODEV)
		mr = ibv_reg_dmabuf_mr(rxe[0].pd, 0, MIB, 0, fd, ACCESS_ALL);
	close(fd);
	if (!mr)
		return ktap_fail("%s", strerror(err));
	ibv_dereg_mr(mr);
	return err == ENODEV ? KTAP_PASS : ktap_fail("it can be registered");
}

#define MANY	128

/* Milliseconds that it takes to let nobody at the BAR. */
static double time_revoke(void)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	vfio_enable_memory(&ivshmem, 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1e3 +
	       (to.tv_nsec - from.tv_nsec) / 1e6;
}

static int reg_many(struct ibv_mr **mrs, int fd)
{
	int i;

	for (i = 0; i < MANY; i++) {
		mrs[i] = ibv_reg_dmabuf_mr(rxe[1].pd, i * 4096, 4096, i * 4096,
					   fd, ACCESS_ALL);
		if (!mrs[i])
			return -errno;
	}
	return 0;
}

/* Many regions of one dma-buf: it is taken away from each of them. */
static enum ktap_result run_revoke_many(const void *arg)
{
	struct ibv_mr *mrs[MANY] = {};
	struct fixture f;
	int i, err = setup(&f, memory_kind("anon"), &bar);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = reg_many(mrs, f.remote.mem.fd);
	if (!err)
		err = try(&f, "write", IBV_WC_SUCCESS);
	if (!err) {
		ktap_diag("%d regions, %.1f ms", MANY + 1, time_revoke());
		err = try(&f, "write", IBV_WC_REM_ACCESS_ERR);
		vfio_enable_memory(&ivshmem, 1);
	}
	if (!err)
		err = try(&f, "write", IBV_WC_SUCCESS);
	for (i = 0; i < MANY; i++)
		if (mrs[i])
			ibv_dereg_mr(mrs[i]);
	if (!err)
		err = try(&f, "read", IBV_WC_SUCCESS);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/*
 * All of the BAR, written over RDMA only, with words that tell where they are:
 * who runs this can look for them in the memory behind the BAR.
 */
static enum ktap_result run_host_test(const void *arg)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_zero,
		.len = ivshmem.bar_size,
	};
	struct region_attr remote = attr;
	struct transfer t = { .op = operation("write"), .len = attr.len };
	struct fixture f;
	u64 i;
	int err;

	(void)arg;
	remote.kind = &bar;
	err = fixture_create(&f, &rc, &attr, &remote);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; i < attr.len / sizeof(i); i++)
		memcpy(f.local.mem.base + i * sizeof(i), &i, sizeof(i));
	memcpy(f.local.model, f.local.mem.base, attr.len);
	t.local = &f.local;
	t.remote = &f.remote;
	err = transfer_verify(&f.conn, &t);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static void add_data(const struct memory_kind *kind, bool local)
{
	const struct operation *op;

	for (op = operations; op->name; op++) {
		struct data_test *t;

		if (!operation_valid(op, IBV_QPT_RC) ||
		    (op->flags & OP_TO_LOCAL && op->flags & OP_TO_REMOTE))
			continue;
		t = calloc(1, sizeof(*t));
		*t = (struct data_test) { kind, op, local };
		ktap_add(run_data_test, t, "data/%s/%s/%s", kind->name,
			 local ? "local" : "remote", op->name);
	}
}

static void add_tests(void)
{
	add_data(&bar, false);
	add_data(&bar, true);
	add_data(&bar_ranges, false);
	ktap_add(run_atomic_test, operation("cmp_swap"), "atomic/cmp_swap");
	ktap_add(run_atomic_test, operation("fetch_add"), "atomic/fetch_add");
	ktap_add(run_register_revoked, NULL, "revoke/register");
	ktap_add(run_revoke_test, &bar, "revoke/bar");
	ktap_add(run_revoke_test, &bar_ranges, "revoke/bar_ranges");
	ktap_add(run_revoke_many, NULL, "revoke/many");
	bar_traffic_add();
	ktap_add(run_host_test, NULL, "host");
}

int main(int argc, char **argv)
{
	int status, err = ivshmem_open();

	if (err) {
		fprintf(stderr, "ivshmem by vfio: %s\n", strerror(-err));
		return 1;
	}
	srand(1);
	add_tests();
	status = fixture_main(argc, argv);
	vfio_close(&ivshmem);
	return status;
}
