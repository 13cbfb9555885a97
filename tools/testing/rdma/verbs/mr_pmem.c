// SPDX-License-Identifier: GPL-2.0
/*
 * Regions of persistent memory, pinned and on demand: data moves, and FLUSH to
 * persistence works there and nowhere else. The memory is an nvdimm of the VM's,
 * as a device-DAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "sweep.h"

#define DEVICE	"/dev/dax0.0"
#define MISSING	"no persistent memory: the debug kernel, with an nvdimm"
#define MIB	(1024UL * 1024)
#define HALF	(2 * MIB)
#define HEAD	1234
#define LEN	(5 * MIB + 777)
#define TAIL	321
#define ACCESS	(ACCESS_ALL | IBV_ACCESS_FLUSH_PERSISTENT)

/*
 * What ndctl does for "create-namespace -m devdax": give the memory of the first
 * namespace, which the block driver has, to a character device.
 */
static const char set_up[] =
	"set -e\n"
	"for m in nfit nd_pmem device_dax dax_pmem; do modprobe -q $m; done\n"
	"[ -e /sys/bus/nd/devices/region0 ]\n"
	"cd /sys/bus/nd/devices\n"
	"dax=$(cat region0/dax_seed)\n"
	"echo namespace0.0 > /sys/bus/nd/drivers/nd_pmem/unbind\n"
	"echo ram > $dax/mode\n"
	"cat /proc/sys/kernel/random/uuid > $dax/uuid\n"
	"echo 2097152 > $dax/align\n"
	"echo namespace0.0 > $dax/namespace\n"
	"echo $dax > /sys/bus/nd/drivers/dax_pmem/bind\n";

static bool have_pmem(void)
{
	return !access(DEVICE, F_OK) ||
	       (!system(set_up) && !access(DEVICE, F_OK));
}

/* The device's first bytes at an address that nothing else is at; 0 or -errno. */
static int map_device(struct memory *mem, unsigned char *at, size_t len)
{
	mem->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (mem->fd < 0)
		return -errno;
	return mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    mem->fd, 0) == MAP_FAILED ? -errno : 0;
}

/* Pages nobody has touched, on a boundary of 2 MiB as the device wants it. */
static int map_aligned(struct memory *mem)
{
	size_t skip;
	unsigned char *p = mmap(NULL, mem->size + HALF, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	skip = -(uintptr_t)p & (HALF - 1);
	if (skip)
		munmap(p, skip);
	munmap(p + skip + mem->size, HALF - skip);
	mem->base = p + skip;
	return 0;
}

static int map_pmem(struct memory *mem)
{
	int err = map_aligned(mem);

	return err ? err : map_device(mem, mem->base, mem->size);
}

/* Common memory first, persistent memory after it. */
static int map_mixed(struct memory *mem)
{
	int err = map_aligned(mem);

	return err ? err : map_device(mem, mem->base + HALF, mem->size - HALF);
}

static const struct memory_kind pmem = {
	.name = "pmem", .page = HALF, .map = map_pmem,
};

static const struct memory_kind mixed = {
	.name = "mixed", .page = HALF, .map = map_mixed,
};

static const struct path rc = { "rc", IBV_QPT_RC };

static int create(struct fixture *f, const struct memory_kind *kind, size_t head,
		  size_t len, size_t tail, int more)
{
	const struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = len,
		.head = head, .tail = tail,
	};
	const struct region_attr remote = {
		.kind = kind, .iova = &iova_far, .head = head, .len = len,
		.tail = tail, .access = ACCESS | more,
	};

	return fixture_create(f, &rc, &local, &remote);
}

/* Make a range persistent and expect this. 0 or -errno. */
static int flush(struct fixture *f, const char *op, u64 off, u32 len,
		 enum ibv_wc_status expected)
{
	const struct transfer t = {
		.op = operation(op), .local = &f->local, .remote = &f->remote,
		.remote_off = off, .len = len, .persistent = true,
	};
	struct transfer_status status;
	int err = transfer_run(&f->conn, &t, &status);

	if (err || status.a == expected)
		return err;
	ktap_diag("%s of %u bytes at %llu: %s", op, len, (unsigned long long)off,
		  ibv_wc_status_str(status.a));
	return -EREMOTEIO;
}

static int flush_all_over(struct fixture *f)
{
	static const struct {
		u64 off;
		u32 len;
	} ranges[] = {
		{ 0, 1 }, { LEN - 1, 1 }, { 7, 0 }, { 4096 - HEAD - 1, 2 },
		{ HALF - HEAD - 3, 7 }, { 1, 4 * MIB }, { 0, LEN },
	};
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(ranges); i++)
		err = flush(f, "flush_range", ranges[i].off, ranges[i].len,
			    IBV_WC_SUCCESS);
	return err ? err : flush(f, "flush_mr", 0, 0, IBV_WC_SUCCESS);
}

struct pmem_test {
	const char *name;
	int access;
};

static const struct pmem_test pinned = { "pinned", 0 };
static const struct pmem_test odp = { "odp", IBV_ACCESS_ON_DEMAND };

static enum ktap_result outcome(int err)
{
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_data(const void *arg)
{
	static const char * const ops[] = { "write", "read", "fetch_add" };
	const struct pmem_test *t = arg;
	struct fixture f;
	size_t i;
	int err;

	if (!have_pmem())
		return ktap_skip(MISSING);
	err = create(&f, &pmem, HEAD, LEN, TAIL, t->access);
	for (i = 0; !err && i < ARRAY_SIZE(ops); i++)
		err = sweep(&f.conn, operation(ops[i]), &f.local, &f.remote);
	if (!err)
		err = flush_all_over(&f);
	fixture_destroy(&f);
	return outcome(err);
}

/* Pinned memory is looked at when it is registered, all of it. */
static enum ktap_result run_mixed_pinned(const void *arg)
{
	struct fixture f;
	int err;

	(void)arg;
	if (!have_pmem())
		return ktap_skip(MISSING);
	err = create(&f, &mixed, 0, 2 * HALF, 0, 0);
	if (err == -EINVAL)
		return KTAP_PASS;
	if (!err)
		fixture_destroy(&f);
	return ktap_fail("registration gave %d instead of EINVAL", -err);
}

/* On demand, each page is looked at when it is flushed. */
static enum ktap_result run_mixed_odp(const void *arg)
{
	static const struct {
		u64 off;
		u32 len;
		enum ibv_wc_status status;
	} ranges[] = {
		{ HALF, HALF, IBV_WC_SUCCESS },
		{ HALF - 1, 2, IBV_WC_REM_ACCESS_ERR },
		{ HALF, HALF, IBV_WC_SUCCESS },
		{ 0, 1, IBV_WC_REM_ACCESS_ERR },
		{ 2 * HALF - 1, 1, IBV_WC_SUCCESS },
	};
	struct fixture f;
	size_t i;
	int err;

	(void)arg;
	if (!have_pmem())
		return ktap_skip(MISSING);
	err = create(&f, &mixed, 0, 2 * HALF, 0, IBV_ACCESS_ON_DEMAND);
	for (i = 0; !err && i < ARRAY_SIZE(ranges); i++) {
		err = flush(&f, "flush_range", ranges[i].off, ranges[i].len,
			    ranges[i].status);
		if (!err && ranges[i].status)
			err = conn_reset(&f.conn);
	}
	if (!err)
		err = flush(&f, "flush_mr", 0, 0, IBV_WC_REM_ACCESS_ERR);
	fixture_destroy(&f);
	return outcome(err);
}

/* Without the access right there is no flush to persistence, pmem or not. */
static enum ktap_result run_no_right(const void *arg)
{
	const struct pmem_test *t = arg;
	const struct region_attr attr = {
		.kind = &pmem, .iova = &iova_same, .len = HALF,
		.access = ACCESS_ALL | t->access,
	};
	struct fixture f;
	int err;

	if (!have_pmem())
		return ktap_skip(MISSING);
	err = fixture_create(&f, &rc, &attr, &attr);
	if (!err)
		err = flush(&f, "flush_range", 0, 1, IBV_WC_REM_ACCESS_ERR);
	fixture_destroy(&f);
	return outcome(err);
}

int main(int argc, char **argv)
{
	ktap_add(run_data, &pinned, "data/pinned");
	ktap_add(run_data, &odp, "data/odp");
	ktap_add(run_mixed_pinned, NULL, "mixed/pinned");
	ktap_add(run_mixed_odp, NULL, "mixed/odp");
	ktap_add(run_no_right, &pinned, "no_right/pinned");
	ktap_add(run_no_right, &odp, "no_right/odp");
	return fixture_main(argc, argv);
}
