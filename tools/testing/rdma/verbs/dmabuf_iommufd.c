// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs in an I/O address space of iommufd: in the BAR of a PCI function that
 * is in the hands of this process, QEMU's ivshmem, and in RAM. The witness is
 * another function, edu, which is in that address space, does DMA, and is driven
 * from here: it must find there what the CPU sees in the dma-buf, and nothing
 * any more when that has been revoked.
 *
 * The functions have to be there, and an IOMMU for vfio, so this program is not
 * one of the others, but run by the suite dmabuf. It makes the IOMMU report
 * faults, between two lines in the kernel's log that say so.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioas.h"
#include "ktap.h"
#include "memory.h"
#include "vfio.h"

#define PAGE	4096UL
#define MIB	(1024 * 1024UL)

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define EDU_SIZE	MIB

/* Registers of edu, in units of 8 bytes, and its own buffer. */
#define EDU_DMA_SRC	(0x80 / 8)
#define EDU_DMA_DST	(0x88 / 8)
#define EDU_DMA_COUNT	(0x90 / 8)
#define EDU_DMA_CMD	(0x98 / 8)
#define EDU_CMD_RUN	1
#define EDU_CMD_WRITE	2
#define EDU_BUFFER	0x40000

/* What edu moves at a time: some versions of QEMU abort on a full buffer. */
#define CHUNK	2048

static struct vfio ivshmem, edu;
static u64 *regs;		/* of edu */
static u32 ioas;		/* where edu is */

/* RAM of this process, in the same address space, for what edu moves. */
static unsigned char *ram;
static u64 ram_iova;

/* -- edu ------------------------------------------------------------------- */

static void edu_set(unsigned int reg, u64 value)
{
	__atomic_store_n(&regs[reg], value, __ATOMIC_RELEASE);
}

static int edu_run(u64 src, u64 dst, u64 cmd)
{
	int ms;

	edu_set(EDU_DMA_SRC, src);
	edu_set(EDU_DMA_DST, dst);
	edu_set(EDU_DMA_COUNT, CHUNK);
	edu_set(EDU_DMA_CMD, cmd | EDU_CMD_RUN);
	for (ms = 0; ms < 60000; ms++) {
		if (!(__atomic_load_n(&regs[EDU_DMA_CMD], __ATOMIC_ACQUIRE) &
		      EDU_CMD_RUN))
			return 0;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

/* CHUNK bytes by DMA, through edu's buffer. */
static int edu_move(u64 dst, u64 src)
{
	int err = edu_run(src, EDU_BUFFER, 0);

	return err ? err : edu_run(EDU_BUFFER, dst, EDU_CMD_WRITE);
}

static int open_edu(void)
{
	int err = vfio_open(&edu, EDU_VENDOR, EDU_DEVICE, 0);

	if (err)
		return err;
	regs = mmap(NULL, EDU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, edu.fd,
		    edu.bar);
	if (regs == MAP_FAILED)
		return -errno;
	err = ioas_alloc(edu.iommufd, &ioas);
	if (!err)
		err = ioas_map(edu.iommufd, ioas, ram, CHUNK * 2, &ram_iova);
	if (!err)
		err = vfio_attach(&edu, ioas);
	return err ? err : vfio_enable_dma(&edu, 1);
}

static void close_edu(void)
{
	munmap(regs, EDU_SIZE);
	vfio_close(&edu);
}

/* -- a dma-buf, or a part of it, in the address space ------------------------- */

struct window {
	struct memory mem;
	unsigned char *model;	/* of all of mem */
	u64 start, len, iova;
};

static int map_window(struct window *w)
{
	return ioas_map_file(edu.iommufd, ioas, w->mem.fd, w->start, w->len,
			     &w->iova);
}

static int unmap_window(const struct window *w)
{
	return ioas_unmap(edu.iommufd, ioas, w->iova, w->len);
}

static int open_window(struct window *w, const struct memory_kind *kind,
		       size_t size, u64 start, u64 len)
{
	int err = memory_map(&w->mem, kind, size);

	if (err)
		return err;
	w->start = start;
	w->len = len;
	w->model = malloc(w->mem.size);
	if (!w->model)
		return -ENOMEM;
	fill_pattern(w->model, w->mem.size, rand());
	memcpy(w->mem.base, w->model, w->mem.size);
	return 0;
}

static void close_window(struct window *w)
{
	memory_unmap(&w->mem);
	free(w->model);
}

static int compare(const struct window *w)
{
	if (!memcmp(w->mem.base, w->model, w->mem.size))
		return 0;
	ktap_diag("the CPU sees something else in the dma-buf");
	return -EBADMSG;
}

/* What is at this offset into the dma-buf comes by DMA, and goes there. */
static int check_at(struct window *w, u64 at)
{
	u64 iova = w->iova + at - w->start;
	int err = edu_move(ram_iova, iova);

	if (!err && memcmp(ram, w->model + at, CHUNK))
		err = -EBADMSG;
	if (!err) {
		fill_pattern(ram, CHUNK, rand());
		err = edu_move(iova, ram_iova);
	}
	memcpy(w->model + at, ram, CHUNK);
	if (!err)
		err = compare(w);
	if (err)
		ktap_diag("at %llu", (unsigned long long)at);
	return err;
}

/* The IOMMU lets nothing in and nothing out: DMA reads junk, or nothing. */
static int check_refused(struct window *w, u64 at)
{
	u64 iova = w->iova + at - w->start;
	int err;

	fill_pattern(ram, CHUNK, rand());
	err = edu_move(iova, ram_iova);
	if (!err)
		err = edu_move(ram_iova, iova);
	if (!err && !memcmp(ram, w->model + at, CHUNK)) {
		ktap_diag("it can still be read at %llu",
			  (unsigned long long)at);
		err = -EBADMSG;
	}
	return err;
}

static void log_line(const char *text)
{
	FILE *f = fopen("/dev/kmsg", "w");

	if (f) {
		fprintf(f, "dmabuf_iommufd: %s\n", text);
		fclose(f);
	}
}

/* -- memory ------------------------------------------------------------------- */

#define SIZE (5 * MIB)

/* Each range of another length, and no two next to each other. */
static const struct vfio_range scattered[] = {
	{ 8 * MIB, 2 * MIB },
	{ 4 * MIB, PAGE },
	{ 0, 2 * MIB },
	{ 11 * MIB, SIZE - 4 * MIB - PAGE },
};

/* Every other page, last ones first: more ranges than iommufd maps at a time. */
#define PAGES	6000
#define BATCH	5461	/* 64 KiB of 12 bytes for each range */

static int map_bar(struct memory *mem)
{
	const struct vfio_range all = { MIB, mem->size };

	return vfio_memory(&ivshmem, IVSHMEM_BAR, &all, 1, mem);
}

static int map_ranges(struct memory *mem)
{
	return vfio_memory(&ivshmem, IVSHMEM_BAR, scattered,
			   ARRAY_SIZE(scattered), mem);
}

static int map_pages(struct memory *mem)
{
	struct vfio_range *ranges = calloc(PAGES, sizeof(*ranges));
	int i, err;

	if (!ranges)
		return -ENOMEM;
	for (i = 0; i < PAGES; i++)
		ranges[i] = (struct vfio_range) { (PAGES - i) * 2 * PAGE, PAGE };
	err = vfio_memory(&ivshmem, IVSHMEM_BAR, ranges, PAGES, mem);
	free(ranges);
	return err;
}

static const struct memory_kind bar = { "bar", PAGE, false, true, map_bar };
static const struct memory_kind bar_ranges = {
	"bar_ranges", PAGE, false, true, map_ranges
};

static const struct memory_kind bar_pages = {
	"bar_pages", PAGE, false, true, map_pages
};

/* -- tests -------------------------------------------------------------------- */

struct test {
	const struct memory_kind *kind;
	size_t size;
	u64 start, len;		/* what is mapped of it */
	bool late;		/* edu comes when it is all mapped */
	u64 at[4];		/* where to look, beside both ends; up to a 0 */
};

static int check_all(struct window *w, const u64 *at)
{
	int err = check_at(w, w->start);

	for (; !err && *at; at++)
		err = check_at(w, *at);
	return err ? err : check_at(w, w->start + w->len - CHUNK);
}

/* What the IOMMU says of this is no fault of the kernel's. */
static int check_refused_twice(struct window *w, u64 first, u64 second)
{
	int err;

	log_line("a fault is expected");
	err = check_refused(w, first);
	if (!err)
		err = check_refused(w, second);
	log_line("no more faults are expected");
	return err;
}

static int map_and_check(struct window *w, const struct test *t)
{
	int err = t->late ? vfio_detach(&edu) : 0, back = 0;

	if (!err)
		err = map_window(w);
	if (t->late)
		back = vfio_attach(&edu, ioas);
	if (!err)
		err = back;
	if (!err)
		err = check_all(w, t->at);
	return err ? err : unmap_window(w);
}

static enum ktap_result run_map(const void *arg)
{
	const struct test *t = arg;
	const char *missing = memory_missing(t->kind);
	struct window w = {};
	int err;

	if (missing)
		return ktap_skip("%s", missing);
	err = open_window(&w, t->kind, t->size, t->start, t->len);
	if (!err)
		err = map_and_check(&w, t);
	if (!err)
		err = check_refused_twice(&w, t->start, t->start + t->len - CHUNK);
	if (!err)
		err = compare(&w);
	close_window(&w);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* While it is revoked, and for what was mapped also when it is back. */
static int revoke_and_back(struct window *w)
{
	u64 end = w->len - CHUNK, iova;
	int err = vfio_enable_memory(&ivshmem, 0), mapped = 0;

	if (!err) {
		err = check_refused_twice(w, 0, end);
		mapped = ioas_map_file(edu.iommufd, ioas, w->mem.fd, 0, w->len,
				       &iova);
	}
	if (vfio_enable_memory(&ivshmem, 1))
		return -EIO;
	if (!err && mapped != -ENODEV) {
		ktap_diag("mapping it while it is revoked gives %d", mapped);
		err = -EBADMSG;
	}
	if (!err)
		err = check_refused_twice(w, 0, end);
	return err ? err : compare(w);
}

/* It is mapped twice, and revoked; then it can be mapped again. */
static enum ktap_result run_revoke(const void *arg)
{
	const struct test *t = arg;
	struct window w = {}, other;
	int err = open_window(&w, t->kind, t->size, 0, t->size);

	if (!err)
		err = map_window(&w);
	other = w;
	if (!err)
		err = map_window(&other);
	if (!err)
		err = check_all(&w, t->at);
	if (!err)
		err = check_at(&other, 0);
	if (!err)
		err = revoke_and_back(&w);
	if (!err)
		err = check_refused_twice(&other, 0, t->at[0]);
	if (!err)
		err = unmap_window(&other);
	if (!err)
		err = map_window(&other);
	if (!err)
		err = check_all(&other, t->at);
	if (!err)
		err = unmap_window(&w);
	if (!err)
		err = unmap_window(&other);
	close_window(&w);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The process lets go of the function whose BAR it is. */
static enum ktap_result run_close(const void *arg)
{
	const struct test *t = arg;
	struct window w = {}, again = {};
	int err = open_window(&w, t->kind, t->size, 0, t->size);

	if (!err)
		err = map_window(&w);
	if (!err)
		err = check_at(&w, 0);
	munmap(w.mem.base, w.mem.size);
	w.mem.base = NULL;
	vfio_close(&ivshmem);
	if (!err)
		err = check_refused_twice(&w, 0, t->at[0]);
	if (vfio_open(&ivshmem, IVSHMEM_VENDOR, IVSHMEM_DEVICE, IVSHMEM_BAR))
		return ktap_fail("cannot open the function again");
	if (!err)
		err = open_window(&again, t->kind, t->size, 0, t->size);
	if (!err)
		err = check_refused_twice(&w, 0, t->at[0]);
	if (!err)
		err = compare(&again);
	if (!err)
		err = map_window(&again);
	if (!err)
		err = check_at(&again, 0);
	if (!err)
		err = unmap_window(&w);
	close_window(&w);
	close_window(&again);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The address space goes while the dma-buf is mapped there, then it is revoked. */
static enum ktap_result run_destroy(const void *arg)
{
	const struct test *t = arg;
	struct window w = {};
	int err = open_window(&w, t->kind, t->size, 0, t->size);

	if (!err)
		err = map_window(&w);
	if (!err)
		err = check_at(&w, 0);
	close_edu();
	if (vfio_enable_memory(&ivshmem, 0) || vfio_enable_memory(&ivshmem, 1))
		err = -EIO;
	if (open_edu())
		return ktap_fail("cannot open edu again");
	if (!err)
		err = map_window(&w);
	if (!err)
		err = check_at(&w, 0);
	close_window(&w);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Across the ends of all ranges. */
#define RANGES_AT { 2 * MIB - 1001, 2 * MIB + PAGE - 1001, 4 * MIB + PAGE - 1001 }

static const struct test all = { &bar, SIZE, 0, SIZE, .at = { 2 * MIB } };
static const struct test ranges = {
	&bar_ranges, SIZE, 0, SIZE, .at = RANGES_AT
};

static const struct test ranges_late = {
	&bar_ranges, SIZE, 0, SIZE, .late = true, .at = RANGES_AT
};

static const struct test ranges_part = {
	&bar_ranges, SIZE, 2 * PAGE, SIZE - 5 * PAGE, .at = RANGES_AT
};

static const struct test ranges_last = {
	&bar_ranges, SIZE, SIZE - PAGE, PAGE
};

static const struct test pages = {
	&bar_pages, PAGES * PAGE, 0, PAGES * PAGE,
	.at = { PAGE - 1001, BATCH * PAGE - 1001, BATCH * PAGE }
};

static void add_ram(void)
{
	struct test *t;
	size_t i;

	for (i = 0; i < nr_dmabuf_kinds; i++) {
		t = calloc(1, sizeof(*t));
		*t = (struct test) {
			&dmabuf_kinds[i], 4 * MIB, PAGE, 4 * MIB - 2 * PAGE,
			.at = { 2 * MIB - 1001 }
		};
		ktap_add(run_map, t, "map/%s", t->kind->name);
	}
}

int main(int argc, char **argv)
{
	int status, err = vfio_open(&ivshmem, IVSHMEM_VENDOR, IVSHMEM_DEVICE,
				    IVSHMEM_BAR);

	if (err) {
		fprintf(stderr, "ivshmem by vfio: %s\n", strerror(-err));
		return 1;
	}
	ram = mmap(NULL, CHUNK * 2, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	err = ram == MAP_FAILED ? -errno : open_edu();
	if (err) {
		fprintf(stderr, "edu by vfio: %s\n", strerror(-err));
		return 1;
	}
	srand(1);
	ktap_add(run_map, &all, "map/bar");
	ktap_add(run_map, &ranges, "map/ranges");
	ktap_add(run_map, &ranges_late, "map/ranges/late");
	ktap_add(run_map, &ranges_part, "map/ranges/part");
	ktap_add(run_map, &ranges_last, "map/ranges/last");
	ktap_add(run_map, &pages, "map/pages");
	add_ram();
	ktap_add(run_revoke, &all, "revoke/bar");
	ktap_add(run_revoke, &ranges, "revoke/ranges");
	ktap_add(run_revoke, &pages, "revoke/pages");
	ktap_add(run_close, &ranges, "close");
	ktap_add(run_destroy, &ranges, "destroy");
	status = ktap_main(argc, argv);
	close_edu();
	vfio_close(&ivshmem);
	return status;
}
