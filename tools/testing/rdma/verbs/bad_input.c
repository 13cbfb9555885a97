// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bad_input.h"
#include "inject.h"
#include "rereg.h"
#include "resources.h"

#define PAGE		4096UL
#define NR_PAGES	1500UL	/* more than the core pins at a time, or lists in a page */
#define STRIDE		271UL	/* has no divisor in common with that */
#define SIZE		(NR_PAGES * PAGE)
/*
 * The smallest object lost in each call is more than this, and what the slab
 * allocator keeps at hand for itself is less.
 */
#define LOOPS		2000
#define LEAK		(LOOPS * 64)
#define DRAIN		100	/* tenths of a second */

static int make_input(struct input *in, int access)
{
	size_t i;

	*in = (struct input) {
		.map_len = SIZE, .len = SIZE, .access = access,
		.fd = memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	};
	if (in->fd < 0 || ftruncate(in->fd, SIZE))
		return -errno;
	in->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, in->fd,
		       0);
	if (in->map == MAP_FAILED)
		return -errno;
	/* Out of order, so that neighbours are none in physical memory. */
	for (i = 0; i < NR_PAGES; i++)
		in->map[i * STRIDE % NR_PAGES * PAGE] = 1;
	in->addr = in->map;
	in->iova = (uintptr_t)in->addr;
	return 0;
}

static int at(struct input *in, u64 addr, size_t len)
{
	in->addr = (unsigned char *)addr;
	in->iova = addr;
	in->len = len;
	return 0;
}

static int zero_length(struct input *in)
{
	in->len = 0;
	return 0;
}

static int wraps(struct input *in)
{
	return at(in, -2 * PAGE, 4 * PAGE);
}

static int wraps_length(struct input *in)
{
	in->len = -PAGE;
	return 0;
}

static int wraps_aligned(struct input *in)
{
	return at(in, -100UL, 50);
}

static int too_many_pages(struct input *in)
{
	in->len = 1UL << 45;
	return 0;
}

static int past_user_space(struct input *in)
{
	return at(in, 1UL << 62, PAGE);
}

static int null(struct input *in)
{
	return at(in, 0, PAGE);
}

static int unmapped(struct input *in)
{
	return munmap(in->addr, SIZE);
}

static int hole_first(struct input *in)
{
	return munmap(in->addr, PAGE);
}

static int hole_middle(struct input *in)
{
	return munmap(in->addr + 300 * PAGE, PAGE);
}

static int hole_second_batch(struct input *in)
{
	return munmap(in->addr + 600 * PAGE, PAGE);
}

static int hole_at_batch(struct input *in)
{
	return munmap(in->addr + 512 * PAGE, PAGE);
}

static int hole_last(struct input *in)
{
	return munmap(in->addr + SIZE - PAGE, PAGE);
}

static int past_end_of_file(struct input *in)
{
	return ftruncate(in->fd, SIZE - PAGE);
}

static int read_only(struct input *in)
{
	return mprotect(in->addr, SIZE, PROT_READ);
}

static int read_only_page(struct input *in)
{
	return mprotect(in->addr + 600 * PAGE, PAGE, PROT_READ);
}

static int no_access(struct input *in)
{
	return mprotect(in->addr, SIZE, PROT_NONE);
}

/* Pages of the kernel's own, in every process. */
static int pfnmap_vvar(struct input *in)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar"))
			sscanf(line, "%lx-", &from);
	if (f)
		fclose(f);
	in->access = IBV_ACCESS_REMOTE_READ;
	return from ? at(in, from, PAGE) : -1;
}

/* Memory of a PCI function. */
static int pfnmap_pci(struct input *in)
{
	void *p = MAP_FAILED;
	glob_t files;
	size_t i;
	int fd;

	if (glob("/sys/bus/pci/devices/*/resource[0-5]", 0, NULL, &files))
		return -1;
	for (i = 0; i < files.gl_pathc && p == MAP_FAILED; i++) {
		fd = open(files.gl_pathv[i], O_RDWR);
		if (fd < 0)
			continue;
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	globfree(&files);
	return p == MAP_FAILED ? -1 : at(in, (uintptr_t)p, PAGE);
}

static int iova_elsewhere_in_page(struct input *in)
{
	in->iova += 8;
	return 0;
}

const struct bad_input bad_inputs[] = {
	{ "zero_length", zero_length, EINVAL },
	{ "wraps", wraps, EINVAL },
	{ "wraps_length", wraps_length, EINVAL },
	{ "wraps_aligned", wraps_aligned, EINVAL },
	{ "too_many_pages", too_many_pages, EINVAL },
	{ "past_user_space", past_user_space, EFAULT },
	{ "null", null, EFAULT },
	{ "unmapped", unmapped, EFAULT },
	{ "hole_first", hole_first, EFAULT },
	{ "hole_middle", hole_middle, EFAULT },
	{ "hole_at_batch", hole_at_batch, EFAULT },
	{ "hole_second_batch", hole_second_batch, EFAULT },
	{ "hole_last", hole_last, EFAULT },
	{ "past_end_of_file", past_end_of_file, EFAULT },
	{ "read_only", read_only, EFAULT },
	{ "read_only_page", read_only_page, EFAULT },
	{ "no_access", no_access, EFAULT },
	{ "pfnmap_vvar", pfnmap_vvar, EFAULT },
	{ "pfnmap_pci", pfnmap_pci, EFAULT },
	{ "iova_elsewhere_in_page", iova_elsewhere_in_page, EINVAL },
};

const size_t nr_bad_inputs = ARRAY_SIZE(bad_inputs);

/* 0, or the errno value. */
static int register_again(const struct input *in)
{
	struct rereg to = {
		.flags = IBV_REREG_MR_CHANGE_TRANSLATION |
			 IBV_REREG_MR_CHANGE_ACCESS,
		.addr = in->addr, .len = in->len, .iova = in->iova,
		.access = in->access,
	};

	return -rereg_mr(in->again, &to);
}

static int register_once(struct ibv_pd *pd, const struct input *in)
{
	struct ibv_mr *mr = ibv_reg_mr_iova(pd, in->addr, in->len, in->iova,
					    in->access);

	if (!mr)
		return errno;
	ibv_dereg_mr(mr);
	return 0;
}

/* 0, or -errno of what should have failed, as told by ktap_diag(). */
static int expect_errno(struct ibv_pd *pd, const struct input *in, int want)
{
	int got = in->again ? register_again(in) : register_once(pd, in);

	if (got == want)
		return 0;
	ktap_diag("errno: %s instead of %s", strerrorname_np(got),
		  strerrorname_np(want));
	return -EBADMSG;
}

static int try_often(struct ibv_pd *pd, const struct input *in, int want)
{
	int i, err = 0;

	for (i = 0; !err && i < LOOPS; i++)
		err = expect_errno(pd, in, want);
	return err;
}

/*
 * What the kernel frees after a grace period it may keep for seconds, so look
 * again before calling it lost. A loss would be seen in every call.
 */
static bool leaks_slab(struct ibv_pd *pd, const struct input *in, int want)
{
	long before, more;
	int tries;

	if (try_often(pd, in, want))	/* caches grow at first */
		return true;
	before = slab_bytes();
	if (try_often(pd, in, want))
		return true;
	for (tries = 0; tries < DRAIN; tries++) {
		more = slab_bytes() - before;
		if (more <= LEAK)
			return false;
		usleep(100000);
	}
	ktap_diag("%ld bytes of slab more after %d calls", more, LOOPS);
	return true;
}

static enum ktap_result run_bad(struct ibv_pd *pd, const struct bad_input *t,
				struct input *in)
{
	long pinned = pinned_pages();

	if (t->access)
		in->access = t->access;
	if (t->spoil && t->spoil(in))
		return ktap_fail("this kernel or machine lets it not be tried");
	if (expect_errno(pd, in, t->expect))
		return ktap_fail("another errno");
	if (slab_is_exact() && leaks_slab(pd, in, t->expect))
		return ktap_fail("slab memory is lost");
	if (pinned_pages() != pinned)
		return ktap_fail("VmPin: %ld pages instead of %ld",
				 pinned_pages(), pinned);
	munmap(in->map, in->map_len);
	in->map = NULL;
	if (memfd_is_pinned(in->fd))
		return ktap_fail("pages are still referenced");
	return KTAP_PASS;
}

static enum ktap_result run(struct ibv_pd *pd, int access,
			    const struct bad_input *bad, struct ibv_mr *again)
{
	struct input in;
	enum ktap_result res;
	int err = make_input(&in, access);

	in.again = again;
	res = err ? ktap_fail("set-up: %s", strerror(-err)) :
		    run_bad(pd, bad, &in);
	if (in.map)
		munmap(in.map, in.map_len);
	close(in.fd);
	return res;
}

enum ktap_result bad_input_run(struct ibv_pd *pd, int access,
			       const struct bad_input *bad)
{
	return run(pd, access, bad, NULL);
}

enum ktap_result bad_input_run_again(struct ibv_mr *mr, int access,
				     const struct bad_input *bad)
{
	return run(mr->pd, access, bad, mr);
}

enum ktap_result bad_input_control(struct ibv_pd *pd, int access)
{
	long pinned = pinned_pages();
	enum ktap_result res = KTAP_PASS;
	struct ibv_mr *mr;
	struct input in;

	if (make_input(&in, access))
		return ktap_fail("set-up");
	mr = ibv_reg_mr(pd, in.addr, in.len, in.access);
	if (!mr)
		return ktap_fail("good input is refused: %s", strerror(errno));
	if (pinned_pages() != pinned + (long)NR_PAGES)
		res = ktap_fail("VmPin does not count");
	munmap(in.map, in.map_len);
	if (!memfd_is_pinned(in.fd))
		res = ktap_fail("a pinned page does not show");
	ibv_dereg_mr(mr);
	if (memfd_is_pinned(in.fd))
		res = ktap_fail("a page is still pinned");
	close(in.fd);
	return res;
}

/* What registers while allocations fail. */
struct failing {
	struct ibv_pd *pd;
	struct input in;
	long pinned;
};

/* 0, or the errno value. */
static int register_failing(struct failing *f, struct injection *inj)
{
	const struct input *in = &f->in;
	struct ibv_mr *mr;

	inject_begin(inj);
	mr = ibv_reg_mr(f->pd, in->addr, in->len, in->access);
	inject_end(inj);
	if (!mr)
		return errno;
	ibv_dereg_mr(mr);
	return 0;
}

/* The same of a region of a byte, which can be deregistered whatever happens. */
static int register_again_failing(struct failing *f, struct injection *inj)
{
	static unsigned char byte;
	struct input *in = &f->in;
	int err;

	in->again = ibv_reg_mr(f->pd, &byte, 1, in->access);
	if (!in->again)
		return errno;
	inject_begin(inj);
	err = register_again(in);
	inject_end(inj);
	if (ibv_dereg_mr(in->again))
		err = EBUSY;
	return err;
}

static enum ktap_result check_failing(struct failing *f, struct injection *inj,
				      int err)
{
	inj->refused = err;
	if (err && err != ENOMEM)
		return ktap_fail("%s", strerrorname_np(err));
	if (pinned_pages() != f->pinned)
		return ktap_fail("VmPin is %ld pages", pinned_pages());
	return KTAP_PASS;
}

static enum ktap_result try_new(struct injection *inj, void *arg)
{
	return check_failing(arg, inj, register_failing(arg, inj));
}

static enum ktap_result try_again(struct injection *inj, void *arg)
{
	return check_failing(arg, inj, register_again_failing(arg, inj));
}

static enum ktap_result
run_inject(struct ibv_pd *pd, int access,
	   enum ktap_result (*try)(struct injection *inj, void *arg))
{
	struct failing f = { .pd = pd, .pinned = pinned_pages() };
	enum ktap_result res = inject_prepare();
	int err;

	if (res != KTAP_PASS)
		return res;
	err = make_input(&f.in, access);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	res = inject_each(1, &f, try);
	munmap(f.in.map, f.in.map_len);
	if (res == KTAP_PASS && memfd_is_pinned(f.in.fd))
		res = ktap_fail("pages still referenced");
	close(f.in.fd);
	return res;
}

enum ktap_result bad_input_inject(struct ibv_pd *pd, int access)
{
	return run_inject(pd, access, try_new);
}

enum ktap_result bad_input_inject_again(struct ibv_pd *pd, int access)
{
	return run_inject(pd, access, try_again);
}
