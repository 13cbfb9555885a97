// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input to ibv_reg_mr() gives the errno that it always gave, and leaves
 * nothing behind: no page accounted or referenced, no memory allocated.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"
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

struct input {
	unsigned char *map;
	size_t map_len;
	int fd;			/* memfd behind the map, or -1 */
	unsigned char *addr;
	size_t len;
	u64 iova;
	int access;
};

struct bad_test {
	const char *name;
	int (*spoil)(struct input *in);
	int expect;
	int access;		/* 0: as it is */
};

static int make_input(struct input *in)
{
	size_t i;

	*in = (struct input) {
		.map_len = SIZE, .len = SIZE, .access = ACCESS_ALL,
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

static const struct bad_test tests[] = {
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
	{ "remote_write_only", NULL, EINVAL, IBV_ACCESS_REMOTE_WRITE },
	{ "remote_atomic_only", NULL, EINVAL, IBV_ACCESS_REMOTE_ATOMIC },
	{ "unknown_access", NULL, EINVAL, ACCESS_ALL | 1 << 18 },
	{ "zero_based", NULL, EOPNOTSUPP, ACCESS_ALL | IBV_ACCESS_ZERO_BASED },
	{ "huge_page_access", NULL, EOPNOTSUPP, ACCESS_ALL | IBV_ACCESS_HUGETLB },
	{ "persistent_ram", NULL, EINVAL,
	  ACCESS_ALL | IBV_ACCESS_FLUSH_PERSISTENT },
};

/* 0, or -errno of what should have failed, as told by ktap_diag(). */
static int expect_errno(const struct input *in, int want)
{
	struct ibv_mr *mr = ibv_reg_mr_iova(rxe[0].pd, in->addr, in->len,
					    in->iova, in->access);
	int got = mr ? 0 : errno;

	if (mr)
		ibv_dereg_mr(mr);
	if (got == want)
		return 0;
	ktap_diag("errno: %s instead of %s", strerrorname_np(got),
		  strerrorname_np(want));
	return -EBADMSG;
}

static int try_often(const struct input *in, int want)
{
	int i, err = 0;

	for (i = 0; !err && i < LOOPS; i++)
		err = expect_errno(in, want);
	return err;
}

/*
 * What the kernel frees after a grace period it may keep for seconds, so look
 * again before calling it lost. A loss would be seen in every call.
 */
static bool leaks_slab(const struct input *in, int want)
{
	long before, more;
	int tries;

	if (try_often(in, want))	/* caches grow at first */
		return true;
	before = slab_bytes();
	if (try_often(in, want))
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

static enum ktap_result run_bad(const struct bad_test *t, struct input *in)
{
	long pinned = pinned_pages();

	if (t->access)
		in->access = t->access;
	if (t->spoil && t->spoil(in))
		return ktap_fail("this kernel or machine lets it not be tried");
	if (expect_errno(in, t->expect))
		return ktap_fail("another errno");
	if (slab_is_exact() && leaks_slab(in, t->expect))
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

static enum ktap_result run_bad_test(const void *arg)
{
	struct input in;
	enum ktap_result res;
	int err = make_input(&in);

	res = err ? ktap_fail("set-up: %s", strerror(-err)) : run_bad(arg, &in);
	if (in.map)
		munmap(in.map, in.map_len);
	close(in.fd);
	return res;
}

/* The check of the checks: what they look at does see a registration. */
static enum ktap_result run_control(const void *arg)
{
	long pinned = pinned_pages();
	enum ktap_result res = KTAP_PASS;
	struct ibv_mr *mr;
	struct input in;

	(void)arg;
	if (make_input(&in))
		return ktap_fail("set-up");
	mr = ibv_reg_mr(rxe[0].pd, in.addr, in.len, in.access);
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

/* What an unprivileged child finds; its exit status is the line it failed at. */
static int child_over_limit(void)
{
	const size_t limit = 16 * PAGE;
	struct rlimit rl = { limit, limit };
	struct ibv_mr *a, *b;
	struct rdma_dev dev;
	unsigned char *p;

	p = mmap(NULL, 2 * limit, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED || setrlimit(RLIMIT_MEMLOCK, &rl) ||
	    setgid(65534) || setuid(65534) || rdma_dev_open(&dev, "rxe0"))
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, limit + 1, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	if (pinned_pages())
		return __LINE__;
	a = ibv_reg_mr(dev.pd, p, limit - PAGE, ACCESS_ALL);
	if (!a || pinned_pages() != 15)
		return __LINE__;
	/* Two bytes, but of two pages. */
	if (ibv_reg_mr(dev.pd, p + PAGE - 1, 2, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	b = ibv_reg_mr(dev.pd, p + PAGE - 1, 1, ACCESS_ALL);
	if (!b || pinned_pages() != 16)
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, 1, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	if (ibv_dereg_mr(a) || pinned_pages() != 1)
		return __LINE__;
	a = ibv_reg_mr(dev.pd, p, limit - PAGE, ACCESS_ALL);
	if (!a || ibv_dereg_mr(a) || ibv_dereg_mr(b) || pinned_pages())
		return __LINE__;
	rl.rlim_cur = 0;
	if (setrlimit(RLIMIT_MEMLOCK, &rl))
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, 1, ACCESS_ALL) || errno != EPERM)
		return __LINE__;
	return pinned_pages() ? __LINE__ : 0;
}

/* Let a user other than root open the device files. */
static void open_device_files(void)
{
	glob_t files;
	size_t i;

	if (glob("/dev/infiniband/uverbs*", 0, NULL, &files))
		return;
	for (i = 0; i < files.gl_pathc; i++)
		chmod(files.gl_pathv[i], 0666);
	globfree(&files);
}

static enum ktap_result run_over_limit(const void *arg)
{
	int result[2], line = -1;
	pid_t pid;

	(void)arg;
	open_device_files();
	if (pipe(result))
		return ktap_fail("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		line = child_over_limit();
		_exit(write(result[1], &line, sizeof(line)) != sizeof(line));
	}
	close(result[1]);
	if (read(result[0], &line, sizeof(line)) != sizeof(line))
		line = -1;
	close(result[0]);
	waitpid(pid, NULL, 0);
	return line ? ktap_fail("line %d of " __FILE__, line) : KTAP_PASS;
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int err = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

/* Make the nth allocation from now on fail. 0 switches that off. */
static int fail_nth(int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	return write_text("/proc/thread-self/fail-nth", text);
}

/* What was to fail has failed: nothing is left to count. */
static bool failed_one(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDONLY), left = -1;
	char text[16] = "";

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		left = atoi(text);
	if (fd >= 0)
		close(fd);
	return !left;
}

static int allow_failures(void)
{
	int err = write_text("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");

	if (!err)
		err = write_text("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait",
				 "N");
	if (!err)
		err = write_text("/sys/kernel/debug/fail_page_alloc/min-order",
				 "0");
	return err;
}

/*
 * Fail the first allocation of a registration, then the second, and so on,
 * until it takes fewer than that.
 */
static enum ktap_result inject(struct input *in)
{
	long pinned = pinned_pages();
	int nth, refused = 0;

	for (nth = 1; nth < 1000; nth++) {
		struct ibv_mr *mr;
		bool failed;
		int err;

		fail_nth(nth);
		mr = ibv_reg_mr(rxe[0].pd, in->addr, in->len, in->access);
		err = errno;
		failed = failed_one();
		fail_nth(0);
		if (mr)
			ibv_dereg_mr(mr);
		else if (err != ENOMEM)
			return ktap_fail("allocation %d: %s", nth,
					 strerrorname_np(err));
		refused += !mr;
		if (pinned_pages() != pinned)
			return ktap_fail("allocation %d: VmPin is %ld pages",
					 nth, pinned_pages());
		if (!failed)
			break;
	}
	ktap_diag("%d allocations, %d of them refused the region", nth - 1,
		  refused);
	if (!refused)
		return ktap_fail("no allocation of a registration failed");
	munmap(in->map, in->map_len);
	in->map = NULL;
	return memfd_is_pinned(in->fd) ? ktap_fail("pages still referenced") :
					 KTAP_PASS;
}

static enum ktap_result run_inject(const void *arg)
{
	enum ktap_result res;
	struct input in;
	int err;

	(void)arg;
	if (access("/proc/thread-self/fail-nth", F_OK))
		return ktap_skip("this kernel cannot inject failures; the debug kernel can");
	err = allow_failures();
	if (!err)
		err = make_input(&in);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	res = inject(&in);
	if (in.map)
		munmap(in.map, in.map_len);
	close(in.fd);
	return res;
}

int main(int argc, char **argv)
{
	size_t i;

	ktap_add(run_control, NULL, "bad/control");
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run_bad_test, &tests[i], "bad/%s", tests[i].name);
	ktap_add(run_over_limit, NULL, "bad/over_memlock_limit");
	ktap_add(run_inject, NULL, "bad/allocation_failures");
	return fixture_main(argc, argv);
}
