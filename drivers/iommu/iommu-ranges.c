// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping of lists of physical ranges, and unmapping of spans that have holes.
 *
 * A list of ranges goes into one contiguous span of IOVA. Page tables that can
 * do that in one walk, which are those of generic_pt, have operations for it.
 * For all others the calls here are loops over the calls for one range.
 *
 * Locking: none here. As for iommu_map() and iommu_unmap(), the caller keeps
 * others off the span of IOVA; spans beside each other need no lock.
 */
#include <linux/export.h>
#include <linux/generic_pt/iommu.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/phyr.h>
#include <trace/events/iommu.h>

#include "iommu-priv.h"

/* Tell tracing and debugging of the ranges in the first @size bytes of @cur. */
static void iommu_note_ranges(struct iommu_domain *domain, unsigned long iova,
			      struct phyr_cursor *cur, size_t size)
{
	while (size && phyr_next(cur)) {
		size_t len = min(size, cur->vec.len);

		trace_map(iova, cur->vec.paddr, len);
		iommu_debug_map(domain, cur->vec.paddr, len);
		iova += len;
		size -= len;
	}
}

/* Not inline: nobody else has to make room for the second cursor. */
static noinline int iommu_map_and_note(struct pt_iommu *pt, unsigned long iova,
				       struct phyr_cursor *cur, size_t largest,
				       int prot, gfp_t gfp, size_t *mapped)
{
	struct phyr_cursor note = *cur;
	int ret;

	ret = pt->ops->map_ranges(pt, iova, cur, largest, prot, gfp, mapped);
	iommu_note_ranges(&pt->domain, iova, &note, *mapped);
	return ret;
}

static int iommu_map_ranges_pt(struct pt_iommu *pt, unsigned long iova,
			       struct phyr_cursor *cur, size_t largest,
			       int prot, gfp_t gfp, size_t *mapped)
{
	if (trace_map_enabled() || iommu_debug_enabled())
		return iommu_map_and_note(pt, iova, cur, largest, prot, gfp, mapped);
	return pt->ops->map_ranges(pt, iova, cur, largest, prot, gfp, mapped);
}

/*
 * One call for each range. Where entries may not grow as large as they could,
 * one for each that may: not every driver can unmap a part of what was mapped
 * at once, even where it used small pages for it.
 */
static int iommu_map_ranges_one_by_one(struct iommu_domain *domain,
				       unsigned long iova,
				       struct phyr_cursor *cur, size_t largest,
				       int prot, gfp_t gfp, size_t *mapped)
{
	unsigned long mask = largest == SIZE_MAX ? SIZE_MAX : largest - 1;

	while (phyr_next(cur)) {
		phys_addr_t paddr = cur->vec.paddr;
		size_t left = cur->vec.len;

		while (left) {
			size_t step = min(left - 1, mask - (iova & mask)) + 1;
			int ret = iommu_map_nosync(domain, iova, paddr, step,
						   prot, gfp);

			if (ret)
				return ret;
			*mapped += step;
			iova += step;
			paddr += step;
			left -= step;
		}
	}
	return 0;
}

/**
 * iommu_map_ranges_nosync - map a list of physical ranges without IOTLB sync
 * @domain: domain to map into
 * @iova: where the first range goes; the others follow without a gap
 * @cur: cursor before the first range; what its window has left is mapped
 * @largest: no entry of the page table is larger than this many bytes, a power
 *	of two, or SIZE_MAX for no limit. What is to be unmapped by itself later
 *	must not become part of a larger entry.
 * @prot: IOMMU_READ, IOMMU_WRITE and so on
 * @gfp: how to allocate page table memory
 * @mapped: gets the number of bytes mapped, 0 on an error
 *
 * The same as iommu_map_nosync() for each range, but where the page table can
 * do it, in one walk. The caller calls iommu_sync_map() for the span when all
 * is mapped that it wants to map.
 * Context: what @gfp allows. The caller keeps others off the span of IOVA.
 *
 * Return: 0, or with nothing mapped and the cursor anywhere in its window
 * -EINVAL for an empty window or a bad argument,
 * -EADDRINUSE where something is mapped in the span already,
 * -ENXIO or -EINVAL where a range is not aligned to the smallest page size,
 * -ERANGE or -EOVERFLOW where an address is beyond what the page table has,
 * -ENOMEM, or what else the driver returns.
 */
int iommu_map_ranges_nosync(struct iommu_domain *domain, unsigned long iova,
			    struct phyr_cursor *cur, size_t largest, int prot,
			    gfp_t gfp, size_t *mapped)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);
	unsigned long last;
	int ret;

	might_sleep_if(gfpflags_allow_blocking(gfp));

	*mapped = 0;
	if (WARN_ON_ONCE(!(domain->type & __IOMMU_DOMAIN_PAGING) ||
			 !domain->pgsize_bitmap ||
			 (!is_power_of_2(largest) && largest != SIZE_MAX) ||
			 (gfp & (__GFP_COMP | __GFP_DMA | __GFP_DMA32 |
				 __GFP_HIGHMEM))))
		return -EINVAL;
	if (!phyr_left(cur))
		return -EINVAL;
	/* Not every page table would notice that it goes on at 0. */
	if (check_add_overflow(iova, phyr_left(cur) - 1, &last))
		return -EOVERFLOW;

	if (pt)
		ret = iommu_map_ranges_pt(pt, iova, cur, largest, prot, gfp,
					  mapped);
	else
		ret = iommu_map_ranges_one_by_one(domain, iova, cur, largest,
						  prot, gfp, mapped);
	if (ret && *mapped) {
		iommu_unmap(domain, iova, *mapped);
		*mapped = 0;
	}
	return ret;
}
EXPORT_SYMBOL_GPL(iommu_map_ranges_nosync);

static size_t iommu_unmap_sparse_pt(struct pt_iommu *pt, unsigned long iova,
				    size_t size,
				    struct iommu_iotlb_gather *iotlb_gather)
{
	size_t unmapped;

	iommu_debug_unmap_begin(&pt->domain, iova, size);
	unmapped = pt->ops->unmap_sparse(pt, iova, size, iotlb_gather);
	trace_unmap(iova, size, unmapped);
	/* Whatever is left anywhere in the span is still mapped. */
	iommu_debug_unmap_end(&pt->domain, iova, size, 0);
	return unmapped;
}

/* The bytes from @iova on that are either all mapped, or all not. */
static size_t iommu_mapped_run(struct iommu_domain *domain, unsigned long iova,
			       size_t size, size_t page, bool *mapped)
{
	size_t run = page;

	*mapped = iommu_iova_to_phys(domain, iova);
	while (run < size &&
	       !iommu_iova_to_phys(domain, iova + run) == !*mapped)
		run += page;
	return min(run, size);
}

/* One call for what is mapped between two holes. */
static size_t iommu_unmap_run_by_run(struct iommu_domain *domain,
				     unsigned long iova, size_t size,
				     struct iommu_iotlb_gather *iotlb_gather)
{
	size_t page = 1UL << __ffs(domain->pgsize_bitmap), unmapped = 0;

	while (size) {
		bool mapped;
		size_t run = iommu_mapped_run(domain, iova, size, page,
					      &mapped);

		if (mapped)
			unmapped += iommu_unmap_fast(domain, iova, run,
						     iotlb_gather);
		iova += run;
		size -= run;
	}
	return unmapped;
}

/**
 * iommu_unmap_sparse - unmap all that is mapped in a span, without IOTLB sync
 * @domain: domain to unmap from
 * @iova: start of the span
 * @size: length of the span, which may have holes
 * @iotlb_gather: collects what has to be flushed
 *
 * The same as iommu_unmap_fast() for everything that is mapped in the span, but
 * where the page table can do it, in one walk. The span must not cut an entry
 * of the page table: one that it starts in the middle of can keep all of the
 * span mapped, one that it ends in the middle of is unmapped as a whole.
 * Context: any. The caller keeps others off the span of IOVA.
 *
 * Return: how many bytes were unmapped.
 */
size_t iommu_unmap_sparse(struct iommu_domain *domain, unsigned long iova,
			  size_t size, struct iommu_iotlb_gather *iotlb_gather)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);

	if (WARN_ON_ONCE(!(domain->type & __IOMMU_DOMAIN_PAGING) ||
			 !domain->pgsize_bitmap))
		return 0;

	if (pt)
		return iommu_unmap_sparse_pt(pt, iova, size, iotlb_gather);
	return iommu_unmap_run_by_run(domain, iova, size, iotlb_gather);
}
EXPORT_SYMBOL_GPL(iommu_unmap_sparse);
