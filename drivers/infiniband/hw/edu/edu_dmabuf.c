// SPDX-License-Identifier: GPL-2.0
/*
 * MRs of memory in dma-bufs: RAM, or the MMIO of another device (P2P).
 *
 * ib_umem_dmabuf gets the memory from its exporter and maps it for the device;
 * the table of its blocks is made as for any umem. What differs is that the
 * exporter may move the memory, or let nobody at it for a while. Then
 * edu_dmabuf_invalidate() waits for the request that runs and takes the table
 * away, before the memory is unmapped. The next copy finds no table, and has the
 * memory mapped again, or fails.
 *
 * The memory may have no struct page. It is safe to use because its exporter
 * takes it away only when edu_dmabuf_invalidate() has returned.
 *
 * Locking: mapping and unmapping are under the reservation lock of the dma-buf,
 * in which edu_dev.lock is nested to change the table. A fault takes the former,
 * and finds out under it whether the MR still has memory: deregistration takes
 * that under the same lock.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/mm.h>
#include <rdma/ib_umem.h>

#include "edu.h"

/* Take the table from an MR; the device does not use it any more. */
static void edu_dmabuf_clear(struct edu_mr *mr)
{
	struct edu_dev *edu = to_edu(mr->pd->device);
	struct edu_table table;

	mutex_lock(&edu->lock);
	table = mr->table;
	mr->table.blocks = NULL;
	if (table.blocks)
		edu_test_forget(edu, table.blocks[0] + table.first);
	mutex_unlock(&edu->lock);
	kvfree(table.blocks);
}

static void edu_dmabuf_invalidate(struct dma_buf_attachment *attach)
{
	struct ib_umem_dmabuf *buf = attach->importer_priv;
	struct edu_mr *mr = buf->private;

	dma_resv_assert_held(attach->dmabuf->resv);
	if (!mr)	/* no more than attached */
		return;
	edu_dmabuf_clear(mr);
	ib_umem_dmabuf_unmap_pages(buf);
}

static const struct dma_buf_attach_ops edu_dmabuf_ops = {
	.mappings = ib_umem_dmabuf_mappings,
	.invalidate_mappings = edu_dmabuf_invalidate,
};

/* Map the memory and make the table, if there is none. */
static int edu_dmabuf_fill(struct edu_mr *mr)
{
	struct ib_umem_dmabuf *buf = to_ib_umem_dmabuf(mr->umem);
	struct edu_dev *edu = to_edu(mr->pd->device);
	struct edu_table table;
	int ret;

	/* Only changed under the reservation lock */
	if (mr->table.blocks)
		return 0;
	ret = ib_umem_dmabuf_map_pages(buf);
	if (!ret)
		ret = edu_table_fill(&table, mr->umem, mr->ibmr.iova);
	if (ret) {
		ib_umem_dmabuf_unmap_pages(buf);
		return ret;
	}
	mutex_lock(&edu->lock);
	mr->table = table;
	mutex_unlock(&edu->lock);
	return 0;
}

/**
 * edu_reg_user_mr_dmabuf - register memory of a dma-buf
 * @pd: PD of the MR
 * @offset: where the memory starts, in bytes from the start of the dma-buf
 * @length: bytes of it
 * @iova: address by which the owner calls it; the same as @offset in the bits
 *	below the page
 * @fd: the dma-buf
 * @access: IB_ACCESS_*
 * @dmah: not supported
 * @attrs: nothing of the driver's
 *
 * Return: the MR, or
 * -EINVAL for no memory, or memory that is not in the dma-buf,
 * -EBADF or -EINVAL where the fd is not one of a dma-buf,
 * -EOPNOTSUPP for access that the device does not offer, or
 * what ib_umem_dmabuf_map_pages() or the allocation of the table said.
 */
struct ib_mr *edu_reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length,
				     u64 iova, int fd, int access,
				     struct ib_dmah *dmah,
				     struct uverbs_attr_bundle *attrs)
{
	struct ib_umem_dmabuf *buf;
	struct edu_mr *mr;
	int ret;

	access &= ~IB_ACCESS_OPTIONAL;
	if (dmah || (access & ~EDU_ACCESS))
		return ERR_PTR(-EOPNOTSUPP);
	mr = edu_mr_alloc(pd, access);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	buf = ib_umem_dmabuf_get(pd->device, offset, length, fd, access,
				 &edu_dmabuf_ops);
	if (IS_ERR(buf)) {
		kfree(mr);
		return ERR_CAST(buf);
	}
	mr->umem = &buf->umem;
	mr->ibmr.iova = iova;

	ib_umem_dmabuf_revoke_lock(buf);
	buf->private = mr;
	ret = edu_dmabuf_fill(mr);
	ib_umem_dmabuf_revoke_unlock(buf);
	if (ret) {
		edu_mr_put(mr);
		return ERR_PTR(ret);
	}
	return edu_mr_publish(mr, length);
}

/**
 * edu_dmabuf_release_mr - unmap the memory of an MR that no request can find
 * @mr: the MR
 *
 * Nothing maps it again: a fault that waits finds it revoked.
 * Context: sleeps, without edu_dev.lock.
 */
void edu_dmabuf_release_mr(struct edu_mr *mr)
{
	ib_umem_dmabuf_revoke(to_ib_umem_dmabuf(mr->umem));
}

/**
 * edu_dmabuf_fault - bring in what a copy missed
 * @missed: what it was; its reference to the MR is dropped
 *
 * Context: sleeps, without edu_dev.lock.
 *
 * Return: 0 to try the copy again, -EINTR after a signal, or what
 * ib_umem_dmabuf_map_pages() said.
 */
int edu_dmabuf_fault(struct edu_missed *missed)
{
	struct edu_mr *mr = missed->mr;
	struct ib_umem_dmabuf *buf = to_ib_umem_dmabuf(mr->umem);
	struct dma_resv *resv = buf->attach->dmabuf->resv;
	int ret;

	ret = dma_resv_lock_interruptible(resv, NULL);
	if (!ret) {
		/* Deregistered: the copy will find no such key */
		if (!buf->revoked)
			ret = edu_dmabuf_fill(mr);
		dma_resv_unlock(resv);
	}
	edu_mr_put(mr);
	return ret;
}
