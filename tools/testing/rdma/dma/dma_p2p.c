// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer: the device does DMA into the BAR of another function, QEMU's
 * ivshmem, which is a dma-buf without struct page, and stops when it is told.
 *
 * The other function has to be there, and be in a place where PCI allows it or
 * not: DMA_P2P in the environment is 1 or 0. Run by the suite dma.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bar.h"
#include "edu.h"
#include "ktap.h"
#include "two.h"

#define PAGE	4096UL
#define MIB	(1024 * 1024UL)

/* As far as the ranges of bar_ranges go, and neither end at a page. */
#define HEAD	1234
#define LEN	(5 * MIB + 777)

/* Where copies begin: across the bounds of ranges, and the ends of the region. */
static const u64 places[] = {
	0, 4096 - HEAD - 7, 2 * MIB - HEAD - 1000, 2 * MIB + PAGE - HEAD - 1,
	4 * MIB + PAGE - HEAD - 99, LEN - 1500,
};

static int create(struct two *t, const struct memory_kind *kind)
{
	struct region_attr attr = {
		.kind = kind, .iova = &iova_far, .head = HEAD, .len = LEN,
		.tail = 1, .access = EDU_ACCESS,
	};

	return two_create(t, &attr);
}

/* Into the BAR, and out of it from another place. */
static int copy_both(struct two *t, u64 at)
{
	int err = two_to_peer(t, at, 1500);

	return err ? err : two_from_peer(t, LEN - at - 1500, 1500);
}

static enum ktap_result run_copy(const void *arg)
{
	struct two t;
	int err = create(&t, arg);
	size_t i;

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; !err && i < ARRAY_SIZE(places); i++)
		err = copy_both(&t, places[i]);
	two_destroy(&t);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A copy into the BAR that must end so. */
static int expect(struct two *t, int want)
{
	int err = edu_copy(t->peer.mr, 0, t->ram.mr, 0, 100);

	if (err == want)
		err = edu_copy(t->ram.mr, 200, t->peer.mr, 0, 100);
	if (err == want)
		return 0;
	ktap_diag("%s instead of %s", strerror(-err), strerror(-want));
	return err ? err : -EBADMSG;
}

/* No access while the function does not answer, and again when it does. */
static enum ktap_result run_revoke(const void *arg)
{
	struct two t;
	int i, err = create(&t, arg);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (i = 0; !err && i < 3; i++) {
		err = copy_both(&t, 0);
		vfio_enable_memory(&ivshmem, 0);
		if (!err)
			err = expect(&t, -ENODEV);
		vfio_enable_memory(&ivshmem, 1);
		if (!err)
			err = region_check_all(&t.peer);
	}
	if (!err)
		err = copy_both(&t, LEN - 1500);
	two_destroy(&t);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static void *copy_on(void *arg)
{
	struct two *t = arg;
	int err;

	do
		err = edu_copy(t->peer.mr, 0, t->ram.mr, 0, 16 * 1024);
	while (!err);
	return (void *)(long)err;
}

/* While the device copies: it ends with the error, and the IOMMU has no fault. */
static enum ktap_result run_revoke_running(const void *arg)
{
	pthread_t thread;
	void *res = NULL;
	struct two t;
	int err = create(&t, arg);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = pthread_create(&thread, NULL, copy_on, &t);
	if (!err) {
		usleep(700 * 1000);
		vfio_enable_memory(&ivshmem, 0);
		pthread_join(thread, &res);
		vfio_enable_memory(&ivshmem, 1);
	}
	two_destroy(&t);
	if (err || (long)res != -ENODEV)
		return ktap_fail("%s", strerror(err ? err : -(long)res));
	return KTAP_PASS;
}

/* The end of the memory, but not of the region. */
static enum ktap_result run_close(const void *arg)
{
	struct two t;
	int err = create(&t, &bar);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	bar_close_under(&t.peer);
	err = expect(&t, -ENODEV);
	two_destroy(&t);
	if (ivshmem_open())
		return ktap_fail("cannot open the function again");
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Who keeps the dma-buf has nothing that keeps the region: that was not made. */
static enum ktap_result run_forbidden(const void *arg)
{
	struct region r = { 0 };
	int err;

	r.mem.fd = -1;
	err = edu_region(&r, arg, &iova_same, HEAD, LEN);
	region_destroy(&r);
	return err == -EREMOTEIO ? KTAP_PASS : ktap_fail("%s", strerror(-err));
}

static void add_tests(bool allowed)
{
	if (!allowed) {
		ktap_add(run_forbidden, &bar, "p2p/forbidden");
		ktap_add(run_forbidden, &bar_ranges, "p2p/forbidden_ranges");
		return;
	}
	ktap_add(run_copy, &bar, "p2p/copy");
	ktap_add(run_copy, &bar_ranges, "p2p/copy_ranges");
	ktap_add(run_revoke, &bar, "p2p/revoke");
	ktap_add(run_revoke, &bar_ranges, "p2p/revoke_ranges");
	ktap_add(run_revoke_running, &bar, "p2p/revoke_running");
	ktap_add(run_close, NULL, "p2p/close");
}

int main(int argc, char **argv)
{
	const char *allowed = getenv("DMA_P2P");
	int status, err = allowed ? ivshmem_open() : -EINVAL;

	if (err) {
		fprintf(stderr, "ivshmem by vfio, with DMA_P2P set: %s\n",
			strerror(-err));
		return 1;
	}
	add_tests(!strcmp(allowed, "1"));
	status = edu_main(argc, argv);
	vfio_close(&ivshmem);
	return status;
}
