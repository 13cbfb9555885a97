// SPDX-License-Identifier: GPL-2.0
/*
 * What drivers/infiniband/hw/edu/edu_odp.c would be on the unpatched kernel, as
 * far as bench/odp_dma.c needs it: MRs with on-demand paging that can be
 * advised, and lose pages. The device's table is left out on both kernels,
 * since nothing is copied, so this is the cost of the core alone.
 *
 * It does what mlx5 does: pages are mapped by hmm_dma_map_pfn(), one by one.
 */
#include <linux/hmm.h>
#include <linux/pci-p2pdma.h>
#include <rdma/ib_umem_odp.h>

#include "edu.h"

static struct ib_umem_odp *edu_umem(const struct edu_mr *mr)
{
	return to_ib_umem_odp(mr->umem);
}

static bool edu_odp_invalidate(struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range,
			       unsigned long seq)
{
	struct ib_umem_odp *umem =
		container_of(notifier, struct ib_umem_odp, notifier);

	if (!mmu_notifier_range_blockable(range))
		return false;
	mutex_lock(&umem->umem_mutex);
	mmu_interval_set_seq(notifier, seq);
	if (umem->npages)
		ib_umem_odp_unmap_dma_pages(umem,
					    max_t(u64, ib_umem_start(umem),
						  range->start),
					    min_t(u64, ib_umem_end(umem),
						  range->end));
	mutex_unlock(&umem->umem_mutex);
	return true;
}

static const struct mmu_interval_notifier_ops edu_odp_notifier_ops = {
	.invalidate = edu_odp_invalidate,
};

int edu_odp_init_mr(struct edu_mr *mr, u64 start, u64 length, u64 iova)
{
	struct ib_umem_odp *umem = ib_umem_odp_get(mr->pd->device, start, length,
						   mr->access,
						   &edu_odp_notifier_ops);

	if (IS_ERR(umem))
		return PTR_ERR(umem);
	mr->umem = &umem->umem;
	mr->odp = (struct ib_odp *)umem;	/* it has one, no more is asked */
	return 0;
}

void edu_odp_release_mr(struct edu_mr *mr)
{
	ib_umem_odp_release(edu_umem(mr));
}

void edu_odp_free_mr(struct edu_mr *mr)
{
}

/* No page is ever in the table. */
u64 edu_odp_block(struct edu_mr *mr, enum edu_dir dir, u64 offset,
		  dma_addr_t *addr)
{
	return 0;
}

int edu_odp_fault(struct edu_missed *missed)
{
	edu_mr_put(missed->mr);
	return -EOPNOTSUPP;
}

int edu_odp_check(struct edu_dev *edu, struct edu_mr *mr,
		  struct edu_check_resp *resp)
{
	return -EOPNOTSUPP;
}

static int edu_odp_map(struct edu_mr *mr, u64 va, u64 len)
{
	struct device *dev = mr->umem->ibdev->dma_device;
	struct ib_umem_odp *umem = edu_umem(mr);
	struct pci_p2pdma_map_state p2pdma = {};
	u64 first = (va - ib_umem_start(umem)) >> PAGE_SHIFT;
	int nr, i, ret = 0;

	nr = ib_umem_odp_map_dma_and_lock(umem, va, len, 0, true);
	if (nr < 0)
		return nr;
	for (i = 0; i < nr && !ret; i++) {
		dma_addr_t addr;

		if (!(umem->map.pfn_list[first + i] & HMM_PFN_VALID))
			continue;
		addr = hmm_dma_map_pfn(dev, &umem->map, first + i, &p2pdma);
		if (dma_mapping_error(dev, addr))
			ret = -EFAULT;
		else
			umem->npages++;
	}
	mutex_unlock(&umem->umem_mutex);
	return ret;
}

int edu_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice,
		  u32 flags, struct ib_sge *sg_list, u32 num_sge,
		  struct uverbs_attr_bundle *attrs)
{
	struct edu_mr *mr = xa_load(&to_edu(pd->device)->mrs, sg_list->lkey);

	if (!mr || !mr->odp || num_sge != 1)
		return -EINVAL;
	return edu_odp_map(mr, sg_list->addr, sg_list->length);
}

int edu_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	return 0;
}
