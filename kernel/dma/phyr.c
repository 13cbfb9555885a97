// SPDX-License-Identifier: GPL-2.0
/*
 * From a list of physical ranges to DMA ranges.
 *
 * This is the one place that decides how a list is mapped for a device:
 *
 *  - behind an IOMMU that the DMA API drives, one IOVA span is allocated and
 *    the ranges are linked into it, all that are at hand by one walk of the
 *    IOMMU's page table. The list becomes one DMA range, with one IOTLB sync
 *    and one flush (PHYR_DMA_IOVA);
 *  - where addresses are only translated and unmapping does nothing, the list
 *    itself tells the addresses and nothing is stored (PHYR_DMA_DIRECT);
 *  - else every range is mapped by itself and its address kept
 *    (PHYR_DMA_STORED). DMA addresses here are page granular, so the same
 *    compact container holds them.
 *
 * Large pages of the IOMMU, and large blocks in a device's tables, form only where
 * addresses on both sides agree in the bits below. Whoever maps memory says where
 * it lies in the space that its pages are large in, and what is missing to that
 * alignment is left free in front of the span.
 *
 * MMIO of a peer is reached through the host bridge, like RAM, or by its bus
 * address, past the IOMMU. Lists that may have it have their addresses stored;
 * what goes through the IOMMU is linked into one span all the same.
 *
 * A mapping grows with its list. The last range of a list that still grows can
 * become longer, so it is left for the next call: thus each range is mapped
 * whole, in the largest IOMMU pages it allows, and what is unmapped one by one
 * is just what was mapped.
 *
 * The memory of a peer may have no struct page, and go away. It is safe to use
 * because its exporter can revoke it and the list's owner stops the device and
 * unmaps before the revoke returns: nothing here keeps it alive.
 *
 * Locking: the caller owns both structures, and keeps the list alive and its
 * mapped part unchanged until the mapping is gone.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/phyr_dma.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>

enum phyr_dma_how {
	PHYR_DMA_NONE,
	PHYR_DMA_IOVA,
	PHYR_DMA_DIRECT,
	PHYR_DMA_STORED,
};

/**
 * struct phyr_dma_stored - addresses that are kept
 * @ranges: the DMA ranges
 * @span: what of the list goes through the IOMMU is linked into this, if there
 *	is one; the rest are bus addresses
 * @linked: bytes linked into it so far
 */
struct phyr_dma_stored {
	struct phyr_list	ranges;
	struct dma_iova_state	span;
	size_t			linked;
};

/* The IOVA span that ranges are linked into, NULL where there is none. */
static struct dma_iova_state *phyr_dma_span(struct phyr_dma *dma)
{
	if (dma->how == PHYR_DMA_IOVA)
		return &dma->span;
	if (dma->how == PHYR_DMA_STORED && dma_use_iova(&dma->stored->span))
		return &dma->stored->span;
	return NULL;
}

/* Where in the span the first range is linked. */
static size_t phyr_dma_pad(const struct phyr_dma *dma)
{
	return (size_t)dma->pad << PAGE_SHIFT;
}

/* Bytes that are linked into the span. */
static size_t phyr_dma_linked(const struct phyr_dma *dma)
{
	return dma->how == PHYR_DMA_IOVA ? dma->nr_pages << PAGE_SHIFT :
					   dma->stored->linked;
}

/*
 * Keep a DMA range. The container has no providers here: what it has no bits
 * for in an address takes their place.
 */
static int phyr_dma_store(struct phyr_dma *dma, u64 addr, u64 len)
{
	while (len) {
		u64 low = addr & GENMASK_ULL(PHYR_ADDR_BITS - 1, 0);
		u64 n = min(len, BIT_ULL(PHYR_ADDR_BITS) - low);
		uintptr_t high = addr >> PHYR_ADDR_BITS;
		int ret = phyr_list_append(&dma->stored->ranges,
					   (struct phys_vec) { low, n },
					   (struct p2pdma_provider *)high,
					   GFP_KERNEL);

		if (ret)
			return ret;
		addr += n;
		len -= n;
	}
	return 0;
}

/* The address of the piece that a cursor over kept ranges is at. */
static dma_addr_t phyr_dma_stored(const struct phyr_cursor *cur)
{
	u64 high = (uintptr_t)cur->provider;

	return high << PHYR_ADDR_BITS | cur->vec.paddr;
}

static enum pci_p2pdma_map_type phyr_dma_type(const struct phyr_dma *dma,
					      struct p2pdma_provider *provider)
{
	return provider ? pci_p2pdma_map_type(provider, dma->dev) :
			  PCI_P2PDMA_MAP_NONE;
}

static unsigned long phyr_dma_attrs(const struct phyr_dma *dma,
				    const struct p2pdma_provider *provider)
{
	return provider ? dma->attrs | DMA_ATTR_MMIO : dma->attrs;
}

/*
 * The most that one call maps of a range that is mapped by itself: what a
 * scatterlist's entry for this device would have.
 */
static size_t phyr_dma_piece(const struct phyr_dma *dma)
{
	return max(ALIGN_DOWN(dma_get_max_seg_size(dma->dev), PAGE_SIZE), PAGE_SIZE);
}

/* Link a range behind what the IOVA span has, and keep its address. */
static int phyr_dma_link_range(struct phyr_dma *dma, const struct phyr_cursor *cur)
{
	struct phyr_dma_stored *stored = dma->stored;
	size_t at = phyr_dma_pad(dma) + stored->linked;
	dma_addr_t addr = stored->span.addr + at;
	size_t len = cur->vec.len;
	int ret;

	ret = dma_iova_link(dma->dev, &stored->span, cur->vec.paddr, at, len,
			    dma->dir, phyr_dma_attrs(dma, cur->provider));
	if (ret)
		return ret;
	stored->linked += len;
	ret = phyr_dma_store(dma, addr, len);
	if (!ret)
		dma->nr_pages += len >> PAGE_SHIFT;
	return ret;
}

/* Keep the bus address of a range of a peer that is reached by it. */
static int phyr_dma_bus_range(struct phyr_dma *dma, const struct phyr_cursor *cur)
{
	int ret = phyr_dma_store(dma, pci_p2pdma_bus_addr_map(cur->provider,
							      cur->vec.paddr),
				 cur->vec.len);

	if (!ret)
		dma->nr_pages += cur->vec.len >> PAGE_SHIFT;
	return ret;
}

/* Map a range by itself, and keep its address where that is not known anyhow. */
static int phyr_dma_map_range(struct phyr_dma *dma, const struct phyr_cursor *cur)
{
	unsigned long attrs = phyr_dma_attrs(dma, cur->provider);
	size_t max = phyr_dma_piece(dma), done, n;

	for (done = 0; done < cur->vec.len; done += n) {
		dma_addr_t addr;
		int ret;

		n = min(cur->vec.len - done, max);
		addr = dma_map_phys(dma->dev, cur->vec.paddr + done, n, dma->dir,
				    attrs);
		if (dma_mapping_error(dma->dev, addr))
			return -EIO;
		ret = dma->how == PHYR_DMA_STORED ? phyr_dma_store(dma, addr, n) : 0;
		if (ret) {
			dma_unmap_phys(dma->dev, addr, n, dma->dir, attrs);
			return ret;
		}
		dma->nr_pages += n >> PAGE_SHIFT;
	}
	return 0;
}

/* Map the ranges of a window one by one. */
static int phyr_dma_map_each(struct phyr_dma *dma, struct phyr_cursor *cur)
{
	while (phyr_next(cur)) {
		int ret;

		cond_resched();
		switch (phyr_dma_type(dma, cur->provider)) {
		case PCI_P2PDMA_MAP_NONE:
		case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
			ret = phyr_dma_span(dma) ? phyr_dma_link_range(dma, cur) :
						   phyr_dma_map_range(dma, cur);
			break;
		case PCI_P2PDMA_MAP_BUS_ADDR:
			ret = phyr_dma_bus_range(dma, cur);
			break;
		default:
			return -EREMOTEIO;
		}
		if (ret)
			return ret;
	}
	return 0;
}

/* Map what @list has more than is mapped, up to @nr_pages from its start. */
static int phyr_dma_map_up_to(struct phyr_dma *dma, const struct phyr_list *list,
			      u64 nr_pages)
{
	struct dma_iova_state *span = phyr_dma_span(dma);
	u64 offset = dma->nr_pages << PAGE_SHIFT;
	struct phyr_cursor cur;
	int ret;

	if (nr_pages <= dma->nr_pages)
		return 0;
	if (WARN_ON_ONCE((span && nr_pages + dma->pad > dma_iova_size(span) >> PAGE_SHIFT) ||
			 (phyr_has_mmio(list) && !(dma->flags & PHYR_DMA_P2P))))
		return -EINVAL;

	if (dma->how == PHYR_DMA_DIRECT)
		dma->direct = list;
	phyr_seek(&cur, list, offset, (nr_pages << PAGE_SHIFT) - offset);
	if (dma->how != PHYR_DMA_IOVA)
		return phyr_dma_map_each(dma, &cur);

	ret = dma_iova_link_phyr(dma->dev, span, phyr_dma_pad(dma) + offset, &cur,
				 SIZE_MAX, dma->dir, dma->attrs, GFP_KERNEL);
	if (!ret)
		dma->nr_pages = nr_pages;
	return ret;
}

/*
 * DMA_ATTR_REQUIRE_COHERENT forbids bouncing and cache maintenance, the two
 * things that a direct mapping would have to undo.
 */
static bool phyr_dma_is_direct(const struct phyr_dma *dma)
{
	return (dma->attrs & DMA_ATTR_REQUIRE_COHERENT) &&
	       !(dma->flags & PHYR_DMA_P2P) && !use_dma_iommu(dma->dev) &&
	       !dma_need_unmap(dma->dev) && !is_swiotlb_force_bounce(dma->dev);
}

/*
 * With IOMMU pages larger than ours, a range need not start where the IOMMU
 * can start one, and the ranges cannot be laid side by side. Nor where caches
 * have to be maintained for some of them only: the span is unlinked as one.
 */
static bool phyr_dma_can_link(const struct phyr_dma *dma)
{
	return use_dma_iommu(dma->dev) &&
	       dma_get_merge_boundary(dma->dev) < PAGE_SIZE &&
	       (!(dma->flags & PHYR_DMA_P2P) || dev_is_dma_coherent(dma->dev));
}

/* Make room to keep addresses in. */
static int phyr_dma_begin_stored(struct phyr_dma *dma)
{
	struct phyr_dma_stored *stored = kzalloc_obj(*stored);

	if (!stored)
		return -ENOMEM;
	dma->stored = stored;
	dma->how = PHYR_DMA_STORED;
	return 0;
}

/**
 * phyr_dma_begin - begin to map a list that is still being made
 * @dma: the DMA ranges; whatever it holds is overwritten
 * @dev: device that will do the DMA
 * @nr_pages: how long the list will be at most; IOVA is allocated for as much
 * @place: an address of the first page, in bytes, by which the memory's large pages
 *	are aligned: the process's, or the offset in a dma-buf. Where one is long
 *	enough, IOVA and @place agree modulo PMD_SIZE.
 * @flags: PHYR_DMA_LINEAR, PHYR_DMA_P2P
 * @dir: direction of the DMA
 * @attrs: DMA_ATTR_* of the DMA API
 *
 * Allocates the IOVA where the device is behind an IOMMU. Undo it, at whatever
 * point the mapping is, by phyr_dma_unmap().
 * Context: may sleep.
 *
 * Return: 0, or with nothing to undo
 * -EINVAL for no pages, or more than addresses can count,
 * -EOPNOTSUPP where the device cannot have the attributes,
 * -EIO where it can do no DMA, or
 * -ENOMEM, also for IOVA.
 */
int phyr_dma_begin(struct phyr_dma *dma, struct device *dev, u64 nr_pages,
		   u64 place, unsigned int flags, enum dma_data_direction dir,
		   unsigned long attrs)
{
	struct dma_iova_state *span;
	bool link;

	*dma = (struct phyr_dma) {};
	/* The top bit of the span's length is the IOMMU layer's own. */
	if (!nr_pages || nr_pages > (SIZE_MAX / 2 - PMD_SIZE) >> PAGE_SHIFT)
		return -EINVAL;
	if (WARN_ON_ONCE(!dev->dma_mask))
		return -EIO;
	if (!dev_is_dma_coherent(dev) && (attrs & DMA_ATTR_REQUIRE_COHERENT))
		return -EOPNOTSUPP;

	dma->dev = dev;
	dma->attrs = attrs;
	dma->dir = dir;
	dma->flags = flags;
	if (phyr_dma_is_direct(dma)) {
		dma->how = PHYR_DMA_DIRECT;
		return 0;
	}

	link = phyr_dma_can_link(dma);
	if (link && !(flags & PHYR_DMA_P2P)) {
		dma->how = PHYR_DMA_IOVA;
		span = &dma->span;
	} else {
		if (phyr_dma_begin_stored(dma))
			goto err;
		span = &dma->stored->span;
	}
	/* The allocator aligns what is as long as a large page at least to that. */
	if (link && nr_pages >= PMD_SIZE >> PAGE_SHIFT)
		dma->pad = (place & ~PMD_MASK) >> PAGE_SHIFT;
	if (link && !dma_iova_try_alloc(dev, span, 0, (nr_pages + dma->pad) << PAGE_SHIFT))
		goto err;
	return 0;

err:
	phyr_dma_forget(dma);
	return -ENOMEM;
}
EXPORT_SYMBOL_GPL(phyr_dma_begin);

/**
 * phyr_dma_add - map what was appended to a list
 * @dma: mapping that was begun
 * @list: always the same list; what is mapped of it already must not change
 *
 * Maps all ranges that are new, but for the last one of the list, which may
 * still grow: phyr_dma_finish() maps that. The device cannot use the addresses
 * before.
 * Context: may sleep.
 *
 * Return: 0, or, to be followed by phyr_dma_unmap(),
 * -EINVAL where the list is longer than its IOVA, or has MMIO unexpectedly,
 * -EREMOTEIO where PCI forbids the device to reach a peer's MMIO,
 * -EIO where the device cannot reach the memory, or
 * -ENOMEM, -EADDRINUSE and others of the IOMMU's page table.
 */
int phyr_dma_add(struct phyr_dma *dma, const struct phyr_list *list)
{
	return phyr_dma_map_up_to(dma, list, phyr_settled(list));
}
EXPORT_SYMBOL_GPL(phyr_dma_add);

static bool phyr_dma_is_linear(const struct phyr_dma *dma)
{
	struct phyr_dma_cursor cur;
	dma_addr_t next = 0;

	phyr_dma_seek(&cur, dma, 0, U64_MAX);
	for (bool first = true; phyr_dma_next(&cur); first = false) {
		if (!first && cur.addr != next)
			return false;
		next = cur.addr + cur.len;
	}
	return true;
}

/**
 * phyr_dma_finish - map the rest of a list, and make all of it visible
 * @dma: mapping that was begun
 * @list: its list, complete, which must not change until it is unmapped
 *
 * Context: may sleep.
 *
 * Return: 0, or, to be followed by phyr_dma_unmap(),
 * -EINVAL for an empty list,
 * -EOPNOTSUPP where one DMA range was asked for and cannot be had, or
 * what phyr_dma_add() gives.
 */
int phyr_dma_finish(struct phyr_dma *dma, const struct phyr_list *list)
{
	struct dma_iova_state *span = phyr_dma_span(dma);
	int ret;

	if (!list->nr_pages)
		return -EINVAL;
	ret = phyr_dma_map_up_to(dma, list, list->nr_pages);
	if (ret)
		return ret;
	if (span && phyr_dma_linked(dma)) {
		ret = dma_iova_sync(dma->dev, span, phyr_dma_pad(dma), phyr_dma_linked(dma));
		if (ret)
			return ret;
	}
	if ((dma->flags & PHYR_DMA_LINEAR) && !phyr_dma_is_linear(dma))
		return -EOPNOTSUPP;
	return 0;
}
EXPORT_SYMBOL_GPL(phyr_dma_finish);

/**
 * phyr_dma_map - map a list of physical ranges for a device
 * @dma: the DMA ranges; whatever it holds is overwritten
 * @dev: device that will do the DMA
 * @list: what to map; stays as it is until phyr_dma_unmap()
 * @place: an address of the first page, see phyr_dma_begin()
 * @flags: PHYR_DMA_LINEAR or 0
 * @dir: direction of the DMA
 * @attrs: DMA_ATTR_* of the DMA API
 *
 * Gives one DMA range where the device is behind an IOMMU, else one for each
 * physical range; a peer's MMIO may add one for each of its ranges.
 * Context: may sleep.
 *
 * Return: 0, or with nothing mapped what phyr_dma_begin() and
 * phyr_dma_finish() give.
 */
int phyr_dma_map(struct phyr_dma *dma, struct device *dev,
		 const struct phyr_list *list, u64 place, unsigned int flags,
		 enum dma_data_direction dir, unsigned long attrs)
{
	int ret;

	if (phyr_has_mmio(list))
		flags |= PHYR_DMA_P2P;
	ret = phyr_dma_begin(dma, dev, list->nr_pages, place, flags, dir, attrs);
	if (ret)
		return ret;
	ret = phyr_dma_finish(dma, list);
	if (ret)
		phyr_dma_unmap(dma, list);
	return ret;
}
EXPORT_SYMBOL_GPL(phyr_dma_map);

/* Unmap the pieces of what phyr_dma_map_range() mapped of a range. */
static void phyr_dma_unmap_range(struct phyr_dma *dma, u64 offset,
				 const struct phyr_cursor *cur)
{
	size_t max = phyr_dma_piece(dma), done, n;

	for (done = 0; done < cur->vec.len; done += n) {
		struct phyr_cursor at;

		/*
		 * Neighbours merge in the kept ranges too, but in a way of their
		 * own: the place there is found by its offset.
		 */
		n = min(cur->vec.len - done, max);
		phyr_seek(&at, &dma->stored->ranges, offset + done, n);
		if (WARN_ON_ONCE(!phyr_next(&at)))
			return;
		dma_unmap_phys(dma->dev, phyr_dma_stored(&at), n, dma->dir,
			       phyr_dma_attrs(dma, cur->provider));
	}
}

static void phyr_dma_unmap_each(struct phyr_dma *dma, const struct phyr_list *list)
{
	struct phyr_cursor cur;
	u64 offset = 0;

	phyr_seek(&cur, list, 0, dma->nr_pages << PAGE_SHIFT);
	while (phyr_next(&cur)) {
		cond_resched();
		if (phyr_dma_type(dma, cur.provider) != PCI_P2PDMA_MAP_BUS_ADDR)
			phyr_dma_unmap_range(dma, offset, &cur);
		offset += cur.vec.len;
	}
}

/**
 * phyr_dma_unmap - undo a mapping, complete or not
 * @dma: mapping to undo; one of nothing is fine. All zero afterwards.
 * @list: its list
 *
 * The device must have been stopped from using the addresses before. Behind an
 * IOMMU they are flushed from its IOTLB, once for all, when this returns.
 * Context: may sleep.
 */
void phyr_dma_unmap(struct phyr_dma *dma, const struct phyr_list *list)
{
	struct dma_iova_state *span = phyr_dma_span(dma);

	if (span) {
		if (phyr_dma_linked(dma))
			dma_iova_unlink(dma->dev, span, phyr_dma_pad(dma),
					phyr_dma_linked(dma), dma->dir, dma->attrs);
		dma_iova_free(dma->dev, span);
	} else if (dma->how == PHYR_DMA_STORED) {
		phyr_dma_unmap_each(dma, list);
	}
	phyr_dma_forget(dma);
}
EXPORT_SYMBOL_GPL(phyr_dma_unmap);

/**
 * phyr_dma_copy_sgt - take DMA ranges from a mapped scatterlist
 * @dma: gets the ranges; whatever it holds is overwritten
 * @sgt: scatterlist that somebody else has mapped and will unmap
 * @offset: first byte to take, multiple of PAGE_SIZE
 * @length: bytes to take, multiple of PAGE_SIZE
 *
 * The scatterlist is only read and may go before @dma; undo this with
 * phyr_dma_forget().
 * Context: may sleep.
 *
 * Return: 0, or with nothing taken
 * -EINVAL where the scatterlist is shorter or not page granular, or -ENOMEM.
 */
int phyr_dma_copy_sgt(struct phyr_dma *dma, const struct sg_table *sgt,
		      u64 offset, u64 length)
{
	struct scatterlist *sg;
	u64 pos = 0, end = offset + length;
	int i, ret;

	*dma = (struct phyr_dma) {};
	ret = phyr_dma_begin_stored(dma);
	if (ret)
		return ret;
	for_each_sgtable_dma_sg(sgt, sg, i) {
		u64 from = max(pos, offset);
		u64 to = min(pos + sg_dma_len(sg), end);

		if (from < to)
			ret = phyr_dma_store(dma, sg_dma_address(sg) + (from - pos),
					     to - from);
		if (ret)
			break;
		pos += sg_dma_len(sg);
		if (pos >= end)
			break;
	}
	if (!ret && dma->stored->ranges.nr_pages << PAGE_SHIFT != length)
		ret = -EINVAL;
	if (ret) {
		phyr_dma_forget(dma);
		return ret;
	}
	dma->nr_pages = dma->stored->ranges.nr_pages;
	return 0;
}
EXPORT_SYMBOL_GPL(phyr_dma_copy_sgt);

/**
 * phyr_dma_forget - drop DMA ranges that phyr_dma_copy_sgt() took
 * @dma: ranges to drop; none is fine. All zero afterwards.
 *
 * Context: any.
 */
void phyr_dma_forget(struct phyr_dma *dma)
{
	if (dma->how == PHYR_DMA_STORED) {
		phyr_list_destroy(&dma->stored->ranges);
		kfree(dma->stored);
	}
	*dma = (struct phyr_dma) {};
}
EXPORT_SYMBOL_GPL(phyr_dma_forget);

/**
 * phyr_dma_seek - put a cursor before the first piece of a byte window
 * @cur: cursor to set
 * @dma: DMA ranges to look into
 * @offset: where the window starts, in bytes from the start
 * @length: bytes in the window; it ends with the mapping at the latest
 *
 * Context: any; the mapping stays until the cursor is no longer used.
 */
void phyr_dma_seek(struct phyr_dma_cursor *cur, const struct phyr_dma *dma,
		   u64 offset, u64 length)
{
	u64 total = dma->nr_pages << PAGE_SHIFT;

	cur->dma = dma;
	cur->len = 0;
	if (offset >= total) {
		cur->at = (struct phyr_cursor) {};
		return;
	}
	length = min(length, total - offset);
	if (dma->how == PHYR_DMA_IOVA) {
		cur->addr = dma->span.addr + phyr_dma_pad(dma) + offset;
		cur->at.left = length;
	} else {
		phyr_seek(&cur->at, dma->how == PHYR_DMA_DIRECT ? dma->direct :
								  &dma->stored->ranges,
			  offset, length);
	}
}
EXPORT_SYMBOL_GPL(phyr_dma_seek);

/**
 * phyr_dma_next - move a cursor to the next piece of its window
 * @cur: cursor that phyr_dma_seek() has set
 *
 * Context: any.
 *
 * Return: whether there is one.
 */
bool phyr_dma_next(struct phyr_dma_cursor *cur)
{
	if (cur->dma->how == PHYR_DMA_IOVA) {
		cur->len = cur->at.left;
		cur->at.left = 0;
		return cur->len;
	}
	if (!phyr_next(&cur->at))
		return false;
	cur->addr = cur->dma->how == PHYR_DMA_DIRECT ?
			    phys_to_dma(cur->dma->dev, cur->at.vec.paddr) :
			    phyr_dma_stored(&cur->at);
	cur->len = cur->at.vec.len;
	return true;
}
EXPORT_SYMBOL_GPL(phyr_dma_next);
