// SPDX-License-Identifier: GPL-2.0
/*
 * MRs with on-demand paging.
 *
 * ib_odp (drivers/infiniband/core/odp_iova.c) knows the pages and links them for
 * the device. What the driver adds is a page table that may lack pages: an
 * xarray, by virtual page, of DMA addresses. A copy that finds a page absent
 * stops, lets go of the device, has the page brought in, and goes on.
 *
 * When the process loses pages, edu_odp_invalidate() waits for the request that
 * runs, and takes them from the table. So edu_dev.lock is taken in reclaim, and
 * nested in a lock of ib_odp. Entries are added under that lock too, see
 * ib_odp_dma_lock(), without edu_dev.lock: one more page harms no request.
 *
 * A page fault may take for ever, and nobody waits for that: who faults has a
 * reference to the MR, which is memory only, so that it can be deregistered.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <rdma/ib_odp.h>

#include "edu.h"

/* How long a copy waits before it looks whether its MR is still there. */
#define EDU_ODP_WAIT	(HZ / 10)

/* An entry of the table is a value: the page's DMA address, and a bit. */
#define EDU_ODP_WRITABLE	BIT(0)

static void *edu_odp_entry(dma_addr_t addr, bool writable)
{
	return xa_mk_value(addr >> PAGE_SHIFT << 1 |
			   (writable ? EDU_ODP_WRITABLE : 0));
}

static dma_addr_t edu_odp_entry_addr(void *entry)
{
	return (dma_addr_t)(xa_to_value(entry) >> 1) << PAGE_SHIFT;
}

static bool edu_odp_invalidate(struct ib_odp *odp, unsigned long start,
			       unsigned long end, bool block)
{
	struct edu_dev *edu = to_edu(odp->umem.ibdev);
	struct edu_mr *mr = odp->driver;
	unsigned long page;
	void *entry;

	if (block)
		mutex_lock(&edu->lock);
	else if (!mutex_trylock(&edu->lock))
		return false;
	xa_for_each_range(&mr->pages, page, entry, start >> PAGE_SHIFT,
			  (end - 1) >> PAGE_SHIFT) {
		edu_test_forget(edu, edu_odp_entry_addr(entry));
		xa_erase(&mr->pages, page);
	}
	mutex_unlock(&edu->lock);
	return true;
}

static const struct ib_odp_ops edu_odp_ops = {
	.invalidate = edu_odp_invalidate,
};

/**
 * edu_odp_init_mr - give an MR memory that is brought in when it is used
 * @mr: the MR, all zero but for its PD and access
 * @start: address of the memory
 * @length: bytes of it; U64_MAX, with @start 0, for all memory of the process
 * @iova: address by which the owner calls it
 *
 * Return: 0, or
 * -EINVAL for memory that cannot be, or
 * what ib_odp_get() and ib_odp_use_dma() say.
 */
int edu_odp_init_mr(struct edu_mr *mr, u64 start, u64 length, u64 iova)
{
	struct ib_device *ibdev = mr->pd->device;
	bool implicit = !start && length == U64_MAX;
	struct ib_odp *odp;
	int ret;

	if (implicit && iova)
		return -EINVAL;
	if (implicit)
		odp = ib_odp_get_implicit(ibdev, mr->access);
	else
		odp = ib_odp_get(ibdev, start, length, mr->access);
	if (IS_ERR(odp))
		return PTR_ERR(odp);
	ret = ib_odp_use_dma(odp, &edu_odp_ops, mr);
	if (ret) {
		ib_odp_release(odp);
		return ret;
	}

	xa_init(&mr->pages);
	/* The MR may outlive the region, by a fault that hangs. */
	ib_odp_hold(odp);
	mr->odp = odp;
	mr->umem = &odp->umem;
	return 0;
}

/**
 * edu_odp_release_mr - end the region of an MR that no request can find
 * @mr: the MR
 *
 * Context: sleeps, without edu_dev.lock.
 */
void edu_odp_release_mr(struct edu_mr *mr)
{
	ib_odp_release(mr->odp);
}

/**
 * edu_odp_free_mr - undo what is left of edu_odp_init_mr()
 * @mr: MR with its last reference gone
 */
void edu_odp_free_mr(struct edu_mr *mr)
{
	xa_destroy(&mr->pages);
	ib_odp_put(mr->odp);
}

/**
 * edu_odp_block - look a page of an MR up
 * @mr: the MR
 * @dir: what the device is to do
 * @offset: of the first byte, from the start of the MR
 * @addr: gets its DMA address
 *
 * Context: edu_dev.lock is held while the address is used.
 *
 * Return: bytes from there to the end of the page; 0: it has to be brought in.
 */
u64 edu_odp_block(struct edu_mr *mr, enum edu_dir dir, u64 offset,
		  dma_addr_t *addr)
{
	unsigned long va = mr->umem->address + offset;
	void *entry = xa_load(&mr->pages, va >> PAGE_SHIFT);

	if (!entry ||
	    (dir == EDU_WRITE && !(xa_to_value(entry) & EDU_ODP_WRITABLE)))
		return 0;
	*addr = edu_odp_entry_addr(entry) + offset_in_page(va);
	return PAGE_SIZE - offset_in_page(va);
}

/* Put a page into the table, for as long as it cannot go. */
static int edu_odp_fill(struct edu_mr *mr, unsigned long va, bool write,
			const struct ib_odp_dma_pages *pages)
{
	void *entry;
	u64 page;

	ib_odp_dma_fill(pages, va, 1, &page);
	if (!(page & (write ? IB_ODP_DMA_WRITE : IB_ODP_DMA_VALID)))
		return -EAGAIN;
	entry = edu_odp_entry(page & ~(u64)IB_ODP_DMA_FLAGS,
			      page & IB_ODP_DMA_WRITE);
	return xa_err(xa_store(&mr->pages, va >> PAGE_SHIFT, entry,
			       GFP_NOWAIT | __GFP_NOWARN));
}

/* Put what there is into the table. -EAGAIN: a page is not there. */
static int edu_odp_take(struct edu_mr *mr, unsigned long va, u64 len, bool write)
{
	unsigned long end = PAGE_ALIGN(va + len), stop;
	struct ib_odp_dma_pages pages;
	int ret = 0;

	for (va &= PAGE_MASK; !ret && va < end; ) {
		stop = min(end, ib_odp_dma_limit(va));
		ib_odp_dma_lock(mr->odp, va, stop, &pages);
		for (; !ret && va < stop; va += PAGE_SIZE)
			ret = edu_odp_fill(mr, va, write, &pages);
		ib_odp_dma_unlock(&pages);
	}
	return ret;
}

/*
 * Bring in what a copy missed. Where it takes long, where there is no memory at
 * the moment, or the pages went again: do nothing. The copy comes again, if its
 * MRs still exist and no signal ends it.
 */
static int edu_odp_bring_in(struct edu_mr *mr, unsigned long va, u64 len,
			    bool write)
{
	int ret = edu_odp_take(mr, va, len, write);

	if (ret == -EAGAIN) {
		ret = ib_odp_fault_timeout(mr->odp, va, len,
					   write ? IB_ODP_WRITE : 0,
					   EDU_ODP_WAIT);
		if (!ret)
			ret = edu_odp_take(mr, va, len, write);
	}
	switch (ret) {
	case -EAGAIN:	/* it takes so long that nobody waits for it any more */
		schedule_timeout_interruptible(EDU_ODP_WAIT / 10);
		return 0;
	case -EBUSY:
	case -EINTR:
	case -ENOMEM:
	case -ENODEV:	/* deregistered */
		cond_resched();
		return 0;
	default:
		return ret;
	}
}

/**
 * edu_odp_fault - bring in what a copy missed
 * @missed: what it was; its reference to the MR is dropped
 *
 * Context: sleeps, without edu_dev.lock, but not for ever.
 *
 * Return: 0 to try the copy again, or what ib_odp_fault() says of memory that
 * is not there.
 */
int edu_odp_fault(struct edu_missed *missed)
{
	struct edu_mr *mr = missed->mr;
	unsigned long va = mr->umem->address + missed->offset;
	unsigned long first = va >> PAGE_SHIFT;
	unsigned long last = (va + missed->len - 1) >> PAGE_SHIFT;
	unsigned long page;
	int ret = 0;

	/* Under the engine's lock there is no memory to be had. */
	for (page = first; !ret && page <= last; page++)
		ret = xa_reserve(&mr->pages, page, GFP_KERNEL);
	if (!ret)
		ret = edu_odp_bring_in(mr, va, missed->len,
				       missed->dir == EDU_WRITE);
	/* What was not filled */
	for (page = first; page <= last; page++)
		xa_release(&mr->pages, page);
	edu_mr_put(mr);
	return ret;
}

/**
 * edu_odp_check - compare what the device sees with what the process sees
 * @edu: device
 * @mr: MR of the calling process
 * @resp: gets how many pages are in the table, all of which are right
 *
 * Context: sleeps. The process must not lose pages meanwhile.
 *
 * Return: 0, -EBADMSG where the device sees another page than the process, or
 * what get_user_pages_fast() said.
 */
int edu_odp_check(struct edu_dev *edu, struct edu_mr *mr,
		  struct edu_check_resp *resp)
{
	unsigned long index;
	void *entry;

	xa_for_each(&mr->pages, index, entry) {
		/* The memory of another function, too */
		unsigned int flags = FOLL_PCI_P2PDMA;
		struct page *page;
		phys_addr_t phys;
		int nr;

		if (xa_to_value(entry) & EDU_ODP_WRITABLE)
			flags |= FOLL_WRITE;
		nr = get_user_pages_fast(index << PAGE_SHIFT, 1, flags, &page);
		if (nr != 1)
			return nr ?: -EFAULT;
		phys = page_to_phys(page);
		put_page(page);
		if (edu_phys(edu, edu_odp_entry_addr(entry)) != phys)
			return -EBADMSG;
		resp->pages++;
	}
	resp->blocks = resp->pages;
	resp->block_size = PAGE_SIZE;
	return 0;
}

/* The MR of an element of a list, with a reference, if it may be advised so. */
static struct edu_mr *edu_odp_find(struct edu_dev *edu, struct ib_pd *pd,
				   const struct ib_sge *sge, unsigned int flags,
				   unsigned long *va)
{
	struct edu_mr *mr;

	mutex_lock(&edu->lock);
	mr = xa_load(&edu->mrs, sge->lkey);
	if (!mr || mr->pd != pd || !mr->odp)
		mr = ERR_PTR(-EINVAL);
	else if (flags & IB_ODP_WRITE && !mr->umem->writable)
		mr = ERR_PTR(-EPERM);
	else if (sge->addr < mr->ibmr.iova ||
		 sge->addr - mr->ibmr.iova > mr->umem->length ||
		 sge->length > mr->umem->length - (sge->addr - mr->ibmr.iova))
		mr = ERR_PTR(-EFAULT);
	if (!IS_ERR(mr)) {
		*va = mr->umem->address + (sge->addr - mr->ibmr.iova);
		kref_get(&mr->ref);
	}
	mutex_unlock(&edu->lock);
	return mr;
}

/**
 * edu_advise_mr - bring pages in ahead of use
 * @pd: PD of the MRs
 * @advice: for reading, for writing, or only what the CPU has mapped
 * @flags: IB_UVERBS_ADVISE_MR_FLAG_FLUSH to wait for it
 * @sg_list: ranges of MRs
 * @num_sge: how many
 * @attrs: not used
 *
 * Context: process; sleeps for as long as a page fault can.
 *
 * Return: 0; -EOPNOTSUPP for other advice; -EINVAL, -EPERM or -EFAULT where an
 * element is not in an ODP MR that allows it; or what a fault said.
 */
int edu_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice,
		  u32 flags, struct ib_sge *sg_list, u32 num_sge,
		  struct uverbs_attr_bundle *attrs)
{
	unsigned int how = IB_ODP_PREFETCH;
	int ret = 0;
	u32 i;

	if (advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE)
		how |= IB_ODP_WRITE;
	else if (advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT)
		how |= IB_ODP_SNAPSHOT;
	else if (advice != IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH)
		return -EOPNOTSUPP;

	for (i = 0; !ret && i < num_sge; i++) {
		unsigned long va;
		struct edu_mr *mr = edu_odp_find(to_edu(pd->device), pd,
						 &sg_list[i], how, &va);

		if (IS_ERR(mr))
			return PTR_ERR(mr);
		if (flags & IB_UVERBS_ADVISE_MR_FLAG_FLUSH)
			ret = ib_odp_fault(mr->odp, va, sg_list[i].length, how);
		else if (sg_list[i].length)
			ib_odp_fault_timeout(mr->odp, va, sg_list[i].length,
					     how, 0);
		edu_mr_put(mr);
	}
	return ret;
}

/**
 * edu_fill_stat_mr_entry - report the counters of an MR
 * @msg: gets them
 * @ibmr: the MR; only those with on-demand paging have any
 *
 * Return: 0 or a negative errno value.
 */
int edu_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct edu_mr *mr = to_edu_mr(ibmr);

	return mr->odp ? ib_odp_fill_stats(msg, mr->odp) : 0;
}
