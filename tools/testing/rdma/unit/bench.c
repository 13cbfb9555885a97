// SPDX-License-Identifier: GPL-2.0
/* One kind of list, made and looked up; bench.sh counts the instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/phyr.h>
#include <linux/slab.h>

#include "random.h"

void *kmalloc(size_t size, gfp_t gfp)
{
	return malloc(size);
}

void kfree(void *p)
{
	free(p);
}

/* Ranges of @pages pages, @stride pages from one to the next. */
static void fill(struct phyr_list *list, u64 nr, u64 pages, u64 stride)
{
	for (u64 i = 0; i < nr; i++) {
		struct phys_vec vec = { i * stride << PAGE_SHIFT, pages << PAGE_SHIFT };

		if (phyr_list_append(list, vec, NULL, GFP_KERNEL))
			abort();
	}
}

static void seek(const struct phyr_list *list, u64 nr)
{
	struct random random = { 1 };
	struct phyr_cursor cur;

	while (nr--) {
		u64 offset = random_below(&random, list->nr_pages << PAGE_SHIFT);

		phyr_seek(&cur, list, offset, 1);
		if (!phyr_next(&cur) || !phyr_at(list, offset).len)
			abort();
	}
}

/* phyr_next() is inline: bench.sh counts this whole function. */
static noinline u64 walk(const struct phyr_list *list)
{
	struct phyr_cursor cur;
	u64 sum = 0;

	phyr_seek(&cur, list, 0, U64_MAX);
	while (phyr_next(&cur))
		sum += cur.vec.len;
	return sum;
}

/* The same of single pages, in arrays of them. */
static void fill_pages(struct phyr_list *list, u64 nr, u64 stride)
{
	struct page *pages[64];

	for (u64 i = 0; i < nr; i += ARRAY_SIZE(pages)) {
		for (u64 k = 0; k < ARRAY_SIZE(pages); k++)
			pages[k] = pfn_to_page((i + k) * stride);
		if (phyr_list_append_pages(list, pages, ARRAY_SIZE(pages), GFP_KERNEL))
			abort();
	}
}

static void walk_pages(const struct phyr_list *list)
{
	struct page *pages[64];
	struct phyr_cursor cur;

	phyr_seek(&cur, list, 0, U64_MAX);
	while (phyr_next_pages(&cur, pages, ARRAY_SIZE(pages)) || phyr_next(&cur))
		;
}

int main(int argc, char **argv)
{
	u64 nr, pages, stride;
	struct phyr_list list;

	if (argc != 4)
		return 2;
	nr = strtoull(argv[1], NULL, 0);
	pages = strtoull(argv[2], NULL, 0);
	stride = strtoull(argv[3], NULL, 0);

	phyr_list_init(&list);
	fill(&list, nr, pages, stride);
	seek(&list, nr);
	if (!walk(&list))
		abort();
	phyr_list_destroy(&list);
	if (pages == 1) {
		fill_pages(&list, nr, stride);
		walk_pages(&list);
		phyr_list_destroy(&list);
	}
	return 0;
}
