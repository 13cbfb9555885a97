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

#include "ktap.h"
#include "resources.h"
#include "textfile.h"
#include "two.h"

#define PAGE	4096UL
#define RW	(PROT_READ | PROT_WRITE)
#define ODP	(EDU_ACCESS | IBV_ACCESS_ON_DEMAND)

#define FUNCTIONS	"/sys/bus/pci/devices/"
#define NVME		"/sys/bus/pci/drivers/nvme/"

/* The process's own page, the function's, its own again. */
#define PEER	PAGE
#define AFTER	(PEER + 2 * PAGE)
#define SIZE	(AFTER + PAGE)

/* The function's address, and its file to map memory of. */
static char function[32], allocate[128];

static int find_function(void)
{
	glob_t found;
	int err = -ENODEV;

	if (system("modprobe -q nvme"))
		return -ENODEV;
	if (!glob(FUNCTIONS "*/p2pmem/allocate", 0, NULL, &found)) {
		snprintf(allocate, sizeof(allocate), "%s", found.gl_pathv[0]);
		err = sscanf(allocate, FUNCTIONS "%31[^/]", function) == 1 ? 0 : -ENODEV;
		globfree(&found);
	}
	return err;
}

static int map_function(unsigned char *at)
{
	int fd = open(allocate, O_RDWR), err = 0;

	if (fd < 0)
		return -errno;
	if (mmap(at, AFTER - PEER, RW, MAP_SHARED | MAP_FIXED, fd, 0) != at)
		err = -errno;
	close(fd);
	return err;
}

static int map_own(unsigned char *at)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	return mmap(at, AFTER - PEER, RW, flags, -1, 0) == at ? 0 : -errno;
}

static int map_mixed(struct memory *mem)
{
	unsigned char *map = mmap(NULL, mem->size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	mem->base = map;
	return map_function(map + PEER);
}

static const struct memory_kind mixed = { "mixed", PAGE, .map = map_mixed };

static int create(struct two *t)
{
	const struct region_attr attr = {
		.kind = &mixed, .iova = &iova_same, .len = SIZE, .access = ODP,
	};

	return two_create(t, &attr);
}

/* Of the function's pages and over both their ends; pages come in to be read first. */
static int copy_some(struct two *t)
{
	int err = two_from_peer(t, PEER - 100, 300);

	if (!err)
		err = two_to_peer(t, PEER - 100, 300);
	if (!err)
		err = two_to_peer(t, AFTER - 1, 2);
	return err ? err : two_from_peer(t, AFTER - 1000, 1500);
}

static int copy(struct two *t)
{
	int err = copy_some(t);

	if (!err)
		err = two_to_peer(t, 1, SIZE - 2);
	return err ? err : edu_check_some(t->peer.mr, SIZE / PAGE);
}

/* All of the region is brought in at once, by advice. */
static int prefetch(struct two *t)
{
	struct ibv_sge sge = region_sge(&t->peer, 0, SIZE);
	int err = -ibv_advise_mr(edu.pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				 IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);

	if (!err)
		err = copy_some(t);
	return err ? err : edu_check_some(t->peer.mr, SIZE / PAGE);
}

/* The process has its own memory there, and then the function's again. */
static int change(struct two *t)
{
	unsigned char *at = t->peer.mem.base + PEER;
	int i, err = copy_some(t);

	for (i = 0; !err && i < 4; i++) {
		err = i % 2 ? map_function(at) : map_own(at);
		if (!err)
			err = edu_check_some(t->peer.mr, 0);
		if (err)
			break;
		region_fill(&t->peer, i);
		err = copy_some(t);
	}
	return err;
}

/* By a region of all memory, of which the IOVA space has too little for one span. */
static int copy_implicit(struct two *t, struct ibv_mr *mr)
{
	u64 at = (uintptr_t)t->peer.addr + PEER - 100;
	int err = edu_copy(t->ram.mr, 9000, mr, at, 300);

	if (!err) {
		memcpy(region_model(&t->ram, 9000), region_model(&t->peer, PEER - 100), 300);
		err = edu_copy(mr, at, t->ram.mr, 5, 300);
		memcpy(region_model(&t->peer, PEER - 100), region_model(&t->ram, 5), 300);
	}
	if (!err)
		err = region_check_all(&t->peer);
	if (!err)
		err = region_check_all(&t->ram);
	return err ? err : edu_check_some(mr, 2);
}

static int implicit(struct two *t)
{
	struct ibv_mr *mr = ibv_reg_mr(edu.pd, NULL, SIZE_MAX, ODP);
	int err = mr ? copy_implicit(t, mr) : -errno;

	if (!err)
		err = map_own(t->peer.mem.base + PEER);
	if (!err) {
		region_fill(&t->peer, 3);
		err = copy_implicit(t, mr);
	}
	if (mr)
		ibv_dereg_mr(mr);
	return err;
}

/* The driver lets go of the function, and so do all who have its memory. */
static int unbind(struct two *t)
{
	int err = copy_some(t), got = 0;

	if (!err)
		err = write_text(function, NVME "unbind");
	if (err)
		return err;
	got = edu_copy(t->ram.mr, 0, t->peer.mr, PEER, 10);
	if (got != -EFAULT)
		ktap_diag("a copy: %s", strerror(-got));
	/* There is nothing to compare with any more. */
	err = edu_copy(t->ram.mr, 0, t->peer.mr, 0, 10);
	if (!err)
		err = write_text(function, NVME "bind");
	return err ? err : got == -EFAULT ? 0 : -EBADMSG;
}

/* The device gets at the process's own pages, and at none of the function's. */
static int forbidden(struct two *t)
{
	int err, got = edu_copy(t->ram.mr, 0, t->peer.mr, PEER, 10);

	if (got != -EREMOTEIO)
		ktap_diag("a copy: %s", strerror(-got));
	err = two_to_peer(t, PEER - 1000, 1000);
	if (!err)
		err = two_from_peer(t, AFTER, 1000);
	if (!err)
		err = edu_check_some(t->peer.mr, 2);
	return err ? err : got == -EREMOTEIO ? 0 : -EBADMSG;
}

struct test {
	int (*run)(struct two *t);
	const char *name;
};

static enum ktap_result run(const void *arg)
{
	const struct test *test = arg;
	struct holdings before;
	struct two t;
	int err;

	holdings_now(&before);
	err = create(&t);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = test->run(&t);
	two_destroy(&t);
	if (err)
		return ktap_fail("%s", strerror(-err));
	return holdings_same(&before) ? KTAP_PASS : ktap_fail("something is left");
}

static const struct test allowed[] = {
	{ copy,		"p2p_odp/copy" },
	{ prefetch,	"p2p_odp/prefetch" },
	{ change,	"p2p_odp/change" },
	{ implicit,	"p2p_odp/implicit" },
	{ unbind,	"p2p_odp/unbind" },
};

static const struct test not_allowed = { forbidden, "p2p_odp/forbidden" };

int main(int argc, char **argv)
{
	const char *p2p = getenv("DMA_P2P");
	int err = p2p ? find_function() : -EINVAL;
	size_t i;

	if (err) {
		fprintf(stderr, "an NVMe controller with a CMB, and DMA_P2P set: %s\n",
			strerror(-err));
		return 1;
	}
	if (strcmp(p2p, "1"))
		ktap_add(run, &not_allowed, not_allowed.name);
	else
		for (i = 0; i < ARRAY_SIZE(allowed); i++)
			ktap_add(run, &allowed[i], allowed[i].name);
	return edu_main(argc, argv);
}
