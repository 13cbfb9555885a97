// SPDX-License-Identifier: GPL-2.0
/*
 * MRs with on-demand paging.
 *
 * The pages are the business of ib_odp (drivers/infiniband/core/odp_iova.c).
 * An operation goes over the pieces of its range. It uses a piece between
 * rxe_odp_begin() and ib_odp_access_end(), in which nothing sleeps, and the
 * process cannot take the memory away.
 *
 * A page that is not there is brought in by a work item of ib_odp, which can
 * take for ever. A QP's task waits for it no longer than RXE_ODP_WAIT, or twice
 * that where it tried to bring in more than it needs at once, for it holds
 * references to the QP and the MR. Then the operation ends with -EAGAIN: it had
 * no effect, but that bytes may be in memory already that it would write again.
 * The task undoes what it did for the packet, lets go of the MR, has page_timer
 * call it again, and exits. So QPs and MRs can be destroyed while a fault hangs.
 *
 * Most of what such a wait costs is its own, not the pages'. So what a message
 * is about to access as well is brought in by the same work item, where its
 * length is known: all but what is received from a peer's send.
 */
#include <linux/libnvdimm.h>
#include <rdma/ib_odp.h>

#include "rxe.h"
#include "rxe_loc.h"

/* How long a task waits for a fault. */
#define RXE_ODP_WAIT	msecs_to_jiffies(100)

/* The most that is brought in at once: to wait for more would take long. */
#define RXE_ODP_AHEAD	SZ_2M

/* How long packets ask for their own ranges only, where that failed or took long. */
#define RXE_ODP_AHEAD_PAUSE	HZ

/* A page may be taken away between the fault and the use: not for ever. */
#define RXE_ODP_TRIES	16

/**
 * rxe_odp_mr_init_user - make an MR with on-demand paging
 * @rxe: the device
 * @start: address of the memory
 * @length: bytes; U64_MAX, with @start 0, for all memory of the process
 * @iova: what the wire says for @start
 * @access: IB_ACCESS_* flags
 * @mr: the MR
 *
 * Context: process.
 *
 * Return: 0 or a negative error.
 */
int rxe_odp_mr_init_user(struct rxe_dev *rxe, u64 start, u64 length, u64 iova,
			 int access, struct rxe_mr *mr)
{
	struct ib_odp *odp;

	rxe_mr_init(access, mr);

	if (!start && length == U64_MAX && iova)
		return -EINVAL;
	if (!start && length == U64_MAX)
		odp = ib_odp_get_implicit(&rxe->ib_dev, access);
	else
		odp = ib_odp_get(&rxe->ib_dev, start, length, access);
	if (IS_ERR(odp)) {
		rxe_dbg_mr(mr, "unable to make ODP region, err = %d\n",
			   (int)PTR_ERR(odp));
		return PTR_ERR(odp);
	}

	mr->umem = &odp->umem;
	mr->ibmr.length = length;
	mr->ibmr.iova = iova;
	mr->ibmr.type = IB_MR_TYPE_USER;
	mr->ahead_after = jiffies;
	mr->state = RXE_MR_STATE_VALID;
	return 0;
}

/**
 * rxe_odp_mr_cleanup - end an MR that has an ODP region
 * @mr: the MR, used by nobody
 */
void rxe_odp_mr_cleanup(struct rxe_mr *mr)
{
	ib_odp_release(to_ib_odp(mr->umem));
}

static unsigned long rxe_odp_va(const struct rxe_mr *mr, u64 iova)
{
	return mr->umem->address + (iova - mr->ibmr.iova);
}

/* What is worth another try is -EAGAIN; memory that is not there is -EFAULT. */
static int rxe_odp_error(int err)
{
	err = rxe_memory_error(err);
	return err && err != -EAGAIN ? -EFAULT : err;
}

/*
 * Bring a range in, and what is ahead of it if that can be had soon. It may have
 * no memory, or hang, and the message not come as far: then the range alone is
 * asked for, and so for a while, as each try may leave a work item behind.
 * How much is ahead can be any number, from a queue that a user writes.
 */
static int rxe_odp_fault(struct rxe_mr *mr, unsigned long va, size_t length,
			 size_t ahead, bool write)
{
	struct ib_odp *odp = to_ib_odp(mr->umem);
	unsigned int flags = write ? IB_ODP_WRITE : 0;

	ahead = min(ahead, RXE_ODP_AHEAD);
	if (ahead > length &&
	    time_after_eq(jiffies, READ_ONCE(mr->ahead_after))) {
		if (!ib_odp_fault_timeout(odp, va, ahead, flags, RXE_ODP_WAIT))
			return 0;
		WRITE_ONCE(mr->ahead_after, jiffies + RXE_ODP_AHEAD_PAUSE);
	}
	return ib_odp_fault_timeout(odp, va, length, flags, RXE_ODP_WAIT);
}

/*
 * Get at the first piece of a range of an MR, with all of the range brought in
 * where it is not. 0, -EAGAIN or -EFAULT.
 */
static int rxe_odp_begin(struct rxe_mr *mr, u64 iova, size_t length,
			 size_t ahead, bool write, struct ib_odp_piece *piece)
{
	struct ib_odp *odp = to_ib_odp(mr->umem);
	unsigned long va = rxe_odp_va(mr, iova);
	int tries, err;

	for (tries = 0; tries < RXE_ODP_TRIES; tries++) {
		if (ib_odp_access_begin(odp, va, length, write, piece))
			return 0;
		err = rxe_odp_fault(mr, va, length, ahead, write);
		if (err)
			return rxe_odp_error(err);
	}
	return -EAGAIN;
}

/**
 * rxe_odp_mr_copy - copy between a buffer and an ODP MR
 * @mr: MR with a reference held
 * @iova: where in the MR; the range is in it
 * @addr: the buffer
 * @length: bytes to copy
 * @ahead: bytes from @iova on that the message is about to copy, these among them
 * @dir: RXE_TO_MR_OBJ or RXE_FROM_MR_OBJ
 *
 * Context: process, may sleep.
 *
 * Return: 0, -EFAULT, or -EAGAIN to try again later.
 */
int rxe_odp_mr_copy(struct rxe_mr *mr, u64 iova, void *addr, u32 length,
		    u32 ahead, enum rxe_mr_copy_dir dir)
{
	struct ib_odp_piece piece;
	int err;

	while (length) {
		err = rxe_odp_begin(mr, iova, length, ahead,
				    dir == RXE_TO_MR_OBJ, &piece);
		if (err)
			return err;
		if (dir == RXE_TO_MR_OBJ)
			memcpy(piece.addr, addr, piece.len);
		else
			memcpy(addr, piece.addr, piece.len);
		ib_odp_access_end(&piece);
		addr += piece.len;
		iova += piece.len;
		length -= piece.len;
		ahead -= piece.len;
	}
	return 0;
}

/**
 * rxe_odp_flush_pmem_iova - make a range of an ODP MR persistent
 * @mr: MR with a reference held, registered for persistent flush
 * @iova: where in the MR
 * @length: bytes to flush
 *
 * Memory that can be pinned is looked at when it is registered; here only the
 * pages at hand can be.
 *
 * Context: process, may sleep.
 *
 * Return: 0, -EINVAL where the range is not in the MR, -EFAULT where there is no
 * memory or none that persists, or -EAGAIN to try again later.
 */
int rxe_odp_flush_pmem_iova(struct rxe_mr *mr, u64 iova, size_t length)
{
	struct ib_odp_piece piece;
	bool pmem;
	int err;

	err = mr_check_range(mr, iova, length);
	while (!err && length) {
		err = rxe_odp_begin(mr, iova, min(length, SZ_64K), length,
				    false, &piece);
		if (err)
			return err;
		pmem = rxe_range_is_pmem((struct phys_vec) {
					 virt_to_phys(piece.addr), piece.len });
		if (pmem)
			arch_wb_cache_pmem(piece.addr, piece.len);
		else
			err = -EFAULT;
		ib_odp_access_end(&piece);
		iova += piece.len;
		length -= piece.len;
	}
	return err;
}

/* The 8 bytes that an atomic operation works on, aligned: one piece always. */
static enum resp_states rxe_odp_begin_atomic(struct rxe_mr *mr, u64 iova,
					     struct ib_odp_piece *piece)
{
	int err;

	/* See IBA oA19-28 */
	if (mr->state != RXE_MR_STATE_VALID ||
	    mr_check_range(mr, iova, sizeof(u64)))
		return RESPST_ERR_RKEY_VIOLATION;
	/* See IBA A19.4.2 */
	if (!IS_ALIGNED(rxe_odp_va(mr, iova), sizeof(u64))) {
		rxe_dbg_mr(mr, "iova not aligned\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}

	err = rxe_odp_begin(mr, iova, sizeof(u64), sizeof(u64), true, piece);
	if (err == -EAGAIN)
		return RESPST_WAIT_PAGES;
	return err ? RESPST_ERR_RKEY_VIOLATION : RESPST_NONE;
}

/**
 * rxe_odp_atomic_op - compare and swap, or fetch and add, in an ODP MR
 * @mr: MR with a reference held
 * @iova: where in the MR
 * @opcode: IB_OPCODE_RC_COMPARE_SWAP or IB_OPCODE_RC_FETCH_ADD
 * @compare: what to compare with
 * @swap_add: what to store or add
 * @orig_val: gets the value from before
 *
 * Context: process, may sleep.
 *
 * Return: RESPST_NONE, or the state that handles the error or the delay.
 */
enum resp_states rxe_odp_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				   u64 compare, u64 swap_add, u64 *orig_val)
{
	struct ib_odp_piece piece;
	enum resp_states state;
	u64 *va;

	state = rxe_odp_begin_atomic(mr, iova, &piece);
	if (state != RESPST_NONE)
		return state;

	va = piece.addr;
	spin_lock_bh(&atomic_ops_lock);
	*orig_val = *va;
	if (opcode != IB_OPCODE_RC_COMPARE_SWAP)
		*va += swap_add;
	else if (*orig_val == compare)
		*va = swap_add;
	spin_unlock_bh(&atomic_ops_lock);

	ib_odp_access_end(&piece);
	return RESPST_NONE;
}

/**
 * rxe_odp_do_atomic_write - write 8 bytes of an ODP MR at once
 * @mr: MR with a reference held
 * @iova: where in the MR
 * @value: what to write
 *
 * Context: process, may sleep.
 *
 * Return: RESPST_NONE, or the state that handles the error or the delay.
 */
enum resp_states rxe_odp_do_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	struct ib_odp_piece piece;
	enum resp_states state;

	state = rxe_odp_begin_atomic(mr, iova, &piece);
	if (state != RESPST_NONE)
		return state;

	/* Do atomic write after all prior operations have completed */
	smp_store_release((u64 *)piece.addr, value);
	ib_odp_access_end(&piece);
	return RESPST_NONE;
}

/**
 * rxe_fill_stat_mr_entry - report the counters of an MR
 * @msg: gets them
 * @ibmr: the MR; only those with on-demand paging have any
 *
 * Return: 0 or a negative error.
 */
int rxe_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct rxe_mr *mr = to_rmr(ibmr);

	return is_odp_mr(mr) ? ib_odp_fill_stats(msg, to_ib_odp(mr->umem)) : 0;
}

/* A range to bring in, and the region it is in, held. */
struct rxe_odp_range {
	struct ib_odp *odp;
	unsigned long va;
	size_t length;
};

/* What an element of a list asks for. All of it is checked before any is done. */
static int rxe_odp_get_range(struct rxe_pd *pd, const struct ib_sge *sge,
			     unsigned int flags, struct rxe_odp_range *range)
{
	struct rxe_mr *mr = lookup_mr(pd, 0, sge->lkey, RXE_LOOKUP_LOCAL);
	int err = 0;

	if (!mr) {
		rxe_dbg_pd(pd, "mr with lkey %x not found\n", sge->lkey);
		return -EINVAL;
	}
	if (!is_odp_mr(mr))
		err = -EINVAL;
	else if (mr_check_range(mr, sge->addr, sge->length))
		err = -EFAULT;
	else if (flags & IB_ODP_WRITE && !mr->umem->writable)
		err = -EPERM;
	if (err)
		goto out;

	range->odp = to_ib_odp(mr->umem);
	range->va = rxe_odp_va(mr, sge->addr);
	range->length = sge->length;
	ib_odp_hold(range->odp);
out:
	rxe_put(mr);
	return err;
}

/* The MRs are not held: they may be destroyed while a fault hangs. */
static int rxe_odp_prefetch(struct rxe_odp_range *range, unsigned int flags,
			    bool wait)
{
	flags |= IB_ODP_PREFETCH;
	if (wait)
		return ib_odp_fault(range->odp, range->va, range->length,
				    flags);
	/* Nobody asks whether it worked. */
	if (range->length)
		ib_odp_fault_timeout(range->odp, range->va, range->length,
				     flags, 0);
	return 0;
}

/**
 * rxe_ib_advise_mr - bring pages of ODP MRs in ahead of use
 * @ibpd: protection domain of the MRs
 * @advice: for reading, for writing, or only what the CPU has mapped
 * @flags: IB_UVERBS_ADVISE_MR_FLAG_FLUSH to wait for it
 * @sg_list: ranges of MRs
 * @num_sge: how many
 * @attrs: not used
 *
 * Context: process, may sleep.
 *
 * Return: 0; -EOPNOTSUPP for other advice; -EINVAL, -EPERM or -EFAULT where an
 * element is not in an ODP MR that allows it, and nothing is done; or what the
 * first fault that failed said, where the caller wanted to wait.
 */
int rxe_ib_advise_mr(struct ib_pd *ibpd, enum ib_uverbs_advise_mr_advice advice,
		     u32 flags, struct ib_sge *sg_list, u32 num_sge,
		     struct uverbs_attr_bundle *attrs)
{
	struct rxe_odp_range *ranges;
	unsigned int how = 0;
	int err = 0;
	u32 i, nr;

	if (advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE)
		how = IB_ODP_WRITE;
	else if (advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT)
		how = IB_ODP_SNAPSHOT;
	else if (advice != IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH)
		return -EOPNOTSUPP;

	ranges = kvzalloc_objs(*ranges, num_sge);
	if (!ranges)
		return -ENOMEM;
	for (nr = 0; nr < num_sge && !err; nr++)
		err = rxe_odp_get_range(to_rpd(ibpd), &sg_list[nr], how,
					&ranges[nr]);
	if (err)
		nr--;
	for (i = 0; i < nr; i++) {
		if (!err)
			err = rxe_odp_prefetch(&ranges[i], how,
					       flags & IB_UVERBS_ADVISE_MR_FLAG_FLUSH);
		ib_odp_put(ranges[i].odp);
	}
	kvfree(ranges);
	return err;
}
