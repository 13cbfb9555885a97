// SPDX-License-Identifier: GPL-2.0
/*
 * Lists of physical ranges, see include/linux/phyr.h.
 *
 * A list is an append-only B+tree over page positions. Its nodes are one page
 * each, so a list of any length needs no larger allocation; the one leaf of a
 * short list starts smaller and grows to a page.
 *
 * A leaf holds its ranges in order, 8 bytes each: the page frame in the low 40
 * bits and, above it, the range's position in pages from the start of the leaf.
 * The length of a range is the distance to the next position. Storing
 * positions rather than lengths lets a seek search the packed words as they
 * are: the words are sorted, and a word with all frame bits set sorts behind
 * every word of its position.
 *
 * A leaf covers at most PHYR_LEAF_PAGES pages, as many as a position can count.
 * All ranges of a leaf have the same provider. A range is therefore cut where
 * its leaf is full in that sense: with 4 KiB pages, after 64 GiB.
 *
 *   inner node   | first page, child | first page, child | ...
 *   leaf         | position:24 frame:40 | position:24 frame:40 | ... -> next
 *
 * Locking: none here. Appending and destroying need the list for themselves,
 * lookups only read.
 */
#include <linux/align.h>
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/overflow.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/phyr.h>
#include <linux/slab.h>
#include <linux/string.h>

#define PHYR_PFN_BITS	40
#define PHYR_PFN_MASK	GENMASK_ULL(PHYR_PFN_BITS - 1, 0)
/* A piece's length in bytes must fit the size_t of struct phys_vec. */
#define PHYR_LEAF_PAGES	min(BIT_ULL(64 - PHYR_PFN_BITS), SIZE_MAX >> PAGE_SHIFT)

/**
 * struct phyr_leaf - a run of ranges of one provider
 * @next: the leaf that follows in the list
 * @provider: whose MMIO the ranges are, NULL for RAM
 * @nr_pages: pages in all ranges together
 * @nr: ranges in use
 * @max: ranges there is room for
 * @word: the ranges, packed
 */
struct phyr_leaf {
	struct phyr_leaf	*next;
	struct p2pdma_provider	*provider;
	u32			nr_pages;
	u16			nr;
	u16			max;
	u64			word[];
};

/**
 * struct phyr_slot - a child of an inner node
 * @first: position of the child's first page in the list
 * @child: struct phyr_node, or struct phyr_leaf on the lowest level
 */
struct phyr_slot {
	u64	first;
	void	*child;
};

/* A node of fewer pages would not pay: a list with one is 4 MiB at least. */
#define PHYR_NODE_SLOTS	((PAGE_SIZE - sizeof(u64)) / sizeof(struct phyr_slot))

struct phyr_node {
	unsigned int		nr;
	struct phyr_slot	slot[PHYR_NODE_SLOTS];
};

/* Enough for 2^64 pages: every level multiplies by more than 2^7. */
#define PHYR_MAX_HEIGHT	10

/* Room in the only leaf of a short list: 5, 29, 125 ranges, then a page. */
#define PHYR_LEAF_MIN	64
#define PHYR_LEAF_STEP	4

static u64 phyr_word_position(u64 word)
{
	return word >> PHYR_PFN_BITS;
}

static u64 phyr_word_pfn(u64 word)
{
	return word & PHYR_PFN_MASK;
}

static u64 phyr_leaf_range_pages(const struct phyr_leaf *leaf, unsigned int i)
{
	u64 end = i + 1 < leaf->nr ? phyr_word_position(leaf->word[i + 1]) :
				     leaf->nr_pages;

	return end - phyr_word_position(leaf->word[i]);
}

static size_t phyr_leaf_size(const struct phyr_leaf *leaf)
{
	return struct_size(leaf, word, leaf->max);
}

static struct phyr_leaf *phyr_leaf_alloc(size_t size,
					 struct p2pdma_provider *provider,
					 gfp_t gfp)
{
	struct phyr_leaf *leaf = kmalloc(size, gfp);

	if (!leaf)
		return NULL;
	*leaf = (struct phyr_leaf) {
		.provider = provider,
		.max = (size - sizeof(*leaf)) / sizeof(leaf->word[0]),
	};
	return leaf;
}

/* Give the only leaf of the list more room, up to a page. */
static int phyr_leaf_enlarge(struct phyr_list *list, gfp_t gfp)
{
	struct phyr_leaf *old = list->tail, *leaf;
	size_t size = min(phyr_leaf_size(old) * PHYR_LEAF_STEP, PAGE_SIZE);

	leaf = phyr_leaf_alloc(size, old->provider, gfp);
	if (!leaf)
		return -ENOMEM;
	memcpy(leaf->word, old->word, old->nr * sizeof(old->word[0]));
	leaf->nr = old->nr;
	leaf->nr_pages = old->nr_pages;

	list->memory += phyr_leaf_size(leaf) - phyr_leaf_size(old);
	list->root = leaf;
	list->tail = leaf;
	kfree(old);
	return 0;
}

static void phyr_free_tree(void *root, unsigned int height)
{
	struct phyr_node *node = root;

	if (height)
		for (unsigned int i = 0; i < node->nr; i++)
			phyr_free_tree(node->slot[i].child, height - 1);
	kfree(root);
}

static void phyr_node_add(struct phyr_node *node, u64 first, void *child)
{
	node->slot[node->nr++] = (struct phyr_slot) { first, child };
}

/*
 * Wrap @leaf into a chain of @height new nodes, one above the other. Frees the
 * leaf where that fails.
 */
static void *phyr_chain(struct phyr_list *list, struct phyr_leaf *leaf,
			unsigned int height, gfp_t gfp)
{
	void *top = leaf;

	for (unsigned int i = 0; i < height; i++) {
		struct phyr_node *node = kmalloc_obj(*node, gfp);

		if (!node) {
			phyr_free_tree(top, i);
			return NULL;
		}
		node->nr = 0;
		phyr_node_add(node, list->nr_pages, top);
		top = node;
	}
	return top;
}

/* Add @leaf behind the last one. Frees it and changes nothing on failure. */
static int phyr_add_leaf(struct phyr_list *list, struct phyr_leaf *leaf,
			 gfp_t gfp)
{
	struct phyr_node *edge[PHYR_MAX_HEIGHT], *node = list->root, *root = NULL;
	unsigned int height = list->height, level;
	void *chain;

	/* The right edge of the tree, edge[0] lowest */
	for (level = height; level--; node = node->slot[node->nr - 1].child)
		edge[level] = node;
	for (level = 0; level < height; level++)
		if (edge[level]->nr < PHYR_NODE_SLOTS)
			break;

	chain = phyr_chain(list, leaf, level, gfp);
	if (!chain)
		return -ENOMEM;

	if (level == height) {
		root = kmalloc_obj(*root, gfp);
		if (!root) {
			phyr_free_tree(chain, level);
			return -ENOMEM;
		}
		root->nr = 0;
		phyr_node_add(root, 0, list->root);
		list->root = root;
		list->height++;
		list->memory += sizeof(*root);
		edge[level] = root;
	}
	phyr_node_add(edge[level], list->nr_pages, chain);

	list->memory += level * sizeof(*node) + phyr_leaf_size(leaf);
	list->tail->next = leaf;
	list->tail = leaf;
	return 0;
}

/* Make room for one more range of @provider behind the last one. */
static int phyr_grow(struct phyr_list *list, struct p2pdma_provider *provider,
		     gfp_t gfp)
{
	struct phyr_leaf *tail = list->tail, *leaf;

	if (tail && tail->provider == provider &&
	    tail->nr_pages < PHYR_LEAF_PAGES && phyr_leaf_size(tail) < PAGE_SIZE)
		return phyr_leaf_enlarge(list, gfp);

	leaf = phyr_leaf_alloc(tail ? PAGE_SIZE : PHYR_LEAF_MIN, provider, gfp);
	if (!leaf)
		return -ENOMEM;
	if (tail)
		return phyr_add_leaf(list, leaf, gfp);

	list->root = leaf;
	list->tail = leaf;
	list->memory = phyr_leaf_size(leaf);
	return 0;
}

/* Whether @pfn continues the last range of the list. */
static bool phyr_can_merge(const struct phyr_leaf *leaf, u64 pfn)
{
	u64 last = leaf->word[leaf->nr - 1];

	return phyr_word_pfn(last) + leaf->nr_pages - phyr_word_position(last) ==
	       pfn;
}

/**
 * phyr_list_init - make an empty list
 * @list: list to initialise
 *
 * Allocates nothing. A list that was never appended to need not be destroyed.
 */
void phyr_list_init(struct phyr_list *list)
{
	memset(list, 0, sizeof(*list));
}
EXPORT_SYMBOL_GPL(phyr_list_init);

/**
 * phyr_list_destroy - free the memory of a list
 * @list: list to empty; it can be used again
 *
 * What the ranges stand for (page pins, a dma-buf mapping) is the owner's.
 * Any context.
 */
void phyr_list_destroy(struct phyr_list *list)
{
	if (list->root)
		phyr_free_tree(list->root, list->height);
	phyr_list_init(list);
}
EXPORT_SYMBOL_GPL(phyr_list_destroy);

/**
 * phyr_list_append - add a range at the end of a list
 * @list: list to add to
 * @vec: the range; address and length are multiples of PAGE_SIZE
 * @provider: whose MMIO it is, NULL for RAM that has struct page
 * @gfp: how to allocate
 *
 * A range that continues the last one of the same provider makes that longer.
 * Context: what @gfp allows. The owner keeps everybody else off the list.
 *
 * Return: 0, or
 * -EINVAL where the range is empty or not aligned to pages,
 * -EOVERFLOW where it wraps, lies above 2^40 pages or makes the list longer
 * than 2^64 bytes, or
 * -ENOMEM.
 * On an error the list is as it was, but for one case: where a range has to be
 * cut (see above) and there is no memory for its rest, the list holds its first
 * part.
 */
int phyr_list_append(struct phyr_list *list, struct phys_vec vec,
		     struct p2pdma_provider *provider, gfp_t gfp)
{
	/* Not PHYS_PFN(), which cuts a bad address down to an unsigned long. */
	u64 pfn = vec.paddr >> PAGE_SHIFT, nr = vec.len >> PAGE_SHIFT;

	if (!vec.len || !IS_ALIGNED(vec.paddr | vec.len, PAGE_SIZE))
		return -EINVAL;
	/* Page counts are too short for these sums to wrap. */
	if (pfn + nr > PHYR_PFN_MASK + 1 ||
	    list->nr_pages + nr > U64_MAX >> PAGE_SHIFT)
		return -EOVERFLOW;

	while (nr) {
		struct phyr_leaf *leaf = list->tail;
		bool same = leaf && leaf->provider == provider &&
			    leaf->nr_pages < PHYR_LEAF_PAGES;
		bool merge = same && phyr_can_merge(leaf, pfn);
		u64 step;

		if (!merge) {
			if (!same || leaf->nr == leaf->max) {
				int ret = phyr_grow(list, provider, gfp);

				if (ret)
					return ret;
				leaf = list->tail;
			}
			leaf->word[leaf->nr++] =
				(u64)leaf->nr_pages << PHYR_PFN_BITS | pfn;
			list->nr_ranges++;
		}
		step = min(nr, PHYR_LEAF_PAGES - leaf->nr_pages);
		leaf->nr_pages += step;
		list->nr_pages += step;
		pfn += step;
		nr -= step;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(phyr_list_append);

static const struct phyr_slot *phyr_node_find(const struct phyr_node *node,
					      u64 page)
{
	unsigned int low = 0, high = node->nr - 1;

	while (low < high) {
		unsigned int mid = (low + high + 1) / 2;

		if (node->slot[mid].first <= page)
			low = mid;
		else
			high = mid - 1;
	}
	return &node->slot[low];
}

/* The leaf that holds @page, and the position of its first page in @first. */
static const struct phyr_leaf *phyr_find_leaf(const struct phyr_list *list,
					      u64 page, u64 *first)
{
	void *place = list->root;

	*first = 0;
	for (unsigned int level = list->height; level; level--) {
		const struct phyr_slot *slot = phyr_node_find(place, page);

		*first = slot->first;
		place = slot->child;
	}
	return place;
}

/* The range of the leaf that holds the page at @position. */
static unsigned int phyr_leaf_find(const struct phyr_leaf *leaf, u64 position)
{
	u64 key = position << PHYR_PFN_BITS | PHYR_PFN_MASK;
	unsigned int low = 0, high = min(position, leaf->nr - 1ULL);

	/* Of ranges that are all one page, the position is the index. */
	if (leaf->word[high] <= key)
		return high;
	while (low < high) {
		unsigned int mid = (low + high + 1) / 2;

		if (leaf->word[mid] <= key)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

/**
 * phyr_seek - put a cursor before the first piece of a byte window
 * @cur: cursor to set
 * @list: list to look into
 * @offset: where the window starts, in bytes from the start of the list
 * @length: bytes in the window; it ends with the list at the latest
 *
 * Takes time logarithmic in the number of ranges. The first phyr_next() then
 * gives the first piece, if the window has any byte of the list.
 * Context: any; the list must not be changed while the cursor is in use.
 */
void phyr_seek(struct phyr_cursor *cur, const struct phyr_list *list,
	       u64 offset, u64 length)
{
	u64 total = list->nr_pages << PAGE_SHIFT, page = offset >> PAGE_SHIFT;
	u64 first;

	if (offset >= total) {
		cur->left = 0;
		return;
	}
	cur->left = min(length, total - offset);
	cur->leaf = phyr_find_leaf(list, page, &first);
	cur->index = phyr_leaf_find(cur->leaf, page - first);
	first += phyr_word_position(cur->leaf->word[cur->index]);
	cur->skip = offset - (first << PAGE_SHIFT);
}
EXPORT_SYMBOL_GPL(phyr_seek);

/**
 * phyr_next - move a cursor to the next piece of its window
 * @cur: cursor that phyr_seek() has set
 *
 * Context: any; the list must not have changed.
 *
 * Return: whether there is one.
 */
bool phyr_next(struct phyr_cursor *cur)
{
	const struct phyr_leaf *leaf = cur->leaf;
	u64 len;

	if (!cur->left)
		return false;
	if (cur->index == leaf->nr) {
		leaf = leaf->next;
		cur->leaf = leaf;
		cur->index = 0;
	}
	len = (phyr_leaf_range_pages(leaf, cur->index) << PAGE_SHIFT) - cur->skip;
	cur->provider = leaf->provider;
	cur->vec.paddr = PFN_PHYS(phyr_word_pfn(leaf->word[cur->index])) + cur->skip;
	cur->vec.len = min(len, cur->left);
	cur->left -= cur->vec.len;
	cur->skip = 0;
	cur->index++;
	return true;
}
EXPORT_SYMBOL_GPL(phyr_next);
