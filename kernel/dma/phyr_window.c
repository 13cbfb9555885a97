// SPDX-License-Identifier: GPL-2.0
/*
 * DMA addresses for pages that come and go.
 *
 * A window is as long as the memory that a device may come to see, and has
 * nothing in it to begin with. On-demand paging opens one for each of its
 * regions, links pages into it when they are brought in, and unlinks them when
 * the process loses them. What of it can be done at once depends on the device:
 *
 *  - behind an IOMMU that the DMA API drives, the window is a span of IOVA, which
 *    is allocated when it is opened. Pages are linked at their place in it, all
 *    ranges of a list by one walk of the IOMMU's page table (PHYR_WINDOW_IOVA);
 *  - where addresses are only translated and unmapping does nothing, there is
 *    nothing to do (PHYR_WINDOW_DIRECT);
 *  - else, where the IOVA space has no room for the window for one, each page is
 *    mapped by itself, and the owner of the window keeps its address
 *    (PHYR_WINDOW_EACH). Windows together take half of the IOVA space at most.
 *
 * The process goes on using the memory, so nothing is ever bounced, and caches
 * are coherent: devices that need more cannot have a window.
 *
 * Pages can be MMIO of a PCI device. What another one reaches through the host
 * bridge is linked or mapped like RAM, what it reaches by a bus address, or
 * without an IOMMU, has an address of its own (phyr_window_peer()).
 *
 * Locking: none here. Linking and unlinking do not sleep, for their callers hold
 * the lock that the MMU notifier takes. The caller keeps others off the part of
 * the window that it works on; parts beside each other need no lock. What is
 * allocated while a page is linked is so without reclaim.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/export.h>
#include <linux/iommu-dma.h>
#include <linux/iommu.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/phyr_dma.h>
#include <linux/swiotlb.h>
#include <linux/xarray.h>

/*
 * IOVA that windows take, in pages, by IOMMU domain. A window costs its owner
 * nothing, and may be as large as the memory of a process can be: whoever makes
 * many must leave addresses for those who have to have some.
 */
static DEFINE_MUTEX(phyr_window_lock);
static DEFINE_XARRAY(phyr_window_used);

/* Half of what the device can be given. */
static u64 phyr_window_most(struct device *dev, const struct iommu_domain *domain)
{
	u64 last = min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);

	return min_t(u64, last, domain->geometry.aperture_end) / 2 >> PAGE_SHIFT;
}

/* Take or give back IOVA in the account of a domain; false: there is no more. */
static bool phyr_window_account(struct device *dev, unsigned long pages, bool take)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	unsigned long index = (unsigned long)domain, used;
	void *entry = xa_load(&phyr_window_used, index);

	lockdep_assert_held(&phyr_window_lock);
	used = entry ? xa_to_value(entry) : 0;
	if (take && used + pages > phyr_window_most(dev, domain))
		return false;
	used = take ? used + pages : used - pages;
	if (!used)
		xa_erase(&phyr_window_used, index);
	else if (xa_err(xa_store(&phyr_window_used, index, xa_mk_value(used),
				 GFP_KERNEL)))
		return false;
	return true;
}

static bool phyr_window_alloc(struct phyr_window *win, size_t size)
{
	bool done = false;

	mutex_lock(&phyr_window_lock);
	if (phyr_window_account(win->dev, size >> PAGE_SHIFT, true)) {
		done = dma_iova_try_alloc(win->dev, &win->state, 0, size);
		if (!done)
			phyr_window_account(win->dev, size >> PAGE_SHIFT, false);
	}
	mutex_unlock(&phyr_window_lock);
	return done;
}

/*
 * Behind an IOMMU any page can be given an address that the device reaches, and
 * none is bounced, unless the IOMMU's pages are larger.
 */
static bool phyr_window_is_possible(struct device *dev)
{
	if (!dev->dma_mask || !dev_is_dma_coherent(dev))
		return false;
	if (use_dma_iommu(dev))
		return dma_get_merge_boundary(dev) < PAGE_SIZE;
	if (IS_ENABLED(CONFIG_DMA_NEED_SYNC) && !dev_dma_skip_sync(dev))
		return false;
	return !dma_addressing_limited(dev) && !is_swiotlb_force_bounce(dev);
}

/**
 * phyr_window_open - make a window for pages that come and go
 * @win: the window; whatever it holds is overwritten
 * @dev: device that will do the DMA
 * @size: bytes, a multiple of PAGE_SIZE
 * @dir: direction of the DMA
 *
 * Allocates the IOVA, where there is any: aligned to the size of the window, so
 * what is aligned in it is in its IOVA, too. It needs memory for the page table
 * only when pages are linked.
 * Context: may sleep.
 *
 * Return: 0, or with nothing to close
 * -EINVAL for a window of no whole pages, or
 * -EOPNOTSUPP for a device whose DMA is not coherent, or that cannot reach all
 * memory.
 */
int phyr_window_open(struct phyr_window *win, struct device *dev, size_t size,
		     enum dma_data_direction dir)
{
	*win = (struct phyr_window) {};
	if (!size || !PAGE_ALIGNED(size))
		return -EINVAL;
	if (!phyr_window_is_possible(dev))
		return -EOPNOTSUPP;

	win->dev = dev;
	win->dir = dir;
	/* The top bit of the span's length is the IOMMU layer's own. */
	if (use_dma_iommu(dev) && size <= SIZE_MAX / 2 &&
	    phyr_window_alloc(win, size))
		win->how = PHYR_WINDOW_IOVA;
	else if (!use_dma_iommu(dev) && !dma_need_unmap(dev))
		win->how = PHYR_WINDOW_DIRECT;
	else
		win->how = PHYR_WINDOW_EACH;
	return 0;
}
EXPORT_SYMBOL_GPL(phyr_window_open);

/**
 * phyr_window_close - give the IOVA of a window back
 * @win: window with nothing in it, or all zero. All zero afterwards.
 *
 * Context: may sleep.
 */
void phyr_window_close(struct phyr_window *win)
{
	if (win->how == PHYR_WINDOW_IOVA) {
		size_t size = dma_iova_size(&win->state);

		dma_iova_free_sparse(win->dev, &win->state);
		mutex_lock(&phyr_window_lock);
		phyr_window_account(win->dev, size >> PAGE_SHIFT, false);
		mutex_unlock(&phyr_window_lock);
	}
	*win = (struct phyr_window) {};
}
EXPORT_SYMBOL_GPL(phyr_window_close);

/**
 * phyr_window_link - put pages into a window of IOVA
 * @win: the window, PHYR_WINDOW_IOVA
 * @offset: where the first page goes, in bytes, page granular
 * @cur: cursor before the first range; what its window has left is linked
 * @largest: no entry of the IOMMU's page table is larger than this many bytes, a
 *	power of two: what is to be unlinked by itself must not be part of one
 * @attrs: DMA_ATTR_MMIO for that of a peer, else 0
 *
 * The device cannot use the addresses before phyr_window_sync().
 * Context: any; does not sleep.
 *
 * Return: 0, or with nothing linked
 * -ENOMEM where it may be worth trying again, or what dma_iova_link_phyr() gives.
 */
int phyr_window_link(struct phyr_window *win, size_t offset,
		     struct phyr_cursor *cur, size_t largest,
		     unsigned long attrs)
{
	return dma_iova_link_phyr(win->dev, &win->state, offset, cur, largest,
				  win->dir, attrs, GFP_NOWAIT | __GFP_NOWARN);
}
EXPORT_SYMBOL_GPL(phyr_window_link);

/**
 * phyr_window_sync - let the device see what was linked
 * @win: the window, PHYR_WINDOW_IOVA
 * @offset: from where, in bytes, page granular
 * @size: how much, in bytes, page granular; it may have holes
 *
 * Context: any; does not sleep.
 *
 * Return: 0 or what the IOMMU driver returns.
 */
int phyr_window_sync(struct phyr_window *win, size_t offset, size_t size)
{
	return dma_iova_sync(win->dev, &win->state, offset, size);
}
EXPORT_SYMBOL_GPL(phyr_window_sync);

/**
 * phyr_window_unlink - take all pages out of a part of a window of IOVA
 * @win: the window, PHYR_WINDOW_IOVA
 * @offset: from where, in bytes, page granular
 * @size: how much, in bytes, page granular; it may have holes, and must not cut
 *	what was linked as one large entry
 *
 * One flush of the IOTLB, after which the device reaches none of the pages. The
 * IOMMU's tables for parts that are unlinked as a whole are freed.
 * Context: any; does not sleep.
 */
void phyr_window_unlink(struct phyr_window *win, size_t offset, size_t size)
{
	size_t total = dma_iova_size(&win->state);

	/* What lies beyond belongs to others */
	if (WARN_ON_ONCE(offset > total || size > total - offset))
		return;
	dma_iova_unlink_sparse(win->dev, &win->state, offset, size, win->dir, 0);
}
EXPORT_SYMBOL_GPL(phyr_window_unlink);

/*
 * The window was made for RAM, all of which the device reaches: not so MMIO. To ask
 * is to map it, of which nothing is kept where unmapping does nothing.
 */
static enum phyr_peer phyr_window_map_peer(const struct phyr_window *win,
					   phys_addr_t phys, dma_addr_t *addr)
{
	*addr = dma_map_phys(win->dev, phys, PAGE_SIZE, win->dir,
			     DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT);
	return dma_mapping_error(win->dev, *addr) ? PHYR_PEER_NONE :
						    PHYR_PEER_ADDR;
}

/**
 * phyr_window_peer - how the device reaches a page that is MMIO of another
 * @win: the window
 * @page: the page, of which is_pci_p2pdma_page() holds, and which stays meanwhile
 * @addr: gets the DMA address where this returns PHYR_PEER_ADDR
 *
 * Asks PCI, which may say: through the host bridge, or by a bus address.
 * Context: any; does not sleep.
 *
 * Return: &enum phyr_peer.
 */
enum phyr_peer phyr_window_peer(const struct phyr_window *win, struct page *page,
				dma_addr_t *addr)
{
	struct pci_p2pdma_map_state state = {};

	switch (pci_p2pdma_state(&state, win->dev, page)) {
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		if (win->how == PHYR_WINDOW_DIRECT)
			return phyr_window_map_peer(win, page_to_phys(page), addr);
		return PHYR_PEER_LINK;
	case PCI_P2PDMA_MAP_BUS_ADDR:
		*addr = pci_p2pdma_bus_addr_map(state.mem, page_to_phys(page));
		return PHYR_PEER_ADDR;
	default:
		return PHYR_PEER_NONE;
	}
}
EXPORT_SYMBOL_GPL(phyr_window_peer);

/**
 * phyr_window_addr - where the device sees a page of a window
 * @win: the window, any but PHYR_WINDOW_EACH
 * @offset: of the page in the window, in bytes
 * @phys: physical address of the page, which is RAM, or linked
 *
 * Context: any.
 *
 * Return: the DMA address.
 */
dma_addr_t phyr_window_addr(const struct phyr_window *win, size_t offset,
			    phys_addr_t phys)
{
	return win->how == PHYR_WINDOW_IOVA ? win->state.addr + offset :
					      phys_to_dma(win->dev, phys);
}
EXPORT_SYMBOL_GPL(phyr_window_addr);
