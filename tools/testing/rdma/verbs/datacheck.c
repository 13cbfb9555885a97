// SPDX-License-Identifier: GPL-2.0
/*
 * datacheck KIND OPERATION SIZE COUNT: do an operation COUNT times between
 * memory regions of a kind, each time elsewhere, and compare every byte of both
 * regions with what must be in them. Prints
 *
 *	KIND OPERATION SIZE BYTES-MOVED ok|BAD
 *
 * and repeats that for as many groups of four arguments as there are. KIND is
 * memory's name in memory.c; odp_ before it makes regions with on-demand paging,
 * and bar is the BAR of QEMU's ivshmem, which has to be there, behind an IOMMU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "vfio.h"

#define HEAD	1234
#define TAIL	321
#define SPACE	(1024 * 1024)	/* to move about in */
#define ODP	"odp_"

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

static struct vfio ivshmem = { .iommufd = -1, .fd = -1 };
static u64 bar_used;

/* The next part of the BAR. */
static int map_bar(struct memory *mem)
{
	struct vfio_range range = { bar_used, mem->size };
	int err = 0;

	if (ivshmem.fd < 0)
		err = vfio_open(&ivshmem, IVSHMEM_VENDOR, IVSHMEM_DEVICE,
				IVSHMEM_BAR);
	if (err)
		return err;
	bar_used += mem->size;
	return vfio_memory(&ivshmem, IVSHMEM_BAR, &range, 1, mem);
}

static const struct memory_kind bar = {
	"bar", 4096, false, true, map_bar
};

static const struct memory_kind *kind(const char *name)
{
	return strcmp(name, bar.name) ? memory_kind(name) : &bar;
}

static u64 any_offset(const struct region *r, u32 len)
{
	return ((u64)rand() << 8 ^ rand()) % (r->len - len + 1);
}

static int check(struct fixture *f, struct transfer *t, unsigned long count)
{
	int err = 0;

	while (!err && count--) {
		t->local_off = any_offset(t->local, t->len);
		t->remote_off = any_offset(t->remote, t->len);
		if (t->op->flags & OP_8_BYTES)
			t->remote_off = transfer_align(t->remote, t->remote_off);
		t->seed++;
		err = transfer_verify(&f->conn, t);
	}
	if (!err)
		err = region_check_all(t->local);
	if (!err)
		err = region_check_all(t->remote);
	return err;
}

static int run(char **arg)
{
	struct transfer t = {
		.op = operation(arg[1]),
		.len = strtoul(arg[2], NULL, 0),
	};
	bool odp = !strncmp(arg[0], ODP, strlen(ODP));
	struct region_attr attr = {
		.kind = kind(arg[0] + (odp ? strlen(ODP) : 0)),
		.iova = &iova_far,
		.head = HEAD, .len = t.len + SPACE, .tail = TAIL,
		.access = odp ? ACCESS_ALL | IBV_ACCESS_ON_DEMAND : 0,
	};
	unsigned long count = strtoul(arg[3], NULL, 0);
	struct fixture f;
	int err;

	bar_used = 0;
	err = fixture_create(&f, &rc, &attr, &attr);
	if (err) {
		fprintf(stderr, "datacheck: %s: %s\n", arg[0], strerror(-err));
		return err;
	}
	t.local = &f.local;
	t.remote = &f.remote;
	err = check(&f, &t, count);
	printf("%s %s %u %lu %s\n", arg[0], arg[1], t.len,
	       t.len * count, err ? "BAD" : "ok");
	fflush(stdout);
	fixture_destroy(&f);
	return err;
}

int main(int argc, char **argv)
{
	int i, err = 0;

	if (argc < 5 || argc % 4 != 1) {
		fprintf(stderr, "usage: datacheck KIND OPERATION SIZE COUNT...\n");
		return 2;
	}
	if (rdma_pair_open(rxe))
		return 1;
	srand(1);
	for (i = 1; i + 3 < argc; i += 4)
		err |= run(argv + i);
	rdma_pair_close(rxe);
	vfio_close(&ivshmem);
	return err != 0;
}
