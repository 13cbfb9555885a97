// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of lists of physical ranges: with real pages, in the contexts
 * that the kernel uses them in. Every way through the code is tested in user
 * space, see tools/testing/rdma/unit.
 */
#include <kunit/test.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/phyr.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>

/* A provider is nothing but an identity to the list. */
#define PHYR_TEST_BAR(n)	((struct p2pdma_provider *)(0x1000UL * (n)))

static int phyr_test_init(struct kunit *test)
{
	struct phyr_list *list = kunit_kmalloc(test, sizeof(*list), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, list);
	phyr_list_init(list);
	test->priv = list;
	return 0;
}

static void phyr_test_exit(struct kunit *test)
{
	struct phyr_list *list = test->priv;

	if (list)
		phyr_list_destroy(list);
}

/* How many ranges a walk gives. */
static u64 phyr_test_count(const struct phyr_list *list)
{
	struct phyr_cursor cur;
	u64 nr = 0;

	for (phyr_seek(&cur, list, 0, U64_MAX); phyr_next(&cur); nr++)
		;
	return nr;
}

static int phyr_test_add(struct phyr_list *list, u64 pfn, u64 nr,
			 struct p2pdma_provider *provider)
{
	struct phys_vec vec = { .paddr = pfn << PAGE_SHIFT, .len = nr << PAGE_SHIFT };

	return phyr_list_append(list, vec, provider, GFP_KERNEL);
}

/* The one piece that a window of @length bytes must have. */
static void phyr_test_expect(struct kunit *test, u64 offset, u64 length,
			     phys_addr_t paddr, struct p2pdma_provider *provider)
{
	struct phyr_cursor cur;

	phyr_seek(&cur, test->priv, offset, length);
	KUNIT_ASSERT_TRUE(test, phyr_next(&cur));
	KUNIT_EXPECT_EQ(test, cur.vec.paddr, paddr);
	KUNIT_EXPECT_EQ(test, cur.vec.len, length);
	KUNIT_EXPECT_PTR_EQ(test, cur.provider, provider);
	KUNIT_EXPECT_FALSE(test, phyr_next(&cur));
}

static void phyr_test_empty(struct kunit *test)
{
	struct phyr_list *list = test->priv;
	struct phyr_cursor cur;

	phyr_seek(&cur, list, 0, U64_MAX);
	KUNIT_EXPECT_FALSE(test, phyr_next(&cur));
	phyr_list_destroy(list);
	KUNIT_EXPECT_EQ(test, phyr_list_memory(list), 0);
	KUNIT_EXPECT_EQ(test, list->nr_pages, 0);
}

static void phyr_test_errors(struct kunit *test)
{
	const u64 top = BIT_ULL(40);
	struct phys_vec odd_address = { .paddr = 1, .len = PAGE_SIZE };
	struct phys_vec odd_length = { .paddr = 0, .len = PAGE_SIZE - 1 };
	struct phyr_list *list = test->priv;

	KUNIT_EXPECT_EQ(test, phyr_test_add(list, 1, 0, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, phyr_list_append(list, odd_address, NULL, GFP_KERNEL),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, phyr_list_append(list, odd_length, NULL, GFP_KERNEL),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, list->nr_pages, 0);
	if (sizeof(phys_addr_t) < sizeof(u64))
		return;
	KUNIT_EXPECT_EQ(test, phyr_test_add(list, top, 1, NULL), -EOVERFLOW);
	KUNIT_EXPECT_EQ(test, phyr_test_add(list, top - 1, 2, NULL), -EOVERFLOW);
	KUNIT_EXPECT_EQ(test, phyr_list_memory(list), 0);
	KUNIT_EXPECT_EQ(test, phyr_test_add(list, top - 1, 1, NULL), 0);
	phyr_test_expect(test, PAGE_SIZE - 1, 1, (top << PAGE_SHIFT) - 1, NULL);
}

/* RAM and the MMIO of two providers in one list, at addresses that adjoin */
static void phyr_test_providers(struct kunit *test)
{
	static const int order[] = { 0, 1, 2, 1, 0 };
	struct phyr_list *list = test->priv;

	for (int i = 0; i < ARRAY_SIZE(order); i++)
		KUNIT_ASSERT_EQ(test, 0, phyr_test_add(list, 100 + 2 * i, 2,
						       PHYR_TEST_BAR(order[i])));
	KUNIT_EXPECT_EQ(test, phyr_test_count(list), ARRAY_SIZE(order));
	KUNIT_EXPECT_TRUE(test, phyr_has_mmio(list));
	for (int i = 0; i < ARRAY_SIZE(order); i++)
		phyr_test_expect(test, 2 * i * PAGE_SIZE, 2 * PAGE_SIZE,
				 (100 + 2 * i) * PAGE_SIZE, PHYR_TEST_BAR(order[i]));
}

#define PHYR_TEST_PAGES	2000

static void phyr_test_free_pages(void *data)
{
	struct page **pages = data;

	for (int i = 0; i < PHYR_TEST_PAGES && pages[i]; i++)
		__free_page(pages[i]);
}

static struct page **phyr_test_alloc_pages(struct kunit *test)
{
	struct page **pages = kunit_kcalloc(test, PHYR_TEST_PAGES, sizeof(*pages),
					    GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pages);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, phyr_test_free_pages, pages));
	for (int i = 0; i < PHYR_TEST_PAGES; i++) {
		pages[i] = alloc_page(GFP_HIGHUSER);
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
	}
	return pages;
}

/* Pages as the allocator gives them: what goes in by page comes out by range. */
static void phyr_test_pages(struct kunit *test)
{
	struct page **pages = phyr_test_alloc_pages(test);
	struct phyr_list *list = test->priv;
	struct phyr_cursor cur;
	u64 offset = 0;

	for (int i = 0; i < PHYR_TEST_PAGES; i++) {
		memset_page(pages[i], 0, i, PAGE_SIZE);
		KUNIT_ASSERT_EQ(test, 0, phyr_test_add(list, page_to_pfn(pages[i]), 1, NULL));
	}

	phyr_seek(&cur, list, 0, U64_MAX);
	while (phyr_next(&cur)) {
		for (size_t done = 0; done < cur.vec.len; done += PAGE_SIZE) {
			struct page *page = pfn_to_page(PHYS_PFN(cur.vec.paddr + done));
			u8 byte;

			KUNIT_ASSERT_PTR_EQ(test, page, pages[offset >> PAGE_SHIFT]);
			memcpy_from_page(&byte, page, offset % PAGE_SIZE, 1);
			KUNIT_ASSERT_EQ(test, byte, (u8)(offset >> PAGE_SHIFT));
			offset += PAGE_SIZE;
		}
	}
	KUNIT_EXPECT_EQ(test, offset, PHYR_TEST_PAGES * PAGE_SIZE);
	for (int i = 0; i < PHYR_TEST_PAGES; i++)
		phyr_test_expect(test, i * PAGE_SIZE + i, PAGE_SIZE - i,
				 page_to_phys(pages[i]) + i, NULL);
}

/* Arrays of pages in, arrays of pages out, each with its neighbours elsewhere */
static void phyr_test_page_arrays(struct kunit *test)
{
	struct page **pages = phyr_test_alloc_pages(test), *some[32];
	unsigned int taken = 0, nr, i = 0;
	struct phyr_list *list = test->priv;
	struct phyr_cursor cur;

	while (i < PHYR_TEST_PAGES) {
		for (nr = 0; nr < ARRAY_SIZE(some) && i < PHYR_TEST_PAGES; nr++)
			some[nr] = pages[i++ * 7 % PHYR_TEST_PAGES];
		KUNIT_ASSERT_EQ(test, 0, phyr_list_append_pages(list, some, nr, GFP_KERNEL));
	}
	KUNIT_EXPECT_EQ(test, list->nr_pages, PHYR_TEST_PAGES);

	phyr_seek(&cur, list, 0, U64_MAX);
	for (i = 0; i < PHYR_TEST_PAGES; ) {
		nr = phyr_next_pages(&cur, some, ARRAY_SIZE(some));
		for (unsigned int k = 0; k < nr; k++)
			KUNIT_ASSERT_PTR_EQ(test, some[k], pages[i++ * 7 % PHYR_TEST_PAGES]);
		taken += nr;
		if (nr)
			continue;
		KUNIT_ASSERT_TRUE(test, phyr_next(&cur));
		for (size_t done = 0; done < cur.vec.len; done += PAGE_SIZE)
			KUNIT_ASSERT_EQ(test, cur.vec.paddr + done,
					page_to_phys(pages[i++ * 7 % PHYR_TEST_PAGES]));
	}
	KUNIT_EXPECT_EQ(test, phyr_next_pages(&cur, some, ARRAY_SIZE(some)), 0);
	KUNIT_EXPECT_FALSE(test, phyr_next(&cur));
	if (phyr_test_count(list) == list->nr_pages)
		KUNIT_EXPECT_GT(test, taken, PHYR_TEST_PAGES / 2);
}

/* The pages of a huge page are one range, whichever way they come. */
static void phyr_test_huge_page(struct kunit *test)
{
	unsigned int order = get_order(SZ_2M), nr = 1 << order;
	struct phyr_list *list = test->priv;
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_NOWARN, order);
	u64 pfn;

	if (!page)
		kunit_skip(test, "no memory in one piece of 2 MiB");
	pfn = page_to_pfn(page);
	for (unsigned int i = 0; i < nr; i++)
		KUNIT_EXPECT_EQ(test, 0, phyr_test_add(list, pfn + i, 1, NULL));
	KUNIT_EXPECT_EQ(test, phyr_test_count(list), 1);
	KUNIT_EXPECT_EQ(test, phyr_list_memory(list), 0);
	KUNIT_EXPECT_EQ(test, 0, phyr_test_add(list, pfn, nr, NULL));
	KUNIT_EXPECT_EQ(test, phyr_test_count(list), 2);
	KUNIT_EXPECT_GT(test, phyr_list_memory(list), 0);
	phyr_test_expect(test, SZ_1M, SZ_1M, page_to_phys(page) + SZ_1M, NULL);
	phyr_test_expect(test, SZ_2M + 1, SZ_1M, page_to_phys(page) + 1, NULL);
	__free_pages(page, order);
}

/* With interrupts off: appending as far as gfp goes, lookups always. */
static void phyr_test_atomic(struct kunit *test)
{
	struct phyr_list *list = test->priv;
	unsigned int added = 0, found = 0;
	struct phyr_cursor cur;
	unsigned long flags;
	DEFINE_SPINLOCK(lock);

	spin_lock_irqsave(&lock, flags);
	for (unsigned int i = 0; i < 2000; i++) {
		struct phys_vec vec = { .paddr = 2 * i * PAGE_SIZE, .len = PAGE_SIZE };

		if (phyr_list_append(list, vec, NULL, GFP_NOWAIT))
			break;
		added++;
	}
	for (unsigned int i = 0; i < added; i++) {
		phyr_seek(&cur, list, i * PAGE_SIZE, 1);
		found += phyr_next(&cur) && cur.vec.paddr == 2 * i * PAGE_SIZE;
	}
	spin_unlock_irqrestore(&lock, flags);
	KUNIT_EXPECT_EQ(test, list->nr_pages, added);
	KUNIT_EXPECT_EQ(test, added, found);
	KUNIT_EXPECT_GT(test, added, 0);
}

/* A list of two levels of nodes, and what it takes */
static void phyr_test_many(struct kunit *test)
{
	const u64 nr = 300000;
	struct phyr_list *list = test->priv;
	struct rnd_state random;

	for (u64 i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ(test, 0, phyr_test_add(list, 2 * (nr - i), 1, NULL));
	KUNIT_EXPECT_EQ(test, phyr_test_count(list), nr);
	KUNIT_EXPECT_GE(test, phyr_list_memory(list), 8 * nr);
	KUNIT_EXPECT_LE(test, 2 * phyr_list_memory(list), 17 * nr);

	prandom_seed_state(&random, 1);
	for (int i = 0; i < 20000; i++) {
		u64 page = prandom_u32_state(&random) % nr;
		u32 skip = prandom_u32_state(&random) % PAGE_SIZE;

		phyr_test_expect(test, (page << PAGE_SHIFT) + skip, 1,
				 ((phys_addr_t)2 * (nr - page) << PAGE_SHIFT) + skip, NULL);
	}
	phyr_list_destroy(list);
	KUNIT_EXPECT_EQ(test, phyr_list_memory(list), 0);
	KUNIT_EXPECT_EQ(test, 0, phyr_test_add(list, 5, 1, NULL));
	phyr_test_expect(test, 1, 2, 5 * PAGE_SIZE + 1, NULL);
}

/* A terabyte in one range: cut, and no byte of it lost */
static void phyr_test_long(struct kunit *test)
{
	struct phyr_list *list = test->priv;
	struct phyr_cursor cur;
	u64 offset = 0;

	if (sizeof(size_t) < sizeof(u64))
		kunit_skip(test, "a terabyte is more than a size_t counts here");
	KUNIT_ASSERT_EQ(test, 0, phyr_test_add(list, 8, SZ_1T >> PAGE_SHIFT, NULL));
	for (phyr_seek(&cur, list, 0, U64_MAX); phyr_next(&cur); ) {
		KUNIT_ASSERT_EQ(test, cur.vec.paddr, 8 * PAGE_SIZE + offset);
		offset += cur.vec.len;
	}
	KUNIT_EXPECT_EQ(test, offset, SZ_1T);
	KUNIT_EXPECT_LE(test, phyr_list_memory(list), SZ_16K);
	phyr_test_expect(test, SZ_1T - 1, 1, 8 * PAGE_SIZE + SZ_1T - 1, NULL);
}

static struct kunit_case phyr_test_cases[] = {
	KUNIT_CASE(phyr_test_empty),
	KUNIT_CASE(phyr_test_errors),
	KUNIT_CASE(phyr_test_providers),
	KUNIT_CASE(phyr_test_pages),
	KUNIT_CASE(phyr_test_page_arrays),
	KUNIT_CASE(phyr_test_huge_page),
	KUNIT_CASE(phyr_test_atomic),
	KUNIT_CASE(phyr_test_many),
	KUNIT_CASE(phyr_test_long),
	{}
};

static struct kunit_suite phyr_test_suite = {
	.name = "phyr",
	.init = phyr_test_init,
	.exit = phyr_test_exit,
	.test_cases = phyr_test_cases,
};

kunit_test_suite(phyr_test_suite);

MODULE_DESCRIPTION("KUnit tests of lists of physical ranges");
MODULE_LICENSE("GPL");
