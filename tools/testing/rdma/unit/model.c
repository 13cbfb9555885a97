// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/gfp.h>

#include "check.h"
#include "memory.h"
#include "model.h"

static void model_add_piece(struct model *m, u64 pfn, struct p2pdma_provider *provider)
{
	if (m->nr == m->room) {
		m->room = m->room ? m->room * 2 : 16;
		m->piece = reallocarray(m->piece, m->room, sizeof(*m->piece));
		check(m->piece, "the host has no memory left");
	}
	m->piece[m->nr++] = (struct piece) {
		.first = m->nr_pages,
		.pfn = pfn,
		.provider = provider,
	};
	m->mmio |= !!provider;
}

static void model_append(struct model *m, u64 pfn, u64 nr,
			 struct p2pdma_provider *provider)
{
	while (nr) {
		struct piece *last = m->nr ? &m->piece[m->nr - 1] : NULL;
		bool same = last && last->provider == provider &&
			    m->leaf_pages < LEAF_PAGES;
		u64 step;

		if (!same || last->pfn + last->nr != pfn) {
			if (!same || m->leaf_ranges == LEAF_RANGES) {
				m->leaf_pages = 0;
				m->leaf_ranges = 0;
			}
			model_add_piece(m, pfn, provider);
			m->leaf_ranges++;
		}
		step = min(nr, LEAF_PAGES - m->leaf_pages);
		m->piece[m->nr - 1].nr += step;
		m->leaf_pages += step;
		m->nr_pages += step;
		pfn += step;
		nr -= step;
	}
}

/* Index of the piece that holds a page. */
static size_t model_find(const struct model *m, u64 page)
{
	size_t low = 0, high = m->nr;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (m->piece[mid].first > page)
			high = mid;
		else
			low = mid;
	}
	return low;
}

void twin_init(struct twin *t)
{
	memset(t, 0, sizeof(*t));
	memset(&t->list, 0x5a, sizeof(t->list));
	phyr_list_init(&t->list);
	t->others = memory.live;
}

u64 twin_count(const struct twin *t)
{
	struct phyr_cursor cur;
	u64 nr = 0;

	for (phyr_seek(&cur, &t->list, 0, U64_MAX); phyr_next(&cur); nr++)
		;
	return nr;
}

static void twin_check_memory(const struct twin *t)
{
	check(phyr_list_memory(&t->list) == memory.live - t->others,
	      "list accounts %zu bytes, took %zu",
	      phyr_list_memory(&t->list), memory.live - t->others);
}

static void twin_check_sums(const struct twin *t)
{
	const struct model *m = &t->model;
	u64 settled = m->nr ? m->piece[m->nr - 1].first : 0;

	check(phyr_settled(&t->list) == settled, "%llu pages are settled, expected %llu",
	      phyr_settled(&t->list), settled);
	check(phyr_has_mmio(&t->list) == m->mmio, "the list says %sMMIO",
	      m->mmio ? "no " : "");
	check(t->list.nr_pages == t->model.nr_pages,
	      "%llu pages, expected %llu",
	      t->list.nr_pages, t->model.nr_pages);
	/* Not each time where it takes long */
	if (!t->list.tail.height)
		twin_check_memory(t);
}

void twin_destroy(struct twin *t)
{
	unsigned long calls = memory.calls;

	phyr_list_destroy(&t->list);
	check(memory.calls == calls, "destroying allocates");
	free(t->model.piece);
	t->model = (struct model) {};
	twin_check_sums(t);
	twin_check(t);
}

int twin_append(struct twin *t, u64 pfn, u64 nr, struct p2pdma_provider *provider)
{
	struct phys_vec vec = { pfn << PAGE_SHIFT, nr << PAGE_SHIFT };
	struct phyr_list before = t->list;
	unsigned long failed = memory.failed;
	int ret = phyr_list_append(&t->list, vec, provider, GFP_KERNEL);
	u64 done = t->list.nr_pages - before.nr_pages;

	if (done)
		model_append(&t->model, pfn, done, provider);
	if (ret) {
		check(ret == -ENOMEM && memory.failed > failed,
		      "append of %#llx+%llu gave %d", pfn, nr, ret);
		check(!done || (done < nr && t->model.leaf_pages == LEAF_PAGES),
		      "failed append left %llu of %llu pages", done, nr);
		check(done || !memcmp(&before, &t->list, sizeof(before)),
		      "failed append changed the list");
	} else {
		check(done == nr, "append of %llu pages added %llu", nr, done);
	}
	twin_check_sums(t);
	return ret;
}

int twin_append_pages(struct twin *t, struct page **pages, size_t nr)
{
	u64 before = t->list.nr_pages, done;
	unsigned long failed = memory.failed;
	int ret = phyr_list_append_pages(&t->list, pages, nr, GFP_KERNEL);

	done = t->list.nr_pages - before;
	check(done <= nr && (ret ? ret == -ENOMEM && memory.failed > failed : done == nr),
	      "append of %zu pages added %llu and gave %d", nr, done, ret);
	for (u64 i = 0; i < done; i++)
		model_append(&t->model, page_to_pfn(pages[i]), 1, NULL);
	twin_check_sums(t);
	return ret;
}

unsigned int twin_append_failing(struct twin *t, u64 pfn, u64 nr,
				 struct p2pdma_provider *provider)
{
	u64 end = t->list.nr_pages + nr;
	unsigned int failures = 0, fail_in = 1;

	while (t->list.nr_pages < end) {
		u64 left = end - t->list.nr_pages;

		memory.fail_in = fail_in;
		if (twin_append(t, pfn + nr - left, left, provider))
			failures++;
		/* Where a first part stayed, begin anew with the rest. */
		fail_in = left == end - t->list.nr_pages ? fail_in + 1 : 1;
		twin_check_window(t, (end - left - 1) << PAGE_SHIFT, U64_MAX);
	}
	memory.fail_in = 0;
	return failures;
}

/*
 * The piece at @offset, up to @left bytes of it, must be @cur's, and the whole
 * rest of it what one look at the offset gives.
 */
static void check_piece(const struct twin *t, const struct phyr_cursor *cur,
			u64 offset, u64 left)
{
	const struct model *m = &t->model;
	const struct piece *p = &m->piece[model_find(m, offset >> PAGE_SHIFT)];
	u64 skip = offset - (p->first << PAGE_SHIFT);
	u64 rest = (p->nr << PAGE_SHIFT) - skip, len = min(rest, left);
	u64 paddr = (p->pfn << PAGE_SHIFT) + skip;
	struct phys_vec at = phyr_at(&t->list, offset);

	check(at.paddr == paddr && at.len == rest,
	      "byte %#llx is at %#llx+%#zx, expected %#llx+%#llx",
	      offset, (u64)at.paddr, at.len, paddr, rest);
	check(cur->vec.paddr == paddr && cur->vec.len == len &&
	      cur->provider == p->provider,
	      "byte %#llx is at %#llx+%#zx of %p, expected %#llx+%#llx of %p",
	      offset, (u64)cur->vec.paddr, cur->vec.len, cur->provider,
	      paddr, len, p->provider);
}

static u64 window_left(const struct twin *t, u64 offset, u64 length)
{
	u64 total = t->model.nr_pages << PAGE_SHIFT;

	return offset < total ? min(length, total - offset) : 0;
}

void twin_check_window(const struct twin *t, u64 offset, u64 length)
{
	u64 left = window_left(t, offset, length);
	struct phyr_cursor cur;

	check(offset >> PAGE_SHIFT < t->model.nr_pages || !phyr_at(&t->list, offset).len,
	      "something is at byte %#llx, behind the list", offset);
	memset(&cur, 0x5a, sizeof(cur));
	phyr_seek(&cur, &t->list, offset, length);
	while (left) {
		check(phyr_next(&cur), "no piece at byte %#llx", offset);
		check_piece(t, &cur, offset, left);
		offset += cur.vec.len;
		left -= cur.vec.len;
	}
	check(!phyr_next(&cur) && !phyr_next(&cur),
	      "a piece behind the window, which ends at byte %#llx", offset);
}

static void check_page(const struct model *m, const struct page *page, u64 offset)
{
	const struct piece *p = &m->piece[model_find(m, offset >> PAGE_SHIFT)];
	const struct page *expected = pfn_to_page(p->pfn + (offset >> PAGE_SHIFT) - p->first);

	check(!(offset & ~PAGE_MASK) && !p->provider && page == expected,
	      "byte %#llx is in page %#lx, expected %#lx of %p",
	      offset, page_to_pfn(page), page_to_pfn(expected), p->provider);
}

u64 twin_check_pages(const struct twin *t, u64 offset, u64 length, unsigned int max)
{
	u64 left = window_left(t, offset, length), given = 0;
	struct page *pages[MAX_PAGES];
	struct phyr_cursor cur;

	memset(&cur, 0x5a, sizeof(cur));
	phyr_seek(&cur, &t->list, offset, length);
	while (left) {
		unsigned int nr = phyr_next_pages(&cur, pages, max);

		check(nr <= max && nr <= left >> PAGE_SHIFT,
		      "%u pages where %u fit, %#llx bytes left", nr, max, left);
		for (unsigned int i = 0; i < nr; i++)
			check_page(&t->model, pages[i], offset + i * PAGE_SIZE);
		given += nr;
		offset += nr * PAGE_SIZE;
		left -= nr * PAGE_SIZE;
		if (nr)
			continue;
		check(phyr_next(&cur), "no piece at byte %#llx", offset);
		check_piece(t, &cur, offset, left);
		offset += cur.vec.len;
		left -= cur.vec.len;
	}
	check(!phyr_next_pages(&cur, pages, max) && !phyr_next(&cur),
	      "more behind the window, which ends at byte %#llx", offset);
	return given;
}

void twin_check(const struct twin *t)
{
	twin_check_sums(t);
	twin_check_memory(t);
	twin_check_window(t, 0, U64_MAX);
	twin_check_pages(t, 0, U64_MAX, MAX_PAGES);
}

/* Windows from @offset that end around the end of each of the next pieces. */
static void check_ends(const struct twin *t, size_t piece, u64 offset)
{
	const struct model *m = &t->model;

	twin_check_window(t, offset, 0);
	twin_check_window(t, offset, 1);
	twin_check_window(t, offset, PAGE_SIZE);
	twin_check_window(t, offset, U64_MAX - offset);
	for (size_t i = piece; i < m->nr && i < piece + 3; i++) {
		u64 end = (m->piece[i].first + m->piece[i].nr) << PAGE_SHIFT;

		for (int around = -1; around <= 1; around++)
			if (end + around > offset)
				twin_check_window(t, offset, end + around - offset);
	}
}

void twin_check_borders(const struct twin *t)
{
	const struct model *m = &t->model;
	u64 total = m->nr_pages << PAGE_SHIFT;

	for (size_t i = 0; i < m->nr; i++) {
		u64 first, last;

		/* Of a long list, its start and end */
		if (i == 500 && m->nr > 1000)
			i = m->nr - 500;
		first = m->piece[i].first << PAGE_SHIFT;
		last = first + (m->piece[i].nr << PAGE_SHIFT) - 1;

		check_ends(t, i, first);
		check_ends(t, i, first + 1);
		check_ends(t, i, first + PAGE_SIZE - 1);
		check_ends(t, i, first + (last - first) / 2);
		check_ends(t, i, last - PAGE_SIZE + 1);
		check_ends(t, i, last);
	}
	twin_check_window(t, total, 0);
	twin_check_window(t, total, U64_MAX);
	twin_check_window(t, total + 1, 1);
	twin_check_window(t, U64_MAX, U64_MAX);
}
