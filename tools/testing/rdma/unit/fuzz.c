// SPDX-License-Identifier: GPL-2.0
/*
 * A stream of operations on a list, compared with the model after each. The
 * fuzzer writes the stream, and looks for one that takes new ways through
 * lib/phyr.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "model.h"

int fuzz_one(const u8 *data, size_t size);

static struct p2pdma_provider bar[3];
static struct p2pdma_provider *const providers[] = { NULL, &bar[0], &bar[1], &bar[2] };

void check_failed(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

struct stream {
	const u8 *data;
	size_t left;
};

/* The next bytes of the stream as a number; 0 where it has ended. */
static u64 take(struct stream *s, unsigned int bytes)
{
	u64 value = 0;

	while (bytes-- && s->left) {
		value = value << 8 | *s->data++;
		s->left--;
	}
	return value;
}

static void append(struct stream *s, struct twin *t, u64 *pfn, bool next)
{
	u64 how = take(s, 1), nr = 1;

	if (!next)
		*pfn = take(s, 1 + how % 5) % TOP_PFN;
	if (how & 0x20)
		nr = 1 + take(s, 1);
	if (how & 0x40)
		nr = 1 + take(s, 2) % (3 * LEAF_PAGES);
	if (*pfn + nr > TOP_PFN)
		*pfn = TOP_PFN - nr;
	memory.fail_in = how & 0x80 ? 1 + how % 4 : 0;
	if (!twin_append(t, *pfn, nr, providers[how >> 3 & 3]))
		*pfn += nr;
	memory.fail_in = 0;
}

/* Anything at all as a range: refused, or what the list then holds. */
static void append_raw(struct stream *s, struct twin *t)
{
	struct phys_vec vec = { .paddr = take(s, 8), .len = take(s, 8) };
	struct phyr_list before = t->list;
	int ret;

	if (vec.len && !((vec.paddr | vec.len) & (PAGE_SIZE - 1)) &&
	    (vec.paddr >> PAGE_SHIFT) + (vec.len >> PAGE_SHIFT) <= TOP_PFN)
		return;
	ret = phyr_list_append(&t->list, vec, NULL, GFP_KERNEL);
	check(ret < 0 && !memcmp(&before, &t->list, sizeof(before)),
	      "a bad range gave %d", ret);
}

static void append_pages(struct stream *s, struct twin *t)
{
	size_t nr = take(s, 1) % (MAX_PAGES + 1);
	struct page *pages[MAX_PAGES];
	u64 pfn = take(s, 2), gaps = take(s, 8);

	for (size_t i = 0; i < nr; i++) {
		pages[i] = pfn_to_page(pfn);
		pfn += 1 + (gaps >> i & 1);
	}
	memory.fail_in = gaps & 3;
	twin_append_pages(t, pages, nr);
	memory.fail_in = 0;
}

int fuzz_one(const u8 *data, size_t size)
{
	struct stream s = { data, size };
	struct twin t;
	u64 pfn = 0;

	memory = (struct memory) {};
	twin_init(&t);
	while (s.left) {
		u64 operation = take(&s, 1), offset;

		switch (operation & 7) {
		case 0:
			offset = take(&s, 3);
			twin_check_window(&t, offset, take(&s, 3));
			break;
		case 1:
			twin_check_window(&t, take(&s, 2) << PAGE_SHIFT, take(&s, 1));
			break;
		case 2:
			append_raw(&s, &t);
			break;
		case 3:
			offset = take(&s, 2);
			if (operation == 0xfb)
				twin_destroy(&t);
			else if (operation & 8)
				append_pages(&s, &t);
			else
				twin_check_pages(&t, offset, take(&s, 3), operation >> 4);
			break;
		case 4:		/* as many as the stream has no room for */
			for (u64 nr = operation >> 3; nr--; pfn += 2)
				twin_append(&t, pfn % TOP_PFN, 1, providers[nr & (operation >> 6)]);
			break;
		case 5:
			append(&s, &t, &pfn, true);
			break;
		default:
			append(&s, &t, &pfn, false);
		}
	}
	twin_check(&t);
	twin_destroy(&t);
	check(!memory.blocks, "%lu blocks leaked", memory.blocks);
	return 0;
}
