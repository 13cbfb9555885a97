// SPDX-License-Identifier: GPL-2.0
/*
 * After deregistration the device's address leads nowhere: the IOMMU refuses
 * the access, which its log tells, and no byte of the memory changes. Neither
 * after the process lost a page of a region with on-demand paging.
 *
 * The process keeps the memory mapped, so that a write that got through would
 * show in it. What the log says is expected between two marks in the log; who
 * reads it later knows by them that nothing is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"
#include "ktap.h"
#include "textfile.h"

#define PAGE	4096UL
#define SIZE	(8 * PAGE)
#define WAIT	50	/* tenths of a second */
#define PAUSE	6	/* seconds; in 5 s the kernel tells of three faults */

/* One write is one line of the log. */
static int mark(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n < 0 ? -errno : 0;
}

/* From here on what the kernel says is new. */
static int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Does the kernel tell of a fault of this kind within some seconds? */
static bool log_has_fault(int fd, const char *kind)
{
	char line[1024], want[64];
	int tries;
	ssize_t n;

	snprintf(want, sizeof(want), "DMAR: [DMA %s ", kind);
	for (tries = 0; tries < WAIT; tries++) {
		while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
			line[n] = 0;
			if (strstr(line, want))
				return true;
		}
		usleep(100000);
	}
	return false;
}

/* Have the device use the address of the region deregistered last. */
static int stale_access(const char *word)
{
	return write_text(word, "/sys/kernel/debug/%s/stale", edu.name);
}

/* Copies to the region and back work, so it is the device that is refused. */
static int use(struct region *r)
{
	struct region other = { 0 };
	int err;

	err = edu_region(&other, memory_kind("anon"), &iova_same, 0, SIZE);
	if (!err)
		err = edu_copy_verify(r, 0, &other, 0, 100);
	if (!err)
		err = edu_copy_verify(&other, 200, r, 0, 100);
	region_destroy(&other);
	return err;
}

static enum ktap_result refused(const struct region *r, const char *word,
				const char *kind)
{
	int err = mark("dma_stale: a fault is expected\n");
	int fd = log_open();
	bool told = false;

	if (!err)
		err = fd < 0 ? -errno : stale_access(word);
	if (!err) {
		told = log_has_fault(fd, kind);
		err = mark("dma_stale: no more faults are expected\n");
	}
	close(fd);
	if (err)
		return ktap_fail("%s: %s", word, strerror(-err));
	if (!told)
		return ktap_fail("%s: the IOMMU tells of no fault", word);
	return region_check_all(r) ? ktap_fail("%s: the memory changed", word) :
				     KTAP_PASS;
}

struct stale_test {
	const char *kind;
	bool odp;
};

/* The device has used all pages, and the process gets other ones. */
static int replace(struct region *r)
{
	int err = edu_copy_verify(r, 0, r, SIZE - 9, 9);

	if (!err && madvise(r->mem.base, r->mem.size, MADV_DONTNEED))
		err = -errno;
	if (!err)
		region_fill(r, 5);
	return err;
}

static enum ktap_result run_stale(const void *arg)
{
	const struct stale_test *t = arg;
	struct region_attr attr = {
		.kind = memory_kind(t->kind), .iova = &iova_same, .len = SIZE,
		.tail = 1,
		.access = EDU_ACCESS | (t->odp ? IBV_ACCESS_ON_DEMAND : 0),
	};
	enum ktap_result res;
	struct region r;
	int err = region_create(&r, &edu, &attr);

	if (!err)
		err = use(&r);
	if (!err && t->odp)
		err = replace(&r);
	if (!err) {
		err = -ibv_dereg_mr(r.mr);
		r.mr = NULL;
	}
	if (err) {
		res = ktap_fail("set-up: %s", strerror(-err));
	} else {
		res = refused(&r, "write", "Write");
		if (res == KTAP_PASS)
			res = refused(&r, "read", "Read");
	}
	region_destroy(&r);
	return res;
}

static enum ktap_result run_translated(const void *arg)
{
	if (!edu_is_translated())
		return ktap_skip("no IOMMU stands between the device and the memory");
	sleep(PAUSE);
	return run_stale(arg);
}

/* Where it would reach memory, it is not done. */
static enum ktap_result run_guard(const void *arg)
{
	const int want = edu_is_translated() ? -EBUSY : -EOPNOTSUPP;
	struct region gone, r;
	int err = edu_region(&gone, memory_kind("anon"), &iova_same, 0, SIZE);

	(void)arg;
	if (!err)
		err = edu_region(&r, memory_kind("anon"), &iova_same, 0, SIZE);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	ibv_dereg_mr(gone.mr);
	gone.mr = NULL;
	err = stale_access("write");
	region_destroy(&r);
	region_destroy(&gone);
	return err == want ? KTAP_PASS : ktap_fail("%s", strerror(-err));
}

int main(int argc, char **argv)
{
	static const struct stale_test tests[] = {
		{ "scattered", false },
		{ "hugetlb", false },
		{ "anon", true },
		{ "thp", true },
	};
	size_t i;

	ktap_add(run_guard, NULL, "stale/guard");
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run_translated, &tests[i], "stale/%s%s",
			 tests[i].odp ? "odp/" : "", tests[i].kind);
	return edu_main(argc, argv);
}
