// SPDX-License-Identifier: GPL-2.0
/*
 * On-demand paging: regions of user memory that hold no page until one is used.
 *
 * A region (struct ib_odp) is a range of virtual addresses of one process, or
 * all of them: explicit and implicit regions, of any size, are the same thing.
 * Registering one reserves nothing for its pages. What is known of them is in
 * spans, which are made when one of their addresses is touched first:
 *
 *	region			xarray by virtual address
 *	  span			notifier, lock, state of its pages
 *	    unsigned long[]	an entry for each page, as HMM gives it
 *
 * A span covers the virtual addresses whose page states fit in one page of
 * memory: as many as one leaf table of the CPU maps, 2 MiB on x86. So a huge
 * page of the CPU is a whole span, an invalidation disturbs faults and accesses
 * of its own span only, and no allocation is larger than a page.
 *
 * A page entry is valid from the fault that brings the page in until the
 * notifier says that the CPU's mapping changes. HMM_PFN_WRITE in an entry means
 * more than that the CPU may write: the owner asked for it. Such a page counts
 * as written, and is marked dirty when the entry goes. Nobody holds a reference
 * to the page; it stays because the notifier waits for the span's lock.
 *
 * A driver whose device does DMA calls ib_odp_use_dma() once. The region then
 * has a window of DMA addresses as long as itself (kernel/dma/phyr_window.c):
 * behind an IOMMU a span of IOVA, reserved at registration, into which a fault
 * links the pages that it brings in. What the device may use is what its
 * driver's table has, which the driver fills while ib_odp_dma_lock() keeps the
 * pages where they are: of a few spans at once, as devices that write the table
 * themselves do so in blocks, which do not end where spans do. When pages go,
 * the driver clears its table first, then they are unlinked: all pages of a
 * span by one call and one flush of the IOTLB; page by page only where the
 * IOVA space had no room. With the last page goes the IOMMU's table of the
 * span. A span that is one huge page of the CPU is one entry of the
 * IOMMU's page table, too, and goes as a whole: when a part of it is
 * invalidated, the driver is told of all of it. The same goes for the pages of a
 * region of huge pages: each of them is there as a whole, at contiguous DMA
 * addresses, or not at all. A page may also be MMIO of another PCI device that
 * the process has mapped: its entry says how the device reaches it.
 *
 * Locks, outermost first
 *
 *   region->grow_lock (mutex)	making a span, and closing the region: no span
 *				is made after. May allocate; takes mmap_lock for
 *				the first notifier of a process.
 *   mmap_lock, and all else	the notifier is called under them,
 *   that reclaim takes		so none may be taken under a span's lock
 *   span->lock (rw_semaphore)	Read: use pages by their entries. Write: change
 *				entries, kill the span. Taken in reclaim: nothing
 *				under it may reclaim. One span's at a time, but
 *				for ib_odp_dma_lock(): of several it is taken in
 *				order of addresses, and only for reading. Who has
 *				one for writing waits for no other span's.
 *   the driver's own		in ib_odp_ops.invalidate(), for its table
 *   region->spans' xa_lock	of the xarray
 *   region->request_lock	list of faults in progress; nests in nothing
 *
 * Readers of a span run at the same time; an invalidation waits for those in
 * its own span, who do no more than copy bytes.
 *
 * A fault walks the CPU's page table with no lock held, into memory of its own.
 * Then it takes the span's lock, and where the notifier was called in between
 * (mmu_interval_read_retry()) it walks again; else the entries are good, and
 * stay so until the notifier is called.
 *
 * The life of a span
 *
 *   - made by a fault, under grow_lock: notifier first, then the xarray;
 *   - an invalidation that takes its last page marks it, and a work item kills
 *     it some time later if no page has come back: a notifier cannot be removed
 *     where it is called from. A fault that brings nothing in kills it at once;
 *   - killed: under its lock it becomes dead, drops its pages, and leaves the
 *     xarray. Only then, with no lock held, its notifier is removed;
 *   - freed with its last reference, after a grace period of RCU. The xarray has
 *     one, and so has each fault that walks for it.
 *
 * An access has none: it takes the span's lock inside rcu_read_lock() and finds
 * the span dead, or else keeps it alive by the lock, since killing takes it for
 * write. It also lets go of the lock inside rcu_read_lock(), for up_read() may
 * look at a semaphore that others have got and freed meanwhile.
 *
 * A fault can sleep for ever: userfaultfd. It keeps a reference to the region,
 * which is memory only, and a user of the mm; none to the driver's MR, the
 * device, or anything that is waited for. Whoever cannot wait so long has the
 * fault done by a work item, ib_odp_fault_timeout(), waits for a bounded time,
 * and comes back later. ib_odp_release() waits for no fault. A fault that wakes
 * up afterwards finds its span dead and the region closed, and leaves.
 */
#include <linux/dma-mapping.h>
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/iommu-dma.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/overflow.h>
#include <linux/phyr_dma.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <rdma/ib_odp.h>
#include <rdma/ib_verbs.h>
#include <rdma/restrack.h>

#include "odp_iova.h"

/* Pages of a span: what one page of memory can hold the state of. */
#define ODP_SPAN_PAGES	(PAGE_SIZE / sizeof(unsigned long))
#define ODP_SPAN_SIZE	(ODP_SPAN_PAGES * PAGE_SIZE)
#define ODP_SPAN_SHIFT	ilog2(ODP_SPAN_SIZE)

/* Spans of a region that have no page. */
#define ODP_SPAN_EMPTY	XA_MARK_0

/*
 * What entries say of MMIO of a PCI device: that it is linked in the window, has
 * an address that needs no mapping, or (both) that the device cannot reach it.
 */
#define ODP_PEER	(HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS)

/* Pages that are put into a list at a time. */
#define ODP_LIST_BATCH	32

/* How long an empty span stays, for pages that come back soon. */
#define ODP_REAP_DELAY	(HZ / 10)

/* A page of a live span that is invalidated all the time is given up. */
#define ODP_FAULT_JIFFIES	msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT)

struct ib_odp_span {
	struct mmu_interval_notifier notifier;
	struct rw_semaphore lock;
	/* Under lock, and valid while !dead. */
	struct ib_odp *odp;
	unsigned long *pfns;
	dma_addr_t *dma;	/* with PHYR_WINDOW_EACH only */
	unsigned int nr_valid;
	bool huge;		/* one entry of the IOMMU's page table */
	bool dead;

	struct kref ref;
	struct rcu_head rcu;
};

/* A fault that a work item does. */
struct odp_request {
	struct work_struct work;
	struct list_head link;
	struct kref ref;
	struct ib_odp *odp;
	unsigned long va;
	size_t len;
	unsigned int flags;
	unsigned long started;
	struct completion done;
	int ret;
};

static struct workqueue_struct *odp_wq;

static unsigned long span_index(unsigned long va)
{
	return va >> ODP_SPAN_SHIFT;
}

static unsigned long span_start(const struct ib_odp_span *span)
{
	return span->notifier.interval_tree.start;
}

static unsigned long span_end(const struct ib_odp_span *span)
{
	return span->notifier.interval_tree.last + 1;
}

static unsigned int span_page(unsigned long va)
{
	return (va >> PAGE_SHIFT) % ODP_SPAN_PAGES;
}

static void span_release(struct kref *ref)
{
	struct ib_odp_span *span = container_of(ref, struct ib_odp_span, ref);

	kfree_rcu(span, rcu);
}

static void span_put(struct ib_odp_span *span)
{
	kref_put(&span->ref, span_release);
}

/* The span of an address with a reference, or NULL. It may be dead soon. */
static struct ib_odp_span *span_find(struct ib_odp *odp, unsigned long index)
{
	struct ib_odp_span *span;

	rcu_read_lock();
	span = xa_load(&odp->spans, index);
	if (span && !kref_get_unless_zero(&span->ref))
		span = NULL;
	rcu_read_unlock();
	return span;
}

static unsigned long entry_pfn(unsigned long entry)
{
	return entry & ~HMM_PFN_FLAGS;
}

/* Pages that are mapped one by one are never bounced: the process goes on with them. */
static unsigned long entry_attrs(unsigned long entry)
{
	return DMA_ATTR_REQUIRE_COHERENT |
	       (entry & HMM_PFN_P2PDMA ? DMA_ATTR_MMIO : 0);
}

/* How many pages of a part of a span are valid; they are from *start to *end. */
static unsigned int span_narrow(const struct ib_odp_span *span,
				unsigned long *start, unsigned long *end)
{
	unsigned long va, first = *end, last = *start;
	unsigned int nr = 0;

	for (va = *start; va < *end && nr < span->nr_valid; va += PAGE_SIZE) {
		if (!(span->pfns[span_page(va)] & HMM_PFN_VALID))
			continue;
		first = min(first, va);
		last = va + PAGE_SIZE;
		nr++;
	}
	*start = first;
	*end = last;
	return nr;
}

/*
 * Whether the window is made of whole spans, each with IOVA to itself that is
 * aligned as in memory. The window of a smaller region has no more than its pages.
 */
static bool odp_has_slots(const struct ib_odp *odp)
{
	return odp->end - odp->start >= ODP_SPAN_SIZE;
}

/* All that the IOMMU's table of a span covers, where it is the region's alone. */
static void span_slot(const struct ib_odp_span *span, unsigned long *start,
		      unsigned long *end)
{
	if (odp_has_slots(span->odp)) {
		*start = ALIGN_DOWN(*start, ODP_SPAN_SIZE);
		*end = *start + ODP_SPAN_SIZE;
	}
}

/* The device gets at pages no longer; its driver has cleared its table. */
static void span_unlink(struct ib_odp_span *span, unsigned long start,
			unsigned long end, bool all)
{
	struct ib_odp *odp = span->odp;
	struct phyr_window *win = &odp->window;
	unsigned long va;

	if (win->how == PHYR_WINDOW_IOVA) {
		if (all)
			span_slot(span, &start, &end);
		phyr_window_unlink(win, start - odp->base, end - start);
	}
	if (win->how != PHYR_WINDOW_EACH)
		return;
	for (va = start; va < end; va += BIT(odp->page_shift)) {
		unsigned long entry = span->pfns[span_page(va)];

		if (entry & HMM_PFN_VALID && !(entry & HMM_PFN_P2PDMA_BUS))
			dma_unmap_phys(win->dev, span->dma[span_page(va)],
				       BIT(odp->page_shift), win->dir,
				       entry_attrs(entry));
	}
}

/* Forget pages: nobody uses them after this, those written become dirty. */
static unsigned int span_forget(struct ib_odp_span *span, unsigned long start,
				unsigned long end)
{
	struct folio *dirty = NULL;
	unsigned int dropped = 0;
	unsigned long va;

	for (va = start; va < end && span->nr_valid; va += PAGE_SIZE) {
		unsigned long *entry = &span->pfns[span_page(va)];
		struct folio *folio;

		if (!(*entry & HMM_PFN_VALID))
			continue;
		if (*entry & HMM_PFN_WRITE) {
			folio = page_folio(hmm_pfn_to_page(*entry));
			if (folio != dirty)
				folio_mark_dirty(folio);
			dirty = folio;
		}
		*entry = 0;
		span->nr_valid--;
		dropped++;
	}
	return dropped;
}

/*
 * Take pages away from whoever uses them, the device first. False, with nothing
 * done, where the driver would have to wait for that and may not.
 */
static bool span_drop(struct ib_odp_span *span, unsigned long start,
		      unsigned long end, bool block, unsigned int *dropped)
{
	struct ib_odp *odp = span->odp;
	unsigned int nr;

	lockdep_assert_held_write(&span->lock);
	*dropped = 0;
	if (span->huge && start < end) {
		start = span_start(span);
		end = span_end(span);
	} else if (start < end) {
		start = ALIGN_DOWN(start, BIT(odp->page_shift));
		end = ALIGN(end, BIT(odp->page_shift));
	}
	nr = span_narrow(span, &start, &end);
	if (!nr)
		return true;
	if (odp->ops) {
		if (!odp->ops->invalidate(odp, start, end, block))
			return false;
		span_unlink(span, start, end, nr == span->nr_valid);
		span->huge = false;
	}
	*dropped = span_forget(span, start, end);
	atomic_long_sub(*dropped, &odp->nr_pages);
	return true;
}

static void span_mark_empty(struct ib_odp_span *span)
{
	struct ib_odp *odp = span->odp;

	xa_set_mark(&odp->spans, span_index(span_start(span)), ODP_SPAN_EMPTY);
	queue_delayed_work(odp_wq, &odp->reap, ODP_REAP_DELAY);
}

/* Tell the driver, if it wants to know, when pages went and none is left. */
static void odp_check_emptied(struct ib_odp *odp)
{
	if (odp->ops && odp->ops->emptied && !atomic_long_read(&odp->nr_pages))
		odp->ops->emptied(odp);
}

static bool span_invalidate(struct ib_odp_span *span, unsigned long start,
			    unsigned long end, bool block)
{
	struct ib_odp *odp = span->odp;
	unsigned int dropped;

	if (!span_drop(span, max(start, span_start(span)),
		       min(end, span_end(span)), block, &dropped))
		return false;
	if (!dropped)
		return true;
	atomic64_inc(&odp->stats.invalidations);
	atomic64_add(dropped, &odp->stats.invalidation_pages);
	if (!span->nr_valid)
		span_mark_empty(span);
	odp_check_emptied(odp);
	return true;
}

static bool odp_invalidate(struct mmu_interval_notifier *notifier,
			   const struct mmu_notifier_range *range,
			   unsigned long seq)
{
	struct ib_odp_span *span =
		container_of(notifier, struct ib_odp_span, notifier);
	bool block = mmu_notifier_range_blockable(range);
	bool done;

	if (block)
		down_write(&span->lock);
	else if (!down_write_trylock(&span->lock))
		return false;

	done = span->dead ||
	       span_invalidate(span, range->start, range->end, block);
	if (done)
		mmu_interval_set_seq(notifier, seq);

	up_write(&span->lock);
	return done;
}

static const struct mmu_interval_notifier_ops odp_notifier_ops = {
	.invalidate = odp_invalidate,
};

static void span_free_pages(struct ib_odp_span *span)
{
	free_page((unsigned long)span->pfns);
	span->pfns = NULL;
	free_page((unsigned long)span->dma);
	span->dma = NULL;
}

/*
 * Take a span out of use: an empty one, or any. Context: process, no lock held,
 * and a reference to the span.
 */
static void span_kill(struct ib_odp_span *span, bool empty_only)
{
	unsigned long index = span_index(span_start(span));
	unsigned int dropped;

	down_write(&span->lock);
	if (span->dead || (empty_only && span->nr_valid)) {
		if (!span->dead)
			xa_clear_mark(&span->odp->spans, index, ODP_SPAN_EMPTY);
		up_write(&span->lock);
		return;
	}
	span_drop(span, span_start(span), span_end(span), true, &dropped);
	span->dead = true;
	xa_erase(&span->odp->spans, index);
	span->odp = NULL;
	span_free_pages(span);
	up_write(&span->lock);

	mmu_interval_notifier_remove(&span->notifier);
	span_put(span);
}

static void odp_reap(struct work_struct *work)
{
	struct ib_odp *odp = container_of(work, struct ib_odp, reap.work);
	struct ib_odp_span *span;
	unsigned long index;

	xa_for_each_marked(&odp->spans, index, span, ODP_SPAN_EMPTY) {
		span = span_find(odp, index);
		if (!span)
			continue;
		span_kill(span, true);
		span_put(span);
		cond_resched();
	}
}

static struct ib_odp_span *span_alloc(struct ib_odp *odp)
{
	struct ib_odp_span *span = kzalloc_obj(*span);

	if (!span)
		return NULL;
	BUILD_BUG_ON(sizeof(*span->dma) > sizeof(*span->pfns));
	span->pfns = (unsigned long *)get_zeroed_page(GFP_KERNEL);
	if (odp->window.how == PHYR_WINDOW_EACH)
		span->dma = (dma_addr_t *)__get_free_page(GFP_KERNEL);
	if (!span->pfns ||
	    (odp->window.how == PHYR_WINDOW_EACH && !span->dma)) {
		span_free_pages(span);
		kfree(span);
		return NULL;
	}
	span->odp = odp;
	kref_init(&span->ref);
	init_rwsem(&span->lock);

	/* The notifier takes it in reclaim: rare in tests, so tell lockdep. */
	if (IS_ENABLED(CONFIG_LOCKDEP)) {
		fs_reclaim_acquire(GFP_KERNEL);
		down_write(&span->lock);
		up_write(&span->lock);
		fs_reclaim_release(GFP_KERNEL);
	}
	return span;
}

/* Make the span of an address. The caller holds grow_lock and a user of the mm. */
static struct ib_odp_span *span_make(struct ib_odp *odp, unsigned long va)
{
	unsigned long start = max(ALIGN_DOWN(va, ODP_SPAN_SIZE), odp->start);
	unsigned long end = ALIGN_DOWN(va, ODP_SPAN_SIZE) + ODP_SPAN_SIZE;
	struct ib_odp_span *span;
	int ret;

	end = min(end, odp->end);
	span = span_alloc(odp);
	if (!span)
		return ERR_PTR(-ENOMEM);

	ret = mmu_interval_notifier_insert(&span->notifier, odp->umem.owning_mm,
					   start, end - start,
					   &odp_notifier_ops);
	if (ret)
		goto err_free;

	kref_get(&span->ref);
	ret = xa_err(xa_store(&odp->spans, span_index(va), span, GFP_KERNEL));
	if (ret)
		goto err_remove;
	return span;

err_remove:
	mmu_interval_notifier_remove(&span->notifier);
err_free:
	span_free_pages(span);
	kfree(span);
	return ERR_PTR(ret);
}

/* The span of an address with a reference, made if there is none. */
static struct ib_odp_span *span_get(struct ib_odp *odp, unsigned long va)
{
	struct ib_odp_span *span = span_find(odp, span_index(va));

	if (span)
		return span;

	mutex_lock(&odp->grow_lock);
	span = span_find(odp, span_index(va));
	if (odp->closed) {
		if (span)
			span_put(span);
		span = ERR_PTR(-ENODEV);
	} else if (!span) {
		span = span_make(odp, va);
	}
	mutex_unlock(&odp->grow_lock);
	return span;
}

/*
 * What a walk found, in memory of its own: of the range a state for each page,
 * at its place in the span, and where there is a device the list of ranges.
 */
struct odp_walk {
	struct hmm_range range;
	unsigned long *pfns;
	struct phyr_list list;
};

/*
 * A huge page of the CPU comes in as a whole: what the walk saw of it holds for
 * all of it, and the notifier covers all of it that is in the span. So widen
 * what the walk found.
 */
static int walk_widen(struct odp_walk *walk, const struct ib_odp_span *span,
		      unsigned int page_shift)
{
	struct hmm_range *range = &walk->range;
	unsigned long va = range->start, stop = range->end;

	while (va < stop) {
		unsigned long entry = walk->pfns[span_page(va)];
		unsigned int order = hmm_pfn_to_map_order(entry);
		unsigned long first, end, at;

		if (entry & HMM_PFN_VALID && order + PAGE_SHIFT < page_shift)
			return -EINVAL;
		if (!(entry & HMM_PFN_VALID) || !order) {
			va += PAGE_SIZE;
			continue;
		}
		first = ALIGN_DOWN(va, PAGE_SIZE << order);
		end = min(first + (PAGE_SIZE << order), span_end(span));
		first = max(first, span_start(span));
		entry -= (va - first) >> PAGE_SHIFT;
		for (at = first; at < end; at += PAGE_SIZE, entry++)
			walk->pfns[span_page(at)] = entry;
		range->start = min(range->start, first);
		range->end = max(range->end, end);
		va = end;
	}
	return 0;
}

static bool walk_is_huge(const struct odp_walk *walk)
{
	return walk->range.end - walk->range.start == ODP_SPAN_SIZE &&
	       hmm_pfn_to_map_order(*walk->pfns) >= ilog2(ODP_SPAN_PAGES);
}

/* The physical ranges of what a walk found, to be linked. */
static int walk_list(struct odp_walk *walk)
{
	unsigned int page = span_page(walk->range.start), nr = 0;
	unsigned int end = page + ((walk->range.end - walk->range.start) >>
				   PAGE_SHIFT);
	struct page *pages[ODP_LIST_BATCH];
	int ret = 0;

	if (walk_is_huge(walk))
		return phyr_list_append(&walk->list, (struct phys_vec) {
					PFN_PHYS(entry_pfn(*walk->pfns)),
					ODP_SPAN_SIZE }, NULL, GFP_KERNEL);
	for (; !ret && page < end; page++) {
		unsigned long entry = walk->pfns[page];

		/* Only its number is used: it need not be there any more. */
		if (entry & HMM_PFN_VALID)
			pages[nr++] = hmm_pfn_to_page(entry);
		if (nr == ODP_LIST_BATCH || page + 1 == end) {
			ret = phyr_list_append_pages(&walk->list, pages, nr,
						     GFP_KERNEL);
			nr = 0;
		}
	}
	return ret;
}

static bool walk_found(const struct odp_walk *walk, unsigned long va)
{
	return walk->pfns[span_page(va)] & HMM_PFN_VALID;
}

static int span_map_each(struct ib_odp_span *span, const struct odp_walk *walk,
			 unsigned long start, unsigned long end)
{
	struct phyr_window *win = &span->odp->window;
	unsigned long attrs = entry_attrs(walk->pfns[span_page(start)]);
	unsigned long size = BIT(span->odp->page_shift);
	unsigned long va, at;

	for (va = start; va < end; va += size) {
		phys_addr_t phys =
			PFN_PHYS(entry_pfn(walk->pfns[span_page(va)]));
		dma_addr_t addr = dma_map_phys(win->dev, phys, size, win->dir,
					       attrs);

		if (dma_mapping_error(win->dev, addr))
			goto err_unmap;
		for (at = 0; at < size; at += PAGE_SIZE)
			span->dma[span_page(va + at)] = addr + at;
	}
	return 0;

err_unmap:
	while (va > start) {
		va -= size;
		dma_unmap_phys(win->dev, span->dma[span_page(va)], size,
			       win->dir, attrs);
	}
	/* IOVA may be used up for now. */
	return use_dma_iommu(win->dev) ? -ENOMEM : -EIO;
}

/*
 * Link pages that the span does not have, which are at @offset in the list, and
 * which the device reaches all in the same way.
 */
static int span_link_run(struct ib_odp_span *span, const struct odp_walk *walk,
			 unsigned long start, unsigned long end, u64 offset)
{
	unsigned long peer = walk->pfns[span_page(start)] & ODP_PEER;
	struct ib_odp *odp = span->odp;
	bool huge = walk_is_huge(walk) && end - start == ODP_SPAN_SIZE;
	struct phyr_cursor cur;
	int ret;

	if (peer == ODP_PEER)
		return -EREMOTEIO;
	if (peer == HMM_PFN_P2PDMA_BUS)
		return 0;
	if (odp->window.how == PHYR_WINDOW_EACH)
		return span_map_each(span, walk, start, end);
	if (odp->window.how != PHYR_WINDOW_IOVA)
		return 0;

	phyr_seek(&cur, &walk->list, offset, end - start);
	ret = phyr_window_link(&odp->window, start - odp->base, &cur,
			       huge ? ODP_SPAN_SIZE : PAGE_SIZE,
			       peer ? DMA_ATTR_MMIO : 0);
	if (!ret)
		span->huge = huge;
	else if (ret != -ENOMEM)
		ret = -EIO;
	return ret;
}

/* A page that a walk found and the span does not have. */
static bool span_lacks(const struct ib_odp_span *span,
		       const struct odp_walk *walk, unsigned long va)
{
	return walk_found(walk, va) &&
	       !(span->pfns[span_page(va)] & HMM_PFN_VALID);
}

/* What an entry is to say of MMIO of a PCI device. Keeps an address of its own. */
static unsigned long span_peer(struct ib_odp_span *span, unsigned long va,
			       struct page *page)
{
	dma_addr_t addr;

	switch (phyr_window_peer(&span->odp->window, page, &addr)) {
	case PHYR_PEER_LINK:
		return HMM_PFN_P2PDMA;
	case PHYR_PEER_ADDR:
		if (span->dma)
			span->dma[span_page(va)] = addr;
		return HMM_PFN_P2PDMA_BUS;
	default:
		return ODP_PEER;
	}
}

/* Mark which of the pages that the span does not have are MMIO of a PCI device. */
static void span_mark_peers(struct ib_odp_span *span, struct odp_walk *walk,
			    unsigned long end)
{
	unsigned long va;

	for (va = walk->range.start; va < end; va += PAGE_SIZE) {
		unsigned long *entry = &walk->pfns[span_page(va)];

		if (span_lacks(span, walk, va) &&
		    is_pci_p2pdma_page(hmm_pfn_to_page(*entry)))
			*entry |= span_peer(span, va, hmm_pfn_to_page(*entry));
	}
}

/* Whether a page is to be linked as the one at @run is. */
static bool span_lacks_too(const struct ib_odp_span *span,
			   const struct odp_walk *walk, unsigned long run,
			   unsigned long va)
{
	return span_lacks(span, walk, va) &&
	       !((walk->pfns[span_page(va)] ^ walk->pfns[span_page(run)]) &
		 ODP_PEER);
}

/*
 * Link what a walk found and the span does not have, one call for each run of
 * such pages. On an error *end becomes the first address that is not linked.
 */
static int span_link(struct ib_odp_span *span, struct odp_walk *walk,
		     unsigned long *end)
{
	unsigned long va = walk->range.start, run;
	u64 offset = 0;
	int ret = 0;

	span_mark_peers(span, walk, *end);
	while (va < *end) {
		run = va;
		while (va < *end && span_lacks_too(span, walk, run, va))
			va += PAGE_SIZE;
		if (va == run) {
			offset += walk_found(walk, va) ? PAGE_SIZE : 0;
			va += PAGE_SIZE;
			continue;
		}
		ret = span_link_run(span, walk, run, va, offset);
		if (ret)
			*end = run;
		offset += va - run;
	}
	return ret;
}

/*
 * Take the entries of a walk over. What was valid before is the same page, else
 * the notifier would have been called; it may have been made writable by an
 * earlier fault.
 */
static unsigned int span_set(struct ib_odp_span *span,
			     const struct odp_walk *walk, unsigned long end,
			     unsigned long keep)
{
	unsigned int added = 0;
	unsigned long va;

	for (va = walk->range.start; va < end; va += PAGE_SIZE) {
		unsigned long *entry = &span->pfns[span_page(va)];
		unsigned long found = walk->pfns[span_page(va)];

		if (!(found & HMM_PFN_VALID))
			continue;
		found = entry_pfn(found) | (found & (keep | ODP_PEER));
		if (*entry & HMM_PFN_VALID) {
			WARN_ON_ONCE(entry_pfn(*entry) != entry_pfn(found));
			*entry |= found;
		} else {
			*entry = found;
			span->nr_valid++;
			added++;
		}
	}
	return added;
}

/* Take over what a walk found. What cannot be linked is left out. */
static int span_install(struct ib_odp_span *span, struct odp_walk *walk,
			unsigned int flags)
{
	unsigned long start = walk->range.start, end = walk->range.end;
	struct ib_odp *odp = span->odp;
	unsigned int added, dropped;
	int ret = 0, err = 0;

	lockdep_assert_held_write(&span->lock);
	if (odp->ops)
		ret = span_link(span, walk, &end);
	added = span_set(span, walk, end, flags & IB_ODP_WRITE ?
			 HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID);
	atomic_long_add(added, &odp->nr_pages);
	if (added && odp->window.how == PHYR_WINDOW_IOVA)
		err = phyr_window_sync(&odp->window, start - odp->base,
				       end - start);
	if (err) {
		span_drop(span, start, end, true, &dropped);
		odp_check_emptied(odp);
		return err;
	}

	if (flags & IB_ODP_PREFETCH)
		atomic64_add(added, &odp->stats.prefetch_pages);
	else
		atomic64_add(added, &odp->stats.fault_pages);
	return ret;
}

/* Walk the process's page table, with no lock held. */
static int walk_do(struct odp_walk *walk, struct ib_odp *odp,
		   struct ib_odp_span *span, unsigned long start,
		   unsigned long end)
{
	struct hmm_range *range = &walk->range;
	int ret;

	range->start = start;
	range->end = end;
	range->hmm_pfns = &walk->pfns[span_page(start)];
	memset(range->hmm_pfns, 0,
	       ((end - start) >> PAGE_SHIFT) * sizeof(*walk->pfns));
	ret = hmm_range_fault_unlocked_timeout(range, ODP_FAULT_JIFFIES);
	if (!ret)
		ret = walk_widen(walk, span, odp->page_shift);
	if (!ret && odp->window.how == PHYR_WINDOW_IOVA)
		ret = walk_list(walk);
	return ret;
}

/*
 * Bring pages of one span in, with an array for the walk. -EAGAIN where the span
 * died meanwhile.
 */
static int span_fault(struct ib_odp *odp, struct ib_odp_span *span,
		      unsigned long start, unsigned long end,
		      unsigned int flags, unsigned long *pfns)
{
	unsigned long give_up = jiffies + ODP_FAULT_JIFFIES;
	struct odp_walk walk = {
		.range.notifier = &span->notifier,
		.pfns = pfns,
	};
	int ret;

	if (!(flags & IB_ODP_SNAPSHOT))
		walk.range.default_flags = HMM_PFN_REQ_FAULT;
	if (!(flags & IB_ODP_SNAPSHOT) && flags & IB_ODP_WRITE)
		walk.range.default_flags |= HMM_PFN_REQ_WRITE;
	phyr_list_init(&walk.list);

	do {
		ret = walk_do(&walk, odp, span, start, end);
		if (!ret) {
			down_write(&span->lock);
			if (span->dead)
				ret = -EAGAIN;
			else if (mmu_interval_read_retry(&span->notifier,
							 walk.range.notifier_seq))
				ret = -EBUSY;
			else
				ret = span_install(span, &walk, flags);
			up_write(&span->lock);
		}
		phyr_list_destroy(&walk.list);
	} while (ret == -EBUSY && time_before(jiffies, give_up));

	return ret;
}

static bool span_is_empty(struct ib_odp_span *span)
{
	bool empty;

	down_read(&span->lock);
	empty = !span->dead && !span->nr_valid;
	up_read(&span->lock);
	return empty;
}

static int odp_fault_in_span(struct ib_odp *odp, unsigned long start,
			     unsigned long end, unsigned int flags,
			     unsigned long *pfns)
{
	struct ib_odp_span *span;
	int ret;

	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		span = span_get(odp, start);
		if (IS_ERR(span))
			return PTR_ERR(span);
		ret = span_fault(odp, span, start, end, flags, pfns);
		if (span_is_empty(span))
			span_kill(span, true);
		span_put(span);
		cond_resched();
	} while (ret == -EAGAIN);

	return ret;
}

/* As ib_odp_fault(), with a user of the mm held, for whole pages. */
static int odp_fault_pages(struct ib_odp *odp, unsigned long start,
			   unsigned long end, unsigned int flags)
{
	unsigned long *pfns = (unsigned long *)__get_free_page(GFP_KERNEL);
	unsigned long stop;
	int ret = 0;

	if (!pfns)
		return -ENOMEM;
	for (; !ret && start < end; start = stop) {
		stop = min(ALIGN_DOWN(start, ODP_SPAN_SIZE) + ODP_SPAN_SIZE,
			   end);
		ret = odp_fault_in_span(odp, start, stop, flags, pfns);
	}
	free_page((unsigned long)pfns);
	return ret;
}

/* The memory belongs to a process: when that has ended, nobody else gets at it. */
static bool odp_owner_lives(struct ib_odp *odp)
{
	bool lives;

	rcu_read_lock();
	lives = pid_task(odp->tgid, PIDTYPE_TGID);
	rcu_read_unlock();
	return lives;
}

/**
 * ib_odp_fault - bring pages of a region in
 * @odp: the region, held
 * @va: address of the first byte
 * @len: bytes
 * @flags: &enum ib_odp_flags
 *
 * All pages that hold a byte of the range, and the rest of the huge pages among
 * them. They may be gone again when this returns. With IB_ODP_SNAPSHOT it is no
 * error where there is no page.
 *
 * Context: process, no lock held. May sleep for as long as a page fault of the
 * process can: for ever with userfaultfd, unless the caller is killed.
 *
 * Return: 0; -EFAULT, -EPERM, -EINVAL, -EHWPOISON or -ENODEV where the memory
 * or the region is not there; -EREMOTEIO where it is MMIO of a PCI device that
 * this one may not reach; -EIO where the IOMMU cannot map it;
 * -EBUSY, -EINTR or -ENOMEM where it may be worth trying again.
 */
int ib_odp_fault(struct ib_odp *odp, unsigned long va, size_t len,
		 unsigned int flags)
{
	struct mm_struct *mm = odp->umem.owning_mm;
	unsigned long size = BIT(odp->page_shift);
	unsigned long end;
	int ret;

	if (!len)
		return 0;
	if (flags & IB_ODP_WRITE && !odp->umem.writable)
		return -EPERM;
	if (check_add_overflow(va, len, &end) || va < odp->start ||
	    end > min(odp->end, mm->task_size))
		return -EFAULT;
	if (!odp_owner_lives(odp) || !mmget_not_zero(mm))
		return -EFAULT;

	if (!(flags & IB_ODP_PREFETCH))
		atomic64_inc(&odp->stats.faults);
	ret = odp_fault_pages(odp, ALIGN_DOWN(va, size), ALIGN(end, size),
			      flags);
	mmput_async(mm);
	return ret;
}
EXPORT_SYMBOL(ib_odp_fault);

static void request_release(struct kref *ref)
{
	struct odp_request *req = container_of(ref, struct odp_request, ref);

	ib_odp_put(req->odp);
	kfree(req);
}

static void request_work(struct work_struct *work)
{
	struct odp_request *req = container_of(work, struct odp_request, work);
	struct ib_odp *odp = req->odp;

	req->ret = ib_odp_fault(odp, req->va, req->len, req->flags);

	spin_lock(&odp->request_lock);
	list_del(&req->link);
	spin_unlock(&odp->request_lock);
	complete_all(&req->done);
	kref_put(&req->ref, request_release);
}

static struct odp_request *request_alloc(struct ib_odp *odp, unsigned long va,
					 size_t len, unsigned int flags)
{
	struct odp_request *req = kzalloc_obj(*req);

	if (!req)
		return NULL;
	INIT_WORK(&req->work, request_work);
	init_completion(&req->done);
	kref_init(&req->ref);
	ib_odp_hold(odp);
	req->odp = odp;
	req->va = va;
	req->len = len;
	req->flags = flags;
	req->started = jiffies;
	return req;
}

/*
 * One in progress that does what req would do, with a reference: the caller's
 * own, most often, who comes again. A larger one may take too long.
 */
static struct odp_request *request_join(struct ib_odp *odp,
					const struct odp_request *req)
{
	struct odp_request *other;

	list_for_each_entry(other, &odp->requests, link) {
		if (other->va == req->va && other->len == req->len &&
		    other->flags == req->flags) {
			kref_get(&other->ref);
			return other;
		}
	}
	return NULL;
}

/* Start a fault, or join one in progress. NULL: no memory. */
static struct odp_request *request_start(struct ib_odp *odp, unsigned long va,
					 size_t len, unsigned int flags)
{
	struct odp_request *req = request_alloc(odp, va, len, flags);
	struct odp_request *other;

	if (!req)
		return NULL;

	spin_lock(&odp->request_lock);
	other = request_join(odp, req);
	if (!other) {
		kref_get(&req->ref);
		list_add(&req->link, &odp->requests);
	}
	spin_unlock(&odp->request_lock);

	if (other) {
		kref_put(&req->ref, request_release);
		return other;
	}
	queue_work(odp_wq, &req->work);
	return req;
}

/**
 * ib_odp_fault_timeout - start to bring pages in and wait for a while
 * @odp: the region, held
 * @va: address of the first byte
 * @len: bytes
 * @flags: &enum ib_odp_flags
 * @timeout: how long a fault may be in progress before its waiters leave, in
 * jiffies; 0 to start it only
 *
 * As ib_odp_fault(), done by a work item. A caller that comes again finds the
 * work item that it left behind.
 *
 * Context: process, no lock held that a page fault may need.
 *
 * Return: as ib_odp_fault(), or -EAGAIN where the fault goes on.
 */
int ib_odp_fault_timeout(struct ib_odp *odp, unsigned long va, size_t len,
			 unsigned int flags, unsigned long timeout)
{
	struct odp_request *req;
	unsigned long age;
	int ret = -EAGAIN;

	req = request_start(odp, va, len, flags);
	if (!req)
		return -ENOMEM;

	age = jiffies - req->started;
	if (age < timeout)
		wait_for_completion_timeout(&req->done, timeout - age);
	if (completion_done(&req->done))
		ret = req->ret;
	kref_put(&req->ref, request_release);
	return ret;
}
EXPORT_SYMBOL(ib_odp_fault_timeout);

/* Let go of the lock of a span that may be freed by who takes it next. */
static void span_unlock_read(struct ib_odp_span *span)
{
	rcu_read_lock();
	up_read(&span->lock);
	rcu_read_unlock();
}

static struct ib_odp_span *span_wait_read(struct ib_odp_span *span,
					  unsigned int nr)
{
	bool dead;

	down_read_nested(&span->lock, nr);
	dead = span->dead;
	if (dead)
		up_read(&span->lock);
	span_put(span);
	return dead ? NULL : span;
}

/*
 * The live span of an address, locked for reading, or NULL. The caller has no
 * more than @nr locked, of lower addresses.
 */
static struct ib_odp_span *span_lock_read(struct ib_odp *odp, unsigned long va,
					  unsigned int nr)
{
	struct ib_odp_span *span;

	rcu_read_lock();
	span = xa_load(&odp->spans, span_index(va));
	if (!span || !down_read_trylock(&span->lock))
		goto slow;
	if (unlikely(span->dead)) {
		up_read(&span->lock);
		span = NULL;
	}
	rcu_read_unlock();
	return span;

slow:
	if (span && !kref_get_unless_zero(&span->ref))
		span = NULL;
	rcu_read_unlock();
	return span ? span_wait_read(span, nr) : NULL;
}

/* The same, if its first page may be used so. */
static struct ib_odp_span *span_lock_page(struct ib_odp *odp, unsigned long va,
					  unsigned long want)
{
	struct ib_odp_span *span = span_lock_read(odp, va, 0);

	if (span && (span->pfns[span_page(va)] & want) != want) {
		span_unlock_read(span);
		span = NULL;
	}
	return span;
}

static unsigned long odp_want(bool write)
{
	return write ? HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID;
}

/**
 * ib_odp_access_begin - get at memory of a region with the CPU
 * @odp: the region, not released before ib_odp_access_end()
 * @va: address of the first byte, in the region
 * @len: bytes wanted, not 0
 * @write: to write it
 * @piece: gets the memory: as many of the bytes as are in one piece
 *
 * The memory is what the process has at the address until
 * ib_odp_access_end(): whatever changes that waits. So the caller copies, and
 * does nothing that may wait for memory or a page fault.
 *
 * Context: process; may sleep until a fault or an invalidation has changed the
 * page entries. Any number of callers may be in the same memory at once.
 *
 * Return: true, or false where the first page has to be brought in first.
 */
bool ib_odp_access_begin(struct ib_odp *odp, unsigned long va, size_t len,
			 bool write, struct ib_odp_piece *piece)
{
	unsigned long want = odp_want(write);
	struct ib_odp_span *span = span_lock_page(odp, va, want);
	size_t have = PAGE_SIZE - offset_in_page(va);
	unsigned int page = span_page(va);
	unsigned long *entry, pfn;

	if (!span)
		return false;
	entry = &span->pfns[page];
	pfn = entry_pfn(*entry);
	piece->addr = page_address(pfn_to_page(pfn)) + offset_in_page(va);

	while (have < len && ++page < ODP_SPAN_PAGES) {
		entry++;
		pfn++;
		if ((*entry & want) != want || entry_pfn(*entry) != pfn)
			break;
		have += PAGE_SIZE;
	}
	piece->len = min(have, len);
	piece->span = span;
	return true;
}
EXPORT_SYMBOL(ib_odp_access_begin);

/**
 * ib_odp_access_end - be done with what ib_odp_access_begin() gave
 * @piece: what it gave
 */
void ib_odp_access_end(struct ib_odp_piece *piece)
{
	span_unlock_read(piece->span);
}
EXPORT_SYMBOL(ib_odp_access_end);

/* Where the device sees a valid page. */
static dma_addr_t span_dma(const struct ib_odp_span *span, unsigned long va)
{
	const struct phyr_window *win = &span->odp->window;
	unsigned long entry = span->pfns[span_page(va)];
	dma_addr_t addr = 0;

	if (span->dma)
		return span->dma[span_page(va)];
	if (entry & HMM_PFN_P2PDMA_BUS) {
		WARN_ON_ONCE(phyr_window_peer(win, hmm_pfn_to_page(entry), &addr) !=
			     PHYR_PEER_ADDR);
		return addr;
	}
	return phyr_window_addr(win, va - span->odp->base,
				PFN_PHYS(entry_pfn(entry)));
}

/**
 * ib_odp_dma_limit - how many pages can be locked together
 * @start: address of the first
 *
 * Return: the last address that ib_odp_dma_lock() takes for an end: several
 * megabytes more.
 */
unsigned long ib_odp_dma_limit(unsigned long start)
{
	return ALIGN_DOWN(start, ODP_SPAN_SIZE) +
	       IB_ODP_DMA_SPANS * ODP_SPAN_SIZE;
}
EXPORT_SYMBOL(ib_odp_dma_limit);

/**
 * ib_odp_dma_lock - hold pages where the device finds them
 * @odp: the region, held, with ib_odp_use_dma()
 * @start: address of the first page
 * @end: address after the last, at most ib_odp_dma_limit()
 * @pages: gets the pages
 *
 * Pages that are there stay until ib_odp_dma_unlock(); none is brought in. So the
 * caller can put what ib_odp_dma_fill() says into its table, or have the device
 * do that and wait for it: ib_odp_ops.invalidate() comes afterwards, and finds it
 * there. The caller must not wait for memory, for a page fault, or for the device
 * while that waits for a table entry.
 *
 * Context: process; may sleep until faults and invalidations have changed the
 * page entries. Any number of callers may be in the same memory at once. No
 * other pages may be held.
 */
void ib_odp_dma_lock(struct ib_odp *odp, unsigned long start, unsigned long end,
		     struct ib_odp_dma_pages *pages)
{
	unsigned long va = ALIGN_DOWN(start, ODP_SPAN_SIZE);
	unsigned int nr;

	/* A lock class of lockdep for each */
	BUILD_BUG_ON(IB_ODP_DMA_SPANS > MAX_LOCKDEP_SUBCLASSES);
	WARN_ON_ONCE(end > ib_odp_dma_limit(start));
	pages->odp = odp;
	pages->base = va;
	for (nr = 0; nr < IB_ODP_DMA_SPANS; nr++, va += ODP_SPAN_SIZE)
		pages->spans[nr] = va < end ? span_lock_read(odp, va, nr) : NULL;
}
EXPORT_SYMBOL(ib_odp_dma_lock);

/**
 * ib_odp_dma_unlock - be done with what ib_odp_dma_lock() gave
 * @pages: what it gave
 */
void ib_odp_dma_unlock(struct ib_odp_dma_pages *pages)
{
	unsigned int nr = IB_ODP_DMA_SPANS;

	while (nr--)
		if (pages->spans[nr])
			span_unlock_read(pages->spans[nr]);
}
EXPORT_SYMBOL(ib_odp_dma_unlock);

static const struct ib_odp_span *
dma_span(const struct ib_odp_dma_pages *pages, unsigned long va)
{
	return pages->spans[(va - pages->base) >> ODP_SPAN_SHIFT];
}

/**
 * ib_odp_dma_count - count pages that the device may use
 * @pages: what ib_odp_dma_lock() gave
 * @va: address of the first page, of the region's size
 * @nr: how many to look at
 * @write: only those that it may write
 *
 * Return: how many there are.
 */
size_t ib_odp_dma_count(const struct ib_odp_dma_pages *pages, unsigned long va,
			size_t nr, bool write)
{
	unsigned long want = odp_want(write);
	size_t count = 0;

	for (; nr; nr--, va += BIT(pages->odp->page_shift)) {
		const struct ib_odp_span *span = dma_span(pages, va);

		if (span && (span->pfns[span_page(va)] & want) == want)
			count++;
	}
	return count;
}
EXPORT_SYMBOL(ib_odp_dma_count);

/**
 * ib_odp_dma_fill - see where the device finds pages
 * @pages: what ib_odp_dma_lock() gave
 * @va: address of the first page, of the region's size
 * @nr: how many
 * @entries: gets the DMA address of each page, with &enum ib_odp_dma_flags in
 * the low bits; or 0, where there is none
 */
void ib_odp_dma_fill(const struct ib_odp_dma_pages *pages, unsigned long va,
		     size_t nr, u64 *entries)
{
	for (; nr; nr--, entries++, va += BIT(pages->odp->page_shift)) {
		const struct ib_odp_span *span = dma_span(pages, va);
		unsigned long entry = span ? span->pfns[span_page(va)] : 0;

		*entries = 0;
		if (entry & HMM_PFN_VALID)
			*entries = span_dma(span, va) | IB_ODP_DMA_VALID;
		if (entry & HMM_PFN_WRITE)
			*entries |= IB_ODP_DMA_WRITE;
	}
}
EXPORT_SYMBOL(ib_odp_dma_fill);

/* A region of the process that @mm and @tgid are of; takes over the latter. */
static struct ib_odp *odp_alloc(struct ib_device *device, bool writable,
				struct mm_struct *mm, struct pid *tgid)
{
	struct ib_odp *odp = kzalloc_obj(*odp);

	if (!odp) {
		put_pid(tgid);
		return NULL;
	}
	odp->umem.ibdev = device;
	odp->umem.writable = writable;
	odp->umem.is_odp = 1;
	odp->umem.owning_mm = mm;
	mmgrab(mm);
	odp->tgid = tgid;
	odp->page_shift = PAGE_SHIFT;
	kref_init(&odp->ref);
	xa_init(&odp->spans);
	mutex_init(&odp->grow_lock);
	INIT_DELAYED_WORK(&odp->reap, odp_reap);
	spin_lock_init(&odp->request_lock);
	INIT_LIST_HEAD(&odp->requests);
	return odp;
}

static struct ib_odp *odp_alloc_current(struct ib_device *device, int access)
{
	return odp_alloc(device, ib_access_writable(access), current->mm,
			 get_task_pid(current, PIDTYPE_TGID));
}

/**
 * ib_odp_get - make a region with on-demand paging
 * @device: the device it is for
 * @addr: address of its first byte in the current process
 * @size: bytes
 * @access: IB_ACCESS_* flags; with IB_ACCESS_HUGETLB all pages are huge pages
 * and all faults elsewhere fail
 *
 * Nothing is looked at: there may be no memory yet, or only in places.
 *
 * Context: process.
 *
 * Return: the region, to be given to ib_odp_release(), or an ERR_PTR():
 * -EINVAL, -EOVERFLOW or -ENOMEM.
 */
struct ib_odp *ib_odp_get(struct ib_device *device, unsigned long addr,
			  size_t size, int access)
{
	unsigned int page_shift = PAGE_SHIFT;
	unsigned long end, page_size;
	struct ib_odp *odp;

	if (WARN_ON_ONCE(!(access & IB_ACCESS_ON_DEMAND)))
		return ERR_PTR(-EINVAL);
#ifdef CONFIG_HUGETLB_PAGE
	if (access & IB_ACCESS_HUGETLB)
		page_shift = HPAGE_SHIFT;
#endif
	page_size = BIT(page_shift);
	if (!size)
		return ERR_PTR(-EINVAL);
	if (check_add_overflow(addr, size, &end) ||
	    check_add_overflow(end, page_size - 1, &end))
		return ERR_PTR(-EOVERFLOW);

	odp = odp_alloc_current(device, access);
	if (!odp)
		return ERR_PTR(-ENOMEM);
	odp->umem.address = addr;
	odp->umem.length = size;
	odp->page_shift = page_shift;
	odp->start = ALIGN_DOWN(addr, page_size);
	odp->end = ALIGN_DOWN(end, page_size);
	return odp;
}
EXPORT_SYMBOL(ib_odp_get);

/**
 * ib_odp_get_implicit - make a region that is all memory of the process
 * @device: the device it is for
 * @access: IB_ACCESS_* flags
 *
 * Context: process.
 *
 * Return: the region, to be given to ib_odp_release(), or an ERR_PTR():
 * -EINVAL for huge pages, -ENOMEM.
 */
struct ib_odp *ib_odp_get_implicit(struct ib_device *device, int access)
{
	struct ib_odp *odp;

	if (access & IB_ACCESS_HUGETLB)
		return ERR_PTR(-EINVAL);
	odp = odp_alloc_current(device, access);
	if (!odp)
		return ERR_PTR(-ENOMEM);
	odp->umem.length = SIZE_MAX;
	odp->end = odp->umem.owning_mm->task_size;
	return odp;
}
EXPORT_SYMBOL(ib_odp_get_implicit);

/**
 * ib_odp_get_part - make a region of the same process as another
 * @whole: the other, not released
 * @addr: address of its first byte, page granular
 * @size: bytes, page granular
 *
 * For drivers whose devices need an MR of its own for each part of an implicit
 * one: the current process may be any.
 *
 * Context: process.
 *
 * Return: the region, to be given to ib_odp_release() at any time, or an
 * ERR_PTR(): -EINVAL, -ENOMEM, or -EFAULT where that process has ended.
 */
struct ib_odp *ib_odp_get_part(struct ib_odp *whole, unsigned long addr,
			       size_t size)
{
	struct ib_odp *odp;
	unsigned long end;

	if (!size || !PAGE_ALIGNED(addr | size) ||
	    check_add_overflow(addr, size, &end))
		return ERR_PTR(-EINVAL);
	if (!odp_owner_lives(whole))
		return ERR_PTR(-EFAULT);
	odp = odp_alloc(whole->umem.ibdev, whole->umem.writable,
			whole->umem.owning_mm, get_pid(whole->tgid));
	if (!odp)
		return ERR_PTR(-ENOMEM);
	odp->umem.address = addr;
	odp->umem.length = size;
	odp->start = addr;
	odp->end = end;
	return odp;
}
EXPORT_SYMBOL(ib_odp_get_part);

/**
 * ib_odp_use_dma - let the region's device do DMA
 * @odp: a region that is new: no page was brought in yet
 * @ops: what the engine asks of the driver
 * @driver: for the driver's own use
 *
 * Reserves the DMA addresses of the whole region, but nothing for its pages.
 * Where they have no room for it, pages are given any, one by one.
 *
 * Context: process.
 *
 * Return: 0, or -EOPNOTSUPP where the device's DMA is not coherent, is bounced, or
 * does not reach all memory; then the region is to be released.
 */
int ib_odp_use_dma(struct ib_odp *odp, const struct ib_odp_ops *ops,
		   void *driver)
{
	unsigned long start = odp->start, end = odp->end;
	int ret;

	/* Huge pages are one entry where they lie in the window as in memory. */
	if (odp_has_slots(odp)) {
		start = ALIGN_DOWN(start, ODP_SPAN_SIZE);
		end = ALIGN(end, ODP_SPAN_SIZE);
	}
	ret = phyr_window_open(&odp->window, odp->umem.ibdev->dma_device,
			       end - start, odp->umem.writable ?
			       DMA_BIDIRECTIONAL : DMA_TO_DEVICE);
	if (ret)
		return ret;
	odp->base = start;
	odp->ops = ops;
	odp->driver = driver;
	return 0;
}
EXPORT_SYMBOL(ib_odp_use_dma);

/**
 * ib_odp_release - end a region
 * @odp: what ib_odp_get() or ib_odp_get_implicit() gave
 *
 * No access by ib_odp_access_begin() may be going on or be made afterwards. Who
 * holds the region may still call ib_odp_dma_lock(), and finds no page. Faults may
 * be going on: they end without effect, and are not waited for. A driver with DMA is
 * called to clear its table of what it still has.
 *
 * Context: process, no lock held that an invalidation may need.
 */
void ib_odp_release(struct ib_odp *odp)
{
	struct ib_odp_span *span;
	unsigned long index;

	mutex_lock(&odp->grow_lock);
	odp->closed = true;
	mutex_unlock(&odp->grow_lock);
	disable_delayed_work_sync(&odp->reap);

	xa_for_each(&odp->spans, index, span) {
		span = span_find(odp, index);
		if (!span)
			continue;
		span_kill(span, false);
		span_put(span);
		cond_resched();
	}
	phyr_window_close(&odp->window);
	ib_odp_put(odp);
}
EXPORT_SYMBOL(ib_odp_release);

static void odp_free(struct kref *ref)
{
	struct ib_odp *odp = container_of(ref, struct ib_odp, ref);

	xa_destroy(&odp->spans);
	put_pid(odp->tgid);
	mmdrop(odp->umem.owning_mm);
	kfree(odp);
}

/**
 * ib_odp_hold - keep a region's memory
 * @odp: the region
 *
 * It may be released all the same; then faults fail with -ENODEV.
 */
void ib_odp_hold(struct ib_odp *odp)
{
	kref_get(&odp->ref);
}
EXPORT_SYMBOL(ib_odp_hold);

/**
 * ib_odp_put - undo ib_odp_hold()
 * @odp: the region
 */
void ib_odp_put(struct ib_odp *odp)
{
	kref_put(&odp->ref, odp_free);
}
EXPORT_SYMBOL(ib_odp_put);

static int odp_put_counter(struct sk_buff *msg, const char *name,
			   const atomic64_t *counter)
{
	return rdma_nl_stat_hwcounter_entry(msg, name, atomic64_read(counter));
}

/**
 * ib_odp_fill_stats - report a region's counters, for "rdma statistic"
 * @msg: the message of fill_stat_mr_entry()
 * @odp: the region
 *
 * Return: 0, or -EMSGSIZE.
 */
int ib_odp_fill_stats(struct sk_buff *msg, struct ib_odp *odp)
{
	const struct ib_odp_stats *stats = &odp->stats;
	struct nlattr *table;

	table = nla_nest_start(msg, RDMA_NLDEV_ATTR_STAT_HWCOUNTERS);
	if (!table)
		return -EMSGSIZE;
	if (odp_put_counter(msg, "page_faults", &stats->fault_pages) ||
	    odp_put_counter(msg, "page_faults_handled", &stats->faults) ||
	    odp_put_counter(msg, "page_invalidations",
			    &stats->invalidation_pages) ||
	    odp_put_counter(msg, "page_invalidations_handled",
			    &stats->invalidations) ||
	    odp_put_counter(msg, "page_prefetch", &stats->prefetch_pages)) {
		nla_nest_cancel(msg, table);
		return -EMSGSIZE;
	}
	nla_nest_end(msg, table);
	return 0;
}
EXPORT_SYMBOL(ib_odp_fill_stats);

/**
 * ib_odp_init - prepare for regions with on-demand paging
 *
 * Return: 0 or -ENOMEM.
 */
int ib_odp_init(void)
{
	odp_wq = alloc_workqueue("ib_odp", WQ_UNBOUND, WQ_UNBOUND_MAX_ACTIVE);
	return odp_wq ? 0 : -ENOMEM;
}

/**
 * ib_odp_cleanup - undo ib_odp_init(), also where that failed
 *
 * Context: no region is left; faults of released ones are waited for.
 */
void ib_odp_cleanup(void)
{
	if (odp_wq)
		destroy_workqueue(odp_wq);
}
