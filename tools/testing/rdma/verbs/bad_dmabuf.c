// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bad_dmabuf.h"
#include "exporter.h"
#include "ktap.h"
#include "resources.h"

#define PAGE	4096UL

static const char unsupported[] = "this kernel's rxe has no MRs of dma-bufs";

/* The device, open while the tests run, and all access that it offers. */
static const struct rdma_dev *device;
static int access_all;

/* A dma-buf of some pages of a memfd, and how to register it. */
struct input {
	int memfd, fd;
	u64 offset;
	size_t len;
	u64 iova;
	int access;
	struct ibv_mr *mr;
};

#define BUF	(16 * PAGE)

static void put_input(struct input *in)
{
	if (in->mr)
		ibv_dereg_mr(in->mr);
	if (in->fd >= 0)
		close(in->fd);
	if (in->memfd >= 0)
		close(in->memfd);
}

static int make_input(struct input *in)
{
	*in = (struct input) {
		.fd = -1, .len = BUF, .access = access_all,
		.memfd = memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	};
	if (in->memfd < 0 ||
	    fcntl(in->memfd, F_ADD_SEALS, F_SEAL_SHRINK) ||
	    ftruncate(in->memfd, BUF)) {
		put_input(in);
		return -errno;
	}
	in->fd = udmabuf_create(in->memfd, 0, BUF);
	if (in->fd >= 0)
		return 0;
	put_input(in);
	return in->fd;
}

static int reg(struct input *in)
{
	errno = 0;
	in->mr = ibv_reg_dmabuf_mr(device->pd, in->offset, in->len, in->iova,
				   in->fd, in->access);
	return in->mr ? 0 : errno;
}

/* Nothing but the dma-buf kept the pages, and now nothing does. */
static bool pages_are_free(struct input *in)
{
	if (in->fd >= 0)
		close(in->fd);
	in->fd = -1;
	return !memfd_is_pinned(in->memfd);
}

static void at(struct input *in, u64 offset)
{
	in->offset = offset;
	in->iova = offset;
}

static void past_end(struct input *in)
{
	in->len = BUF + 1;
}

static void past_end_by_offset(struct input *in)
{
	at(in, 1);
}

static void all_past_end(struct input *in)
{
	at(in, BUF);
	in->len = PAGE;
}

static void wraps(struct input *in)
{
	at(in, -PAGE);
	in->len = 2 * PAGE;
}

static void iova_wraps(struct input *in)
{
	in->iova = -PAGE;
}

static void empty(struct input *in)
{
	in->len = 0;
}

static void empty_inside(struct input *in)
{
	at(in, 100);
	in->len = 0;
}

static void differs_in_page(struct input *in)
{
	in->iova = 8;
}

static void no_dmabuf(struct input *in)
{
	dup2(in->memfd, in->fd);
}

static void closed(struct input *in)
{
	close(in->fd);
	in->fd = -1;
}

static void odp(struct input *in)
{
	in->access |= IBV_ACCESS_ON_DEMAND;
}

static void persistent(struct input *in)
{
	in->access |= IBV_ACCESS_FLUSH_PERSISTENT;
}

static void write_needs_local(struct input *in)
{
	in->access = IBV_ACCESS_REMOTE_WRITE;
}

struct bad_test {
	const char *name;
	void (*spoil)(struct input *in);
	int expect;
	int needs;	/* access that the device has to offer */
};

static const struct bad_test bad_tests[] = {
	{ "past_end", past_end, EINVAL },
	{ "past_end_by_offset", past_end_by_offset, EINVAL },
	{ "all_past_end", all_past_end, EINVAL },
	{ "wraps", wraps, EINVAL },
	{ "iova_wraps", iova_wraps, EINVAL },
	{ "empty", empty, EINVAL },
	{ "empty_inside", empty_inside, EINVAL },
	{ "differs_in_page", differs_in_page, EINVAL },
	{ "no_dmabuf", no_dmabuf, EINVAL },
	{ "closed", closed, EBADF },
	{ "odp", odp, EINVAL },
	{ "persistent", persistent, EOPNOTSUPP, IBV_ACCESS_FLUSH_GLOBAL },
	{ "write_needs_local", write_needs_local, EINVAL },
};

/* Good before and after the bad one: it is that one which makes it fail. */
static enum ktap_result check_bad(struct input *in, const struct bad_test *t)
{
	const struct input good = *in;
	int err = reg(in);

	if (err == EOPNOTSUPP && stock_kernel())
		return ktap_skip(unsupported);
	if (err)
		return ktap_fail("good input: %s", strerror(err));
	ibv_dereg_mr(in->mr);
	in->mr = NULL;
	in->fd = fcntl(good.fd, F_DUPFD_CLOEXEC, 0);
	t->spoil(in);
	err = reg(in);
	if (in->fd >= 0)
		close(in->fd);
	in->fd = good.fd;
	if (err != t->expect)
		return ktap_fail("%s instead of %s", strerror(err),
				 strerror(t->expect));
	return pages_are_free(in) ? KTAP_PASS :
				    ktap_fail("pages are still in use");
}

static enum ktap_result run_bad_test(const void *arg)
{
	struct input in;
	enum ktap_result result;
	int err = make_input(&in);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	result = check_bad(&in, arg);
	put_input(&in);
	return result;
}

/* Such memory cannot be faulted in: asking for it is an error, and only that. */
static enum ktap_result run_prefetch(const void *arg)
{
	const u32 *flags = arg;
	struct ibv_sge sge;
	struct input in;
	int err = make_input(&in);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = reg(&in);
	if (!err) {
		sge = (struct ibv_sge) {
			.addr = in.iova, .length = PAGE, .lkey = in.mr->lkey,
		};
		err = ibv_advise_mr(device->pd,
				    IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				    *flags, &sge, 1);
	}
	put_input(&in);
	if (err == EOPNOTSUPP && stock_kernel())
		return ktap_skip(unsupported);
	return err == EINVAL ? KTAP_PASS : ktap_fail("%s", strerror(err));
}

/* The fd may go: the region keeps the memory, until it goes, too. */
static enum ktap_result run_closed_fd(const void *arg)
{
	enum ktap_result result = KTAP_PASS;
	struct input in;
	int err = make_input(&in);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = reg(&in);
	if (err == EOPNOTSUPP && stock_kernel())
		result = ktap_skip(unsupported);
	else if (err)
		result = ktap_fail("%s", strerror(err));
	else if (pages_are_free(&in))
		result = ktap_fail("the region does not keep its pages");
	if (result == KTAP_PASS) {
		ibv_dereg_mr(in.mr);
		in.mr = NULL;
		if (!pages_are_free(&in))
			result = ktap_fail("pages are still in use");
	}
	put_input(&in);
	return result;
}

#define MANY	200

/* One dma-buf, many regions, each of other bytes of it. */
static enum ktap_result run_many(const void *arg)
{
	struct ibv_mr *mrs[MANY] = {};
	enum ktap_result result = KTAP_PASS;
	struct input in;
	int i, err = make_input(&in);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; i < MANY && !err; i++) {
		at(&in, i * 64);
		in.len = 64;
		err = reg(&in);
		mrs[i] = in.mr;
	}
	if (err == EOPNOTSUPP && stock_kernel())
		result = ktap_skip(unsupported);
	else if (err)
		result = ktap_fail("region %d: %s", i - 1, strerror(err));
	for (i = 0; i < MANY; i++)
		if (mrs[i])
			ibv_dereg_mr(mrs[i]);
	in.mr = NULL;
	if (result == KTAP_PASS && !pages_are_free(&in))
		result = ktap_fail("pages are still in use");
	put_input(&in);
	return result;
}

void bad_dmabuf_add(const struct rdma_dev *dev, int access)
{
	static const u32 now = IBV_ADVISE_MR_FLAG_FLUSH, later;
	size_t i;

	device = dev;
	access_all = access;
	for (i = 0; i < ARRAY_SIZE(bad_tests); i++)
		if (!(bad_tests[i].needs & ~access))
			ktap_add(run_bad_test, &bad_tests[i], "bad/%s",
				 bad_tests[i].name);
	ktap_add(run_prefetch, &now, "bad/prefetch");
	ktap_add(run_prefetch, &later, "bad/prefetch_later");
	ktap_add(run_closed_fd, NULL, "life/closed_fd");
	ktap_add(run_many, NULL, "life/many");
}
