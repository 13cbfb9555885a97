// SPDX-License-Identifier: GPL-2.0
/*
 * Advice that nobody waits for (ibv_advise_mr() without FLUSH): what it brings
 * in is what the process sees, whatever the process does meanwhile, and bad
 * advice does no harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)
#define ODP	(ACCESS_ALL | IBV_ACCESS_ON_DEMAND)
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define NR_SGE	16
#define PATIENCE 120	/* seconds, for what is bound to happen at some time */

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static const struct {
	const char *name;
	enum ib_uverbs_advise_mr_advice advice;
} advices[] = {
	{ "read", IBV_ADVISE_MR_ADVICE_PREFETCH },
	{ "write", IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE },
	{ "no_fault", IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT },
};

/* Pinned memory at one end, and memory on demand at the other */
static int start(struct fixture *f, size_t len)
{
	struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = len,
	};
	struct region_attr remote = local;

	remote.access = ODP;
	return fixture_create(f, &rc, &local, &remote);
}

/* The process gives its pages back: they are zero from now on. */
static void drop(struct region *r)
{
	madvise(r->mem.base, r->mem.size, MADV_DONTNEED);
	memset(r->model, 0, r->mem.size);
}

/* Advice for [off, off + len) of a region, in so many elements */
static int advise(struct region *r, struct ibv_pd *pd, int advice, u64 off,
		  size_t len, int nr)
{
	struct ibv_sge sge[NR_SGE];
	size_t part = len / nr;
	int i;

	for (i = 0; i < nr; i++)
		sge[i] = region_sge(r, off + i * part,
				    i < nr - 1 ? part : len - i * part);
	return ibv_advise_mr(pd, advice, 0, sge, nr);
}

/* The unpatched kernel gets only what begins and ends in one page right. */
static int verify(struct fixture *f, const char *name, u64 off)
{
	struct transfer t = {
		.op = operation(name), .local = &f->local,
		.remote = &f->remote, .local_off = stock_kernel() ? 0 : 77,
		.remote_off = off & ~(PAGE - 1), .len = PAGE,
	};

	if (!stock_kernel()) {
		t.remote_off = off;
		t.len = 3 * PAGE + 5;
	}
	return transfer_verify(&f->conn, &t);
}

/* Memory is used at once, wherever the advice may have got to. */
static enum ktap_result run_access(const void *arg)
{
	int i, advice = *(const int *)arg, err;
	struct fixture f;

	err = start(&f, 2 * MIB);
	for (i = 0; i < 40 && !err; i++) {
		u64 off = (i * 49999) % (2 * MIB - 4 * PAGE);

		drop(&f.remote);
		err = -advise(&f.remote, rxe[1].pd, advice, 0, 2 * MIB,
			      1 + i % NR_SGE);
		if (!err)
			err = verify(&f, "read", off);
		if (!err)
			err = verify(&f, "write", off / 2);
		if (!err)
			err = verify(&f, "read", off / 2);
		if (!err)
			err = region_check_all(&f.remote);
	}
	fixture_destroy(&f);
	return err ? ktap_fail("round %d: %s", i, strerror(-err)) : KTAP_PASS;
}

/* Whether all of this memory is mapped for the CPU */
static bool mapped(const unsigned char *p, size_t len)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool all = true;
	u64 entry;

	for (; len && all; p += PAGE, len -= PAGE)
		all = pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) == 8 &&
		      entry >> 63;
	close(fd);
	return all;
}

static bool gets_mapped(const unsigned char *p, size_t len)
{
	time_t begun = time(NULL);

	while (!mapped(p, len)) {
		if (time(NULL) - begun > PATIENCE)
			return false;
		usleep(1000);
	}
	return true;
}

/* With nobody else's help, all pages come. */
static enum ktap_result run_comes(const void *arg)
{
	int i, advice = *(const int *)arg, err;
	struct fixture f;

	err = start(&f, 2 * MIB);
	for (i = 0; i < 4 && !err; i++) {
		drop(&f.remote);
		err = -advise(&f.remote, rxe[1].pd, advice, PAGE - 1,
			      2 * MIB - PAGE, 1 + i * 5);
		if (!err && !gets_mapped(f.remote.addr, 2 * MIB - PAGE))
			err = -ETIMEDOUT;
		if (!err)
			err = verify(&f, "read", 1000);
	}
	fixture_destroy(&f);
	return err ? ktap_fail("round %d: %s", i, strerror(-err)) : KTAP_PASS;
}

/* Advice of what the CPU has not mapped maps nothing. */
static enum ktap_result run_no_fault(const void *arg)
{
	struct fixture f;
	int err;

	(void)arg;
	err = start(&f, 16 * PAGE);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	drop(&f.remote);
	err = -advise(&f.remote, rxe[1].pd,
		      IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, 0, 16 * PAGE, 1);
	/* What comes behind it gives it the time to go wrong. */
	if (!err)
		err = -advise(&f.remote, rxe[1].pd,
			      IBV_ADVISE_MR_ADVICE_PREFETCH, 0, PAGE, 1);
	if (!err && !gets_mapped(f.remote.addr, PAGE))
		err = -ETIMEDOUT;
	if (!err && mapped(f.remote.addr + PAGE, PAGE))
		err = -EBADMSG;
	if (!err)
		err = verify(&f, "read", 0);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The unpatched kernel takes what it can look at later. */
static bool refused(int err, int want)
{
	if (err == want || (stock_kernel() && !err))
		return true;
	ktap_diag("%s, expected %s", strerror(err), strerror(want));
	return false;
}

/* Bad in one way each, with good advice before it in the same list */
static const char *bad_advice(struct fixture *f, struct ibv_mr *ro,
			      struct ibv_mr *gone)
{
	struct ibv_sge sge[] = {
		region_sge(&f->remote, 0, PAGE), region_sge(&f->remote, 0, PAGE),
	};
	const int read = IBV_ADVISE_MR_ADVICE_PREFETCH;
	const int write = IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE;
	struct ibv_pd *pd = rxe[1].pd;
	struct ibv_sge *bad = &sge[1];

	bad->length = f->remote.len + 1;
	if (!refused(ibv_advise_mr(pd, read, 0, sge, 2), EFAULT))
		return "a byte beyond the end";
	bad->addr--;
	bad->length = 1;
	if (!refused(ibv_advise_mr(pd, write, 0, sge, 2), EFAULT))
		return "a byte before the start";
	bad->addr = -PAGE;
	bad->length = 2 * PAGE;
	if (!refused(ibv_advise_mr(pd, read, 0, sge, 2), EFAULT))
		return "a range that wraps";
	bad->length = 0xffffffff;
	if (!refused(ibv_advise_mr(pd, write, 0, sge, 2), EFAULT))
		return "the longest range";
	*bad = sge[0];
	bad->lkey = ro->lkey;
	if (!refused(ibv_advise_mr(pd, write, 0, sge, 2), EPERM))
		return "for writing what is read-only";
	bad->lkey = gone->lkey;
	if (ibv_advise_mr(pd, read, 0, sge, 2) != EINVAL)
		return "a region that is gone";
	bad->lkey = f->local.mr->lkey;
	if (ibv_advise_mr(rxe[0].pd, read, 0, bad, 1) != EINVAL &&
	    !stock_kernel())
		return "pinned memory";
	bad->lkey = sge[0].lkey;
	if (!ibv_advise_mr(rxe[0].pd, read, 0, bad, 1))
		return "a domain of another device";
	if (!ibv_advise_mr(pd, 77, 0, sge, 1))
		return "no advice that there is";
	if (!ibv_advise_mr(pd, read, 1U << 31, sge, 1))
		return "no flag that there is";
	if (!ibv_advise_mr(pd, read, 0, sge, 0))
		return "no range";
	bad->length = 0;
	if (ibv_advise_mr(pd, read, 0, bad, 1))
		return "nothing is no harm";
	return NULL;
}

static enum ktap_result run_bad(const void *arg)
{
	struct ibv_mr *ro = NULL, *mr = NULL, gone = { 0 };
	const char *what = NULL;
	struct fixture f;
	int i, err;

	(void)arg;
	err = start(&f, 16 * PAGE);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	ro = ibv_reg_mr(rxe[1].pd, f.remote.addr, f.remote.len,
			IBV_ACCESS_ON_DEMAND);
	mr = ibv_reg_mr(rxe[1].pd, f.remote.addr, f.remote.len, ODP);
	if (!ro || !mr) {
		err = -errno;
	} else {
		gone = *mr;
		ibv_dereg_mr(mr);
	}
	for (i = 0; i < 10 && !err && !what; i++)
		what = bad_advice(&f, ro, &gone);
	if (!err && !what)
		err = verify(&f, "write", 100);
	if (!err && !what)
		err = region_check_all(&f.remote);
	if (ro)
		ibv_dereg_mr(ro);
	fixture_destroy(&f);
	if (what)
		return ktap_fail("%s", what);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A hole gives no pages and no error; when it is filled, all is well. */
static enum ktap_result run_hole(const void *arg)
{
	int i, advice = *(const int *)arg, err;
	struct transfer_status status = { 0 };
	struct fixture f;

	err = start(&f, 64 * PAGE);
	for (i = 0; i < 20 && !err; i++) {
		unsigned char *hole = f.remote.addr + 30 * PAGE;
		struct transfer t = {
			.op = operation("write"), .local = &f.local,
			.remote = &f.remote, .remote_off = 30 * PAGE,
			.len = PAGE,
		};

		drop(&f.remote);
		err = -advise(&f.remote, rxe[1].pd, advice, 0, f.remote.len,
			      1 + i % 3);
		munmap(hole, PAGE);
		if (!err)
			err = transfer_run(&f.conn, &t, &status);
		if (!err && status.a != IBV_WC_REM_ACCESS_ERR)
			err = -EBADMSG;
		if (!err)
			err = -advise(&f.remote, rxe[1].pd, advice, 0,
				      f.remote.len, 1 + i % 3);
		mmap(hole, PAGE, RW, ANON | MAP_FIXED, -1, 0);
		if (!err)
			err = conn_reset(&f.conn);
		if (!err)
			err = verify(&f, "write", 30 * PAGE);
	}
	fixture_destroy(&f);
	return err ? ktap_fail("round %d: %s", i, strerror(-err)) : KTAP_PASS;
}

/* Register, advise, and take region and memory away right behind it. */
static int advise_and_go(size_t len, int nr, int advice, bool unmap_first)
{
	struct region r = { .len = len };
	int err;

	r.addr = mmap(NULL, len, RW, ANON, -1, 0);
	if (r.addr == MAP_FAILED)
		return -errno;
	r.iova = (uintptr_t)r.addr;
	r.mr = ibv_reg_mr(rxe[0].pd, r.addr, len, ODP);
	if (!r.mr)
		return -errno;
	err = -advise(&r, rxe[0].pd, advice, 0, len, nr);
	if (unmap_first)
		munmap(r.addr, len);
	if (!err)
		err = -ibv_dereg_mr(r.mr);
	if (!unmap_first)
		munmap(r.addr, len);
	return err;
}

static enum ktap_result run_dereg(const void *arg)
{
	struct holdings was;
	int i, err = 0;

	(void)arg;
	holdings_now(&was);
	for (i = 0; i < 200 && !err; i++)
		err = advise_and_go((1 + i % 5) * MIB + PAGE, 1 + i % NR_SGE,
				    advices[i % ARRAY_SIZE(advices)].advice,
				    i & 1);
	if (err)
		return ktap_fail("round %d: %s", i, strerror(-err));
	return holdings_same(&was) ? KTAP_PASS : ktap_fail("something is left");
}

/* A process goes right behind its advice. */
static int child_advises(int i)
{
	struct rdma_dev dev;
	struct region r = { .len = 64 * MIB };

	if (rdma_dev_open(&dev, "rxe0"))
		return 1;
	r.addr = mmap(NULL, r.len, RW, ANON, -1, 0);
	if (r.addr == MAP_FAILED)
		return 1;
	r.iova = (uintptr_t)r.addr;
	r.mr = ibv_reg_mr(dev.pd, r.addr, r.len, ODP);
	if (!r.mr)
		return 1;
	return advise(&r, dev.pd, advices[i % 2].advice, 0, r.len, NR_SGE) != 0;
}

static enum ktap_result run_exit(const void *arg)
{
	struct holdings was;
	int i, status;
	pid_t pid;

	(void)arg;
	holdings_now(&was);
	for (i = 0; i < 10; i++) {
		pid = fork();
		if (!pid)
			_exit(child_advises(i));
		if (waitpid(pid, &status, 0) != pid || status)
			return ktap_fail("child %d: status %#x", i, status);
	}
	return holdings_same(&was) ? KTAP_PASS : ktap_fail("something is left");
}

/* From now on, nobody brings the pages of this memory. */
static int hang_faults(void *p, size_t len)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

/* A region goes while its advice waits for a page that nobody brings. */
static enum ktap_result run_hung(const void *arg)
{
	struct uffd_msg msg;
	struct fixture f;
	int err, fd;

	(void)arg;
	if (stock_kernel())
		return ktap_skip("the unpatched rxe holds the region for 50 s, and warns");
	err = start(&f, 64 * PAGE);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	drop(&f.remote);
	fd = hang_faults(f.remote.addr, f.remote.len);
	if (fd < 0)
		err = fd;
	if (!err)
		err = -advise(&f.remote, rxe[1].pd,
			      IBV_ADVISE_MR_ADVICE_PREFETCH, 0, f.remote.len,
			      4);
	if (!err && read(fd, &msg, sizeof(msg)) != sizeof(msg))
		err = -EIO;
	if (!err)
		err = -ibv_dereg_mr(f.remote.mr);
	if (!err)
		f.remote.mr = NULL;
	close(fd);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* All memory of the process is one region: a later mapping is in it, too. */
static enum ktap_result run_implicit(const void *arg)
{
	struct ibv_mr *mr, *own;
	struct fixture f;
	int i, err;

	(void)arg;
	if (stock_kernel())
		return ktap_skip("the unpatched rxe has no implicit regions");
	err = start(&f, MIB);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	mr = ibv_reg_mr(rxe[1].pd, NULL, SIZE_MAX, ODP);
	if (!mr)
		err = -errno;
	own = f.remote.mr;
	f.remote.mr = mr;
	for (i = 0; i < 20 && !err; i++) {
		drop(&f.remote);
		err = -advise(&f.remote, rxe[1].pd,
			      IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, 0, MIB, 3);
		if (!err)
			err = verify(&f, "write", i * 12345);
	}
	if (!err)
		err = region_check_all(&f.remote);
	f.remote.mr = own;
	if (mr)
		ibv_dereg_mr(mr);
	fixture_destroy(&f);
	return err ? ktap_fail("round %d: %s", i, strerror(-err)) : KTAP_PASS;
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		const char *name = advices[i].name;

		ktap_add(run_access, &advices[i].advice, "access/%s", name);
		ktap_add(run_hole, &advices[i].advice, "hole/%s", name);
		if (advices[i].advice != IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT)
			ktap_add(run_comes, &advices[i].advice, "comes/%s", name);
	}
	ktap_add(run_no_fault, NULL, "no_fault");
	ktap_add(run_bad, NULL, "bad");
	ktap_add(run_dereg, NULL, "dereg");
	ktap_add(run_exit, NULL, "exit");
	ktap_add(run_hung, NULL, "hung");
	ktap_add(run_implicit, NULL, "implicit");
	return fixture_main(argc, argv);
}
