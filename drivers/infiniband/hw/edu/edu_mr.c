// SPDX-License-Identifier: GPL-2.0
/*
 * MRs: from user memory to the device's page table, and back.
 *
 * This is the whole of what a driver does to register memory: ib_umem_get_va()
 * pins and maps it, ib_umem_find_best_pgsz() says in which blocks the device can
 * see it, rdma_umem_for_each_dma_block() gives the address of each. Where the
 * pages are, and in how many pieces, is of no interest here. On-demand paging is
 * in edu_odp.c, memory of dma-bufs in edu_dmabuf.c.
 */
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <rdma/iter.h>
#include <rdma/ib_umem.h>

#include "edu.h"

#define UVERBS_MODULE_NAME edu_ib
#include <rdma/uverbs_named_ioctl.h>

/* The table is in software, so blocks may have any size. */
#define EDU_BLOCK_SIZES	(~0UL << PAGE_SHIFT)

/* Pages that are compared by one look at the process's page tables. */
#define EDU_CHECK_BATCH	32

/**
 * edu_table_fill - make the page table of an MR
 * @table: gets it; free its blocks by kvfree()
 * @umem: the memory, mapped for the device
 * @iova: address of the MR
 *
 * Context: sleeps.
 *
 * Return: 0, -EINVAL for an address that no block can have, or -ENOMEM.
 */
int edu_table_fill(struct edu_table *table, struct ib_umem *umem, u64 iova)
{
	struct ib_block_iter biter;
	unsigned long size;
	size_t i = 0;

	size = ib_umem_find_best_pgsz(umem, EDU_BLOCK_SIZES, iova);
	if (!size)
		return -EINVAL;
	table->shift = __ffs(size);
	table->first = iova & (size - 1);
	table->nr_blocks = ib_umem_num_dma_blocks(umem, size);
	table->blocks = kvmalloc_array(table->nr_blocks, sizeof(*table->blocks),
				       GFP_KERNEL);
	if (!table->blocks)
		return -ENOMEM;
	rdma_umem_for_each_dma_block(umem, &biter, size)
		table->blocks[i++] = rdma_block_iter_dma_address(&biter);
	return 0;
}

/* Pin the memory, and make the table. */
static int edu_pin_mr(struct edu_mr *mr, u64 start, u64 length, u64 iova)
{
	int ret;

	mr->umem = ib_umem_get_va(mr->pd->device, start, length, mr->access);
	if (IS_ERR(mr->umem))
		return PTR_ERR(mr->umem);
	ret = edu_table_fill(&mr->table, mr->umem, iova);
	if (ret)
		ib_umem_release(mr->umem);
	return ret;
}

static void edu_mr_free(struct kref *ref)
{
	struct edu_mr *mr = container_of(ref, struct edu_mr, ref);

	if (mr->odp) {
		edu_odp_free_mr(mr);
	} else {
		/* First of all the exporter forgets us, who clears the table */
		ib_umem_release(mr->umem);
		kvfree(mr->table.blocks);
	}
	kfree(mr);
}

/**
 * edu_mr_put - drop a reference to the memory that describes an MR
 * @mr: the MR
 */
void edu_mr_put(struct edu_mr *mr)
{
	kref_put(&mr->ref, edu_mr_free);
}

/* Take the memory from an MR that the device does not use any more. */
static void edu_release_mr(struct edu_mr *mr)
{
	if (mr->odp)
		edu_odp_release_mr(mr);
	else if (mr->umem->is_dmabuf)
		edu_dmabuf_release_mr(mr);
	edu_mr_put(mr);
}

/**
 * edu_mr_alloc - begin to make an MR
 * @pd: PD of the MR
 * @access: IB_ACCESS_*
 *
 * Return: the MR without memory, to be freed by kfree() as long as it has none,
 * or NULL.
 */
struct edu_mr *edu_mr_alloc(struct ib_pd *pd, int access)
{
	struct edu_mr *mr = kzalloc_obj(*mr);

	if (!mr)
		return NULL;
	mr->pd = pd;
	mr->access = access;
	kref_init(&mr->ref);
	return mr;
}

/**
 * edu_mr_publish - give an MR its key
 * @mr: MR with its memory and address
 * @length: bytes of it
 *
 * From here on the device may be told to use it.
 *
 * Return: the MR, or with it and its memory freed -EBUSY or -ENOMEM.
 */
struct ib_mr *edu_mr_publish(struct edu_mr *mr, u64 length)
{
	struct edu_dev *edu = to_edu(mr->pd->device);
	int ret;

	mr->ibmr.length = length;
	ret = xa_alloc_cyclic(&edu->mrs, &mr->ibmr.lkey, mr, xa_limit_32b,
			      &edu->next_key, GFP_KERNEL);
	if (ret < 0) {
		edu_release_mr(mr);
		return ERR_PTR(ret);
	}
	mr->ibmr.rkey = mr->ibmr.lkey;
	return &mr->ibmr;
}

/**
 * edu_reg_user_mr - register user memory
 * @pd: PD of the MR
 * @start: address of the memory
 * @length: bytes of it
 * @iova: address by which the owner calls it; the same as @start in the bits
 *	below the page
 * @access: IB_ACCESS_*
 * @dmah: not supported
 * @udata: none
 *
 * Return: the MR, or
 * -EINVAL for no or too much memory,
 * -EOPNOTSUPP for access that the device does not offer, or
 * what ib_umem_get_va() or the allocation of the table said.
 */
struct ib_mr *edu_reg_user_mr(struct ib_pd *pd, u64 start, u64 length,
			      u64 iova, int access, struct ib_dmah *dmah,
			      struct ib_udata *udata)
{
	struct edu_mr *mr;
	int ret;

	ret = ib_no_udata_io(udata);
	if (ret)
		return ERR_PTR(ret);
	access &= ~IB_ACCESS_OPTIONAL;
	if (dmah || (access & ~(EDU_ACCESS | EDU_ACCESS_ODP)))
		return ERR_PTR(-EOPNOTSUPP);
	if (!length)
		return ERR_PTR(-EINVAL);

	mr = edu_mr_alloc(pd, access);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	if (access & IB_ACCESS_ON_DEMAND)
		ret = edu_odp_init_mr(mr, start, length, iova);
	else
		ret = edu_pin_mr(mr, start, length, iova);
	if (ret) {
		kfree(mr);
		return ERR_PTR(ret);
	}
	mr->ibmr.iova = iova;
	return edu_mr_publish(mr, length);
}

/**
 * edu_dereg_mr - deregister an MR
 * @ibmr: MR
 * @udata: none
 *
 * First no request can begin with the MR, then none runs with it, then its
 * table goes, and last its mapping and its pages.
 * Context: sleeps, at most for the chunk of a copy that runs.
 *
 * Return: 0.
 */
int edu_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct edu_dev *edu = to_edu(ibmr->device);
	struct edu_mr *mr = to_edu_mr(ibmr);

	xa_erase(&edu->mrs, ibmr->lkey);
	mutex_lock(&edu->lock);
	if (mr->table.blocks)
		edu_test_forget(edu, mr->table.blocks[0] + mr->table.first);
	mutex_unlock(&edu->lock);

	edu_release_mr(mr);
	return 0;
}

/**
 * edu_phys - where the device ends up when it uses a DMA address
 * @edu: device
 * @addr: DMA address
 *
 * Return: the physical address. Without an IOMMU that is the address itself, on
 * machines where buses see memory as CPUs do.
 */
phys_addr_t edu_phys(struct edu_dev *edu, dma_addr_t addr)
{
	struct iommu_domain *domain;

	domain = iommu_get_domain_for_dev(&edu->pdev->dev);
	return domain ? iommu_iova_to_phys(domain, addr) : addr;
}

/* Are these pages where the table says, from byte @at of the first block on? */
static int edu_check_pages(struct edu_dev *edu, const struct edu_mr *mr, u64 at,
			   struct page **pages, int nr)
{
	const struct edu_table *table = &mr->table;
	u64 mask = BIT_ULL(table->shift) - 1;
	int i;

	for (i = 0; i < nr; i++, at += PAGE_SIZE)
		if (edu_phys(edu, table->blocks[at >> table->shift] + (at & mask)) !=
		    page_to_phys(pages[i]))
			return -EBADMSG;
	return 0;
}

/**
 * edu_check_mr - compare what the device sees with what the process sees
 * @edu: device
 * @mr: MR of the calling process
 * @resp: gets what was found to be right, all zero before
 *
 * Asks the process's page tables where the memory is, not the umem, which may
 * be what is wrong.
 * Context: sleeps.
 *
 * Return: 0, or
 * -EPERM where the memory belongs to another process or to a dma-buf,
 * -EBADMSG where the device sees another page than the process,
 * -EINTR after a fatal signal, or
 * what get_user_pages_fast() said.
 */
static int edu_check_mr(struct edu_dev *edu, struct edu_mr *mr,
			struct edu_check_resp *resp)
{
	unsigned int flags = mr->umem->writable ? FOLL_WRITE : 0;
	unsigned long skip = ib_umem_offset(mr->umem);
	u64 total = DIV_ROUND_UP_ULL(skip + mr->umem->length, PAGE_SIZE);
	struct page *pages[EDU_CHECK_BATCH];
	int nr, ret;

	if (mr->umem->owning_mm != current->mm)
		return -EPERM;
	if (mr->odp)
		return edu_odp_check(edu, mr, resp);
	for (; resp->pages < total; resp->pages += nr) {
		u64 at = resp->pages << PAGE_SHIFT;

		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		nr = min_t(u64, total - resp->pages, EDU_CHECK_BATCH);
		nr = get_user_pages_fast(mr->umem->address - skip + at, nr,
					 flags, pages);
		if (nr <= 0)
			return nr ?: -EFAULT;
		ret = edu_check_pages(edu, mr, mr->table.first - skip + at,
				      pages, nr);
		release_pages(pages, nr);
		if (ret)
			return ret;
	}
	resp->blocks = mr->table.nr_blocks;
	resp->block_size = BIT_ULL(mr->table.shift);
	return 0;
}

static int UVERBS_HANDLER(EDU_METHOD_MR_CHECK)(struct uverbs_attr_bundle *attrs)
{
	struct ib_mr *mr = uverbs_attr_get_obj(attrs, EDU_ATTR_CHECK_MR_HANDLE);
	struct edu_check_resp resp = {};
	int ret;

	ret = edu_check_mr(to_edu(mr->device), to_edu_mr(mr), &resp);
	if (ret)
		return ret;
	return uverbs_copy_to(attrs, EDU_ATTR_CHECK_RESP, &resp, sizeof(resp));
}

static int UVERBS_HANDLER(EDU_METHOD_PD_COPY)(struct uverbs_attr_bundle *attrs)
{
	struct ib_pd *pd = uverbs_attr_get_obj(attrs, EDU_ATTR_COPY_PD_HANDLE);
	struct edu_copy_req req;
	int ret;

	ret = uverbs_copy_from(&req, attrs, EDU_ATTR_COPY_REQ);
	if (ret)
		return ret;
	return edu_copy(to_edu(pd->device), pd, &req);
}

DECLARE_UVERBS_NAMED_METHOD(EDU_METHOD_MR_CHECK,
			    UVERBS_ATTR_IDR(EDU_ATTR_CHECK_MR_HANDLE,
					    UVERBS_OBJECT_MR,
					    UVERBS_ACCESS_READ,
					    UA_MANDATORY),
			    UVERBS_ATTR_PTR_OUT(EDU_ATTR_CHECK_RESP,
						UVERBS_ATTR_STRUCT(struct edu_check_resp,
								   block_size),
						UA_MANDATORY));

/*
 * MRs are named by their keys and not by their handles, as in the requests to a
 * NIC: a handle would keep the MR from being deregistered.
 */
DECLARE_UVERBS_NAMED_METHOD(EDU_METHOD_PD_COPY,
			    UVERBS_ATTR_IDR(EDU_ATTR_COPY_PD_HANDLE,
					    UVERBS_OBJECT_PD,
					    UVERBS_ACCESS_READ,
					    UA_MANDATORY),
			    UVERBS_ATTR_PTR_IN(EDU_ATTR_COPY_REQ,
					       UVERBS_ATTR_STRUCT(struct edu_copy_req,
								  src_key),
					       UA_MANDATORY));

ADD_UVERBS_METHODS(edu_mr, UVERBS_OBJECT_MR,
		   &UVERBS_METHOD(EDU_METHOD_MR_CHECK));
ADD_UVERBS_METHODS(edu_pd, UVERBS_OBJECT_PD,
		   &UVERBS_METHOD(EDU_METHOD_PD_COPY));

const struct uapi_definition edu_uapi_defs[] = {
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_MR, &edu_mr),
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_PD, &edu_pd),
	{},
};
