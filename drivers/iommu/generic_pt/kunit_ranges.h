/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of mapping lists of physical ranges in one walk, and of unmapping
 * spans that have holes. Included after kunit_iommu_pt.h, for each format.
 *
 * What a table holds is compared entry by entry with what the list and a plain
 * rule for the size of an entry say: on the table that was mapped in one walk,
 * and on a second one that was mapped by a call for each range. All tests run
 * twice, on tables that need cache flushes and on tables that do not.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <linux/bitmap.h>
#include <linux/phyr.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

/**
 * struct ranges_priv - what each of the tests has
 * @table: the table under test. The helpers in kunit_iommu_pt.h use it.
 * @ref: a second table of the same kind
 * @list: the ranges
 * @random: where random lengths and addresses come from
 * @syncs: number of IOTLB syncs of @table
 */
struct ranges_priv {
	struct kunit_iommu_priv table;
	struct kunit_iommu_priv ref;
	struct phyr_list list;
	struct rnd_state random;
	unsigned int syncs;
};

/* A window at this offset starts in the middle of a table. */
#define RANGES_ODD_VA	(37 * PAGE_SIZE)
/* Pages in the span of the tests with holes: some tables, the last in part */
#define RANGES_SPAN	1700

static struct ranges_priv *ranges_priv(struct kunit *test)
{
	return container_of((struct kunit_iommu_priv *)test->priv,
			    struct ranges_priv, table);
}

/* A place in the lower part of every table, at a large boundary */
static pt_vaddr_t ranges_va(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;

	return ALIGN(pt_top_range(priv->common).va + SZ_4M, SZ_1G);
}

static void ranges_add(struct kunit *test, u64 paddr, u64 len)
{
	struct phys_vec vec = { .paddr = paddr, .len = len };

	KUNIT_ASSERT_NO_ERRNO(test, phyr_list_append(&ranges_priv(test)->list,
						     vec, NULL, GFP_KERNEL));
}

/* Page number @i of what is scattered: no two are neighbours. */
static u64 ranges_page(unsigned int i)
{
	return SZ_1G + (u64)(i ^ 0x15) * 2 * PAGE_SIZE;
}

static void ranges_add_scattered(struct kunit *test, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		ranges_add(test, ranges_page(i), PAGE_SIZE);
}

static void ranges_clear(struct kunit *test)
{
	phyr_list_destroy(&ranges_priv(test)->list);
}

static u64 ranges_len(struct kunit *test)
{
	return ranges_priv(test)->list.nr_pages << PAGE_SHIFT;
}

/* Map a window of the list in one call. */
static int ranges_try_map(struct kunit *test, pt_vaddr_t va, u64 offset,
			  u64 length, size_t largest, size_t *mapped)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct phyr_cursor cur;

	phyr_seek(&cur, &ranges->list, offset, length);
	return iommu_map_ranges_nosync(&ranges->table.domain, va, &cur, largest,
				       IOMMU_READ | IOMMU_WRITE, GFP_KERNEL,
				       mapped);
}

struct ranges_check {
	struct kunit *test;
	struct phyr_cursor cur;
	pt_vaddr_t bitmap;
	/* The entry to come, and what its range has left from there on */
	pt_vaddr_t va;
	u64 paddr;
	u64 left;
};

/* The rule: the largest size that is aligned and does not cross the range. */
static unsigned int ranges_best_lg2(const struct ranges_check *check)
{
	unsigned int best = 0;

	for (unsigned int lg2 = 0; lg2 < 63; lg2++)
		if (check->bitmap & BIT_ULL(lg2) &&
		    BIT_ULL(lg2) <= check->left &&
		    IS_ALIGNED(check->va | check->paddr, BIT_ULL(lg2)))
			best = lg2;
	return best;
}

static bool ranges_next_piece(struct ranges_check *check)
{
	if (check->left)
		return true;
	if (!phyr_next(&check->cur))
		return false;
	check->paddr = check->cur.vec.paddr;
	check->left = check->cur.vec.len;
	return true;
}

static int ranges_check_entry(struct ranges_check *check, struct pt_state *pts)
{
	pt_vaddr_t va = pts->range->va;
	unsigned int lg2;

	if (!ranges_next_piece(check)) {
		KUNIT_FAIL(check->test, "an entry too many, at %llx", (u64)va);
		return -EINVAL;
	}
	lg2 = ranges_best_lg2(check);
	if (va != check->va || pt_entry_oa(pts) != check->paddr ||
	    pt_entry_oa_lg2sz(pts) != lg2) {
		KUNIT_FAIL(check->test,
			   "entry %llx -> %llx, 2^%u; not %llx -> %llx, 2^%u",
			   (u64)va, (u64)pt_entry_oa(pts),
			   pt_entry_oa_lg2sz(pts), (u64)check->va,
			   check->paddr, lg2);
		return -EINVAL;
	}
	check->va += BIT_ULL(lg2);
	check->paddr += BIT_ULL(lg2);
	check->left -= BIT_ULL(lg2);
	return 0;
}

static int __ranges_check(struct pt_range *range, void *arg, unsigned int level,
			  struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	int ret = 0;

	for_each_pt_level_entry(&pts) {
		if (pts.type == PT_ENTRY_TABLE)
			ret = pt_descend(&pts, arg, __ranges_check);
		else if (pts.type == PT_ENTRY_OA)
			ret = ranges_check_entry(arg, &pts);
		if (ret)
			return ret;
	}
	return 0;
}

/* @priv has the window at @va, in entries of the best size, and nothing else. */
static void ranges_check_table(struct kunit *test,
			       struct kunit_iommu_priv *priv, pt_vaddr_t va,
			       u64 offset, u64 length, size_t largest)
{
	struct pt_range range = pt_top_range(priv->common);
	struct ranges_check check = {
		.test = test,
		.va = va,
		.bitmap = priv->domain.pgsize_bitmap &
			  (largest | (largest - 1)),
	};

	phyr_seek(&check.cur, &ranges_priv(test)->list, offset, length);
	KUNIT_ASSERT_NO_ERRNO(test,
			      pt_walk_range(&range, __ranges_check, &check));
	KUNIT_ASSERT_FALSE(test, ranges_next_piece(&check));
	KUNIT_ASSERT_EQ(test, check.va, va + length);
}

/* Every page of small ranges, some pages and the last byte of large ones */
static void ranges_check_iova(struct kunit *test, pt_vaddr_t va, u64 offset,
			      u64 length)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct iommu_domain *domain = &ranges->table.domain;
	struct phyr_cursor cur;

	phyr_seek(&cur, &ranges->list, offset, length);
	while (phyr_next(&cur)) {
		u64 len = cur.vec.len, step = PAGE_SIZE;

		if (len > SZ_64K)
			step = round_up(len / 16, PAGE_SIZE);
		for (u64 pos = 0; pos < len; pos += step)
			KUNIT_ASSERT_EQ(test, cur.vec.paddr + pos,
					iommu_iova_to_phys(domain, va + pos));
		KUNIT_ASSERT_EQ(test, cur.vec.paddr + len - 1,
				iommu_iova_to_phys(domain, va + len - 1));
		va += len;
	}
}

/* The second table: a call for each range */
static void ranges_map_ref(struct kunit *test, pt_vaddr_t va, u64 offset,
			   u64 length, size_t largest)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct iommu_domain *domain = &ranges->ref.domain;
	unsigned long bitmap = domain->pgsize_bitmap;
	struct phyr_cursor cur;

	domain->pgsize_bitmap &= largest | (largest - 1);
	phyr_seek(&cur, &ranges->list, offset, length);
	while (phyr_next(&cur)) {
		int ret = iommu_map(domain, va, cur.vec.paddr, cur.vec.len,
				    IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);

		KUNIT_ASSERT_NO_ERRNO(test, ret);
		va += cur.vec.len;
	}
	domain->pgsize_bitmap = bitmap;
}

/* Map a window on both tables, compare, and unmap it again. */
static void ranges_test_window(struct kunit *test, pt_vaddr_t va, u64 offset,
			       u64 length, size_t largest)
{
	struct ranges_priv *ranges = ranges_priv(test);
	size_t mapped;
	int ret;

	ret = ranges_try_map(test, va, offset, length, largest, &mapped);
	KUNIT_ASSERT_NO_ERRNO(test, ret);
	KUNIT_ASSERT_EQ(test, mapped, length);
	ranges_check_table(test, &ranges->table, va, offset, length, largest);
	ranges_check_iova(test, va, offset, length);

	ranges_map_ref(test, va, offset, length, largest);
	ranges_check_table(test, &ranges->ref, va, offset, length, largest);

	do_unmap(test, va, length);
	KUNIT_ASSERT_EQ(test, count_valids(test), 0);
	KUNIT_ASSERT_EQ(test, length,
			iommu_unmap(&ranges->ref.domain, va, length));
}

/* All of the list, without a bound and with some that make a difference */
static void ranges_test_all(struct kunit *test, pt_vaddr_t va)
{
	struct kunit_iommu_priv *priv = test->priv;
	u64 length = ranges_len(test);

	ranges_test_window(test, va, 0, length, SIZE_MAX);
	ranges_test_window(test, va, 0, length, PAGE_SIZE);
	if (priv->safe_pgsize_bitmap & SZ_64K)
		ranges_test_window(test, va, 0, length, SZ_64K);
	ranges_test_window(test, va, 0, length, SZ_2M);
}

static void test_ranges_scattered(struct kunit *test)
{
	/* Starts and ends in mid-table, with whole tables between */
	ranges_add_scattered(test, 1300);
	ranges_test_all(test, ranges_va(test) + RANGES_ODD_VA);
	/* One table, from its first to its last item, and one item */
	ranges_test_window(test, ranges_va(test), 0, SZ_2M, SIZE_MAX);
	ranges_test_window(test, ranges_va(test), 0, PAGE_SIZE, SIZE_MAX);
}

/* Lengths and alignments of all kinds beside each other */
static void test_ranges_mixed(struct kunit *test)
{
	struct ranges_priv *ranges = ranges_priv(test);

	for (unsigned int round = 0; round < 6; round++) {
		u64 pfn = SZ_1G >> PAGE_SHIFT;

		for (unsigned int i = 0; i < 60; i++) {
			u32 random = prandom_u32_state(&ranges->random);
			u64 nr = 1 + (random >> 8) % BIT(random % 11);

			ranges_add(test, pfn << PAGE_SHIFT, nr << PAGE_SHIFT);
			pfn += nr + 1 + (random >> 20) % 600;
			/* Every other one in step with the VA, modulo 2 MiB */
			if (i % 2)
				pfn = round_up(pfn, 512) +
				      ranges->list.nr_pages % 512;
		}
		ranges_test_all(test, ranges_va(test) +
					      (round & 1 ? RANGES_ODD_VA : 0));
		ranges_clear(test);
	}
}

/* Up and down between the levels, at their boundaries */
static void test_ranges_levels(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	u64 paddr = SZ_4G;

	if (IS_32BIT || priv->common->max_vasz_lg2 < 34)
		kunit_skip(test, "Not enough VA");

	/* Small up to a 2 MiB boundary, then entries of 2 MiB ... */
	ranges_add(test, paddr, SZ_2M - PAGE_SIZE);
	ranges_add(test, paddr + SZ_4M, PAGE_SIZE);
	ranges_add(test, paddr + SZ_8M, 3 * SZ_2M);
	/* ... small ones again that end inside of a table ... */
	ranges_add(test, paddr + SZ_16M, SZ_32K);
	/* ... and right up to a 1 GiB boundary, where an entry of that starts */
	ranges_add(test, paddr + SZ_32M, SZ_1M);
	ranges_add(test, paddr + SZ_256M + SZ_8M + SZ_1M + SZ_32K,
		   SZ_1G - SZ_8M - SZ_1M - SZ_32K);
	ranges_add(test, paddr + SZ_2G, SZ_1G);
	/* Two that would be one 2 MiB entry, were they one range */
	ranges_add(test, SZ_1G, SZ_1M);
	ranges_add(test, SZ_1G + SZ_4M + SZ_1M, SZ_1M);
	ranges_test_all(test, ranges_va(test));
}

static void test_ranges_window(struct kunit *test)
{
	pt_vaddr_t va = ranges_va(test) + RANGES_ODD_VA;
	struct kunit_iommu_priv *priv = test->priv;
	struct phyr_cursor cur;
	size_t mapped;
	int ret;

	ranges_add(test, SZ_1G + SZ_512M, SZ_4M);
	ranges_add_scattered(test, 3);
	ranges_add(test, SZ_2G, SZ_4M);

	/* From the middle of a range to the middle of a range, and inside one */
	ranges_test_window(test, va, SZ_1M, SZ_4M, SIZE_MAX);
	ranges_test_window(test, va, SZ_1M, SZ_1M, SIZE_MAX);

	/* A cursor that has given a piece: what it has left */
	phyr_seek(&cur, &ranges_priv(test)->list, 0, U64_MAX);
	KUNIT_ASSERT_TRUE(test, phyr_next(&cur));
	ret = iommu_map_ranges_nosync(&priv->domain, va, &cur, SIZE_MAX,
				      IOMMU_READ | IOMMU_WRITE, GFP_KERNEL,
				      &mapped);
	KUNIT_ASSERT_NO_ERRNO(test, ret);
	KUNIT_ASSERT_EQ(test, mapped, 3 * PAGE_SIZE + SZ_4M);
	KUNIT_ASSERT_FALSE(test, phyr_next(&cur));
	ranges_check_table(test, priv, va, SZ_4M, mapped, SIZE_MAX);
}

/* Begins in the table there is, and goes on where one more level is needed. */
static void test_ranges_grow(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range top = pt_top_range(priv->common);

	if (!pt_feature(priv->common, PT_FEAT_DYNAMIC_TOP))
		kunit_skip(test, "PT_FEAT_DYNAMIC_TOP not set for this format");
	if (IS_32BIT || priv->common->max_vasz_lg2 <= top.max_vasz_lg2)
		kunit_skip(test, "No growth possible");

	ranges_add_scattered(test, 600);
	ranges_add(test, SZ_2G, SZ_4M);
	ranges_test_window(test, top.last_va + 1 - 300 * PAGE_SIZE, 0,
			   ranges_len(test), SIZE_MAX);
	KUNIT_ASSERT_EQ(test, pt_top_range(priv->common).top_level,
			top.top_level + 1);
}

/* The walk itself, without the core: what it says it mapped, it has. */
static void ranges_test_partial(struct kunit *test, pt_vaddr_t va,
				pt_vaddr_t hit)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct phyr_cursor cur;
	size_t mapped = 0;
	int ret;

	phyr_seek(&cur, &ranges_priv(test)->list, 0, U64_MAX);
	ret = priv->iommu->ops->map_ranges(priv->iommu, va, &cur, SIZE_MAX,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL,
					   &mapped);
	KUNIT_ASSERT_EQ(test, ret, -EADDRINUSE);
	/* The run that collides is in the way with all of its entry */
	KUNIT_ASSERT_LE(test, mapped, hit - va);
	for (u64 pos = 0; pos < hit - va; pos += PAGE_SIZE)
		KUNIT_ASSERT_EQ(test, pos < mapped,
				!!iommu_iova_to_phys(&priv->domain, va + pos));
	if (mapped)
		do_unmap(test, va, mapped);
}

/* Something is in the way at page @at, as one entry of @pgsz. */
static void ranges_test_collision(struct kunit *test, unsigned int at,
				  pt_vaddr_t pgsz)
{
	pt_vaddr_t va = ranges_va(test), hit = va + at * PAGE_SIZE;
	size_t mapped;
	int ret;

	do_map(test, hit, SZ_8G, pgsz);
	ranges_test_partial(test, va, hit);
	ret = ranges_try_map(test, va, 0, U64_MAX, SIZE_MAX, &mapped);
	KUNIT_ASSERT_EQ(test, ret, -EADDRINUSE);
	KUNIT_ASSERT_EQ(test, mapped, 0);
	KUNIT_ASSERT_EQ(test, count_valids_single(test, pgsz), 1);
	check_iova(test, hit, SZ_8G, pgsz);
	do_unmap(test, hit, pgsz);
}

static void test_ranges_collision(struct kunit *test)
{
	static const unsigned int at[] = { 0, 1, 2, 511, 512, 513, 1023, 1299 };
	struct kunit_iommu_priv *priv = test->priv;

	ranges_add_scattered(test, 1300);
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++)
		ranges_test_collision(test, at[i], PAGE_SIZE);
	/* Where a table would have to be */
	if (priv->safe_pgsize_bitmap & SZ_2M)
		ranges_test_collision(test, 512, SZ_2M);
	ranges_clear(test);

	/* In the middle of runs of several leaves, and under a large one */
	for (unsigned int i = 0; i < 20; i++)
		ranges_add(test, SZ_1G + i * SZ_512K, SZ_256K);
	ranges_test_collision(test, 70, PAGE_SIZE);
	ranges_clear(test);
	ranges_add_scattered(test, 512);
	ranges_add(test, SZ_2G, SZ_2M);
	ranges_test_collision(test, 512 + 70, PAGE_SIZE);
	/* Empty tables are no obstacle */
	ranges_test_window(test, ranges_va(test), 0, ranges_len(test),
			   SIZE_MAX);
}

static int ranges_init_table(struct kunit_iommu_priv *priv)
{
	int ret = pt_iommu_init(&priv->fmt_table, &priv->cfg, GFP_KERNEL);

	if (ret)
		return ret;
	priv->iommu = &priv->fmt_table.iommu;
	priv->common = common_from_iommu(priv->iommu);
	return 0;
}

/* Which allocation is to fail: the first, the second ... */
static int ranges_fail_at;

static void *ranges_alloc(int nid, gfp_t gfp, size_t size)
{
	struct kunit *test = kunit_get_current_test();
	void *virt;

	if (!--ranges_fail_at)
		return NULL;
	kunit_deactivate_static_stub(test, iommu_alloc_pages_node_sz);
	virt = iommu_alloc_pages_node_sz(nid, gfp, size);
	kunit_activate_static_stub(test, iommu_alloc_pages_node_sz,
				   ranges_alloc);
	return virt;
}

/* Each allocation of a call on a new table fails once. */
static void test_ranges_nomem(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range top = pt_top_range(priv->common);
	pt_vaddr_t va = ranges_va(test) + RANGES_ODD_VA;
	size_t mapped;
	int ret, nr;

	/* Top growth allocates as well */
	if (pt_feature(priv->common, PT_FEAT_DYNAMIC_TOP) &&
	    priv->common->max_vasz_lg2 > top.max_vasz_lg2)
		va = top.last_va + 1 - RANGES_ODD_VA;

	ranges_add_scattered(test, 1300);
	for (nr = 1;; nr++) {
		ranges_fail_at = nr;
		kunit_activate_static_stub(test, iommu_alloc_pages_node_sz,
					   ranges_alloc);
		ret = ranges_try_map(test, va, 0, U64_MAX, SIZE_MAX, &mapped);
		kunit_deactivate_static_stub(test, iommu_alloc_pages_node_sz);
		if (!ret)
			break;
		KUNIT_ASSERT_EQ(test, ret, -ENOMEM);
		KUNIT_ASSERT_EQ(test, mapped, 0);
		KUNIT_ASSERT_EQ(test, count_valids(test), 0);

		pt_iommu_deinit(priv->iommu);
		KUNIT_ASSERT_NO_ERRNO(test, ranges_init_table(priv));
	}
	/* The tables of leaves, and one above them at least */
	KUNIT_ASSERT_GE(test, nr, 1 + 3 + 1);
	KUNIT_ASSERT_EQ(test, mapped, ranges_len(test));
	ranges_check_table(test, priv, va, 0, mapped, SIZE_MAX);
}

static void ranges_test_refused(struct kunit *test, int want, pt_vaddr_t va,
				u64 offset, u64 length, size_t largest)
{
	size_t mapped;

	KUNIT_EXPECT_EQ(test, want, ranges_try_map(test, va, offset, length,
						   largest, &mapped));
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, count_valids(test), 0);
}

/* The first page of the list would fit, the second would have to go to 0. */
static void ranges_test_wrap(struct kunit *test)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct phyr_cursor cur;
	size_t mapped = 1;

	phyr_seek(&cur, &ranges->list, 0, U64_MAX);
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			iommu_map_ranges_nosync(&ranges->table.domain,
						ULONG_MAX - PAGE_SIZE + 1, &cur,
						SIZE_MAX, IOMMU_READ,
						GFP_KERNEL, &mapped));
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, count_valids(test), 0);
}

/* Nothing that is refused leaves anything mapped. */
static void test_ranges_refused(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	u8 max_oasz_lg2 = priv->common->max_oasz_lg2;
	u8 max_vasz_lg2 = priv->common->max_vasz_lg2;
	pt_vaddr_t va = ranges_va(test);

	ranges_add_scattered(test, 700);
	ranges_add(test, SZ_8G - PAGE_SIZE, SZ_1M);

	/* Empty windows */
	ranges_test_refused(test, -EINVAL, va, 0, 0, SIZE_MAX);
	ranges_test_refused(test, -EINVAL, va, ranges_len(test), 1, SIZE_MAX);
	/* Less than the smallest page at the start, at the end, of the IOVA */
	ranges_test_refused(test, -ENXIO, va, 8, U64_MAX, SIZE_MAX);
	ranges_test_refused(test, -ENXIO, va, 0, SZ_64K + 8, SIZE_MAX);
	ranges_test_refused(test, -ENXIO, va + 8, 0, U64_MAX, SIZE_MAX);
	/* No page size is that small */
	ranges_test_refused(test, -ENXIO, va, 0, U64_MAX,
			    priv->smallest_pgsz / 2);
	/* A range behind others, only the end of which cannot be stored */
	priv->common->max_oasz_lg2 = ilog2(SZ_8G);
	ranges_test_refused(test, -ERANGE, va, 0, U64_MAX, SIZE_MAX);
	priv->common->max_oasz_lg2 = max_oasz_lg2;
	/* Beyond the end of the IOVA */
	if (!IS_32BIT && max_vasz_lg2 < 64)
		ranges_test_refused(test, -ERANGE,
				    BIT_ULL(max_vasz_lg2) - SZ_1M, 0, U64_MAX,
				    SIZE_MAX);
	ranges_test_wrap(test);

	ranges_test_window(test, va, 0, ranges_len(test), SIZE_MAX);
}

/*
 * Unmap all there is in a span: it has to be @want bytes, flushed at once, with
 * @change said to be the VA of what goes. A call for each run may flush between
 * them.
 */
static void ranges_unmap_sparse(struct kunit *test, pt_vaddr_t va, u64 length,
				u64 want, struct iommu_iotlb_gather *change)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct iommu_iotlb_gather gather;
	unsigned int syncs = ranges->syncs;

	iommu_iotlb_gather_init(&gather);
	KUNIT_ASSERT_EQ(test, want, iommu_unmap_sparse(&ranges->table.domain,
						       va, length, &gather));
	change->start = gather.start;
	change->end = gather.end;
	iommu_iotlb_sync(&ranges->table.domain, &gather);
	if (!ranges->table.domain.is_iommupt) {
		KUNIT_ASSERT_EQ(test, !!want, ranges->syncs != syncs);
		return;
	}
	/* No sync where nothing was said to change: tables would leak */
	KUNIT_ASSERT_EQ(test, ranges->syncs - syncs,
			change->start < change->end);
	if (want)
		KUNIT_ASSERT_LT(test, change->start, change->end);
}

/* A bit for each page of the span */
static unsigned long *ranges_bitmap(struct kunit *test)
{
	unsigned long *bits = kunit_kcalloc(test, BITS_TO_LONGS(RANGES_SPAN),
					    sizeof(*bits), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, bits);
	return bits;
}

/* Page @i of the span is mapped where its bit says so, and nothing else is. */
static void ranges_check_pages(struct kunit *test, pt_vaddr_t va,
			       const unsigned long *bits)
{
	struct kunit_iommu_priv *priv = test->priv;

	for (unsigned int i = 0; i < RANGES_SPAN; i++) {
		phys_addr_t want = test_bit(i, bits) ? ranges_page(i) : 0;

		KUNIT_ASSERT_EQ(test, want,
				iommu_iova_to_phys(&priv->domain,
						   va + i * PAGE_SIZE));
	}
	KUNIT_ASSERT_EQ(test, count_valids(test),
			bitmap_weight(bits, RANGES_SPAN));
}

/* Map what is not, but leave out about one page of @holes. */
static void ranges_map_holes(struct kunit *test, pt_vaddr_t va,
			     unsigned long *bits, unsigned int holes)
{
	struct ranges_priv *ranges = ranges_priv(test);

	for (unsigned int i = 0; i < RANGES_SPAN; i++) {
		if (test_bit(i, bits) ||
		    prandom_u32_state(&ranges->random) % holes == 0)
			continue;
		do_map(test, va + i * PAGE_SIZE, ranges_page(i), PAGE_SIZE);
		set_bit(i, bits);
	}
}

static void ranges_test_holes(struct kunit *test, pt_vaddr_t va,
			      unsigned long *bits, unsigned int first,
			      unsigned int end)
{
	unsigned int from = find_next_bit(bits, end, first);
	unsigned int nr = bitmap_weight(bits, end) - bitmap_weight(bits, first);
	struct iommu_iotlb_gather change;
	pt_vaddr_t start = va + first * PAGE_SIZE;
	u64 length = (end - first) * PAGE_SIZE;

	ranges_unmap_sparse(test, start, length, nr * PAGE_SIZE, &change);
	if (nr && ranges_priv(test)->table.domain.is_iommupt) {
		KUNIT_ASSERT_GE(test, change.start, start);
		KUNIT_ASSERT_LE(test, change.start, va + from * PAGE_SIZE);
		KUNIT_ASSERT_LE(test, change.end, start + length - 1);
		KUNIT_ASSERT_GE(test, change.end,
				va + (find_last_bit(bits, end) + 1) *
					     PAGE_SIZE - 1);
	}
	bitmap_clear(bits, first, end - first);
	ranges_check_pages(test, va, bits);
}

static void test_sparse_holes(struct kunit *test)
{
	pt_vaddr_t va = ranges_va(test) + RANGES_ODD_VA;
	struct ranges_priv *ranges = ranges_priv(test);
	unsigned long *bits = ranges_bitmap(test);

	for (unsigned int round = 0; round < 12; round++) {
		u32 random = prandom_u32_state(&ranges->random);
		unsigned int first = random % RANGES_SPAN;
		unsigned int nr = 1 + (random >> 16) % (RANGES_SPAN - first);

		ranges_map_holes(test, va, bits, round == 5 ? 50 : 2);
		ranges_check_pages(test, va, bits);
		ranges_test_holes(test, va, bits, first, first + nr);
	}
	ranges_test_holes(test, va, bits, 0, RANGES_SPAN);
	/* Nothing to unmap, and no entry that would be for nothing but that */
	ranges_test_holes(test, va, bits, 0, RANGES_SPAN);
}

static int __ranges_count_tables(struct pt_range *range, void *arg,
				 unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	unsigned int *nr = arg;

	for_each_pt_level_entry(&pts) {
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		(*nr)++;
		pt_descend(&pts, arg, __ranges_count_tables);
	}
	return 0;
}

static unsigned int ranges_count_tables(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range range = pt_top_range(priv->common);
	unsigned int nr = 0;

	KUNIT_ASSERT_NO_ERRNO(test, pt_walk_range(&range, __ranges_count_tables,
						  &nr));
	return nr;
}

/* Tables that the span covers are freed, those that it only touches are not. */
static void test_sparse_tables(struct kunit *test)
{
	struct iommu_iotlb_gather change;
	pt_vaddr_t va = ranges_va(test);
	unsigned int nr;

	for (unsigned int i = 0; i < 4; i++) {
		do_map(test, va + i * SZ_2M, ranges_page(2 * i), PAGE_SIZE);
		do_map(test, va + i * SZ_2M + SZ_1M, ranges_page(2 * i + 1),
		       PAGE_SIZE);
	}
	nr = ranges_count_tables(test);
	/* The second half of the first, the two in the middle ... */
	ranges_unmap_sparse(test, va + SZ_1M, SZ_1M + 2 * SZ_2M, 5 * PAGE_SIZE,
			    &change);
	KUNIT_EXPECT_EQ(test, change.start, va + SZ_1M);
	KUNIT_EXPECT_EQ(test, change.end, va + 3 * SZ_2M - 1);
	KUNIT_EXPECT_EQ(test, ranges_count_tables(test), nr - 2);
	check_iova(test, va, ranges_page(0), PAGE_SIZE);
	check_iova(test, va + 3 * SZ_2M, ranges_page(6), PAGE_SIZE);
	check_iova(test, va + 3 * SZ_2M + SZ_1M, ranges_page(7), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, count_valids(test), 3);

	/* A table that is empty already */
	do_unmap(test, va + 3 * SZ_2M, PAGE_SIZE);
	do_unmap(test, va + 3 * SZ_2M + SZ_1M, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, ranges_count_tables(test), nr - 2);
	ranges_unmap_sparse(test, va + SZ_2M, 3 * SZ_2M, 0, &change);
	KUNIT_EXPECT_EQ(test, change.start, va + 3 * SZ_2M);
	KUNIT_EXPECT_EQ(test, change.end, va + 4 * SZ_2M - 1);
	KUNIT_EXPECT_EQ(test, ranges_count_tables(test), nr - 3);
	check_iova(test, va, ranges_page(0), PAGE_SIZE);
	do_unmap(test, va, PAGE_SIZE);
}

/* Entries of two sizes, and spans that cut the large one */
static void test_sparse_cut(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	pt_vaddr_t va = ranges_va(test), large = va + SZ_2M;
	struct iommu_iotlb_gather change;

	if (!(priv->safe_pgsize_bitmap & SZ_2M))
		kunit_skip(test, "Needs 2 MiB entries");

	do_map(test, large, SZ_1G, SZ_2M);
	do_map(test, large + SZ_2M, SZ_2G, PAGE_SIZE);

	/* Starting inside: nothing happens */
	ranges_unmap_sparse(test, large + SZ_1M, SZ_4M, 0, &change);
	check_iova(test, large, SZ_1G, SZ_2M);
	check_iova(test, large + SZ_2M, SZ_2G, PAGE_SIZE);

	/* Ending inside: all of the entry goes, and is flushed */
	do_map(test, large - SZ_64K, SZ_4G, PAGE_SIZE);
	ranges_unmap_sparse(test, va, SZ_2M + SZ_1M, SZ_2M + PAGE_SIZE,
			    &change);
	KUNIT_EXPECT_LE(test, change.start, large - SZ_64K);
	KUNIT_EXPECT_EQ(test, change.end, large + SZ_2M - 1);
	KUNIT_EXPECT_EQ(test, count_valids_single(test, PAGE_SIZE), 1);
	check_iova(test, large + SZ_2M, SZ_2G, PAGE_SIZE);

	/* Not cut */
	do_map(test, large, SZ_1G, SZ_2M);
	ranges_unmap_sparse(test, va, SZ_8M, SZ_2M + PAGE_SIZE, &change);
	KUNIT_EXPECT_EQ(test, count_valids(test), 0);
}

/* Windows that come and go, as page faults and invalidations have it */
static void test_ranges_random(struct kunit *test)
{
	pt_vaddr_t va = ranges_va(test) + RANGES_ODD_VA;
	struct ranges_priv *ranges = ranges_priv(test);
	unsigned int refused = 0;
	unsigned long *bits = ranges_bitmap(test);

	ranges_add_scattered(test, RANGES_SPAN);
	for (unsigned int round = 0; round < 200; round++) {
		u32 random = prandom_u32_state(&ranges->random);
		unsigned int first = random % RANGES_SPAN;
		/* Mostly small, so that some are free */
		unsigned int most = round % 4 ? 40 : RANGES_SPAN;
		unsigned int nr = 1 + (random >> 16) %
					      min(most, RANGES_SPAN - first);
		bool free = find_next_bit(bits, first + nr, first) ==
			    first + nr;
		u64 pos = first * PAGE_SIZE;
		size_t mapped;
		int ret;

		ret = ranges_try_map(test, va + pos, pos, nr * PAGE_SIZE,
				     PAGE_SIZE, &mapped);
		KUNIT_ASSERT_EQ(test, ret, free ? 0 : -EADDRINUSE);
		if (free) {
			bitmap_set(bits, first, nr);
		} else {
			refused++;
			ranges_check_pages(test, va, bits);
			ranges_test_holes(test, va, bits, first, first + nr);
		}
	}
	ranges_check_pages(test, va, bits);
	KUNIT_EXPECT_GT(test, refused, 20);
	KUNIT_EXPECT_LT(test, refused, 180);
	ranges_test_holes(test, va, bits, 0, RANGES_SPAN);
}

/* A page table that only has map_pages and unmap_pages */
static int ranges_map_pages(struct iommu_domain *domain, unsigned long iova,
			    phys_addr_t paddr, size_t pgsize, size_t pgcount,
			    int prot, gfp_t gfp, size_t *mapped)
{
	struct pt_iommu *pt = container_of(domain, struct pt_iommu, domain);

	return pt->ops->map_range(pt, iova, paddr, pgsize * pgcount, prot, gfp,
				  mapped);
}

static size_t ranges_unmap_pages(struct iommu_domain *domain,
				 unsigned long iova, size_t pgsize,
				 size_t pgcount,
				 struct iommu_iotlb_gather *iotlb_gather)
{
	struct pt_iommu *pt = container_of(domain, struct pt_iommu, domain);
	size_t unmapped = pt->ops->unmap_range(pt, iova, pgsize * pgcount,
					       iotlb_gather);

	/* Some drivers warn when they are asked for what is not there */
	KUNIT_EXPECT_GE(kunit_get_current_test(), unmapped, pgsize * pgcount);
	return unmapped;
}

static void ranges_iotlb_sync(struct iommu_domain *domain,
			      struct iommu_iotlb_gather *gather)
{
	struct kunit_iommu_priv *priv =
		container_of(domain, struct kunit_iommu_priv, domain);

	container_of(priv, struct ranges_priv, table)->syncs++;
	pt_kunit_iotlb_sync(domain, gather);
}

static const struct iommu_domain_ops ranges_domain_ops = {
	IOMMU_PT_DOMAIN_OPS1(PTPFX_RAW),
	.iotlb_sync = &ranges_iotlb_sync,
	.map_pages = &ranges_map_pages,
	.unmap_pages = &ranges_unmap_pages,
};

/* The same by calls for one range, on page tables that have no others */
static void test_ranges_fallback(struct kunit *test)
{
	struct ranges_priv *ranges = ranges_priv(test);
	pt_vaddr_t va = ranges_va(test);

	ranges->table.domain.is_iommupt = false;
	ranges_add_scattered(test, 520);
	ranges_add(test, SZ_2G + SZ_1M, SZ_4M + SZ_64K);
	ranges_test_wrap(test);
	ranges_test_all(test, va);
	ranges_test_all(test, va + RANGES_ODD_VA);
	ranges_test_collision(test, 300, PAGE_SIZE);
	ranges_clear(test);
	test_ranges_random(test);
}

static int ranges_init(struct kunit *test)
{
	struct ranges_priv *ranges =
		kunit_kzalloc(test, sizeof(*ranges), GFP_KERNEL);
	int ret;

	if (!ranges)
		return -ENOMEM;
	phyr_list_init(&ranges->list);
	prandom_seed_state(&ranges->random, 0x5eed);
	ranges->table.orig_nr_secondary_pagetable =
		pt_kunit_nr_secondary_pagetable();
	ret = pt_kunit_priv_init(test, &ranges->table);
	if (ret)
		return ret;
	ranges->table.domain.ops = &ranges_domain_ops;
	test->priv = &ranges->table;
	return 0;
}

static int ranges_init_ref(struct kunit *test)
{
	struct ranges_priv *ranges = ranges_priv(test);
	struct kunit_iommu_priv *ref = &ranges->ref;

	if (ranges->table.smallest_pgsz > PAGE_SIZE)
		kunit_skip(test, "Pages of the table are too large");

	ref->cfg = ranges->table.cfg;
	ref->fmt_table.iommu.nid = NUMA_NO_NODE;
	ref->fmt_table.iommu.driver_ops = &pt_kunit_driver_ops;
	ref->fmt_table.iommu.iommu_device = ranges->table.dummy_dev;
	ref->domain.ops = &kunit_pt_ops;
	spin_lock_init(&ref->top_lock);
	return ranges_init_table(ref);
}

static int pt_kunit_ranges_init(struct kunit *test)
{
	int ret = ranges_init(test);

	return ret ?: ranges_init_ref(test);
}

static int pt_kunit_ranges_coherent_init(struct kunit *test)
{
	struct kunit_iommu_priv *priv;
	int ret = ranges_init(test);

	if (ret)
		return ret;
	priv = test->priv;
	if (!pt_feature(priv->common, PT_FEAT_DMA_INCOHERENT))
		kunit_skip(test, "Tables of this format are always coherent");
	pt_iommu_deinit(priv->iommu);
	priv->cfg.common.features &= ~BIT(PT_FEAT_DMA_INCOHERENT);
	ret = ranges_init_table(priv);
	return ret ?: ranges_init_ref(test);
}

static void pt_kunit_ranges_exit(struct kunit *test)
{
	struct ranges_priv *ranges;

	if (!test->priv)
		return;
	ranges = ranges_priv(test);
	pt_iommu_deinit(&ranges->ref.fmt_table.iommu);
	pt_iommu_deinit(ranges->table.iommu);
	phyr_list_destroy(&ranges->list);
	/* No table is left, as in pt_kunit_iommu_exit() */
	pt_kunit_expect_secondary_pagetable(test, ranges->table.orig_nr_secondary_pagetable);
}

static struct kunit_case ranges_test_cases[] = {
	KUNIT_CASE_FMT(test_ranges_scattered),
	KUNIT_CASE_FMT(test_ranges_mixed),
	KUNIT_CASE_FMT(test_ranges_levels),
	KUNIT_CASE_FMT(test_ranges_window),
	KUNIT_CASE_FMT(test_ranges_grow),
	KUNIT_CASE_FMT(test_ranges_collision),
	KUNIT_CASE_FMT(test_ranges_nomem),
	KUNIT_CASE_FMT(test_ranges_refused),
	KUNIT_CASE_FMT(test_ranges_random),
	KUNIT_CASE_FMT(test_ranges_fallback),
	KUNIT_CASE_FMT(test_sparse_holes),
	KUNIT_CASE_FMT(test_sparse_tables),
	KUNIT_CASE_FMT(test_sparse_cut),
	{},
};

static struct kunit_suite NS(ranges_suite) = {
	.name = __stringify(NS(ranges_test)),
	.init = pt_kunit_ranges_init,
	.exit = pt_kunit_ranges_exit,
	.test_cases = ranges_test_cases,
};

static struct kunit_suite NS(ranges_coherent_suite) = {
	.name = __stringify(NS(ranges_coherent_test)),
	.init = pt_kunit_ranges_coherent_init,
	.exit = pt_kunit_ranges_exit,
	.test_cases = ranges_test_cases,
};

kunit_test_suites(&NS(ranges_suite), &NS(ranges_coherent_suite));
