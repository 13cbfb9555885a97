// SPDX-License-Identifier: GPL-2.0
/*
 * On-demand paging of peer-to-peer memory: a process maps pages of a PCI
 * function, QEMU's NVMe controller with a memory buffer (CMB), among its own,
 * and the device gets at all of them.
 *
 * The controller has to be there, and be in a place where PCI allows it or not:
 * DMA_P2P in the environment is 1 or 0. Run by the suite dma.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"
#include "ktap.h"

#define PAGE	4096UL
#define RW	(PROT_READ | PROT_WRITE)

/* The process's own pages, the function's, its own again. */
#define PEER	PAGE
#define AFTER	(PEER + 2 * PAGE)
#define SIZE	(AFTER + PAGE)

static char allocate[256];

static int find_peer(void)
{
	glob_t found;
	int err = -ENODEV;

	if (system("modprobe -q nvme"))
		return -ENODEV;
	if (!glob("/sys/bus/pci/devices/*/p2pmem/allocate", 0, NULL, &found)) {
		snprintf(allocate, sizeof(allocate), "%s", found.gl_pathv[0]);
		err = 0;
		globfree(&found);
	}
	return err;
}

static int map_peer(unsigned char *at)
{
	int fd = open(allocate, O_RDWR), err = 0;

	if (fd < 0)
		return -errno;
	if (mmap(at, AFTER - PEER, RW, MAP_SHARED | MAP_FIXED, fd, 0) != at)
		err = -errno;
	close(fd);
	return err;
}

static int map_mixed(struct memory *mem)
{
	mem->base = mmap(NULL, mem->size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem->base == MAP_FAILED) {
		mem->base = NULL;
		return -errno;
	}
	return map_peer(mem->base + PEER);
}

static const struct memory_kind mixed = { "mixed", PAGE, .map = map_mixed };

struct two {
	struct region peer, ram;
};

static void two_destroy(struct two *t)
{
	region_destroy(&t->peer);
	region_destroy(&t->ram);
}

static int two_create(struct two *t)
{
	struct region_attr attr = {
		.kind = &mixed, .iova = &iova_same, .len = SIZE,
		.access = EDU_ACCESS | IBV_ACCESS_ON_DEMAND,
	};
	int err;

	memset(t, 0, sizeof(*t));
	t->peer.mem.fd = -1;
	t->ram.mem.fd = -1;
	err = region_create(&t->peer, &edu, &attr);
	if (!err)
		err = edu_region(&t->ram, memory_kind("scattered"), &iova_same, 17,
				 64 * 1024);
	if (err) {
		two_destroy(t);
		return err;
	}
	region_fill(&t->peer, 1);
	region_fill(&t->ram, 2);
	return 0;
}

static int copy_both(struct two *t, u64 at, u64 len)
{
	int err = edu_copy_verify(&t->peer, at, &t->ram, 5, len);

	if (!err)
		err = edu_copy_verify(&t->ram, 9000, &t->peer, at, len);
	if (err)
		ktap_diag("%llu bytes at %llu", (unsigned long long)len,
			  (unsigned long long)at);
	return err;
}

/* In the function's pages, and over both their ends. */
static int copy_some(struct two *t)
{
	int err = copy_both(t, PEER + PAGE - 7, 1500);

	if (!err)
		err = copy_both(t, PEER - 100, 300);
	return err ? err : copy_both(t, AFTER - 1, 2);
}

static enum ktap_result result(int err)
{
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_copy(const void *arg)
{
	struct two t;
	int err = two_create(&t);

	(void)arg;
	if (!err)
		err = copy_some(&t);
	if (!err)
		err = copy_both(&t, 1, SIZE - 2);
	two_destroy(&t);
	return result(err);
}

/* All of the region is brought in at once, by advice. */
static enum ktap_result run_prefetch(const void *arg)
{
	struct ibv_sge sge;
	struct two t;
	int err = two_create(&t);

	(void)arg;
	if (!err) {
		sge = region_sge(&t.peer, 0, SIZE);
		err = -ibv_advise_mr(edu.pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				     IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
	}
	if (!err)
		err = copy_some(&t);
	two_destroy(&t);
	return result(err);
}

/* The process has its own memory there, and then the function's again. */
static enum ktap_result run_change(const void *arg)
{
	unsigned char *at;
	struct two t;
	int i, err = two_create(&t);

	(void)arg;
	at = t.peer.mem.base + PEER;
	for (i = 0; !err && i < 3; i++) {
		err = copy_some(&t);
		if (!err && mmap(at, AFTER - PEER, RW,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
			err = -errno;
		region_fill(&t.peer, 2 * i);
		if (!err)
			err = copy_some(&t);
		if (!err)
			err = map_peer(at);
		region_fill(&t.peer, 2 * i + 1);
	}
	if (!err)
		err = copy_some(&t);
	two_destroy(&t);
	return result(err);
}

/* Too much for the IOVA space: each page has an address of its own. */
static enum ktap_result run_implicit(const void *arg)
{
	struct ibv_mr *mr = ibv_reg_mr(edu.pd, NULL, SIZE_MAX,
				       EDU_ACCESS | IBV_ACCESS_ON_DEMAND);
	struct two t;
	u64 at;
	int err = two_create(&t);

	(void)arg;
	if (!mr)
		err = err ? err : -ENOMEM;
	at = (uintptr_t)t.peer.addr + PEER - 100;
	if (!err)
		err = edu_copy(mr, at, t.ram.mr, 5, 300);
	if (!err)
		err = edu_copy(t.ram.mr, 9000, mr, at, 300);
	if (!err) {
		memcpy(region_model(&t.peer, PEER - 100), region_model(&t.ram, 5), 300);
		memcpy(region_model(&t.ram, 9000), region_model(&t.ram, 5), 300);
		err = region_check_all(&t.peer);
	}
	if (!err)
		err = region_check_all(&t.ram);
	two_destroy(&t);
	if (mr)
		ibv_dereg_mr(mr);
	return result(err);
}

/* The device gets at the process's own pages, and at none of the function's. */
static enum ktap_result run_forbidden(const void *arg)
{
	struct two t;
	int err = two_create(&t), got = 0;

	(void)arg;
	if (!err) {
		got = edu_copy(t.ram.mr, 0, t.peer.mr, PEER, 10);
		err = copy_both(&t, PEER - 1000, 1000);
	}
	if (!err)
		err = copy_both(&t, AFTER, 1000);
	two_destroy(&t);
	if (!err && got != -EREMOTEIO)
		return ktap_fail("a copy: %s", strerror(-got));
	return result(err);
}

int main(int argc, char **argv)
{
	const char *allowed = getenv("DMA_P2P");
	int err = allowed ? find_peer() : -EINVAL;

	if (err) {
		fprintf(stderr, "an NVMe controller with a CMB, and DMA_P2P set: %s\n",
			strerror(-err));
		return 1;
	}
	if (strcmp(allowed, "1")) {
		ktap_add(run_forbidden, NULL, "p2p_odp/forbidden");
	} else {
		ktap_add(run_copy, NULL, "p2p_odp/copy");
		ktap_add(run_prefetch, NULL, "p2p_odp/prefetch");
		ktap_add(run_change, NULL, "p2p_odp/change");
		ktap_add(run_implicit, NULL, "p2p_odp/implicit");
	}
	return edu_main(argc, argv);
}
