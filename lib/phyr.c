// SPDX-License-Identifier: GPL-2.0
/*
 * Lists of physical ranges, see include/linux/phyr.h.
 *
 * A list is an append-only B+tree over page positions. Its nodes are one page
 * each, so a list of any length needs no larger allocation. Its last leaf is not
 * in the tree but in the list itself, and moves to the tree where another one
 * has to follow: most lists have no other leaf, and no tree.
 *
 * A leaf holds its ranges in order, 8 bytes each: the page frame in the low 40
 * bits and, above it, the range's position in pages from the start of the leaf.
 * The length of a range is the distance to the next position. Storing
 * positions rather than lengths lets a seek search the ranges as they are.
 * What else a leaf has is stored apart, so that a power of two of ranges takes
 * a power of two of bytes: that is what a buffer of huge pages comes to, and a
 * header in front would double its allocation. The first leaf, and any that the
 * one before it did not fill, starts with room for one range in place of the
 * pointer to the ranges, and then doubles up to a page.
 *
 * A leaf covers at most PHYR_LEAF_PAGES pages, as many as a position can count.
 * All ranges of a leaf have the same provider. A range is therefore cut where
 * its leaf is full in that sense: with 4 KiB pages, after 64 GiB.
 *
 *   inner node   | first page | first page | ... | -> child | -> child | ...
 *   leaf         -> next leaf, provider, -> ranges or one range, pages
 *   ranges       | position:24 frame:40 | position:24 frame:40 | ...
 *
 * Locking: none here. Appending and destroying need the list for themselves,
 * lookups only read.
 */
#include <linux/align.h>
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/phyr.h>
#include <linux/slab.h>
#include <linux/string.h>

/* Follows no range */
#define PHYR_NO_PFN	U64_MAX
/* A piece's length in bytes must fit the size_t of struct phys_vec. */
#define PHYR_LEAF_PAGES	min(BIT_ULL(64 - PHYR_PFN_BITS), SIZE_MAX >> PAGE_SHIFT)

/* A node takes its page at once: few lists have one, and most of those are long. */
#define PHYR_NODE_MAX	((PAGE_SIZE - sizeof(u64)) / (sizeof(u64) + sizeof(void *)))

/**
 * struct phyr_node - an inner node of the tree
 * @nr: children in use
 * @first: position of each child's first page in the list
 * @child: struct phyr_node, or struct phyr_leaf on the lowest level
 */
struct phyr_node {
	unsigned int	nr;
	u64		first[PHYR_NODE_MAX];
	void		*child[PHYR_NODE_MAX];
};

/* Enough for 2^64 pages: every level multiplies by more than 2^7. */
#define PHYR_MAX_HEIGHT	10

/* Room for ranges in a leaf that has more than one, the least and the most. */
#define PHYR_ORDER_MIN	2
#define PHYR_ORDER_MAX	(PAGE_SHIFT - 3)

static const u64 *phyr_leaf_words(const struct phyr_leaf *leaf)
{
	return leaf->order ? leaf->words : &leaf->word;
}

/* Where the next range goes, if there is room. */
static u64 *phyr_leaf_end(struct phyr_leaf *leaf)
{
	return (u64 *)phyr_leaf_words(leaf) + leaf->nr;
}

static bool phyr_leaf_is_full(const struct phyr_leaf *leaf)
{
	return leaf->nr >> leaf->order;
}

/* The pages of the range at @word, one of those of @leaf, which stop at @end. */
static __always_inline u64 phyr_range_pages(const struct phyr_leaf *leaf,
					    const u64 *word, const u64 *end)
{
	u64 next = word + 1 < end ? phyr_word_position(word[1]) : leaf->nr_pages;

	return next - phyr_word_position(*word);
}

/* The page frame that would continue the last range, which is before @end. */
static u64 phyr_leaf_next_pfn(const struct phyr_leaf *leaf, const u64 *end)
{
	if (!leaf->nr)
		return PHYR_NO_PFN;
	return phyr_word_pfn(end[-1]) + leaf->nr_pages - phyr_word_position(end[-1]);
}

/* Bytes that are allocated for the ranges. */
static size_t phyr_leaf_memory(const struct phyr_leaf *leaf)
{
	return leaf->order ? sizeof(u64) << leaf->order : 0;
}

static void phyr_leaf_free_words(struct phyr_leaf *leaf)
{
	if (leaf->order)
		kfree(leaf->words);
}

/* Double the room, at least. */
static int phyr_leaf_enlarge(struct phyr_leaf *leaf, gfp_t gfp)
{
	unsigned int order = max(leaf->order + 1, PHYR_ORDER_MIN);
	u64 *words = kmalloc_objs(*words, 1U << order, gfp);

	if (!words)
		return -ENOMEM;
	memcpy(words, phyr_leaf_words(leaf), leaf->nr * sizeof(*words));
	phyr_leaf_free_words(leaf);
	leaf->words = words;
	leaf->order = order;
	return 0;
}

static void phyr_free_tree(void *root, unsigned int height)
{
	struct phyr_node *node = root;

	if (height) {
		for (unsigned int i = 0; i < node->nr; i++)
			phyr_free_tree(node->child[i], height - 1);
	} else {
		phyr_leaf_free_words(root);
	}
	kfree(root);
}

static size_t phyr_tree_memory(const void *root, unsigned int height)
{
	const struct phyr_node *node = root;
	size_t sum = sizeof(*node);

	if (!height)
		return sizeof(struct phyr_leaf) + phyr_leaf_memory(root);
	for (unsigned int i = 0; i < node->nr; i++)
		sum += phyr_tree_memory(node->child[i], height - 1);
	return sum;
}

static void phyr_node_add(struct phyr_node *node, u64 first, void *child)
{
	node->first[node->nr] = first;
	node->child[node->nr++] = child;
}

/* A new node above @child. */
static struct phyr_node *phyr_node_above(u64 first, void *child, gfp_t gfp)
{
	struct phyr_node *node = kmalloc_obj(*node, gfp);

	if (node) {
		node->nr = 0;
		phyr_node_add(node, first, child);
	}
	return node;
}

/*
 * Wrap @leaf into a chain of @height new nodes, one above the other. Frees the
 * leaf where that fails.
 */
static void *phyr_chain(struct phyr_leaf *leaf, u64 first, unsigned int height,
			gfp_t gfp)
{
	void *top = leaf;

	for (unsigned int i = 0; i < height; i++) {
		struct phyr_node *node = phyr_node_above(first, top, gfp);

		if (!node) {
			phyr_free_tree(top, i);
			return NULL;
		}
		top = node;
	}
	return top;
}

/*
 * Add a leaf to the tree for what the list's last leaf has. Gives it empty, and
 * changes nothing on failure.
 */
static struct phyr_leaf *phyr_tree_add(struct phyr_list *list, gfp_t gfp)
{
	struct phyr_leaf *tail = &list->tail, *leaf = kmalloc_obj(*leaf, gfp), *last;
	unsigned int height = tail->height, level;
	u64 first = list->nr_pages - tail->nr_pages;
	struct phyr_node *edge[PHYR_MAX_HEIGHT];
	void *place = tail->root, *chain;

	if (!leaf)
		return NULL;
	*leaf = (struct phyr_leaf) {};
	if (!place) {
		tail->root = leaf;
		return leaf;
	}

	/* The right edge of the tree, edge[0] lowest, and the leaf below that */
	for (level = height; level--; place = edge[level]->child[edge[level]->nr - 1])
		edge[level] = place;
	last = place;
	for (level = 0; level < height; level++)
		if (edge[level]->nr < PHYR_NODE_MAX)
			break;

	chain = phyr_chain(leaf, first, level, gfp);
	if (!chain)
		return NULL;

	if (level == height) {
		struct phyr_node *root = phyr_node_above(0, tail->root, gfp);

		if (!root) {
			phyr_free_tree(chain, level);
			return NULL;
		}
		tail->root = root;
		tail->height++;
		edge[level] = root;
	}
	phyr_node_add(edge[level], first, chain);
	last->next = leaf;
	return leaf;
}

/* Move what the last leaf has to the tree. */
static int phyr_move_tail(struct phyr_list *list, gfp_t gfp)
{
	struct phyr_leaf *leaf = phyr_tree_add(list, gfp);

	if (!leaf)
		return -ENOMEM;
	*leaf = list->tail;
	leaf->next = &list->tail;
	return 0;
}

/* Begin a leaf of @provider with room for 2^@order ranges. */
static int phyr_next_leaf(struct phyr_list *list, unsigned int order,
			  struct p2pdma_provider *provider, gfp_t gfp)
{
	struct phyr_leaf *tail = &list->tail, leaf = { .order = order };

	if (order) {
		leaf.words = kmalloc_objs(*leaf.words, 1U << order, gfp);
		if (!leaf.words)
			return -ENOMEM;
	}
	/* A list's first leaf is there from the start, whatever its provider is. */
	if (tail->nr && phyr_move_tail(list, gfp)) {
		phyr_leaf_free_words(&leaf);
		return -ENOMEM;
	}
	leaf.root = tail->root;
	leaf.height = tail->height;
	leaf.provider = provider;
	leaf.mmio = tail->mmio || provider;
	*tail = leaf;
	return 0;
}

/* Pages that the last leaf can still count of those of @provider. */
static u64 phyr_tail_room(const struct phyr_list *list,
			  const struct p2pdma_provider *provider)
{
	if (list->tail.provider != provider)
		return 0;
	return PHYR_LEAF_PAGES - list->tail.nr_pages;
}

/* Make room for one more range of @provider behind the last one. */
static int phyr_grow(struct phyr_list *list, struct p2pdma_provider *provider,
		     gfp_t gfp)
{
	bool most = list->tail.order == PHYR_ORDER_MAX &&
		    phyr_leaf_is_full(&list->tail);

	if (!most && phyr_tail_room(list, provider))
		return phyr_leaf_enlarge(&list->tail, gfp);
	/* A leaf more, and what it can count still makes less than 2^64 bytes. */
	if (list->nr_pages > (U64_MAX >> PAGE_SHIFT) - PHYR_LEAF_PAGES)
		return -EOVERFLOW;
	return phyr_next_leaf(list, most ? PHYR_ORDER_MAX : 0, provider, gfp);
}

/* Add pages to the last leaf, if all of them fit. */
static __always_inline bool phyr_tail_add(struct phyr_list *list, u64 pfn, u64 nr,
					  struct p2pdma_provider *provider)
{
	struct phyr_leaf *leaf = &list->tail;
	u64 *end = phyr_leaf_end(leaf);

	if (nr > phyr_tail_room(list, provider))
		return false;
	if (pfn != phyr_leaf_next_pfn(leaf, end)) {
		if (phyr_leaf_is_full(leaf))
			return false;
		*end = (u64)leaf->nr_pages << PHYR_PFN_BITS | pfn;
		leaf->nr++;
	}
	leaf->nr_pages += nr;
	list->nr_pages += nr;
	return true;
}

/*
 * Add pages as leaves have room, and make more. Not inline: the caller then
 * needs no stack frame where it gets by without this.
 */
static noinline int phyr_grow_add(struct phyr_list *list, u64 pfn, u64 nr,
				  struct p2pdma_provider *provider, gfp_t gfp)
{
	while (nr) {
		u64 step = phyr_tail_room(list, provider);
		int ret;

		step = min(nr, step);
		if (step && phyr_tail_add(list, pfn, step, provider)) {
			pfn += step;
			nr -= step;
			continue;
		}
		ret = phyr_grow(list, provider, gfp);
		if (ret)
			return ret;
	}
	return 0;
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
	if (list->tail.root)
		phyr_free_tree(list->tail.root, list->tail.height);
	phyr_leaf_free_words(&list->tail);
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
 * than just below 2^64 bytes, or
 * -ENOMEM.
 * On an error the list is as it was, but for one case: where a range has to be
 * cut (see above) and there is no room for its rest, the list holds its first
 * part.
 */
int phyr_list_append(struct phyr_list *list, struct phys_vec vec,
		     struct p2pdma_provider *provider, gfp_t gfp)
{
	/* Not PHYS_PFN(), which cuts a bad address down to an unsigned long. */
	u64 pfn = vec.paddr >> PAGE_SHIFT, nr = vec.len >> PAGE_SHIFT;

	if (!IS_ALIGNED(vec.paddr | vec.len, PAGE_SIZE) || !nr)
		return -EINVAL;
	if ((pfn + nr - 1) >> PHYR_PFN_BITS)
		return -EOVERFLOW;
	if (phyr_tail_add(list, pfn, nr, provider))
		return 0;
	return phyr_grow_add(list, pfn, nr, provider, gfp);
}
EXPORT_SYMBOL_GPL(phyr_list_append);

/* Add pages of RAM to the last leaf as long as it has room. Gives how many. */
static size_t phyr_tail_add_pages(struct phyr_list *list, struct page **pages,
				  size_t nr)
{
	struct phyr_leaf *leaf = &list->tail;
	u64 *start = phyr_leaf_end(leaf), *word = start;
	u64 *end = start - leaf->nr + (1U << leaf->order);
	u64 position = leaf->nr_pages, next = phyr_leaf_next_pfn(leaf, start);
	size_t done;

	for (done = 0; done < nr; done++) {
		u64 pfn = page_to_pfn(pages[done]);

		if (pfn != next) {
			if (word == end)
				break;
			*word++ = (position + done) << PHYR_PFN_BITS | pfn;
		}
		next = pfn + 1;
	}
	list->nr_pages += done;
	leaf->nr += word - start;
	leaf->nr_pages = position + done;
	return done;
}

/**
 * phyr_list_append_pages - add pages of RAM at the end of a list
 * @list: list to add to
 * @pages: the pages, in order
 * @nr: how many
 * @gfp: how to allocate
 *
 * The same as phyr_list_append() for each page, but quicker.
 * Context: what @gfp allows. The owner keeps everybody else off the list.
 *
 * Return: 0, -EOVERFLOW or -ENOMEM. On an error the list holds as many of the
 * pages as list->nr_pages has grown by.
 */
int phyr_list_append_pages(struct phyr_list *list, struct page **pages,
			   size_t nr, gfp_t gfp)
{
	while (nr) {
		size_t n = min(nr, phyr_tail_room(list, NULL));

		if (n)
			n = phyr_tail_add_pages(list, pages, n);
		if (!n) {
			int ret = phyr_grow(list, NULL, gfp);

			if (ret)
				return ret;
		}
		pages += n;
		nr -= n;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(phyr_list_append_pages);

/*
 * Which of @nr elements of a node or leaf holds @page. The words of @first have
 * in them, above @shift bits of something else, the first page of each element,
 * of the first one @start. No element is empty, so where all are one page, the
 * first look is right. A guess comes before halving: where all have as many
 * pages as each other, it is right.
 */
static __always_inline unsigned int
phyr_search(const u64 *first, unsigned int shift, unsigned int nr, u64 start, u64 page)
{
	unsigned int low = 0, high = min(page - start, nr - 1), i;
	u64 last = first[high] >> shift;

	if (page >= last)
		return high;
	i = div64_u64((page - start) * high, last - start);
	for (;;) {
		if (page < first[i] >> shift)
			high = i - 1;
		else if (page >= first[i + 1] >> shift)
			low = i + 1;
		else
			return i;
		i = (low + high) / 2;
	}
}

/* The range that holds @page: its leaf, its word there, its first page. */
static __always_inline const struct phyr_leaf *
phyr_find(const struct phyr_list *list, u64 page, const u64 **word,
	  const u64 **end, u64 *first)
{
	const struct phyr_leaf *leaf = &list->tail;
	const u64 *words;

	*first = list->nr_pages - leaf->nr_pages;
	if (page < *first) {
		void *place = leaf->root;

		*first = 0;
		for (unsigned int level = leaf->height; level; level--) {
			const struct phyr_node *node = place;
			unsigned int i = phyr_search(node->first, 0, node->nr,
						     *first, page);

			*first = node->first[i];
			place = node->child[i];
		}
		leaf = place;
	}
	words = phyr_leaf_words(leaf);
	*word = words + phyr_search(words, PHYR_PFN_BITS, leaf->nr, 0, page - *first);
	*end = words + leaf->nr;
	*first += phyr_word_position(**word);
	return leaf;
}

/**
 * phyr_list_memory - how much memory a list takes
 * @list: list to look into
 *
 * Takes time linear in it.
 * Context: any; the list must not change meanwhile.
 *
 * Return: bytes that the list has allocated.
 */
size_t phyr_list_memory(const struct phyr_list *list)
{
	const struct phyr_leaf *tail = &list->tail;

	return phyr_leaf_memory(tail) +
	       (tail->root ? phyr_tree_memory(tail->root, tail->height) : 0);
}
EXPORT_SYMBOL_GPL(phyr_list_memory);

/**
 * phyr_settled - how much of a list appending will not change
 * @list: list that is still being made
 *
 * Context: any; the list must not change meanwhile.
 *
 * Return: pages of all ranges but the last, which the next range can continue.
 */
u64 phyr_settled(const struct phyr_list *list)
{
	const struct phyr_leaf *tail = &list->tail;
	const u64 *end = phyr_leaf_words(tail) + tail->nr;

	return tail->nr ? list->nr_pages - phyr_range_pages(tail, end - 1, end) : 0;
}
EXPORT_SYMBOL_GPL(phyr_settled);

/* The search of phyr_at(), where a list has leaves and ranges of any kind. */
static noinline struct phys_vec phyr_at_search(const struct phyr_list *list, u64 offset)
{
	const struct phyr_leaf *leaf;
	const u64 *word, *end;
	u64 first, skip;

	leaf = phyr_find(list, offset >> PAGE_SHIFT, &word, &end, &first);
	skip = offset - (first << PAGE_SHIFT);
	return (struct phys_vec) {
		.paddr = PFN_PHYS(phyr_word_pfn(*word)) + skip,
		.len = (phyr_range_pages(leaf, word, end) << PAGE_SHIFT) - skip,
	};
}

/**
 * phyr_at_slow - phyr_at() where a page's number is not the index of its range
 * @list: list to look into
 * @offset: in bytes from the start of the list
 *
 * Context: any; the list must not change meanwhile.
 *
 * Return: the rest of the range that has the byte, from the byte on; empty
 * where the list ends before it.
 */
struct phys_vec phyr_at_slow(const struct phyr_list *list, u64 offset)
{
	u64 total = list->nr_pages << PAGE_SHIFT;

	if (offset >= total)
		return (struct phys_vec) {};
	if (list->tail.order || list->tail.nr_pages != list->nr_pages)
		return phyr_at_search(list, offset);
	return (struct phys_vec) {
		.paddr = PFN_PHYS(phyr_word_pfn(list->tail.word)) + offset,
		.len = total - offset,
	};
}
EXPORT_SYMBOL_GPL(phyr_at_slow);

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
	u64 total = list->nr_pages << PAGE_SHIFT, first;

	if (offset >= total) {
		cur->left = 0;
		cur->word = NULL;
		cur->end = NULL;
		return;
	}
	cur->left = min(length, total - offset);
	cur->leaf = phyr_find(list, offset >> PAGE_SHIFT, &cur->word, &cur->end, &first);
	cur->provider = cur->leaf->provider;
	cur->skip = offset - (first << PAGE_SHIFT);
}
EXPORT_SYMBOL_GPL(phyr_seek);

/**
 * phyr_next_slow - phyr_next() of what is not the middle of a leaf
 * @cur: cursor that phyr_seek() has set, with something left
 *
 * Context: any; the list must not have changed.
 *
 * Return: whether there is a piece.
 */
bool phyr_next_slow(struct phyr_cursor *cur)
{
	u64 len;

	if (cur->word == cur->end) {
		cur->leaf = cur->leaf->next;
		cur->provider = cur->leaf->provider;
		cur->word = phyr_leaf_words(cur->leaf);
		cur->end = cur->word + cur->leaf->nr;
	}
	len = (phyr_range_pages(cur->leaf, cur->word, cur->end) << PAGE_SHIFT) - cur->skip;
	len = min(len, cur->left);
	cur->vec.paddr = PFN_PHYS(phyr_word_pfn(*cur->word)) + cur->skip;
	cur->vec.len = len;
	cur->left -= len;
	cur->skip = 0;
	cur->word++;
	return true;
}
EXPORT_SYMBOL_GPL(phyr_next_slow);

/**
 * phyr_next_pages - take pages from a cursor where each is a range of its own
 * @cur: cursor that phyr_seek() has set
 * @pages: gets the pages
 * @max: how many there is room for
 *
 * For owners that do something to every page, of memory that is scattered page
 * by page: it is much quicker than as many calls of phyr_next().
 * Context: any; the list must not have changed.
 *
 * Return: how many pages were taken. 0 says nothing about what comes next, but
 * that phyr_next() has to be asked.
 */
unsigned int phyr_next_pages(struct phyr_cursor *cur, struct page **pages,
			     unsigned int max)
{
	const struct phyr_leaf *leaf = cur->leaf;
	size_t nr;

	if (!cur->left || cur->skip || leaf->provider || leaf->nr != leaf->nr_pages)
		return 0;
	nr = min3(max, (size_t)(cur->end - cur->word), cur->left >> PAGE_SHIFT);
	for (const u64 *end = cur->word + nr; cur->word < end; cur->word++)
		*pages++ = pfn_to_page(phyr_word_pfn(*cur->word));
	cur->left -= (u64)nr << PAGE_SHIFT;
	return nr;
}
EXPORT_SYMBOL_GPL(phyr_next_pages);
