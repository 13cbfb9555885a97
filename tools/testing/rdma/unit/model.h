/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A plain array of pieces that must behave as a struct phyr_list does, and
 * the two of them as one: every change goes to both and is compared.
 */
#ifndef UNIT_MODEL_H
#define UNIT_MODEL_H

#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/phyr.h>

/* As lib/phyr.c promises: what fits in a leaf, and in a node of the tree. */
#define LEAF_HEADER	sizeof(struct phyr_leaf)
#define LEAF_RANGES	(PAGE_SIZE / 8)
#define LEAF_PAGES	min(BIT_ULL(24), SIZE_MAX >> PAGE_SHIFT)
#define TOP_PFN		BIT_ULL(40)

#define NODE_MAX	((PAGE_SIZE - 8) / (8 + sizeof(void *)))

struct node {
	unsigned int nr;
	u64 first[NODE_MAX];
	void *child[NODE_MAX];
};

/* The kernel's is opaque to the list, too. */
struct p2pdma_provider {
	int unused;
};

struct piece {
	u64 first;		/* position of its first page in the list */
	u64 pfn;
	u64 nr;			/* pages */
	struct p2pdma_provider *provider;
};

struct model {
	struct piece *piece;
	size_t nr;
	size_t room;
	u64 nr_pages;
	bool mmio;		/* some piece has a provider */
	/* of the leaf at the end, since a piece ends where its leaf is full */
	u64 leaf_pages;
	u64 leaf_ranges;
};

#define MAX_PAGES	64

struct twin {
	struct phyr_list list;
	struct model model;
	size_t others;		/* bytes of memory that are not the list's */
};

void twin_init(struct twin *t);
void twin_destroy(struct twin *t);

/* How many ranges a walk through the list gives. */
u64 twin_count(const struct twin *t);

/* Append. An error must be one that was asked for, and leave what it may. */
int twin_append(struct twin *t, u64 pfn, u64 nr, struct p2pdma_provider *provider);

/* The same for many pages of RAM at once. */
int twin_append_pages(struct twin *t, struct page **pages, size_t nr);

/* Append, with each allocation that this takes failing once before. */
unsigned int twin_append_failing(struct twin *t, u64 pfn, u64 nr,
				 struct p2pdma_provider *provider);

/* Compare every piece. */
void twin_check(const struct twin *t);

/* Compare the pieces of a window. */
void twin_check_window(const struct twin *t, u64 offset, u64 length);

/*
 * Compare the pieces of a window, of which up to @max at once are taken as
 * pages wherever the list gives them so. Says how many it gave.
 */
u64 twin_check_pages(const struct twin *t, u64 offset, u64 length, unsigned int max);

/* Compare windows that start and end at, before and behind each border. */
void twin_check_borders(const struct twin *t);

#endif
