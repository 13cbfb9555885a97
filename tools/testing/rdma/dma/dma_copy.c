// SPDX-License-Identifier: GPL-2.0
/*
 * What the device copies arrives where it should, and nowhere else: memory of
 * every kind, at any byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"
#include "ktap.h"

#define KIB 1024UL
#define MIB (1024 * KIB)

struct copy_test {
	const struct memory_kind *memory;
	const struct iova_kind *iova;
	size_t head, len;
};

/* A copy takes 0.2 s for a chunk, and 0.1 s more for each block it crosses to. */
static const struct {
	size_t dst, src, len;
} copies[] = {
	{ 0, 0, 1 },
	{ 4095, 1, 2 },
	{ 8191 - 123, 8192 - 123, EDU_CHUNK },
	{ 5, 4096 - EDU_CHUNK - 3, 2 * EDU_CHUNK + 1 },
};

/* Regions are larger than any of the copies, by far. */
static int copy_all(struct region *dst, struct region *src)
{
	size_t i, end = src->len < dst->len ? src->len : dst->len;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(copies); i++) {
		err = edu_copy_verify(dst, copies[i].dst, src, copies[i].src,
				      copies[i].len);
		if (err)
			ktap_diag("%zu bytes from %zu to %zu", copies[i].len,
				  copies[i].src, copies[i].dst);
	}
	if (!err)	/* the last bytes of both */
		err = edu_copy_verify(dst, end - 7, src, src->len - 7, 7);
	return err;
}

static int run_copies(const struct copy_test *t, struct region *region,
		      struct region *other)
{
	u64 block;
	int err;

	region_fill(region, 1);
	region_fill(other, 2);
	if (!t->memory->dmabuf) {
		err = edu_check(region->mr, region->addr, region->len, &block);
		if (err)
			return err;
		ktap_diag("blocks of %llu KiB", (unsigned long long)block / KIB);
	}
	err = copy_all(other, region);
	if (!err && !t->memory->read_only) {
		region_fill(other, 3);
		err = copy_all(region, other);
	}
	return err;
}

static enum ktap_result run_copy_test(const void *arg)
{
	const struct copy_test *t = arg;
	const char *missing = memory_missing(t->memory);
	struct region region = { 0 }, other = { 0 };
	int err;

	if (missing)
		return ktap_skip("%s", missing);
	err = edu_region(&region, t->memory, t->iova, t->head, t->len);
	if (!err)
		err = edu_region(&other, memory_kind("scattered"), &iova_same,
				 17, 64 * KIB);
	if (!err)
		err = run_copies(t, &region, &other);
	region_destroy(&region);
	region_destroy(&other);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Within one region, and both ends of it the same. */
static enum ktap_result run_self(const void *arg)
{
	struct region r;
	int err = edu_region(&r, memory_kind("scattered"), &iova_same, 0,
			     64 * KIB);

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	region_fill(&r, 4);
	err = edu_copy_verify(&r, 100, &r, 20000, 5000);
	region_destroy(&r);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/*
 * What the page allocator can give in one piece, blocks can be as large as,
 * wherever in such a piece the region begins.
 */
static enum ktap_result run_block_size(const void *arg)
{
	const size_t *head = arg;
	struct region r;
	u64 block = 0;
	int err = edu_region(&r, memory_kind("hugetlb"), &iova_same, *head,
			     8 * MIB - 1);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = edu_check(r.mr, r.addr, r.len, &block);
	region_destroy(&r);
	if (err)
		return ktap_fail("%s", strerror(-err));
	if (block < 2 * MIB)
		return ktap_fail("blocks of %llu bytes",
				 (unsigned long long)block);
	ktap_diag("blocks of %llu KiB", (unsigned long long)block / KIB);
	return KTAP_PASS;
}

static void add(const struct memory_kind *memory, const struct iova_kind *iova,
		size_t head)
{
	struct copy_test *t = calloc(1, sizeof(*t));

	*t = (struct copy_test) { memory, iova, head, 2 * MIB + 64 * KIB + 5 };
	ktap_add(run_copy_test, t, "copy/%s/%s@%zu", memory->name, iova->name,
		 head);
}

int main(int argc, char **argv)
{
	static const size_t heads[] = { 0, 4096, 3 * MIB + 123 };
	size_t i;

	for (i = 0; i < nr_memory_kinds; i++)
		add(&memory_kinds[i], &iova_same, 123);
	for (i = 0; i < nr_dmabuf_kinds; i++)
		add(&dmabuf_kinds[i], &iova_far, 123);
	add(memory_kind("scattered"), &iova_far, 4095);
	add(memory_kind("hugetlb"), &iova_zero, 0);
	ktap_add(run_self, NULL, "copy/within_a_region");
	for (i = 0; i < ARRAY_SIZE(heads); i++)
		ktap_add(run_block_size, &heads[i], "copy/block_size@%zu",
			 heads[i]);
	return edu_main(argc, argv);
}
