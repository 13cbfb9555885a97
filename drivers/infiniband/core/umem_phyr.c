// SPDX-License-Identifier: GPL-2.0
/*
 * Pinned user memory as physical ranges.
 *
 * umem->phyr says what the memory is: the pages from the one that holds
 * umem->address on, in order. Every page in it is pinned, so the list is also
 * the record of what has to be unpinned. umem->dma says where the device sees
 * it; devices that use CPU addresses (rxe, siw, rdmavt) have none and read
 * umem->phyr.
 *
 * Byte offsets into a umem count from the first pinned page, as DMA blocks do:
 * the byte at umem->address has offset ib_umem_offset(umem).
 *
 * Locking: a umem is made and released by one owner. In between the list does
 * not change, so lookups need no lock and may come from any context, softirq
 * included.
 */
#include <linux/bitops.h>
#include <linux/count_zeros.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <rdma/ib_odp.h>
#include <rdma/ib_umem_phyr.h>
#include <rdma/ib_verbs.h>

#include "umem_phyr.h"

/* Pages that are pinned by one call: what an array of one page can name. */
#define UMEM_PIN_BATCH	(PAGE_SIZE / sizeof(struct page *))

/* Pages that an array on the stack names: a small umem's, or some to unpin. */
#define UMEM_FEW_PAGES	32

/* Whether the device does DMA; rxe, siw and rdmavt use CPU addresses. */
static bool ib_umem_has_dma(const struct ib_umem *umem)
{
	return !ib_uses_virt_dma(umem->ibdev);
}

/* Add pinned pages to the list. Unpins those that do not make it there. */
static int ib_umem_append(struct ib_umem *umem, struct page **pages, int nr)
{
	u64 before = umem->phyr.nr_pages;
	int ret = phyr_list_append_pages(&umem->phyr, pages, nr, GFP_KERNEL);

	if (ret) {
		u64 added = umem->phyr.nr_pages - before;

		unpin_user_pages(pages + added, nr - added);
	}
	return ret;
}

/*
 * Pin from @addr on, in batches that @pages has room for. Each is mapped when it
 * is there, but the last one: phyr_dma_finish() maps all that is left.
 */
static int ib_umem_pin_pages(struct ib_umem *umem, unsigned long addr,
			     unsigned long nr_pages, unsigned int gup_flags,
			     struct page **pages)
{
	while (nr_pages) {
		int nr = min(nr_pages, UMEM_PIN_BATCH);
		int ret;

		cond_resched();
		nr = pin_user_pages_fast(addr, nr, gup_flags, pages);
		if (nr <= 0)
			return nr ?: -EFAULT;
		ret = ib_umem_append(umem, pages, nr);
		addr += nr * PAGE_SIZE;
		nr_pages -= nr;
		if (!ret && nr_pages && ib_umem_has_dma(umem))
			ret = phyr_dma_add(&umem->dma, &umem->phyr);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * ib_umem_pin - pin the memory of a umem, list its ranges, map them
 * @umem: address and length set, nothing pinned yet
 * @nr_pages: pages to pin, from the one that holds umem->address
 * @gup_flags: FOLL_* for pin_user_pages_fast()
 * @dma_attrs: DMA_ATTR_* of the mapping
 *
 * Mapped is for a device that does DMA, batch by batch as the pages come.
 * Context: process context of the memory's owner, without mmap_lock.
 *
 * Return: 0 or what pinning, the allocation of the list or mapping said, with
 * nothing pinned or mapped.
 */
int ib_umem_pin(struct ib_umem *umem, unsigned long nr_pages,
		unsigned int gup_flags, unsigned long dma_attrs)
{
	struct page *few[UMEM_FEW_PAGES] __uninitialized, **pages = few;
	int ret = 0;

	if (nr_pages > ARRAY_SIZE(few))
		pages = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	if (ib_umem_has_dma(umem))
		ret = phyr_dma_begin(&umem->dma, umem->ibdev->dma_device,
				     nr_pages, umem->address, 0,
				     DMA_BIDIRECTIONAL, dma_attrs);
	if (!ret)
		ret = ib_umem_pin_pages(umem, umem->address & PAGE_MASK,
					nr_pages, gup_flags, pages);
	if (pages != few)
		kfree(pages);
	if (!ret && ib_umem_has_dma(umem))
		ret = phyr_dma_finish(&umem->dma, &umem->phyr);
	if (ret)
		ib_umem_unpin(umem, false);
	return ret;
}

/* As many times as its pages were pinned, and folio by folio. */
static void ib_umem_unpin_range(struct phys_vec vec, bool dirty)
{
	unsigned long pfn = PHYS_PFN(vec.paddr), left = vec.len >> PAGE_SHIFT, nr;

	do {
		struct page *page = pfn_to_page(pfn);
		struct folio *folio = page_folio(page);

		nr = min(left, folio_nr_pages(folio) - folio_page_idx(folio, page));
		if (dirty && !folio_test_dirty(folio))
			set_page_dirty_lock(page);
		unpin_user_folio(folio, nr);
		cond_resched();
		pfn += nr;
		left -= nr;
	} while (left);
}

/**
 * ib_umem_unpin - undo ib_umem_pin(), complete or not
 * @umem: umem whose memory no device uses any more
 * @dirty: whether it was written to
 *
 * Context: may sleep.
 */
void ib_umem_unpin(struct ib_umem *umem, bool dirty)
{
	struct page *pages[UMEM_FEW_PAGES] __uninitialized;
	struct phyr_cursor cur;

	/* No device may reach a page that is let go. */
	phyr_dma_unmap(&umem->dma, &umem->phyr);
	phyr_seek(&cur, &umem->phyr, 0, U64_MAX);
	while (phyr_next(&cur)) {
		unsigned int nr;

		ib_umem_unpin_range(cur.vec, dirty);
		/* Only where memory is scattered do single pages come in arrays. */
		if (cur.vec.len > PAGE_SIZE || !phyr_left(&cur))
			continue;
		while ((nr = phyr_next_pages(&cur, pages, ARRAY_SIZE(pages)))) {
			unpin_user_pages_dirty_lock(pages, nr, dirty);
			cond_resched();
		}
	}
	phyr_list_destroy(&umem->phyr);
}

/**
 * ib_umem_page - the page at an offset of a pinned umem
 * @umem: pinned umem
 * @offset: in bytes from the first pinned page
 *
 * Context: any, without a lock.
 *
 * Return: the page, pinned as long as the umem lives, or NULL where the umem
 * has none.
 */
struct page *ib_umem_page(const struct ib_umem *umem, u64 offset)
{
	struct phys_vec vec = phyr_at(&umem->phyr, offset);

	return vec.len ? phys_to_page(vec.paddr) : NULL;
}
EXPORT_SYMBOL_GPL(ib_umem_page);

/**
 * ib_umem_seek - put a cursor before a window of a pinned umem
 * @cur: cursor to set
 * @umem: pinned umem
 * @offset: in bytes from the first pinned page
 * @length: bytes in the window; it ends with the umem at the latest
 *
 * One search, whatever the length. Then phyr_next() gives the window's pieces,
 * or ib_umem_next_page() its pages.
 * Context: any, without a lock.
 */
void ib_umem_seek(struct phyr_cursor *cur, const struct ib_umem *umem,
		  u64 offset, u64 length)
{
	phyr_seek(cur, &umem->phyr, offset, length);
	cur->vec.len = 0;
}
EXPORT_SYMBOL_GPL(ib_umem_seek);

/**
 * ib_umem_copy_from - copy from a pinned umem to a kernel buffer
 * @dst: where to copy to
 * @umem: umem to copy from
 * @offset: in bytes from umem->address
 * @length: bytes to copy
 *
 * Context: any that may map a highmem page.
 *
 * Return: 0, or -EINVAL where the range is not in the umem or the umem has no
 * pages.
 */
int ib_umem_copy_from(void *dst, struct ib_umem *umem, size_t offset,
		      size_t length)
{
	struct phyr_cursor cur;

	if (offset > umem->length || length > umem->length - offset) {
		pr_err("%s: offset %zu and length %zu not in umem of %zu bytes\n",
		       __func__, offset, length, umem->length);
		return -EINVAL;
	}

	phyr_seek(&cur, &umem->phyr, (u64)offset + ib_umem_offset(umem), length);
	while (phyr_next(&cur)) {
		phys_addr_t at = cur.vec.paddr;
		size_t n;

		if (cur.provider)
			return -EINVAL;
		for (; cur.vec.len; cur.vec.len -= n, at += n) {
			n = min(cur.vec.len, PAGE_SIZE - offset_in_page(at));
			memcpy_from_page(dst, phys_to_page(at),
					 offset_in_page(at), n);
			dst += n;
			length -= n;
		}
	}
	return length ? -EINVAL : 0;
}
EXPORT_SYMBOL(ib_umem_copy_from);

/*
 * Bits that an MR of one page size cannot have in its page size: those in
 * which virtual and DMA address differ anywhere, and those of the virtual
 * address at every place where the DMA address jumps, for a page has to begin
 * there.
 */
static unsigned long ib_umem_pgsz_conflicts(const struct ib_umem *umem, u64 va)
{
	struct phyr_dma_cursor cur;
	dma_addr_t next = 0;
	unsigned long bits = 0;
	bool first = true;

	phyr_dma_seek(&cur, &umem->dma, umem->address & ~PAGE_MASK, U64_MAX);
	while (phyr_dma_next(&cur)) {
		if (first || cur.addr != next)
			bits |= cur.addr ^ va;
		if (!first && cur.addr != next)
			bits |= va;
		first = false;
		next = cur.addr + cur.len;
		va += cur.len;
	}
	return bits;
}

/**
 * ib_umem_find_best_pgsz - the best hardware page size for an MR of one size
 * @umem: umem of the MR, mapped for its device
 * @pgsz_bitmap: page sizes in bytes that the hardware has, one bit for each
 * @virt: IOVA of the MR, becomes umem->iova
 *
 * The best size is the smallest that gives the smallest number of pages.
 * Context: any.
 *
 * Return: the page size, or 0 where the memory cannot be described in pages of
 * any of the sizes. Drivers that offer PAGE_SIZE or less always get one.
 */
unsigned long ib_umem_find_best_pgsz(struct ib_umem *umem,
				     unsigned long pgsz_bitmap, u64 virt)
{
	unsigned long conflicts = 0;
	unsigned int bits;
	u64 last;

	umem->iova = virt;

	if (umem->is_odp) {
		/* ODP must always be self consistent. */
		unsigned int size = BIT(to_ib_odp(umem)->page_shift);

		return pgsz_bitmap & size ? size : 0;
	}

	/* A page larger than what the addresses share does not save one. */
	if (check_add_overflow(umem->length - 1, virt, &last))
		return 0;
	bits = bits_per(virt ^ last);
	if (bits < BITS_PER_LONG)
		conflicts = pgsz_bitmap & GENMASK(BITS_PER_LONG - 1, bits);

	conflicts |= ib_umem_pgsz_conflicts(umem, virt);
	if (conflicts)
		pgsz_bitmap &= GENMASK(count_trailing_zeros(conflicts), 0);
	return pgsz_bitmap ? rounddown_pow_of_two(pgsz_bitmap) : 0;
}
EXPORT_SYMBOL(ib_umem_find_best_pgsz);
