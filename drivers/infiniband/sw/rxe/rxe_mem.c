// SPDX-License-Identifier: GPL-2.0
/*
 * CPU access to the memory of an MR.
 *
 * rxe_mr_span() is the one place that turns (MR, iova, length) into CPU
 * addresses; copy, atomics and flush are loops over what it gives. The kinds of
 * MR differ in where the addresses come from:
 *
 *  - a DMA MR's iova is a kernel address,
 *  - a fast registration MR has a table with an entry for each MR page, or for
 *    each system page of a larger MR page,
 *  - a user MR has the physical ranges of its umem or of a dma-buf, which are
 *    in the kernel's direct map, for rxe is not built with highmem.
 *
 * The addresses last from rxe_mr_begin() to rxe_mr_end(). For all but dma-bufs,
 * see rxe_dmabuf.c, those have nothing to do: the caller holds a reference to
 * the MR, and the pages stay pinned until the last one is gone. ODP MRs take
 * their own way, see rxe_odp.c.
 *
 * ODP and dma-bufs may have no memory for now. Such an access gives -EAGAIN: the
 * task puts its packet back, calls rxe_wait_pages(), and exits.
 */
#include <linux/io.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>

#include "rxe.h"
#include "rxe_loc.h"

/* How soon a task looks again for memory that is not there for now. */
#define RXE_RETRY	msecs_to_jiffies(10)

/**
 * rxe_memory_error - whether to try an access again
 * @err: what the memory's owner said
 *
 * Return: -EAGAIN where it can be different next time, else @err.
 */
int rxe_memory_error(int err)
{
	switch (err) {
	case -EBUSY:
	case -EINTR:
	case -ENOMEM:
		return -EAGAIN;
	default:
		return err;
	}
}

/*
 * A packet that came by loopback holds the QP that sent it: no longer. That may
 * free the QP's socket, which wants interrupts enabled.
 */
static void rxe_orphan_queue(struct sk_buff_head *queue)
{
	struct sk_buff *skb;

	spin_lock_bh(&queue->lock);
	skb_queue_walk(queue, skb)
		skb_orphan(skb);
	spin_unlock_bh(&queue->lock);
}

/**
 * rxe_wait_pages - have the tasks of a QP called again soon
 * @qp: QP whose task had -EAGAIN from an MR and is about to exit
 *
 * Packets wait as long as it takes, so their sender can be destroyed meanwhile.
 * Those that come later are looked at when the task is called again.
 * Context: process, without a lock.
 */
void rxe_wait_pages(struct rxe_qp *qp)
{
	rxe_orphan_queue(&qp->req_pkts);
	rxe_orphan_queue(&qp->resp_pkts);
	timer_reduce(&qp->page_timer, jiffies + RXE_RETRY);
}

/**
 * rxe_page_timer - look again whether pages are there
 * @t: page_timer of a QP
 */
void rxe_page_timer(struct timer_list *t)
{
	struct rxe_qp *qp = timer_container_of(qp, t, page_timer);
	unsigned long flags;

	if (!rxe_get(qp))
		return;
	spin_lock_irqsave(&qp->state_lock, flags);
	if (qp->valid) {
		rxe_sched_task(&qp->recv_task);
		rxe_sched_task(&qp->send_task);
	}
	spin_unlock_irqrestore(&qp->state_lock, flags);
	rxe_put(qp);
}

/* A DMA MR is all of memory. */
static __always_inline bool rxe_mr_has_range(const struct rxe_mr *mr, u64 iova,
					     size_t length)
{
	u64 offset = iova - mr->ibmr.iova;

	if (unlikely(mr->ibmr.type == IB_MR_TYPE_DMA))
		return true;
	return iova >= mr->ibmr.iova && offset <= mr->ibmr.length &&
	       length <= mr->ibmr.length - offset;
}

/**
 * mr_check_range - check that a range is in an MR
 * @mr: MR with a reference held
 * @iova: where the range starts
 * @length: bytes in it, may be 0
 *
 * Return: 0, or -EINVAL where it is not.
 */
int mr_check_range(struct rxe_mr *mr, u64 iova, size_t length)
{
	if (rxe_mr_has_range(mr, iova, length))
		return 0;
	rxe_dbg_mr(mr, "iova/length out of range\n");
	return -EINVAL;
}

static struct rxe_span rxe_fast_mr_span(struct rxe_mr *mr, u64 iova)
{
	size_t unit = min(mr_page_size(mr), PAGE_SIZE);
	u64 start = mr->ibmr.iova & mr->page_mask;
	u64 index = (iova - start) >> ilog2(unit);
	size_t offset = iova & (unit - 1);
	struct rxe_mr_page *info;

	if (index >= mr->nbuf || !mr->page_info[index].page)
		return (struct rxe_span) {};
	info = &mr->page_info[index];
	return (struct rxe_span) {
		.va = page_address(info->page) + info->offset + offset,
		.len = unit - offset,
	};
}

/* Begin an access, for whatever it takes until rxe_mr_end(). */
static __always_inline int rxe_mr_begin(struct rxe_mr *mr,
					struct rxe_ranges *ranges,
					enum dma_data_direction dir)
{
	if (mr->ibmr.type != IB_MR_TYPE_USER)
		return 0;
	if (unlikely(mr->dmabuf))
		return rxe_dmabuf_begin(mr->dmabuf, ranges, dir);
	ranges->list = &mr->umem->phyr;
	ranges->mapping = NULL;
	ranges->offset = ib_umem_offset(mr->umem);
	return 0;
}

static __always_inline void rxe_mr_end(struct rxe_mr *mr,
				       struct rxe_ranges *ranges,
				       enum dma_data_direction dir)
{
	if (unlikely(mr->dmabuf))
		rxe_dmabuf_end(mr->dmabuf, ranges, dir);
}

static struct rxe_span rxe_user_mr_span(struct rxe_mr *mr,
					const struct rxe_ranges *ranges, u64 iova)
{
	u64 offset = iova - mr->ibmr.iova + ranges->offset;
	struct phys_vec vec;

	if (unlikely(ranges->mapping))
		return rxe_dmabuf_span(ranges, offset);
	vec = phyr_at(ranges->list, offset);
	return (struct rxe_span) { phys_to_virt(vec.paddr), vec.len };
}

/*
 * The first piece of a range of an MR, a range that mr_check_range() let pass.
 * Empty where the MR has no memory: a table with a hole.
 */
static __always_inline struct rxe_span
rxe_mr_span(struct rxe_mr *mr, const struct rxe_ranges *ranges, u64 iova,
	    size_t length)
{
	struct rxe_span span = { ib_virt_dma_to_ptr(iova), length };

	if (mr->ibmr.type == IB_MR_TYPE_USER)
		span = rxe_user_mr_span(mr, ranges, iova);
	else if (mr->ibmr.type == IB_MR_TYPE_MEM_REG)
		span = rxe_fast_mr_span(mr, iova);
	span.len = min(span.len, length);
	return span;
}

static void rxe_copy_io(void __iomem *va, void *addr, size_t len,
			enum rxe_mr_copy_dir dir)
{
	if (dir == RXE_TO_MR_OBJ)
		memcpy_toio(va, addr, len);
	else
		memcpy_fromio(addr, va, len);
}

static __always_inline void rxe_copy_ram(void *va, void *addr, size_t len,
					 enum rxe_mr_copy_dir dir)
{
	if (dir == RXE_TO_MR_OBJ)
		memcpy(va, addr, len);
	else
		memcpy(addr, va, len);
}

/*
 * Copy between a buffer and pinned memory, which is what most messages do: no
 * access has to begin or end, and all of it is RAM. The range is in the umem.
 */
static __always_inline int rxe_umem_copy(struct ib_umem *umem, u64 offset, void *addr,
					 unsigned int length, enum rxe_mr_copy_dir dir)
{
	offset += ib_umem_offset(umem);
	for (;;) {
		struct phys_vec vec = phyr_at(&umem->phyr, offset);
		unsigned int len = min(vec.len, length);

		if (unlikely(!len))
			return -EFAULT;
		rxe_copy_ram(phys_to_virt(vec.paddr), addr, len, dir);
		length -= len;
		if (!length)
			return 0;
		addr += len;
		offset += len;
	}
}

/* Copy between a buffer and an MR whose memory is neither pinned nor ODP. */
static noinline int rxe_other_copy(struct rxe_mr *mr, u64 iova, void *addr,
				   unsigned int length, enum rxe_mr_copy_dir dir)
{
	enum dma_data_direction access = dir == RXE_TO_MR_OBJ ?
					 DMA_BIDIRECTIONAL : DMA_FROM_DEVICE;
	struct rxe_ranges ranges;
	int err;

	err = rxe_mr_begin(mr, &ranges, access);
	if (unlikely(err))
		return err;
	do {
		struct rxe_span span = rxe_mr_span(mr, &ranges, iova, length);

		if (unlikely(!span.len)) {
			err = -EFAULT;
			break;
		}
		if (unlikely(span.io))
			rxe_copy_io((void __iomem *)span.va, addr, span.len, dir);
		else
			rxe_copy_ram(span.va, addr, span.len, dir);
		addr += span.len;
		iova += span.len;
		length -= span.len;
	} while (length);
	rxe_mr_end(mr, &ranges, access);

	return err;
}

/**
 * rxe_mr_copy - copy between a buffer and an MR
 * @mr: MR with a reference held, access rights checked
 * @iova: where in the MR
 * @addr: the buffer
 * @length: bytes to copy
 * @ahead: bytes from @iova on that the message is about to copy, these among them
 * @dir: RXE_TO_MR_OBJ or RXE_FROM_MR_OBJ
 *
 * Context: may sleep for an MR with ODP or of a dma-buf.
 *
 * Return: 0, -EINVAL where the range is not in the MR, -EFAULT where the MR has
 * no memory there, -EAGAIN to try again later, or what a dma-buf's exporter said.
 */
int rxe_mr_copy(struct rxe_mr *mr, u64 iova, void *addr, unsigned int length,
		u32 ahead, enum rxe_mr_copy_dir dir)
{
	if (length == 0)
		return 0;
	if (WARN_ON(!mr))
		return -EINVAL;

	if (unlikely(!rxe_mr_has_range(mr, iova, length)))
		return mr_check_range(mr, iova, length);
	if (unlikely(!mr->umem))
		return rxe_other_copy(mr, iova, addr, length, dir);
	if (is_odp_mr(mr))
		return rxe_odp_mr_copy(mr, iova, addr, length, ahead, dir);
	return rxe_umem_copy(mr->umem, iova - mr->ibmr.iova, addr, length, dir);
}

/**
 * rxe_flush_pmem_iova - make a range of an MR persistent
 * @mr: MR with a reference held, registered for persistent flush
 * @start: where in the MR
 * @length: bytes to flush
 *
 * Context: may sleep for an ODP MR.
 *
 * Return: 0, -EINVAL where the range is not in the MR, -EFAULT where the MR has
 * no memory there or cannot be flushed, or -EAGAIN to try again later.
 */
int rxe_flush_pmem_iova(struct rxe_mr *mr, u64 start, size_t length)
{
	struct rxe_ranges ranges;
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

	err = mr_check_range(mr, start, length);
	if (!err)
		err = rxe_mr_begin(mr, &ranges, DMA_BIDIRECTIONAL);
	if (err)
		return err;
	while (length) {
		struct rxe_span span = rxe_mr_span(mr, &ranges, start, length);

		if (!span.len) {
			err = -EFAULT;
			break;
		}
		arch_wb_cache_pmem(span.va, span.len);
		start += span.len;
		length -= span.len;
	}
	rxe_mr_end(mr, &ranges, DMA_BIDIRECTIONAL);
	return err;
}

/* Guarantee atomicity of atomic operations at the machine level. */
DEFINE_SPINLOCK(atomic_ops_lock);

/*
 * Begin an access to the 8 bytes that an atomic operation works on. They are
 * aligned: one piece always. The access has begun only if the state is
 * RESPST_NONE.
 */
static enum resp_states rxe_mr_begin_atomic(struct rxe_mr *mr, u64 iova,
					    struct rxe_ranges *ranges,
					    struct rxe_span *at)
{
	enum resp_states state = RESPST_NONE;
	struct rxe_span span;
	int err;

	/* See IBA oA19-28 */
	err = mr_check_range(mr, iova, sizeof(u64));
	if (!err)
		err = rxe_mr_begin(mr, ranges, DMA_BIDIRECTIONAL);
	if (err)
		return err == -EAGAIN ? RESPST_WAIT_PAGES :
					RESPST_ERR_RKEY_VIOLATION;

	span = rxe_mr_span(mr, ranges, iova, sizeof(u64));
	if (!span.len) {
		rxe_dbg_mr(mr, "iova out of range\n");
		state = RESPST_ERR_RKEY_VIOLATION;
	} else if (!IS_ALIGNED((uintptr_t)span.va, sizeof(u64))) {
		/* See IBA A19.4.2 */
		rxe_dbg_mr(mr, "iova not aligned\n");
		state = RESPST_ERR_MISALIGNED_ATOMIC;
	}
	if (state != RESPST_NONE)
		rxe_mr_end(mr, ranges, DMA_BIDIRECTIONAL);
	*at = span;
	return state;
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
 * The CPU's atomics do not reach over PCI, so MMIO has none.
 * Context: may sleep for an MR of a dma-buf.
 *
 * Return: RESPST_NONE or the state that handles the error.
 */
enum resp_states rxe_mr_do_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				     u64 compare, u64 swap_add, u64 *orig_val)
{
	struct rxe_ranges ranges;
	enum resp_states state;
	struct rxe_span at;
	u64 *va;

	if (unlikely(mr->state != RXE_MR_STATE_VALID)) {
		rxe_dbg_mr(mr, "mr not in valid state\n");
		return RESPST_ERR_RKEY_VIOLATION;
	}
	state = rxe_mr_begin_atomic(mr, iova, &ranges, &at);
	if (state != RESPST_NONE)
		return state;
	if (at.io) {
		rxe_dbg_mr(mr, "no atomics in MMIO\n");
		rxe_mr_end(mr, &ranges, DMA_BIDIRECTIONAL);
		return RESPST_ERR_RKEY_VIOLATION;
	}

	va = at.va;
	spin_lock_bh(&atomic_ops_lock);
	*orig_val = *va;
	if (opcode != IB_OPCODE_RC_COMPARE_SWAP)
		*va += swap_add;
	else if (*orig_val == compare)
		*va = swap_add;
	spin_unlock_bh(&atomic_ops_lock);
	rxe_mr_end(mr, &ranges, DMA_BIDIRECTIONAL);

	return RESPST_NONE;
}

/**
 * rxe_mr_do_atomic_write - write 8 bytes of an MR at once
 * @mr: MR with a reference held, not one with ODP
 * @iova: where in the MR
 * @value: what to write
 *
 * Context: may sleep for an MR of a dma-buf.
 *
 * Return: RESPST_NONE or the state that handles the error.
 */
enum resp_states rxe_mr_do_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	struct rxe_ranges ranges;
	enum resp_states state;
	struct rxe_span at;

	state = rxe_mr_begin_atomic(mr, iova, &ranges, &at);
	if (state != RESPST_NONE)
		return state;

	if (at.io)
		writeq(value, (void __iomem *)at.va);
	else	/* Do it after all prior operations have completed, as writeq() does */
		smp_store_release((u64 *)at.va, value);
	rxe_mr_end(mr, &ranges, DMA_BIDIRECTIONAL);
	return RESPST_NONE;
}
