/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lists of physical ranges.
 *
 * A struct phyr_list says what memory is: an ordered list of page granular
 * physical ranges, ordinary RAM and peer-to-peer MMIO in any mix. It is only
 * ever an input. Where a device sees that memory is a different structure's
 * business, and nothing is written back into the list.
 *
 * The element at the interface is struct phys_vec. Inside, a range takes 8
 * bytes; see lib/phyr.c for how it is stored.
 */
#ifndef _LINUX_PHYR_H
#define _LINUX_PHYR_H

#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/types.h>

#include <asm/page.h>

/* Bits of a page frame number that a list has room for */
#define PHYR_PFN_BITS	40
/* and of an address */
#define PHYR_ADDR_BITS	(PHYR_PFN_BITS + PAGE_SHIFT)

struct p2pdma_provider;
struct page;

/**
 * struct phyr_leaf - a run of ranges of one provider
 * @next: the leaf that follows in the list
 * @root: of the last leaf, which none follows: the tree of all others, if any
 * @provider: whose MMIO the ranges are, NULL for RAM
 * @word: the range, packed, as long as there is room for one only
 * @words: the ranges, packed, where there is room for more
 * @nr_pages: pages in all ranges together
 * @nr: ranges in use
 * @order: how many ranges there is room for, as a power of two
 * @height: of the last leaf: levels of nodes in the tree
 * @mmio: whether this leaf, or one before it, has a provider
 *
 * See lib/phyr.c, nobody else looks into it.
 */
struct phyr_leaf {
	union {
		const struct phyr_leaf	*next;
		void			*root;
	};
	struct p2pdma_provider	*provider;
	union {
		u64		word;
		u64		*words;
	};
	u32			nr_pages;
	u16			nr;
	u8			order;
	u8			height : 4;
	u8			mmio : 1;
};

/**
 * struct phyr_list - an ordered list of physical ranges
 * @nr_pages: pages in all ranges together
 *
 * All zero is an empty list. One range is kept in here, without any allocation;
 * a list of more must stay where it is.
 *
 * The owner serialises appending against everything else. Readers need no lock
 * among themselves and never sleep.
 */
struct phyr_list {
	u64			nr_pages;
	/* private: */
	struct phyr_leaf	tail;	/* the last leaf, takes the next range */
};

/**
 * phyr_has_mmio - whether any range of a list has a provider
 * @list: list to look into
 *
 * Return: whether there is MMIO in it.
 */
static inline bool phyr_has_mmio(const struct phyr_list *list)
{
	return list->tail.mmio;
}

/**
 * struct phyr_cursor - a place in a list, and what is left of a byte window
 * @vec: current piece: physical address and length in bytes, clipped to the
 *	window; never empty after phyr_next() said true
 * @provider: whose MMIO the piece is, or NULL for RAM that has struct page
 *
 * The way through the pieces of a window is::
 *
 *	phyr_seek(&cur, list, offset, length);
 *	while (phyr_next(&cur))
 *		use(cur.vec);
 */
struct phyr_cursor {
	struct phys_vec		vec;
	struct p2pdma_provider	*provider;
	/* private: */
	const struct phyr_leaf	*leaf;
	const u64		*word;	/* of the next range */
	const u64		*end;	/* of the leaf's words */
	u64			left;
	u64			skip;	/* bytes of the next range before the window */
};

/**
 * phyr_left - how much of its window a cursor has left
 * @cur: cursor that phyr_seek() has set
 *
 * Return: bytes in the pieces that phyr_next() has not given yet.
 */
static inline u64 phyr_left(const struct phyr_cursor *cur)
{
	return cur->left;
}

void phyr_list_init(struct phyr_list *list);
void phyr_list_destroy(struct phyr_list *list);
int phyr_list_append(struct phyr_list *list, struct phys_vec vec,
		     struct p2pdma_provider *provider, gfp_t gfp);
int phyr_list_append_pages(struct phyr_list *list, struct page **pages,
			   size_t nr, gfp_t gfp);
size_t phyr_list_memory(const struct phyr_list *list);
u64 phyr_settled(const struct phyr_list *list);
struct phys_vec phyr_at_slow(const struct phyr_list *list, u64 offset);
void phyr_seek(struct phyr_cursor *cur, const struct phyr_list *list,
	       u64 offset, u64 length);
bool phyr_next_slow(struct phyr_cursor *cur);
unsigned int phyr_next_pages(struct phyr_cursor *cur, struct page **pages,
			     unsigned int max);

/* Of a range in a leaf: its position in pages from the leaf's start, and where it is */
static inline u64 phyr_word_position(u64 word)
{
	return word >> PHYR_PFN_BITS;
}

static inline u64 phyr_word_pfn(u64 word)
{
	return word & GENMASK_ULL(PHYR_PFN_BITS - 1, 0);
}

/**
 * phyr_at - what is at a byte of a list
 * @list: list to look into
 * @offset: in bytes from the start of the list
 *
 * For one look, or for few: no cursor has to be set up. In a list of one leaf in
 * which every range is one page, the page's number is the index of its range, and
 * one load finds it. Elsewhere a look takes time logarithmic in the number of ranges.
 * Context: any; the list must not change meanwhile.
 *
 * Return: the rest of the range that has the byte, from the byte on; empty
 * where the list ends before it.
 */
static __always_inline struct phys_vec phyr_at(const struct phyr_list *list, u64 offset)
{
	const struct phyr_leaf *leaf = &list->tail;
	size_t skip = offset & (PAGE_SIZE - 1);
	u64 page = offset >> PAGE_SHIFT;

	if (page >= leaf->nr || leaf->nr != list->nr_pages || !leaf->order)
		return phyr_at_slow(list, offset);
	return (struct phys_vec) {
		.paddr = ((phys_addr_t)phyr_word_pfn(leaf->words[page]) << PAGE_SHIFT) + skip,
		.len = PAGE_SIZE - skip,
	};
}

/**
 * phyr_next - move a cursor to the next piece of its window
 * @cur: cursor that phyr_seek() has set
 *
 * Inline, for loops that do little else, but with another range behind this
 * one in its leaf only.
 * Context: any; the list must not have changed.
 *
 * Return: whether there is one.
 */
static __always_inline bool phyr_next(struct phyr_cursor *cur)
{
	const u64 *word = cur->word;
	u64 len;

	if (unlikely(cur->end - word < 2 || cur->skip))
		return cur->left && phyr_next_slow(cur);

	len = (phyr_word_position(word[1]) - phyr_word_position(word[0])) << PAGE_SHIFT;
	len = min(len, cur->left);
	cur->vec.paddr = (phys_addr_t)phyr_word_pfn(word[0]) << PAGE_SHIFT;
	cur->vec.len = len;
	cur->left -= len;
	cur->word = word + 1;
	return len;
}

#endif /* _LINUX_PHYR_H */
