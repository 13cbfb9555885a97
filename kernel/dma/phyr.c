// SPDX-License-Identifier: GPL-2.0
/*
 * From a list of physical ranges to DMA ranges.
 *
 * This is the one place that decides how a list is mapped for a device:
 *
 *  - behind an IOMMU that the DMA API drives, one IOVA span is allocated and
 *    every range linked into it, so the list becomes one DMA range with one
 *    IOTLB sync (PHYR_DMA_LINEAR);
 *  - where addresses are only translated and unmapping does nothing, the list
 *    itself tells the addresses and nothing is stored (PHYR_DMA_DIRECT);
 *  - else every range is mapped by itself and its address kept
 *    (PHYR_DMA_RANGES). DMA addresses here are page granular, so the same
 *    compact container holds them.
 *
 * Locking: the caller owns both structures, and keeps the list alive and
 * unchanged until the mapping is gone.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/phyr_dma.h>
#include <linux/scatterlist.h>

/* Link all ranges of @list into one IOVA span. */
static int phyr_dma_link(struct phyr_dma *dma, const struct phyr_list *list,
			 enum dma_data_direction dir, unsigned long attrs)
{
	struct phyr_cursor cur;
	size_t offset = 0;
	int ret;

	phyr_seek(&cur, list, 0, U64_MAX);
	while (phyr_next(&cur)) {
		ret = dma_iova_link(dma->dev, &dma->state, cur.vec.paddr,
				    offset, cur.vec.len, dir, attrs);
		if (ret)
			goto err_destroy;
		offset += cur.vec.len;
	}
	ret = dma_iova_sync(dma->dev, &dma->state, 0, offset);
	if (ret)
		goto err_destroy;
	return 0;

err_destroy:
	dma_iova_destroy(dma->dev, &dma->state, offset, dir, attrs);
	return ret;
}

/* Give back the first @mapped pages of a mapping that stores its ranges. */
static void phyr_dma_unmap_ranges(struct phyr_dma *dma,
				  const struct phyr_list *list, u64 mapped,
				  enum dma_data_direction dir,
				  unsigned long attrs)
{
	struct phyr_cursor cur, at;

	/*
	 * Neighbours merge in both lists, each in its own way: what was mapped
	 * by one call is a range of @list, and its address that of the byte at
	 * the same offset in the DMA ranges.
	 */
	u64 offset = 0;

	phyr_seek(&cur, list, 0, mapped << PAGE_SHIFT);
	while (phyr_next(&cur)) {
		phyr_seek(&at, &dma->ranges, offset, cur.vec.len);
		if (WARN_ON_ONCE(!phyr_next(&at)))
			break;
		dma_unmap_phys(dma->dev, at.vec.paddr, cur.vec.len, dir, attrs);
		offset += cur.vec.len;
	}
	phyr_list_destroy(&dma->ranges);
}

/* Map every range by itself and keep its address. */
static int phyr_dma_map_ranges(struct phyr_dma *dma,
			       const struct phyr_list *list,
			       enum dma_data_direction dir, unsigned long attrs)
{
	struct phyr_cursor cur;
	u64 mapped = 0;
	int ret = 0;

	phyr_list_init(&dma->ranges);
	phyr_seek(&cur, list, 0, U64_MAX);
	while (!ret && phyr_next(&cur)) {
		struct phys_vec vec = { .len = cur.vec.len };
		dma_addr_t addr;

		cond_resched();
		addr = dma_map_phys(dma->dev, cur.vec.paddr, cur.vec.len, dir,
				    attrs);
		if (dma_mapping_error(dma->dev, addr)) {
			ret = -EIO;
			break;
		}
		vec.paddr = addr;
		ret = phyr_list_append(&dma->ranges, vec, NULL, GFP_KERNEL);
		if (ret)
			dma_unmap_phys(dma->dev, addr, cur.vec.len, dir, attrs);
		else
			mapped += cur.vec.len >> PAGE_SHIFT;
	}
	if (ret)
		phyr_dma_unmap_ranges(dma, list, mapped, dir, attrs);
	return ret;
}

/*
 * Where unmapping does nothing and no address is bounced, mapping only checks
 * that the device reaches the range.
 */
static int phyr_dma_map_direct(struct phyr_dma *dma,
			       const struct phyr_list *list,
			       enum dma_data_direction dir, unsigned long attrs)
{
	struct phyr_cursor cur;

	phyr_seek(&cur, list, 0, U64_MAX);
	while (phyr_next(&cur)) {
		dma_addr_t addr;

		cond_resched();
		addr = dma_map_phys(dma->dev, cur.vec.paddr, cur.vec.len, dir,
				    attrs);
		if (dma_mapping_error(dma->dev, addr))
			return -EIO;
	}
	dma->direct = list;
	return 0;
}

/*
 * DMA_ATTR_REQUIRE_COHERENT forbids bouncing and cache maintenance, the two
 * things that a direct mapping would have to undo.
 */
static bool phyr_dma_is_direct(struct device *dev, unsigned long attrs)
{
	return (attrs & DMA_ATTR_REQUIRE_COHERENT) && !use_dma_iommu(dev) &&
	       !dma_need_unmap(dev);
}

/*
 * With IOMMU pages larger than ours, a range need not start where the IOMMU
 * can start one, and the ranges cannot be laid side by side.
 */
static bool phyr_dma_can_link(struct device *dev)
{
	return use_dma_iommu(dev) && dma_get_merge_boundary(dev) < PAGE_SIZE;
}

/**
 * phyr_dma_map - map a list of physical ranges for a device
 * @dev: device that will do the DMA
 * @dma: the DMA ranges, all zero before
 * @list: what to map; stays as it is until phyr_dma_unmap()
 * @dir: direction of the DMA
 * @attrs: DMA_ATTR_* of the DMA API
 *
 * Gives one DMA range where the device is behind an IOMMU, else one for each
 * physical range. Lists with MMIO are not supported yet.
 * Context: may sleep.
 *
 * Return: 0, or with nothing mapped
 * -EINVAL for an empty list,
 * -EOPNOTSUPP where the list or the attributes cannot be had for the device,
 * -EIO where the device cannot reach the memory,
 * -EOVERFLOW where a DMA address does not fit the list of them (2^40 pages), or
 * -ENOMEM, also for IOVA.
 */
int phyr_dma_map(struct device *dev, struct phyr_dma *dma,
		 const struct phyr_list *list, enum dma_data_direction dir,
		 unsigned long attrs)
{
	struct phyr_cursor cur;
	int ret;

	if (!list->nr_pages)
		return -EINVAL;
	if (WARN_ON_ONCE(!dev->dma_mask))
		return -EIO;
	if (!dev_is_dma_coherent(dev) && (attrs & DMA_ATTR_REQUIRE_COHERENT))
		return -EOPNOTSUPP;

	dma->dev = dev;
	phyr_seek(&cur, list, 0, PAGE_SIZE);
	phyr_next(&cur);
	if (phyr_dma_can_link(dev)) {
		if (!dma_iova_try_alloc(dev, &dma->state, cur.vec.paddr,
					list->nr_pages << PAGE_SHIFT))
			ret = -ENOMEM;
		else
			ret = phyr_dma_link(dma, list, dir, attrs);
		dma->mode = PHYR_DMA_LINEAR;
	} else if (phyr_dma_is_direct(dev, attrs)) {
		ret = phyr_dma_map_direct(dma, list, dir, attrs);
		dma->mode = PHYR_DMA_DIRECT;
	} else {
		ret = phyr_dma_map_ranges(dma, list, dir, attrs);
		dma->mode = PHYR_DMA_RANGES;
	}
	if (ret)
		memset(dma, 0, sizeof(*dma));
	else
		dma->nr_pages = list->nr_pages;
	return ret;
}
EXPORT_SYMBOL_GPL(phyr_dma_map);

/**
 * phyr_dma_unmap - undo phyr_dma_map()
 * @dma: mapping to undo; one of nothing is fine. All zero afterwards.
 * @list: the list that was mapped
 * @dir: as it was mapped
 * @attrs: as it was mapped
 *
 * The device must have been stopped from using the addresses before.
 * Context: may sleep.
 */
void phyr_dma_unmap(struct phyr_dma *dma, const struct phyr_list *list,
		    enum dma_data_direction dir, unsigned long attrs)
{
	switch (dma->mode) {
	case PHYR_DMA_LINEAR:
		dma_iova_destroy(dma->dev, &dma->state,
				 dma->nr_pages << PAGE_SHIFT, dir, attrs);
		break;
	case PHYR_DMA_RANGES:
		phyr_dma_unmap_ranges(dma, list, dma->nr_pages, dir, attrs);
		break;
	case PHYR_DMA_DIRECT:
	case PHYR_DMA_NONE:
		break;
	}
	memset(dma, 0, sizeof(*dma));
}
EXPORT_SYMBOL_GPL(phyr_dma_unmap);

/**
 * phyr_dma_copy_sgt - take DMA ranges from a mapped scatterlist
 * @dma: gets the ranges, all zero before
 * @sgt: scatterlist that somebody else has mapped and will unmap
 * @offset: first byte to take, multiple of PAGE_SIZE
 * @length: bytes to take, multiple of PAGE_SIZE
 *
 * The scatterlist is only read and may go before @dma; undo this with
 * phyr_dma_forget().
 * Context: may sleep.
 *
 * Return: 0, or with nothing taken
 * -EINVAL where the scatterlist is shorter or not page granular, -EOVERFLOW
 * where a DMA address does not fit the list of them (2^40 pages), or -ENOMEM.
 */
int phyr_dma_copy_sgt(struct phyr_dma *dma, const struct sg_table *sgt,
		      u64 offset, u64 length)
{
	struct scatterlist *sg;
	u64 pos = 0, end = offset + length;
	int i, ret = 0;

	phyr_list_init(&dma->ranges);
	for_each_sgtable_dma_sg(sgt, sg, i) {
		u64 from = max(pos, offset);
		u64 to = min(pos + sg_dma_len(sg), end);
		struct phys_vec vec;

		if (from < to) {
			vec.paddr = sg_dma_address(sg) + (from - pos);
			vec.len = to - from;
			ret = phyr_list_append(&dma->ranges, vec, NULL,
					       GFP_KERNEL);
			if (ret)
				break;
		}
		pos += sg_dma_len(sg);
		if (pos >= end)
			break;
	}
	if (!ret && dma->ranges.nr_pages << PAGE_SHIFT != length)
		ret = -EINVAL;
	if (ret) {
		phyr_dma_forget(dma);
		return ret;
	}
	dma->nr_pages = dma->ranges.nr_pages;
	dma->mode = PHYR_DMA_RANGES;
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
	phyr_list_destroy(&dma->ranges);
	memset(dma, 0, sizeof(*dma));
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
	switch (dma->mode) {
	case PHYR_DMA_LINEAR:
		cur->addr = dma->state.addr + offset;
		cur->at.left = offset < total ? min(length, total - offset) : 0;
		break;
	case PHYR_DMA_DIRECT:
		phyr_seek(&cur->at, dma->direct, offset, length);
		break;
	case PHYR_DMA_RANGES:
		phyr_seek(&cur->at, &dma->ranges, offset, length);
		break;
	case PHYR_DMA_NONE:
		cur->at.left = 0;
		break;
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
	if (cur->dma->mode == PHYR_DMA_LINEAR) {
		cur->len = cur->at.left;
		cur->at.left = 0;
		return cur->len;
	}
	if (!phyr_next(&cur->at))
		return false;
	cur->addr = cur->at.vec.paddr;
	if (cur->dma->mode == PHYR_DMA_DIRECT)
		cur->addr = phys_to_dma(cur->dma->dev, cur->at.vec.paddr);
	cur->len = cur->at.vec.len;
	return true;
}
EXPORT_SYMBOL_GPL(phyr_dma_next);
