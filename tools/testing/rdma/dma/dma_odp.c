// SPDX-License-Identifier: GPL-2.0
/*
 * On-demand paging by a device that does DMA: it finds a page absent, has it
 * brought in, and goes on. Whatever the process does to its memory, the device
 * sees what the process sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "edu.h"
#include "ktap.h"

#define PAGE	4096UL
#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)
#define TIB	(1024 * GIB)

#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define ODP	(EDU_ACCESS | IBV_ACCESS_ON_DEMAND)

static int odp_region(struct region *r, const char *kind, size_t head,
		      size_t len)
{
	const struct memory_kind *memory = memory_kind(kind);
	struct region_attr attr = {
		.kind = memory, .iova = &iova_same,
		.head = head, .len = len, .tail = 1,
		.access = memory->read_only ?
			  IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND : ODP,
	};

	return region_create(r, &edu, &attr);
}

/* The same of huge pages: each of them is there as a whole, or not at all. */
static int odp_huge_region(struct region *r, const char *kind, size_t len)
{
	struct region_attr attr = {
		.kind = memory_kind(kind), .iova = &iova_same, .len = len,
		.tail = 1, .access = ODP | IBV_ACCESS_HUGETLB,
	};

	return region_create(r, &edu, &attr);
}

/* A byte, over the end of a page, a chunk, and over the end of the last one. */
static int copy_some(struct region *dst, struct region *src)
{
	int err = edu_copy_verify(dst, 0, src, 0, 1);

	if (!err)
		err = edu_copy_verify(dst, 4095, src, 1, 2);
	if (!err)
		err = edu_copy_verify(dst, 8192 - 123, src, 12288 - 77, 3000);
	if (!err)
		err = edu_copy_verify(dst, dst->len - 7, src, src->len - 7, 7);
	return err;
}

static enum ktap_result result(int err, const char *what)
{
	return err ? ktap_fail("%s: %s", what, strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_copy(const void *arg)
{
	const struct memory_kind *kind = arg;
	struct region r = { 0 }, other = { 0 };
	const char *what = "set-up";
	int err;

	err = odp_region(&r, kind->name, 123, 2 * MIB + 64 * KIB + 5);
	if (!err)
		err = odp_region(&other, "scattered", 17, 64 * KIB);
	if (!err) {
		what = "from it";
		region_fill(&r, 1);
		region_fill(&other, 2);
		err = copy_some(&other, &r);
	}
	if (!err && !kind->read_only) {
		what = "to it";
		region_fill(&other, 3);
		err = copy_some(&r, &other);
	}
	if (!err) {
		what = "what the device sees";
		err = edu_check_some(r.mr, 3);
	}
	region_destroy(&r);
	region_destroy(&other);
	return result(err, what);
}

/* The process's pages are used, and go: then the device has none. */
static int use_and_lose(struct region *r, struct region *other, u64 seed)
{
	int err;

	region_fill(r, 2 * seed);
	region_fill(other, 2 * seed + 1);
	err = copy_some(other, r);
	if (!err)
		err = copy_some(r, other);
	/* over the end of what may be a huge page */
	if (!err)
		err = edu_copy_verify(r, 2 * MIB - 1000, other, 0, 3000);
	if (!err)
		err = edu_check_some(r->mr, 3);
	if (!err && madvise(r->mem.base, r->mem.size, MADV_DONTNEED))
		err = -errno;
	if (err)
		return err;
	err = edu_check_some(r->mr, 0);
	if (err)
		ktap_diag("pages that are gone");
	return err;
}

/* The process gets other pages: so does the device. Ends the region. */
static enum ktap_result again(struct region *r, int err)
{
	struct region other = { 0 };
	u64 seed;

	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	for (seed = 0; !err && seed < 3; seed++)
		err = use_and_lose(r, &other, seed);
	region_destroy(r);
	region_destroy(&other);
	return result(err, "copies");
}

static enum ktap_result run_again(const void *arg)
{
	const struct memory_kind *kind = arg;
	struct region r = { 0 };

	return again(&r, odp_region(&r, kind->name, 0, 4 * MIB - 1));
}

/* One small page of a huge one goes; the rest of it stays what it was. */
static enum ktap_result run_cut(const void *arg)
{
	struct region r = { 0 }, other = { 0 };
	const char *what = "set-up";
	size_t hole = 100 * PAGE;
	int err;

	(void)arg;
	err = odp_region(&r, "thp", 0, 4 * MIB - 1);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	if (!err) {
		what = "copies";
		region_fill(&r, 1);
		region_fill(&other, 2);
		err = copy_some(&r, &other);
	}
	if (!err)
		err = edu_check_some(r.mr, 3);
	if (!err) {
		what = "the cut";
		if (madvise(r.mem.base + hole, PAGE, MADV_DONTNEED))
			err = -errno;
		memset(r.model + hole, 0, PAGE);
	}
	if (!err)
		err = edu_copy_verify(&other, 10, &r, hole - 1000, 6000);
	if (!err)
		err = edu_copy_verify(&r, hole + 10, &other, 0, 5000);
	if (!err)
		err = edu_check_some(r.mr, 1);
	region_destroy(&r);
	region_destroy(&other);
	return result(err, what);
}

static enum ktap_result run_huge_again(const void *arg)
{
	struct region r = { 0 };

	return again(&r, odp_huge_region(&r, arg, 4 * MIB - 1));
}

/* What was a huge page is none any more: the device gets at no part of it. */
static enum ktap_result run_huge_cut(const void *arg)
{
	struct region r = { 0 }, other = { 0 };
	size_t hole = 100 * PAGE;
	int err, got = 0;

	(void)arg;
	err = odp_huge_region(&r, "thp", 4 * MIB - 1);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	if (!err) {
		region_fill(&r, 1);
		region_fill(&other, 2);
		err = copy_some(&r, &other);
	}
	if (!err && madvise(r.mem.base + hole, PAGE, MADV_DONTNEED))
		err = -errno;
	if (!err) {
		memset(r.model + hole, 0, PAGE);
		got = edu_copy(other.mr, 0, r.mr, 0, 10);
	}
	if (!err)
		err = edu_copy_verify(&other, 0, &r, 3 * MIB, 10);
	region_destroy(&r);
	region_destroy(&other);
	if (!err && got != -EINVAL)
		return ktap_fail("the copy: %s", strerror(-got));
	return result(err, "copies");
}

/* Memory that is not there: the errno of it, and all else works on. */
static enum ktap_result run_unmapped(const void *arg)
{
	struct region r = { 0 }, other = { 0 };
	unsigned char *gone;
	int err, got = 0;

	(void)arg;
	err = odp_region(&r, "anon", 0, 64 * KIB);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	if (err)
		goto out;
	region_fill(&r, 1);
	region_fill(&other, 2);
	err = copy_some(&r, &other);
	gone = r.mem.base + 4 * PAGE;
	if (!err && munmap(gone, PAGE))
		err = -errno;
	if (err)
		goto out;
	got = edu_copy(other.mr, 0, r.mr, 4 * PAGE - 10, 20);
	if (got != -EFAULT)
		goto out;
	if (mmap(gone, PAGE, RW, ANON | MAP_FIXED, -1, 0) != gone)
		err = -errno;
	memset(region_model(&r, 4 * PAGE), 0, PAGE);
	/* What was read before the error may have been written, too. */
	region_fill(&other, 3);
	if (!err)
		err = edu_copy_verify(&other, 0, &r, 4 * PAGE - 10, 20);
out:
	region_destroy(&r);
	region_destroy(&other);
	if (!err && got != -EFAULT)
		return ktap_fail("the copy: %s", strerror(-got));
	return result(err, "copies");
}

/* Memory becomes read-only, and writable again. */
static enum ktap_result run_protect(const void *arg)
{
	struct region r = { 0 }, other = { 0 };
	int err, got = 0;

	(void)arg;
	err = odp_region(&r, "anon", 0, 64 * KIB);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	if (err)
		goto out;
	region_fill(&r, 1);
	region_fill(&other, 2);
	err = copy_some(&r, &other);
	if (!err && mprotect(r.mem.base, r.mem.size, PROT_READ))
		err = -errno;
	if (!err)
		err = edu_copy_verify(&other, 5, &r, 4000, 200);
	if (err)
		goto out;
	got = edu_copy(r.mr, 0, other.mr, 0, 10);
	if (mprotect(r.mem.base, r.mem.size, RW))
		err = -errno;
	if (!err)
		err = region_check_all(&r);
	if (!err)
		err = copy_some(&r, &other);
out:
	region_destroy(&r);
	region_destroy(&other);
	if (!err && got != -EFAULT && got != -EPERM)
		return ktap_fail("a write: %s", strerror(-got));
	return result(err, "copies");
}

/*
 * A region that is smaller than a table of the IOMMU's, at an address where one
 * begins, loses its pages: what has the addresses beside it keeps its own.
 */
static enum ktap_result run_neighbour(const void *arg)
{
	struct region pinned = { 0 }, other = { 0 };
	const size_t len = 16 * PAGE, room = 4 * MIB;
	unsigned char *map = mmap(NULL, room, RW, ANON, -1, 0), *p;
	struct ibv_mr *mr = NULL;
	int err;

	(void)arg;
	p = (void *)(((uintptr_t)map + 2 * MIB - 1) & ~(2 * MIB - 1));
	err = edu_region(&pinned, memory_kind("scattered"), &iova_same, 0, 64 * KIB);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	if (!err)
		mr = ibv_reg_mr(edu.pd, p, len, ODP);
	if (!err && !mr)
		err = -errno;
	if (!err) {
		region_fill(&pinned, 1);
		region_fill(&other, 2);
		err = edu_copy(mr, 0, pinned.mr, 0, 3000);
	}
	if (!err && madvise(p, len, MADV_DONTNEED))
		err = -errno;
	if (!err)
		err = edu_check(pinned.mr, pinned.addr, pinned.len, NULL);
	if (!err)
		err = copy_some(&other, &pinned);
	if (mr)
		ibv_dereg_mr(mr);
	if (!err)
		err = edu_check(pinned.mr, pinned.addr, pinned.len, NULL);
	region_destroy(&pinned);
	region_destroy(&other);
	munmap(map, room);
	return result(err, "what the device sees of the neighbour");
}

/* Page tables of IOMMUs, in bytes. */
static long iommu_tables(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	while (f && kib < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "SecPageTables: %ld", &kib);
	if (f)
		fclose(f);
	return kib < 0 ? -ENODATA : kib * (long)KIB;
}

/*
 * One page in each of many places, each of which has a table of the IOMMU's of
 * its own: the tables go with the pages, and all of them with the region.
 */
static enum ktap_result run_tables(const void *arg)
{
	const size_t places = 1000, len = places * 2 * MIB;
	long before = iommu_tables(), full, empty, after;
	unsigned char *p = mmap(NULL, len, RW, ANON, -1, 0);
	struct ibv_mr *mr;
	int err = 0;
	size_t i;

	(void)arg;
	if (!edu_is_translated() || edu_bits() <= 32)
		return ktap_skip("there are no tables of the region's own");
	mr = p == MAP_FAILED ? NULL : ibv_reg_mr(edu.pd, p, len, ODP);
	if (before < 0 || !mr || madvise(p, len, MADV_NOHUGEPAGE))
		return ktap_fail("set-up: %s", strerror(errno));
	for (i = 0; !err && i < places; i++) {
		struct ibv_sge sge = { (uintptr_t)p + i * 2 * MIB, 1, mr->lkey };

		err = ibv_advise_mr(edu.pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				    IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
	}
	full = iommu_tables();
	madvise(p, len, MADV_DONTNEED);
	empty = iommu_tables();
	ibv_dereg_mr(mr);
	after = iommu_tables();
	munmap(p, len);
	ktap_diag("KiB: %ld, %ld with pages, %ld without, %ld in the end",
		  before / (long)KIB, full / (long)KIB, empty / (long)KIB,
		  after / (long)KIB);
	if (err)
		return ktap_fail("advice: %s", strerror(err));
	/* The count may lack some that each processor has not told yet. */
	if (full - before < (long)(places * PAGE / 2))
		return ktap_fail("where are the tables?");
	if (empty - before > (long)(places * PAGE / 4) ||
	    after - before > (long)(places * PAGE / 4))
		return ktap_fail("tables are left");
	return KTAP_PASS;
}

struct sparse {
	const char *name;
	size_t len;
	int access;
};

/*
 * Memory without a page, of which both ends are used. Those of huge pages are of
 * a size that the device may have no room for, so each is mapped by itself.
 */
static enum ktap_result run_sparse(const void *arg)
{
	const struct sparse *sparse = arg;
	size_t len = sparse->len, room = len + 2 * MIB;
	const char *what = "set-up";
	struct region other = { 0 };
	struct ibv_mr *mr = NULL;
	unsigned char *map, *p;
	int err;

	map = mmap(NULL, room, RW, ANON, -1, 0);
	if (map == MAP_FAILED)
		return ktap_skip("no address space: %s", strerror(errno));
	p = (void *)(((uintptr_t)map + 2 * MIB - 1) & ~(2 * MIB - 1));
	err = odp_region(&other, "anon", 0, 64 * KIB);
	if (!err && sparse->access & IBV_ACCESS_HUGETLB &&
	    madvise(map, room, MADV_HUGEPAGE))
		err = -errno;
	if (!err)
		mr = ibv_reg_mr(edu.pd, p, len, ODP | sparse->access);
	if (!err && !mr)
		err = -errno;
	if (!err) {
		what = "copies";
		region_fill(&other, 7);
		err = edu_copy(mr, 0, other.mr, 0, 5000);
	}
	if (!err)
		err = edu_copy(mr, len - 5000, other.mr, 0, 5000);
	if (!err && (memcmp(p, other.addr, 5000) ||
		     memcmp(p + len - 5000, other.addr, 5000)))
		err = -EBADMSG;
	if (!err) {
		struct edudv_check check;

		what = "what the device sees";
		err = -edudv_check_mr(mr, &check);
	}
	if (mr)
		ibv_dereg_mr(mr);
	region_destroy(&other);
	munmap(map, room);
	return result(err, what);
}

static enum ktap_result run_implicit(const void *arg)
{
	struct ibv_mr *mr = ibv_reg_mr(edu.pd, NULL, SIZE_MAX, ODP);
	struct region a = { 0 }, b = { 0 };
	int err = mr ? 0 : -errno;

	(void)arg;
	if (!err)
		err = odp_region(&a, "scattered", 5, 64 * KIB);
	if (!err)
		err = odp_region(&b, "anon", 6, 64 * KIB);
	if (!err) {
		region_fill(&a, 1);
		region_fill(&b, 2);
		err = edu_copy(mr, (uintptr_t)a.addr + 4000, mr,
			       (uintptr_t)b.addr + 100, 5000);
		memcpy(region_model(&a, 4000), region_model(&b, 100), 5000);
	}
	if (!err)
		err = region_check_all(&a);
	if (!err)
		err = edu_copy(mr, 0, mr, (uintptr_t)b.addr, 1) == -EFAULT ?
		      0 : -EBADMSG;
	region_destroy(&a);
	region_destroy(&b);
	if (mr)
		ibv_dereg_mr(mr);
	return result(err, "copies");
}

static int advise(enum ibv_advise_mr_advice advice, struct region *r, int off,
		  u32 len)
{
	struct ibv_sge sge = { r->iova + off, len, r->mr->lkey };

	return -ibv_advise_mr(edu.pd, advice, IBV_ADVISE_MR_FLAG_FLUSH, &sge,
			      1);
}

static enum ktap_result run_advise(const void *arg)
{
	enum ibv_advise_mr_advice write = IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE;
	enum ibv_advise_mr_advice read = IBV_ADVISE_MR_ADVICE_PREFETCH;
	struct region r = { 0 }, other = { 0 };
	int err;

	(void)arg;
	err = odp_region(&r, "scattered", 50, 64 * KIB);
	if (!err)
		err = odp_region(&other, "readonly", 0, 64 * KIB);
	if (!err)
		err = advise(write, &r, 0, 64 * KIB);
	if (!err)
		err = advise(read, &other, 100, 0);
	if (!err)
		err = advise(IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, &other, 0,
			     64 * KIB);
	if (!err)
		err = edu_copy_verify(&r, 3000, &other, 100, 5000);
	if (!err && (advise(read, &r, 1, 64 * KIB) != -EFAULT ||
		     advise(read, &r, -1, 1) != -EFAULT ||
		     advise(write, &other, 0, 1) != -EPERM))
		err = -EBADMSG;
	region_destroy(&r);
	region_destroy(&other);
	return result(err, "advice and copies");
}

/* A copy in a thread of its own, which its page fault can hold up. */
struct copier {
	struct region *dst, *src;
	int err;
};

static void *copier_main(void *arg)
{
	struct copier *c = arg;

	c->err = edu_copy(c->dst->mr, 0, c->src->mr, 0, 100);
	return NULL;
}

/* From here on page faults of the memory are not served, but told by the fd. */
static int hang_faults(struct region *r)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)r->mem.base, r->mem.size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (madvise(r->mem.base, r->mem.size, MADV_DONTNEED) ||
	    ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* A fault that is not served holds up the copy, and nobody else. */
static enum ktap_result run_hung(const void *arg)
{
	struct region r = { 0 }, other = { 0 };
	struct copier c = { &other, &r };
	struct uffd_msg msg;
	pthread_t thread;
	int err, fd;

	(void)arg;
	err = odp_region(&r, "anon", 0, 64 * KIB);
	if (!err)
		err = odp_region(&other, "anon", 0, 64 * KIB);
	fd = err ? err : hang_faults(&r);
	if (fd < 0) {
		err = fd;
		goto out;
	}
	err = -pthread_create(&thread, NULL, copier_main, &c);
	if (!err && read(fd, &msg, sizeof(msg)) != sizeof(msg))
		err = -errno;
	if (!err)	/* the device is free */
		err = edu_copy(other.mr, 1000, other.mr, 2000, 10);
	if (!err) {
		err = -ibv_dereg_mr(r.mr);
		r.mr = NULL;
		pthread_join(thread, NULL);
	}
	close(fd);
out:
	region_destroy(&r);
	region_destroy(&other);
	if (err)
		return ktap_fail("%s", strerror(-err));
	return c.err == -ENOENT ? KTAP_PASS :
				  ktap_fail("the copy: %s", strerror(-c.err));
}

int main(int argc, char **argv)
{
	static const struct sparse sparse[] = {
		{ "5G", 5 * GIB + 12288 },
		{ "1024G", TIB },
		{ "16384G", 16 * TIB },
		{ "huge_pages", GIB, IBV_ACCESS_HUGETLB },
	};
	size_t i;

	for (i = 0; i < nr_memory_kinds; i++)
		ktap_add(run_copy, &memory_kinds[i], "odp/copy/%s",
			 memory_kinds[i].name);
	ktap_add(run_again, memory_kind("anon"), "odp/again/anon");
	ktap_add(run_again, memory_kind("thp"), "odp/again/thp");
	ktap_add(run_cut, NULL, "odp/cut_huge_page");
	ktap_add(run_huge_again, "hugetlb", "odp/huge_pages/hugetlb");
	ktap_add(run_huge_again, "thp", "odp/huge_pages/thp");
	ktap_add(run_huge_cut, NULL, "odp/huge_pages/cut");
	ktap_add(run_unmapped, NULL, "odp/unmapped");
	ktap_add(run_protect, NULL, "odp/protect");
	for (i = 0; i < ARRAY_SIZE(sparse); i++)
		ktap_add(run_sparse, &sparse[i], "odp/sparse/%s",
			 sparse[i].name);
	ktap_add(run_neighbour, NULL, "odp/neighbour");
	ktap_add(run_tables, NULL, "odp/tables");
	ktap_add(run_implicit, NULL, "odp/implicit");
	ktap_add(run_advise, NULL, "odp/advise");
	ktap_add(run_hung, NULL, "odp/hung");
	return edu_main(argc, argv);
}
