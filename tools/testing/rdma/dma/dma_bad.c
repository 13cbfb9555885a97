// SPDX-License-Identifier: GPL-2.0
/*
 * What the device refuses, with which errno, and that nothing is left behind:
 * bad memory, access that it does not offer, copies that are not allowed,
 * regions that are not where the process has them.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bad_input.h"
#include "edu.h"
#include "ktap.h"

#define PAGE	4096UL
#define SIZE	(16 * PAGE)

static const struct bad_input bad_access[] = {
	{ "remote_write_only", NULL, EINVAL, IBV_ACCESS_REMOTE_WRITE },
	{ "unknown_access", NULL, EINVAL, EDU_ACCESS | 1 << 18 },
	{ "atomic", NULL, EOPNOTSUPP, EDU_ACCESS | IBV_ACCESS_REMOTE_ATOMIC },
	{ "memory_window", NULL, EOPNOTSUPP, EDU_ACCESS | IBV_ACCESS_MW_BIND },
	{ "zero_based", NULL, EOPNOTSUPP, EDU_ACCESS | IBV_ACCESS_ZERO_BASED },
	{ "on_demand", NULL, EOPNOTSUPP,
	  EDU_ACCESS | IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_ATOMIC },
	{ "flush", NULL, EOPNOTSUPP, EDU_ACCESS | IBV_ACCESS_FLUSH_GLOBAL },
};

static enum ktap_result run_bad_test(const void *arg)
{
	return bad_input_run(edu.pd, EDU_ACCESS, arg);
}

static enum ktap_result run_control(const void *arg)
{
	(void)arg;
	return bad_input_control(edu.pd, EDU_ACCESS);
}

/* A region to copy from, and one to copy to: SIZE bytes each. */
struct two {
	struct region src, dst;
};

static int two_create(struct two *t)
{
	int err;

	memset(t, 0, sizeof(*t));
	err = edu_region(&t->src, memory_kind("anon"), &iova_same, 0, SIZE);
	if (!err)
		err = edu_region(&t->dst, memory_kind("anon"), &iova_same, 0,
				 SIZE);
	if (!err) {
		region_fill(&t->src, 1);
		region_fill(&t->dst, 2);
	}
	return err;
}

static void two_destroy(struct two *t)
{
	region_destroy(&t->src);
	region_destroy(&t->dst);
}

/* The copy fails with this errno, and changes nothing. */
static int refused(struct two *t, struct ibv_mr *dst, u64 dst_off,
		   struct ibv_mr *src, u64 src_off, u64 len, int want)
{
	int err = edu_copy(dst, dst_off, src, src_off, len);

	if (err != -want) {
		ktap_diag("%llu bytes from %llu to %llu: %s instead of %s",
			  (unsigned long long)len, (unsigned long long)src_off,
			  (unsigned long long)dst_off, strerrorname_np(-err),
			  strerrorname_np(want));
		return -EBADMSG;
	}
	err = region_check_all(&t->dst);
	return err ? err : region_check_all(&t->src);
}

static int try_ranges(struct two *t)
{
	static const struct {
		u64 dst, src, len;
		int want;
	} cases[] = {
		{ 0, 0, 0, 0 },
		{ SIZE, SIZE, 0, 0 },
		{ SIZE + 1, 0, 0, ERANGE },
		{ 0, SIZE + 1, 0, ERANGE },
		{ 0, 0, SIZE + 1, ERANGE },
		{ 1, 0, SIZE, ERANGE },
		{ 0, 1, SIZE, ERANGE },
		{ SIZE, 0, 1, ERANGE },
		{ 0, SIZE, 1, ERANGE },
		{ 0, 0, ~0ULL, ERANGE },
		{ ~0ULL, 0, 1, ERANGE },
		{ 0, ~0ULL, 1, ERANGE },
		{ ~0ULL - 7, 0, 8, ERANGE },
		{ 1ULL << 63, 0, 1ULL << 63, ERANGE },
	};
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(cases); i++)
		err = refused(t, t->dst.mr, cases[i].dst, t->src.mr,
			      cases[i].src, cases[i].len, cases[i].want);
	return err;
}

/* Keys that are no key, and access that the region was not given. */
static int try_keys(struct two *t)
{
	struct ibv_mr none = *t->src.mr, *ro;
	int err;

	none.lkey = 0;
	err = refused(t, t->dst.mr, 0, &none, 0, 8, ENOENT);
	none.lkey = ~0U;
	if (!err)
		err = refused(t, &none, 0, t->src.mr, 0, 8, ENOENT);

	ro = ibv_reg_mr(edu.pd, t->dst.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	if (!ro)
		return -errno;
	if (!err)
		err = refused(t, ro, 0, t->src.mr, 0, 8, EACCES);
	none = *ro;
	ibv_dereg_mr(ro);
	return err ? err : refused(t, t->dst.mr, 0, &none, 0, 8, ENOENT);
}

/* A region of another PD, and of another process for all that the device knows. */
static int try_pds(struct two *t)
{
	struct rdma_dev other;
	struct ibv_mr *mr;
	int err = edu_open(&other);

	if (err)
		return err;
	mr = ibv_reg_mr(other.pd, t->src.addr, SIZE, EDU_ACCESS);
	err = mr ? refused(t, t->dst.mr, 0, mr, 0, 8, ENOENT) : -errno;
	if (!err)
		err = refused(t, mr, 0, t->src.mr, 0, 8, ENOENT);
	if (mr)
		ibv_dereg_mr(mr);
	edu_close(&other);
	return err;
}

static enum ktap_result run_copy(const void *arg)
{
	int (*const *try)(struct two *) = arg;
	struct two t;
	int err = two_create(&t);

	if (!err)
		err = (*try)(&t);
	two_destroy(&t);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The address that the owner gives it may be any, up to the last one. */
static int try_iova(struct two *t)
{
	struct ibv_mr *mr;
	int err;

	mr = ibv_reg_mr_iova(edu.pd, t->src.addr, SIZE, -PAGE, EDU_ACCESS);
	if (mr || errno != EINVAL)
		return -EBADMSG;
	mr = ibv_reg_mr_iova(edu.pd, t->src.addr, SIZE, -SIZE, EDU_ACCESS);
	if (!mr)
		return -errno;
	err = edu_check(mr, t->src.addr, SIZE, NULL);
	if (!err)
		err = edu_copy(t->dst.mr, 5, mr, SIZE - 100, 100);
	memcpy(region_model(&t->dst, 5), t->src.addr + SIZE - 100, 100);
	ibv_dereg_mr(mr);
	return err ? err : region_check_all(&t->dst);
}

/* Only who registered it can say where the memory is. */
static int check_in_child(struct ibv_mr *mr)
{
	struct edudv_check check;
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(edudv_check_mr(mr, &check));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The check of the check: it does notice other memory. */
static enum ktap_result run_check(const void *arg)
{
	struct edudv_check check;
	struct two t;
	int err = two_create(&t), other, moved, gone;

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = edudv_check_mr(t.src.mr, &check);
	other = check_in_child(t.src.mr);
	/* One page of the last is another one now. */
	moved = mmap(t.src.addr + SIZE - PAGE, PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE,
		     -1, 0) == MAP_FAILED ? -1 :
		edudv_check_mr(t.src.mr, &check);
	gone = munmap(t.src.addr, PAGE) ? -1 :
	       edudv_check_mr(t.src.mr, &check);
	two_destroy(&t);
	if (err || other != EPERM || moved != EBADMSG || gone != EFAULT)
		return ktap_fail("%s, %s in a child, %s with another page, %s without",
				 strerrorname_np(err), strerrorname_np(other),
				 strerrorname_np(moved), strerrorname_np(gone));
	return KTAP_PASS;
}

static int (*const copies[])(struct two *) = {
	try_ranges, try_keys, try_pds, try_iova,
};

int main(int argc, char **argv)
{
	size_t i;

	ktap_add(run_control, NULL, "bad/control");
	ktap_add(run_copy, &copies[0], "bad/copy/ranges");
	ktap_add(run_copy, &copies[1], "bad/copy/keys");
	ktap_add(run_copy, &copies[2], "bad/copy/other_pd");
	ktap_add(run_copy, &copies[3], "bad/copy/iova");
	ktap_add(run_check, NULL, "bad/check");
	for (i = 0; i < nr_bad_inputs; i++)
		ktap_add(run_bad_test, &bad_inputs[i], "bad/%s",
			 bad_inputs[i].name);
	for (i = 0; i < ARRAY_SIZE(bad_access); i++)
		ktap_add(run_bad_test, &bad_access[i], "bad/%s",
			 bad_access[i].name);
	return edu_main(argc, argv);
}
