// SPDX-License-Identifier: GPL-2.0
/* Tests of lib/phyr.c against the model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/sizes.h>

#include "check.h"
#include "memory.h"
#include "model.h"
#include "random.h"

static jmp_buf test_end;
static struct p2pdma_provider bar[3];

void check_failed(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	longjmp(test_end, 1);
}

/* Pages no two of which are neighbours. */
static u64 scattered(u64 i)
{
	return (i * 2654435761) % (TOP_PFN / 4) * 3;
}

static void append(struct twin *t, u64 pfn, u64 nr, struct p2pdma_provider *provider)
{
	int ret = twin_append(t, pfn, nr, provider);

	check(!ret, "error %d", ret);
}

static void append_scattered(struct twin *t, u64 nr)
{
	for (u64 i = 0; i < nr; i++)
		append(t, scattered(i), 1, NULL);
}

static void test_empty(void)
{
	unsigned long calls = memory.calls;
	struct twin t;

	twin_init(&t);
	twin_check(&t);
	twin_check_borders(&t);
	twin_destroy(&t);
	twin_destroy(&t);
	check(memory.calls == calls, "an empty list allocates");
}

static void test_one_page(void)
{
	struct twin t;

	twin_init(&t);
	append(&t, 7, 1, &bar[0]);
	twin_check_borders(&t);
	for (u64 offset = 0; offset <= PAGE_SIZE; offset += 1 + PAGE_SIZE / SZ_4K)
		for (u64 length = 0; length <= PAGE_SIZE; length += 1 + offset % 61)
			twin_check_window(&t, offset, length);
	twin_destroy(&t);
}

/* However long the one range is, and whoever's, it is in the list itself. */
static void test_one_range(void)
{
	struct p2pdma_provider *const providers[] = { NULL, &bar[0] };
	unsigned long calls = memory.calls;
	struct page *page;
	struct twin t;

	for (int i = 0; i < 2; i++) {
		twin_init(&t);
		append(&t, 100, 1, providers[i]);
		append(&t, 101, 3, providers[i]);
		page = pfn_to_page(104);
		if (!providers[i])
			check(!twin_append_pages(&t, &page, 1), "append failed");
		append(&t, 104 + !providers[i], LEAF_PAGES - 10, providers[i]);
		check(memory.calls == calls, "one range allocates");
		twin_check_borders(&t);
		twin_destroy(&t);
	}
	check(memory.calls == calls, "one range allocates");
	check(sizeof(t.list) <= 40, "a list takes %zu bytes", sizeof(t.list));
}

/* One more range, of the same provider or not, takes the first along. */
static void test_second_range(void)
{
	struct twin t;

	for (int i = 0; i < 9; i++) {
		twin_init(&t);
		append(&t, 100, 2, i % 3 ? &bar[i % 3 - 1] : NULL);
		check(twin_append_failing(&t, 200, 3, i / 3 ? &bar[i / 3 - 1] : NULL) == 1,
		      "a second range took other than one allocation");
		check(phyr_list_memory(&t.list) == (i % 3 == i / 3 ? 4 * 8 : LEAF_HEADER),
		      "two ranges take %zu bytes", phyr_list_memory(&t.list));
		append(&t, 203, 1, i / 3 ? &bar[i / 3 - 1] : NULL);
		twin_check_borders(&t);
		twin_destroy(&t);
	}
}

static void test_merge(void)
{
	struct twin t;

	twin_init(&t);
	append(&t, 100, 1, NULL);
	append(&t, 101, 1, NULL);
	append(&t, 102, 50, NULL);
	check(twin_count(&t) == 1, "neighbours did not merge");
	append(&t, 151, 1, NULL);	/* overlap */
	append(&t, 150, 1, NULL);	/* descending */
	append(&t, 153, 1, NULL);	/* gap */
	append(&t, 153, 1, NULL);	/* the same */
	append(&t, 0, 1, NULL);
	check(twin_count(&t) == 6, "merged what is no neighbour");
	twin_check_borders(&t);
	twin_destroy(&t);
}

static void test_providers(void)
{
	struct p2pdma_provider *const order[] = { NULL, &bar[0], &bar[1], &bar[0], NULL };
	struct twin t;

	twin_init(&t);
	for (u64 i = 0; i < 5; i++) {
		append(&t, 1000 + 2 * i, 1, order[i]);
		append(&t, 1001 + 2 * i, 1, order[i]);
	}
	check(twin_count(&t) == 5, "%llu ranges, expected 5", twin_count(&t));
	twin_check_borders(&t);
	twin_destroy(&t);
}

/* The first leaf of a list starts small, and doubles where it is full. */
static void test_growth(void)
{
	size_t size = 0;
	struct twin t;

	twin_init(&t);
	for (u64 i = 0; i < LEAF_RANGES; i++) {
		append(&t, scattered(i), 1, NULL);
		if (i && 8 * (i + 1) > size) {
			size = size ? 2 * size : 32;
			twin_check(&t);
		}
		check(phyr_list_memory(&t.list) == size,
		      "%llu ranges take %zu bytes, expected %zu",
		      i + 1, phyr_list_memory(&t.list), size);
	}
	check(memory.blocks == 1, "the list of one leaf has %lu blocks", memory.blocks);
	twin_check_borders(&t);
	twin_destroy(&t);
}

/* A full leaf still takes what merges; the next range opens another. */
static void test_leaf_border(void)
{
	unsigned long calls;
	struct twin t;

	twin_init(&t);
	append_scattered(&t, LEAF_RANGES);
	calls = memory.calls;
	append(&t, scattered(LEAF_RANGES - 1) + 1, 5, NULL);
	check(memory.calls == calls && !t.list.tail.root, "a merge allocated");
	append(&t, scattered(LEAF_RANGES), 1, NULL);
	check(memory.calls == calls + 2 && t.list.tail.root && !t.list.tail.height,
	      "no second leaf");
	check(phyr_list_memory(&t.list) == LEAF_HEADER + 2 * PAGE_SIZE,
	      "two leaves take %zu bytes", phyr_list_memory(&t.list));
	append(&t, scattered(LEAF_RANGES) + 1, 1, NULL);
	append_scattered(&t, LEAF_RANGES);
	check(t.list.tail.height == 1, "three leaves in %u levels", t.list.tail.height);
	check(phyr_list_memory(&t.list) == 2 * LEAF_HEADER + 3 * PAGE_SIZE + sizeof(struct node),
	      "three leaves take %zu bytes", phyr_list_memory(&t.list));
	twin_check_borders(&t);
	twin_destroy(&t);
}

/*
 * One leaf per range, since the providers take turns. All but the last leaf are
 * in the tree.
 */
static void test_levels(void)
{
	u64 leaves = min(3000UL, SZ_64M / PAGE_SIZE), full = NODE_MAX;
	unsigned int height = 0;
	struct twin t;

	twin_init(&t);
	for (u64 i = 1; i <= leaves; i++) {
		append(&t, scattered(i), 1 + i % 3, &bar[i & 1]);
		if (i == (height ? full + 2 : 3)) {
			full *= height++ ? NODE_MAX : 1;
			twin_check(&t);
		}
		check(t.list.tail.height == height, "%llu leaves in %u levels, expected %u",
		      i, t.list.tail.height, height);
	}
	check(height > 1 || NODE_MAX > leaves, "the tree has only %u levels", height);
	twin_check_borders(&t);
	twin_destroy(&t);
}

/* A range longer than a leaf can count is cut, and only there. */
static void test_long_ranges(void)
{
	const u64 lengths[] = { LEAF_PAGES - 1, LEAF_PAGES, LEAF_PAGES + 1,
				3 * LEAF_PAGES, 5 * LEAF_PAGES + 3 };
	struct twin t;

	for (u64 before = 0; before < 3; before++) {
		for (u64 i = 0; i < 5; i++) {
			if (lengths[i] > (size_t)-1 >> PAGE_SHIFT)
				continue;
			twin_init(&t);
			for (u64 k = 0; k < before; k++)
				append(&t, scattered(k), 1, NULL);
			append(&t, TOP_PFN / 2, lengths[i], NULL);
			append(&t, TOP_PFN / 2 + lengths[i], 2, NULL);
			append(&t, TOP_PFN / 2, lengths[i], &bar[0]);
			append(&t, 1, 1, &bar[0]);
			twin_check_borders(&t);
			twin_destroy(&t);
		}
	}
}

/* The same length page by page: merged, and cut at the same place. */
static void test_long_by_pages(void)
{
	u64 nr = min(LEAF_PAGES + 5, BIT_ULL(18)), start = LEAF_PAGES + 2 - nr / 2;
	struct twin t;

	twin_init(&t);
	append(&t, 0, start, NULL);
	for (u64 i = 0; i < nr; i++)
		append(&t, start + i, 1, NULL);
	check(twin_count(&t) == (start + nr + LEAF_PAGES - 1) / LEAF_PAGES,
	      "%llu ranges", twin_count(&t));
	twin_check_borders(&t);
	twin_destroy(&t);
}

static void expect_error(struct twin *t, u64 paddr, u64 len, int error)
{
	struct phyr_list before = t->list;
	unsigned long calls = memory.calls;
	int ret = phyr_list_append(&t->list, (struct phys_vec) { paddr, len },
				   NULL, GFP_KERNEL);

	check(ret == error, "%#llx+%#llx gave %d, expected %d",
	      paddr, len, ret, error);
	check(!memcmp(&before, &t->list, sizeof(before)) && memory.calls == calls,
	      "an error changed the list");
}

static void test_invalid(void)
{
	const u64 top = TOP_PFN << PAGE_SHIFT;
	struct twin t;

	twin_init(&t);
	for (int filled = 0; filled < 2; filled++) {
		expect_error(&t, 0, 0, -EINVAL);
		expect_error(&t, PAGE_SIZE, 0, -EINVAL);
		expect_error(&t, top, 0, -EINVAL);
		for (u64 bit = 1; bit < PAGE_SIZE; bit <<= 1) {
			expect_error(&t, bit, PAGE_SIZE, -EINVAL);
			expect_error(&t, 0, bit, -EINVAL);
			expect_error(&t, 0, PAGE_SIZE + bit, -EINVAL);
			expect_error(&t, PAGE_SIZE - bit, bit, -EINVAL);
		}
		expect_error(&t, top, PAGE_SIZE, -EOVERFLOW);
		expect_error(&t, top - PAGE_SIZE, 2 * PAGE_SIZE, -EOVERFLOW);
		expect_error(&t, -(u64)PAGE_SIZE, PAGE_SIZE, -EOVERFLOW);
		expect_error(&t, -(u64)PAGE_SIZE, 2 * PAGE_SIZE, -EOVERFLOW);
		for (unsigned int bit = PAGE_SHIFT + 40; bit < 64; bit++)
			expect_error(&t, BIT_ULL(bit), PAGE_SIZE, -EOVERFLOW);
		append(&t, 1, 1, NULL);
	}
	twin_check(&t);
	twin_destroy(&t);
}

static void test_top(void)
{
	struct twin t;

	twin_init(&t);
	append(&t, TOP_PFN - 1, 1, NULL);
	append(&t, TOP_PFN - 5, 5, NULL);
	append(&t, TOP_PFN - 3, 2, &bar[2]);
	append(&t, TOP_PFN - 1, 1, &bar[2]);
	expect_error(&t, TOP_PFN << PAGE_SHIFT, PAGE_SIZE, -EOVERFLOW);
	append(&t, 0, 1, &bar[2]);
	twin_check_borders(&t);
	twin_destroy(&t);
}

/*
 * No list of 2^64 bytes fits in memory here, so one pretends to be that long.
 * It opens its last leaf where even a full one makes less than that.
 */
static void test_too_long(void)
{
	const u64 limit = (U64_MAX >> PAGE_SHIFT) - LEAF_PAGES;
	struct twin t;

	twin_init(&t);
	append(&t, 0, 1, &bar[0]);
	t.list.nr_pages = limit + 1;
	expect_error(&t, 0, PAGE_SIZE, -EOVERFLOW);
	t.list.nr_pages = limit;
	check(!phyr_list_append(&t.list, (struct phys_vec) { 0, LEAF_PAGES << PAGE_SHIFT },
				NULL, GFP_KERNEL), "a list of nearly 2^64 bytes is too long");
	expect_error(&t, 0, PAGE_SIZE, -EOVERFLOW);
	expect_error(&t, LEAF_PAGES << PAGE_SHIFT, PAGE_SIZE, -EOVERFLOW);
	twin_destroy(&t);
}

static void test_allocation_failure(void)
{
	unsigned int most = 0;
	struct twin t;

	twin_init(&t);
	for (u64 i = 0; i < 1200; i++) {
		u64 nr = i % 100 == 99 ? min(LEAF_PAGES + 3, (size_t)-1 >> PAGE_SHIFT) : 1;
		unsigned int failures;

		/* Stretches of one provider fill leaves, the others open them. */
		failures = twin_append_failing(&t, scattered(i), nr,
					       &bar[i / 16 % 3 ? i % 3 : 0]);
		if (nr == 1 && failures > most)
			most = failures;
		if (i % 50 == 0)
			twin_check(&t);
	}
	/* What makes the tree higher takes a node for each level, and a leaf. */
	check(most == t.list.tail.height + 1U, "at most %u allocations failed for one page", most);
	twin_check_borders(&t);
	twin_destroy(&t);
}

/* What the caller gave is what every allocation, of every kind, is made with. */
static void test_gfp(void)
{
	struct twin t;

	twin_init(&t);
	for (u64 i = 0; i < 600; i++) {
		struct phys_vec vec = { scattered(i) << PAGE_SHIFT, PAGE_SIZE };

		memory.gfp = i / 2 & 1 ? GFP_NOWAIT : GFP_KERNEL_ACCOUNT;
		check(!phyr_list_append(&t.list, vec, &bar[i < 300 ? 0 : i & 1], memory.gfp),
		      "append failed");
	}
	memory.gfp = 0;
	phyr_list_destroy(&t.list);
}

static void test_reuse(void)
{
	struct twin t;

	twin_init(&t);
	for (u64 nr = 1; nr < 10 * LEAF_RANGES; nr *= 3) {
		append_scattered(&t, nr);
		twin_check(&t);
		twin_destroy(&t);
	}
}

/* Two cursors in one list, and two lists, know nothing of each other. */
static void test_two_cursors(void)
{
	struct phyr_cursor one, two;
	struct twin t, other;
	u64 pages = 0;

	twin_init(&t);
	append_scattered(&t, 3 * LEAF_RANGES);
	twin_init(&other);
	append(&other, 5, 1, NULL);

	phyr_seek(&one, &t.list, 0, U64_MAX);
	while (phyr_next(&one)) {
		phyr_seek(&two, &t.list, pages++ << PAGE_SHIFT, PAGE_SIZE);
		check(phyr_next(&two) && two.vec.paddr == one.vec.paddr &&
		      two.vec.len == PAGE_SIZE && !phyr_next(&two),
		      "two cursors disagree on page %llu", pages - 1);
		twin_check(&other);
	}
	check(pages == t.list.nr_pages, "the walk gave %llu pages", pages);
	phyr_seek(&one, &other.list, 0, 1);
	check(phyr_next(&one) && one.vec.paddr == 5 << PAGE_SHIFT && one.vec.len == 1,
	      "a cursor that was used before differs");
	phyr_list_destroy(&other.list);
	free(other.model.piece);
	twin_destroy(&t);
}

/* Two million pages with gaps, in three levels. */
static void test_many_scattered(void)
{
	struct random random = { 1 };
	struct twin t;

	twin_init(&t);
	append_scattered(&t, 2 << 20);
	twin_check(&t);
	check(t.list.tail.height == 2, "%u levels", t.list.tail.height);
	for (int i = 0; i < 200000; i++)
		twin_check_window(&t, random_below(&random, t.list.nr_pages << PAGE_SHIFT),
				  random_below(&random, 20 * PAGE_SIZE));
	twin_destroy(&t);
}

static void expect_memory(u64 nr, u64 pages, double limit)
{
	double per_page;
	struct twin t;

	twin_init(&t);
	for (u64 i = 0; i < nr; i++)
		append(&t, (i * 7919 % nr) * (pages + 1), pages, NULL);
	per_page = (double)memory.live / t.list.nr_pages;
	printf("# %llu ranges of %llu pages: %.4f bytes per page\n",
	       nr, pages, per_page);
	check(twin_count(&t) == nr && per_page <= limit,
	      "%llu ranges, %f bytes per page, limit %f",
	      twin_count(&t), per_page, limit);
	twin_destroy(&t);
}

static void test_memory(void)
{
	expect_memory(512, 1, 8.5);
	expect_memory(64 << 10, 1, 8.5);
	expect_memory(1 << 20, 1, 8.5);
	expect_memory(128, 512, 0.02);
	expect_memory(512, 512, 0.02);
	expect_memory(64 << 10, 512, 0.02);
}

/* Pages of which some are neighbours, of the last array's too. */
static void append_pages(struct twin *t, struct random *r, u64 *pfn, size_t nr)
{
	struct page *pages[MAX_PAGES];

	for (size_t i = 0; i < nr; i++) {
		*pfn = random_below(r, 4) ? random_below(r, BIT_ULL(30)) : *pfn + 1;
		pages[i] = pfn_to_page(*pfn);
	}
	for (size_t done = 0; done < nr;) {
		u64 before = t->list.nr_pages;

		memory.fail_in = random_below(r, 3);
		twin_append_pages(t, pages + done, nr - done);
		memory.fail_in = 0;
		done += t->list.nr_pages - before;
	}
}

static void test_pages(void)
{
	struct random r = { 1 };
	struct page *page;
	struct twin t;
	u64 pfn = 0;

	twin_init(&t);
	twin_append_pages(&t, NULL, 0);
	for (u64 i = 0; i < 2 * LEAF_RANGES; i++) {
		page = pfn_to_page(scattered(i) % BIT_ULL(30));
		check(!twin_append_pages(&t, &page, 1), "append failed");
	}
	/* The first of the second leaf is what phyr_next() goes on to. */
	check(twin_check_pages(&t, 0, U64_MAX, MAX_PAGES) == t.list.nr_pages - 1,
	      "not all of the scattered pages came as pages");
	twin_check_pages(&t, 1, 3 * PAGE_SIZE, MAX_PAGES);
	twin_check_pages(&t, PAGE_SIZE, 3 * PAGE_SIZE - 1, MAX_PAGES);

	for (int i = 0; i < 500; i++) {
		if (!random_below(&r, 20))
			append(&t, scattered(i), 1 + random_below(&r, 3), &bar[0]);
		append_pages(&t, &r, &pfn, 1 + random_below(&r, MAX_PAGES));
	}
	for (unsigned int max = 0; max <= MAX_PAGES; max++)
		twin_check_pages(&t, max * PAGE_SIZE, U64_MAX, max);
	twin_destroy(&t);
}

static u64 random_seed;

static u64 random_length(struct random *r)
{
	switch (random_below(r, 8)) {
	case 0:
		return 1 + random_below(r, 600);
	case 1:
		return min(1 + random_below(r, 2 * LEAF_PAGES), (size_t)-1 >> PAGE_SHIFT);
	default:
		return 1 + random_below(r, 4);
	}
}

static void random_window(struct random *r, const struct twin *t)
{
	u64 total = t->list.nr_pages << PAGE_SHIFT;
	u64 offset = random_below(r, total + 2), length = random_below(r, total + 2);

	if (random_below(r, 2))		/* at a page border, or beside it */
		offset = (offset & PAGE_MASK) - 1 + random_below(r, 3);
	if (random_below(r, 16))
		length = random_below(r, 100 * PAGE_SIZE);
	twin_check_window(t, offset, length);
	twin_check_pages(t, offset, length, random_below(r, MAX_PAGES + 1));
}

static void random_round(struct random *r, u64 operations)
{
	struct p2pdma_provider *provider = NULL;
	u64 pfn = 0, page = 0, turn = 1 + random_below(r, 100);
	struct twin t;

	twin_init(&t);
	while (operations--) {
		u64 nr = random_length(r);

		if (!random_below(r, turn))
			provider = random_below(r, 2) ? &bar[random_below(r, 3)] : NULL;
		if (random_below(r, 4))
			pfn = random_below(r, TOP_PFN - nr + 1);
		if (pfn + nr > TOP_PFN)
			pfn = 0;
		memory.fail_in = random_below(r, 4) ? 0 : 1 + random_below(r, 4);
		if (!twin_append(&t, pfn, nr, provider))
			pfn += nr;
		memory.fail_in = 0;
		if (!random_below(r, 4))
			append_pages(&t, r, &page, 1 + random_below(r, MAX_PAGES));
		random_window(r, &t);
	}
	twin_check(&t);
	twin_destroy(&t);
}

static void test_random(void)
{
	struct random r = { random_seed };

	printf("# seed %llu (SEED=%llu in the environment repeats it)\n",
	       random_seed, random_seed);
	for (int round = 0; round < 40; round++)
		random_round(&r, 1 + random_below(&r, 4000));
}

struct test {
	const char *name;
	void (*run)(void);
};

static const struct test tests[] = {
	{ "empty", test_empty },
	{ "one_page", test_one_page },
	{ "one_range", test_one_range },
	{ "second_range", test_second_range },
	{ "merge", test_merge },
	{ "providers", test_providers },
	{ "growth", test_growth },
	{ "leaf_border", test_leaf_border },
	{ "levels", test_levels },
	{ "long_ranges", test_long_ranges },
	{ "long_by_pages", test_long_by_pages },
	{ "invalid", test_invalid },
	{ "top", test_top },
	{ "too_long", test_too_long },
	{ "allocation_failure", test_allocation_failure },
	{ "gfp", test_gfp },
	{ "reuse", test_reuse },
	{ "two_cursors", test_two_cursors },
	{ "pages", test_pages },
	{ "random", test_random },
};

/* Figures and sizes that hold for pages of 4 KiB, and take no short time. */
static const struct test page_4k_tests[] = {
	{ "many_scattered", test_many_scattered },
	{ "memory", test_memory },
};

static bool run(const struct test *test, size_t number)
{
	memory = (struct memory) {};
	if (setjmp(test_end)) {
		printf("not ok %zu %s\n", number, test->name);
		return false;
	}
	test->run();
	check(!memory.blocks, "%lu blocks, %zu bytes leaked", memory.blocks, memory.live);
	printf("ok %zu %s\n", number, test->name);
	return true;
}

int main(void)
{
	bool page_4k = PAGE_SHIFT == 12 && LEAF_PAGES == BIT_ULL(24), ok = true;
	const char *seed = getenv("SEED");
	size_t nr = 0;

	random_seed = seed ? strtoull(seed, NULL, 0) : (u64)time(NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", ARRAY_SIZE(tests) +
	       (page_4k ? ARRAY_SIZE(page_4k_tests) : 0));
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		ok &= run(&tests[i], ++nr);
	for (size_t i = 0; page_4k && i < ARRAY_SIZE(page_4k_tests); i++)
		ok &= run(&page_4k_tests[i], ++nr);
	return !ok;
}
