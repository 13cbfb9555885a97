// SPDX-License-Identifier: GPL-2.0
/*
 * The page of the BAR that a context has: what a doorbell page is to a NIC.
 *
 * Programs map it by mmap(), or have uverbs make a dma-buf of it, by which other
 * devices reach it (P2P). The core keeps account of both, and takes them away
 * when the context or the device goes. The driver only says where the page is,
 * and which function it is that answers there.
 *
 * All registers are in the first page of the BAR. No program may have that one,
 * as they start DMA to any address. The next one has none: it reads as all ones,
 * and what is written to it is lost.
 */
#include <linux/pci-p2pdma.h>

#include "edu.h"

#define EDU_BAR		0
#define EDU_PAGE	PAGE_SIZE	/* from the start of the BAR */

static phys_addr_t edu_page_addr(const struct rdma_user_mmap_entry *entry)
{
	struct edu_dev *edu = to_edu(entry->ucontext->device);

	return pci_resource_start(edu->pdev, EDU_BAR) + EDU_PAGE;
}

/**
 * edu_page_init - get ready to let other devices at the BAR
 * @edu: device
 *
 * Return: 0, -ENODEV where the BAR has no such page, or -ENOMEM. A kernel without
 * P2P makes no dma-buf of the page, and that is all.
 */
int edu_page_init(struct edu_dev *edu)
{
	int ret;

	if (pci_resource_len(edu->pdev, EDU_BAR) < EDU_PAGE + PAGE_SIZE)
		return -ENODEV;
	ret = pcim_p2pdma_init(edu->pdev);
	return ret == -EOPNOTSUPP ? 0 : ret;
}

/**
 * edu_alloc_ucontext - begin a context
 * @ctx: context
 * @udata: &struct edu_alloc_ucontext_resp gets there, as far as there is room
 *
 * Return: 0, -EOPNOTSUPP for driver data, of which there is none, -ENOMEM, or
 * -EFAULT.
 */
int edu_alloc_ucontext(struct ib_ucontext *ctx, struct ib_udata *udata)
{
	struct rdma_user_mmap_entry *page = &to_edu_ucontext(ctx)->page;
	struct edu_alloc_ucontext_resp resp = {};
	int ret;

	ret = ib_is_udata_in_empty(udata);
	if (ret)
		return ret;
	ret = rdma_user_mmap_entry_insert(ctx, page, PAGE_SIZE);
	if (ret)
		return ret;
	resp.page_offset = rdma_user_mmap_get_offset(page);
	ret = ib_respond_udata(udata, resp);
	if (ret)
		rdma_user_mmap_entry_remove(page);
	return ret;
}

/**
 * edu_dealloc_ucontext - end a context
 * @ctx: context, of which nothing is mapped or exported any more
 */
void edu_dealloc_ucontext(struct ib_ucontext *ctx)
{
	rdma_user_mmap_entry_remove(&to_edu_ucontext(ctx)->page);
}

/**
 * edu_mmap - map the page into a process
 * @ctx: context
 * @vma: where, and at which offset of the context's file
 *
 * Return: 0, -EINVAL where that is not the page and all of it, -ENOMEM, or
 * -EAGAIN.
 */
int edu_mmap(struct ib_ucontext *ctx, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry = rdma_user_mmap_entry_get(ctx, vma);
	int ret;

	if (!entry)
		return -EINVAL;
	ret = rdma_user_mmap_io(ctx, vma, PHYS_PFN(edu_page_addr(entry)),
				PAGE_SIZE, pgprot_noncached(vma->vm_page_prot),
				entry);
	rdma_user_mmap_entry_put(entry);
	return ret;
}

/**
 * edu_pgoff_to_mmap_entry - what uverbs is to make a dma-buf of
 * @ctx: context
 * @offset: as for mmap(): in bytes, of the context's file
 *
 * Return: the entry, with a reference, or NULL where there is none.
 */
struct rdma_user_mmap_entry *
edu_pgoff_to_mmap_entry(struct ib_ucontext *ctx, off_t offset)
{
	if (offset_in_page(offset))
		return NULL;
	return rdma_user_mmap_entry_get_pgoff(ctx, offset >> PAGE_SHIFT);
}

/**
 * edu_mmap_get_pfns - where the memory of a dma-buf is
 * @entry: what it is made of
 * @vec: gets the range
 * @provider: gets whose it is; good until the driver lets go of the function,
 *	and by then the core has revoked the dma-buf
 *
 * Return: 0, or -EOPNOTSUPP in a kernel without P2P.
 */
int edu_mmap_get_pfns(struct rdma_user_mmap_entry *entry, struct phys_vec *vec,
		      struct p2pdma_provider **provider)
{
	struct edu_dev *edu = to_edu(entry->ucontext->device);

	*provider = pcim_p2pdma_provider(edu->pdev, EDU_BAR);
	if (!*provider)
		return -EOPNOTSUPP;
	*vec = (struct phys_vec) { edu_page_addr(entry), PAGE_SIZE };
	return 0;
}
