// SPDX-License-Identifier: GPL-2.0
/*
 * CPU access to the memory of an MR.
 *
 * struct rxe_mem is the one place that turns (MR, iova, length) into CPU
 * addresses; copy, atomics and flush are loops over its pieces. The kinds of
 * MR differ in where the addresses come from:
 *
 *  - a DMA MR's iova is a kernel address,
 *  - a fast registration MR has a table with an entry for each MR page, or for
 *    each system page of a larger MR page,
 *  - a user MR has the physical ranges of its umem, which are in the kernel's
 *    direct map, for rxe is not built with highmem.
 *
 * A walk lasts as long as the MR: the caller holds a reference to it, and the
 * pages stay pinned until the last one is gone, so there is no lock here and
 * nothing to undo at the end. ODP MRs take their own way, see rxe_odp.c.
 */
#include <linux/libnvdimm.h>
#include <linux/mm.h>

#include "rxe.h"
#include "rxe_loc.h"
#include "rxe_mem.h"

/* The next piece of a fast registration MR, none where its table has a hole. */
static bool rxe_mem_next_fast(struct rxe_mem *mem)
{
	struct rxe_mr *mr = mem->mr;
	size_t unit = min(mr_page_size(mr), PAGE_SIZE);
	u64 start = mr->ibmr.iova & mr->page_mask;
	u64 index = (mem->iova - start) >> ilog2(unit);
	size_t offset = mem->iova & (unit - 1);
	struct rxe_mr_page *info;

	if (index >= mr->nbuf)
		return false;
	info = &mr->page_info[index];
	if (!info->page)
		return false;
	mem->va = page_address(info->page) + info->offset + offset;
	mem->len = min(mem->left, unit - offset);
	return true;
}

static bool rxe_mem_next_user(struct rxe_mem *mem)
{
	if (!phyr_next(&mem->cur))
		return false;
	mem->va = phys_to_virt(mem->cur.vec.paddr);
	mem->len = mem->cur.vec.len;
	return true;
}

/**
 * rxe_mem_seek - begin a walk over a range of an MR
 * @mem: walk to begin
 * @mr: MR with a reference held, not one with ODP
 * @iova: where the range starts
 * @length: bytes in the range
 *
 * The pieces come from rxe_mem_next(). @mem->left tells at any time how many
 * bytes have not come yet; some are left at the end where the MR has no memory
 * for them.
 *
 * Return: 0, or -EINVAL where the range is not in the MR.
 */
int rxe_mem_seek(struct rxe_mem *mem, struct rxe_mr *mr, u64 iova,
		 size_t length)
{
	int err = mr_check_range(mr, iova, length);

	if (unlikely(err))
		return err;

	mem->mr = mr;
	mem->iova = iova;
	mem->left = length;
	if (mr->ibmr.type == IB_MR_TYPE_USER)
		phyr_seek(&mem->cur, &mr->umem->phyr,
			  iova - mr->ibmr.iova + ib_umem_offset(mr->umem),
			  length);
	return 0;
}

/**
 * rxe_mem_next - go to the next piece of the range
 * @mem: walk that rxe_mem_seek() has begun
 *
 * Return: whether there is one, at @mem->va.
 */
bool rxe_mem_next(struct rxe_mem *mem)
{
	if (!mem->left)
		return false;

	switch (mem->mr->ibmr.type) {
	case IB_MR_TYPE_USER:
		if (!rxe_mem_next_user(mem))
			return false;
		break;
	case IB_MR_TYPE_MEM_REG:
		if (!rxe_mem_next_fast(mem))
			return false;
		break;
	default:
		mem->va = ib_virt_dma_to_ptr(mem->iova);
		mem->len = mem->left;
		break;
	}
	mem->iova += mem->len;
	mem->left -= mem->len;
	return true;
}

/**
 * rxe_mr_copy - copy between a buffer and an MR
 * @mr: MR with a reference held, access rights checked
 * @iova: where in the MR
 * @addr: the buffer
 * @length: bytes to copy
 * @dir: RXE_TO_MR_OBJ or RXE_FROM_MR_OBJ
 *
 * Context: may sleep for an ODP MR.
 *
 * Return: 0, -EINVAL where the range is not in the MR, -EFAULT where the MR has
 * no memory there, or what an ODP fault said.
 */
int rxe_mr_copy(struct rxe_mr *mr, u64 iova, void *addr, unsigned int length,
		enum rxe_mr_copy_dir dir)
{
	struct rxe_mem mem;
	int err;

	if (length == 0)
		return 0;
	if (WARN_ON(!mr))
		return -EINVAL;
	if (is_odp_mr(mr)) {
		err = mr_check_range(mr, iova, length);
		return err ?: rxe_odp_mr_copy(mr, iova, addr, length, dir);
	}

	err = rxe_mem_seek(&mem, mr, iova, length);
	if (unlikely(err))
		return err;
	while (rxe_mem_next(&mem)) {
		if (dir == RXE_TO_MR_OBJ)
			memcpy(mem.va, addr, mem.len);
		else
			memcpy(addr, mem.va, mem.len);
		addr += mem.len;
	}
	return mem.left ? -EFAULT : 0;
}

/**
 * rxe_flush_pmem_iova - make a range of an MR persistent
 * @mr: MR with a reference held, registered for persistent flush
 * @start: where in the MR
 * @length: bytes to flush, of any size
 *
 * Context: may sleep for an ODP MR.
 *
 * Return: 0, -EINVAL where the range is not in the MR, or -EFAULT where the MR
 * has no memory there or cannot be flushed.
 */
int rxe_flush_pmem_iova(struct rxe_mr *mr, u64 start, size_t length)
{
	struct rxe_mem mem;
	int err;

	/* mr must be valid even if length is zero */
	if (WARN_ON(!mr))
		return -EINVAL;
	if (length == 0)
		return 0;
	if (mr->ibmr.type == IB_MR_TYPE_DMA)
		return -EFAULT;
	if (is_odp_mr(mr))
		return rxe_odp_flush_pmem_iova(mr, start, length);

	err = rxe_mem_seek(&mem, mr, start, length);
	if (err)
		return err;
	while (rxe_mem_next(&mem))
		arch_wb_cache_pmem(mem.va, mem.len);
	return mem.left ? -EFAULT : 0;
}

/* Guarantee atomicity of atomic operations at the machine level. */
DEFINE_SPINLOCK(atomic_ops_lock);

/* The 8 bytes that an atomic operation works on, aligned: one piece always. */
static enum resp_states rxe_mem_atomic_va(struct rxe_mr *mr, u64 iova, u64 **va)
{
	struct rxe_mem mem;

	/* See IBA oA19-28 */
	if (rxe_mem_seek(&mem, mr, iova, sizeof(**va)) || !rxe_mem_next(&mem)) {
		rxe_dbg_mr(mr, "iova out of range\n");
		return RESPST_ERR_RKEY_VIOLATION;
	}
	/* See IBA A19.4.2 */
	if (!IS_ALIGNED((uintptr_t)mem.va, sizeof(**va))) {
		rxe_dbg_mr(mr, "iova not aligned\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}
	*va = mem.va;
	return RESPST_NONE;
}

/**
 * rxe_mr_do_atomic_op - compare and swap, or fetch and add, in an MR
 * @mr: MR with a reference held, not one with ODP
 * @iova: where in the MR
 * @opcode: IB_OPCODE_RC_COMPARE_SWAP or IB_OPCODE_RC_FETCH_ADD
 * @compare: what to compare with
 * @swap_add: what to store or add
 * @orig_val: gets the value from before
 *
 * Return: RESPST_NONE or the state that handles the error.
 */
enum resp_states rxe_mr_do_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				     u64 compare, u64 swap_add, u64 *orig_val)
{
	enum resp_states state;
	u64 *va;

	if (unlikely(mr->state != RXE_MR_STATE_VALID)) {
		rxe_dbg_mr(mr, "mr not in valid state\n");
		return RESPST_ERR_RKEY_VIOLATION;
	}
	state = rxe_mem_atomic_va(mr, iova, &va);
	if (state != RESPST_NONE)
		return state;

	spin_lock_bh(&atomic_ops_lock);
	*orig_val = *va;
	if (opcode != IB_OPCODE_RC_COMPARE_SWAP)
		*va += swap_add;
	else if (*orig_val == compare)
		*va = swap_add;
	spin_unlock_bh(&atomic_ops_lock);

	return RESPST_NONE;
}

/**
 * rxe_mr_do_atomic_write - write 8 bytes of an MR at once
 * @mr: MR with a reference held, not one with ODP
 * @iova: where in the MR
 * @value: what to write
 *
 * Return: RESPST_NONE or the state that handles the error.
 */
enum resp_states rxe_mr_do_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	enum resp_states state;
	u64 *va;

	state = rxe_mem_atomic_va(mr, iova, &va);
	if (state != RESPST_NONE)
		return state;

	/* Do atomic write after all prior operations have completed */
	smp_store_release(va, value);
	return RESPST_NONE;
}
