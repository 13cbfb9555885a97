/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory regions whose pages are brought in when they are used. The rules are
 * at the top of drivers/infiniband/core/odp_iova.c.
 */
#ifndef IB_ODP_H
#define IB_ODP_H

#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/phyr_dma.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <rdma/ib_umem.h>

struct ib_odp;
struct ib_odp_span;
struct pid;
struct sk_buff;

/**
 * struct ib_odp_stats - what happened to the pages of a region
 * @faults: calls that brought pages in
 * @fault_pages: pages that they brought in
 * @invalidations: calls that took pages away
 * @invalidation_pages: pages that they took away
 * @prefetch_pages: pages that were brought in ahead of use
 */
struct ib_odp_stats {
	atomic64_t faults;
	atomic64_t fault_pages;
	atomic64_t invalidations;
	atomic64_t invalidation_pages;
	atomic64_t prefetch_pages;
};

/**
 * struct ib_odp_ops - what the engine asks of a driver whose device does DMA
 */
struct ib_odp_ops {
	/**
	 * @invalidate: clear the driver's table from address @start to @end,
	 * whole pages of one span. When it returns, the device does not use
	 * them, and will not until ib_odp_dma_fill() gives them again.
	 *
	 * Called in reclaim, with a lock of the engine held: it must not wait
	 * for memory or for a page fault. Unless @block it must not sleep
	 * either. The range may be wider than what the process changed.
	 *
	 * Return true, or false where it is not done and may not @block.
	 */
	bool (*invalidate)(struct ib_odp *odp, unsigned long start,
			   unsigned long end, bool block);

	/**
	 * @emptied: the last page of the region went, by an invalidation. May be
	 * NULL. By now there may be others, and it may be called again.
	 *
	 * Called like @invalidate, but that it must never sleep.
	 */
	void (*emptied)(struct ib_odp *odp);
};

/**
 * struct ib_odp - a region of user memory with on-demand paging
 * @umem: owner's address and length; is_odp is set
 * @page_shift: log2 of the page size of the region
 * @start: first address of the pages, aligned to their size
 * @end: address after them
 * @stats: counters, any may be read at any time
 * @driver: the driver's own, see ib_odp_use_dma()
 *
 * The rest is the engine's.
 */
struct ib_odp {
	struct ib_umem umem;
	unsigned int page_shift;
	unsigned long start;
	unsigned long end;
	struct ib_odp_stats stats;
	void *driver;

	/* private: */
	const struct ib_odp_ops *ops;
	struct phyr_window window;
	unsigned long base;		/* address that the window starts at */
	struct kref ref;
	struct pid *tgid;
	struct xarray spans;
	atomic_long_t nr_pages;
	struct mutex grow_lock;		/* making spans, closed */
	bool closed;
	struct delayed_work reap;
	spinlock_t request_lock;	/* requests */
	struct list_head requests;
};

static inline struct ib_odp *to_ib_odp(struct ib_umem *umem)
{
	return container_of(umem, struct ib_odp, umem);
}

/* Pages of a region, of its own page size. */
static inline size_t ib_odp_num_pages(const struct ib_odp *odp)
{
	return (odp->end - odp->start) >> odp->page_shift;
}

/**
 * enum ib_odp_flags - how pages are brought in
 * @IB_ODP_WRITE: so that they can be written
 * @IB_ODP_SNAPSHOT: only those that the CPU has mapped now
 * @IB_ODP_PREFETCH: ahead of use, for the counters
 */
enum ib_odp_flags {
	IB_ODP_WRITE = BIT(0),
	IB_ODP_SNAPSHOT = BIT(1),
	IB_ODP_PREFETCH = BIT(2),
};

/**
 * struct ib_odp_piece - memory that the CPU may use now
 * @addr: the memory
 * @len: bytes of it
 */
struct ib_odp_piece {
	void *addr;
	size_t len;

	/* private: */
	struct ib_odp_span *span;
};

/**
 * enum ib_odp_dma_flags - in the entries of ib_odp_dma_fill()
 * @IB_ODP_DMA_VALID: there is a page
 * @IB_ODP_DMA_WRITE: the device may write it
 * @IB_ODP_DMA_FLAGS: all of them
 */
enum ib_odp_dma_flags {
	IB_ODP_DMA_VALID = BIT(0),
	IB_ODP_DMA_WRITE = BIT(1),
	IB_ODP_DMA_FLAGS = IB_ODP_DMA_VALID | IB_ODP_DMA_WRITE,
};

/* Spans that can be locked together. */
#define IB_ODP_DMA_SPANS	8

/**
 * struct ib_odp_dma_pages - pages that stay where a device finds them
 * @odp: region that they are of
 */
struct ib_odp_dma_pages {
	struct ib_odp *odp;

	/* private: */
	unsigned long base;
	struct ib_odp_span *spans[IB_ODP_DMA_SPANS];
};

#ifdef CONFIG_INFINIBAND_ON_DEMAND_PAGING

struct ib_odp *ib_odp_get(struct ib_device *device, unsigned long addr,
			  size_t size, int access);
struct ib_odp *ib_odp_get_implicit(struct ib_device *device, int access);
struct ib_odp *ib_odp_get_part(struct ib_odp *whole, unsigned long addr,
			       size_t size);
int ib_odp_use_dma(struct ib_odp *odp, const struct ib_odp_ops *ops,
		   void *driver);
void ib_odp_release(struct ib_odp *odp);
void ib_odp_hold(struct ib_odp *odp);
void ib_odp_put(struct ib_odp *odp);

int ib_odp_fault(struct ib_odp *odp, unsigned long va, size_t len,
		 unsigned int flags);
int ib_odp_fault_timeout(struct ib_odp *odp, unsigned long va, size_t len,
			 unsigned int flags, unsigned long timeout);

bool ib_odp_access_begin(struct ib_odp *odp, unsigned long va, size_t len,
			 bool write, struct ib_odp_piece *piece);
void ib_odp_access_end(struct ib_odp_piece *piece);

unsigned long ib_odp_dma_limit(unsigned long start);
void ib_odp_dma_lock(struct ib_odp *odp, unsigned long start, unsigned long end,
		     struct ib_odp_dma_pages *pages);
void ib_odp_dma_unlock(struct ib_odp_dma_pages *pages);
size_t ib_odp_dma_count(const struct ib_odp_dma_pages *pages, unsigned long va,
			size_t nr, bool write);
void ib_odp_dma_fill(const struct ib_odp_dma_pages *pages, unsigned long va,
		     size_t nr, u64 *entries);

int ib_odp_fill_stats(struct sk_buff *msg, struct ib_odp *odp);

#else /* CONFIG_INFINIBAND_ON_DEMAND_PAGING */

static inline struct ib_odp *ib_odp_get(struct ib_device *device,
					unsigned long addr, size_t size,
					int access)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline int ib_odp_use_dma(struct ib_odp *odp,
				 const struct ib_odp_ops *ops, void *driver)
{
	return -EOPNOTSUPP;
}

static inline void ib_odp_release(struct ib_odp *odp)
{
}

#endif /* CONFIG_INFINIBAND_ON_DEMAND_PAGING */

#endif /* IB_ODP_H */
