// SPDX-License-Identifier: GPL-2.0
/*
 * The DMA engine, and copies from MR to MR with it.
 *
 * A copy goes in chunks, each from the source to the device's buffer and from
 * there to the destination. The lock is dropped between chunks, so a copy of
 * any length keeps nobody from deregistering an MR for long, its own included:
 * the next chunk finds no such key. A request cannot be called back. A device
 * that does not answer loses the right to do DMA before anybody takes it for
 * idle.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <rdma/ib_umem.h>

#include "edu.h"

/* Registers. Those of the DMA engine take all their 64 bits in one write. */
#define EDU_IRQ_STATUS		0x24
#define EDU_IRQ_ACK		0x64
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98

#define EDU_IRQ_DMA		BIT(8)

#define EDU_CMD_RUN		BIT_ULL(0)
#define EDU_CMD_TO_MEMORY	BIT_ULL(1)
#define EDU_CMD_IRQ		BIT_ULL(2)

/* Where the device's own buffer is, in the device's own address space. */
#define EDU_BUFFER		0x40000

/*
 * What is moved at a time. The buffer is larger, but a request that ends where
 * it ends aborts some versions of QEMU.
 */
#define EDU_CHUNK		2048

/* A request takes 0.1 s. */
#define EDU_TIMEOUT		(10 * HZ)

static irqreturn_t edu_irq(int irq, void *data)
{
	struct edu_dev *edu = data;
	u32 status = readl(edu->regs + EDU_IRQ_STATUS);

	if (!status || PCI_POSSIBLE_ERROR(status))
		return IRQ_NONE;
	writel(status, edu->regs + EDU_IRQ_ACK);
	if (status & EDU_IRQ_DMA)
		complete(&edu->done);
	return IRQ_HANDLED;
}

/**
 * edu_dma - run one request
 * @edu: device
 * @dir: from memory to the device's buffer, or the other way
 * @addr: DMA address
 * @pos: offset in the buffer
 * @len: bytes, not 0; @pos + @len is EDU_CHUNK at most
 *
 * Context: edu->lock is held; sleeps.
 *
 * Return: 0, or -EIO where the device is gone or does not answer: it does no
 * DMA any more. An access that the IOMMU refused looks like any other.
 */
int edu_dma(struct edu_dev *edu, enum edu_dir dir, dma_addr_t addr, u32 pos,
	    u32 len)
{
	u64 buffer = EDU_BUFFER + pos;
	u64 cmd = EDU_CMD_RUN | EDU_CMD_IRQ;

	lockdep_assert_held(&edu->lock);
	if (READ_ONCE(edu->dead))
		return -EIO;

	if (dir == EDU_WRITE)
		cmd |= EDU_CMD_TO_MEMORY;
	reinit_completion(&edu->done);
	writeq(dir == EDU_WRITE ? buffer : addr, edu->regs + EDU_DMA_SRC);
	writeq(dir == EDU_WRITE ? addr : buffer, edu->regs + EDU_DMA_DST);
	writeq(len, edu->regs + EDU_DMA_COUNT);
	writeq(cmd, edu->regs + EDU_DMA_CMD);

	if (!wait_for_completion_timeout(&edu->done, EDU_TIMEOUT)) {
		WRITE_ONCE(edu->dead, true);
		pci_clear_master(edu->pdev);
		ibdev_err(&edu->ibdev, "a request does not end\n");
		return -EIO;
	}
	return 0;
}

/*
 * The DMA address of a byte, and how many follow in its block; 0: it is in no
 * block now, and has to be brought in.
 */
static u64 edu_block(struct edu_mr *mr, enum edu_dir dir, u64 offset,
		     dma_addr_t *addr)
{
	const struct edu_table *table = &mr->table;
	u64 size = BIT_ULL(table->shift);
	u64 at = table->first + offset;

	if (mr->odp)
		return edu_odp_block(mr, dir, offset, addr);
	if (!table->blocks)
		return 0;
	*addr = table->blocks[at >> table->shift] + (at & (size - 1));
	return size - (at & (size - 1));
}

/*
 * Between the device's buffer and an MR, block by block as its table says. Where
 * that lacks one: -EAGAIN, and what is missed.
 */
static int edu_dma_mr(struct edu_dev *edu, enum edu_dir dir, struct edu_mr *mr,
		      u64 offset, u32 len, struct edu_missed *missed)
{
	dma_addr_t addr;
	u32 pos, n;
	int ret;

	for (pos = 0; pos < len; pos += n, offset += n) {
		n = min_t(u64, len - pos, edu_block(mr, dir, offset, &addr));
		if (!n) {
			kref_get(&mr->ref);
			*missed = (struct edu_missed) { mr, dir, offset, len - pos };
			return -EAGAIN;
		}
		ret = edu_dma(edu, dir, addr, pos, n);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * The MR with this key, if the PD may use it so. It stays until edu->lock is
 * dropped.
 */
static struct edu_mr *edu_find_mr(struct edu_dev *edu, const struct ib_pd *pd,
				  u32 key, u64 offset, u64 length, int access)
{
	struct edu_mr *mr = xa_load(&edu->mrs, key);
	u64 end;

	lockdep_assert_held(&edu->lock);
	if (!mr || mr->pd != pd)
		return ERR_PTR(-ENOENT);
	if ((mr->access & access) != access)
		return ERR_PTR(-EACCES);
	if (check_add_overflow(offset, length, &end) || end > mr->umem->length)
		return ERR_PTR(-ERANGE);
	return mr;
}

/* Both MRs are looked up for every chunk, as the lock is new each time. */
static int edu_copy_chunk(struct edu_dev *edu, const struct ib_pd *pd,
			  const struct edu_copy_req *req, u64 done, u32 len,
			  struct edu_missed *missed)
{
	struct edu_mr *src, *dst;
	int ret;

	lockdep_assert_held(&edu->lock);
	/* No request may come that notices: pages that never come in */
	if (READ_ONCE(edu->dead))
		return -EIO;
	src = edu_find_mr(edu, pd, req->src_key, req->src_offset, req->length,
			  0);
	if (IS_ERR(src))
		return PTR_ERR(src);
	dst = edu_find_mr(edu, pd, req->dst_key, req->dst_offset, req->length,
			  IB_ACCESS_LOCAL_WRITE);
	if (IS_ERR(dst))
		return PTR_ERR(dst);

	ret = edu_dma_mr(edu, EDU_READ, src, req->src_offset + done, len,
			 missed);
	if (!ret)
		ret = edu_dma_mr(edu, EDU_WRITE, dst, req->dst_offset + done,
				 len, missed);
	return ret;
}

/* Bring in what a copy missed. 0: it is there, or the copy is to look again. */
static int edu_fault(struct edu_missed *missed)
{
	return missed->mr->odp ? edu_odp_fault(missed) : edu_dmabuf_fault(missed);
}

/**
 * edu_copy - have the device copy bytes from one MR to another
 * @edu: device
 * @pd: PD of both MRs, which stays until this returns
 * @req: keys, offsets and length in bytes; 0 bytes are only checked for
 *
 * Bytes are copied in order, in chunks. What of the destination was written by
 * then stays written where this fails. A chunk that meets a page which is not
 * there is done again when it is.
 * Context: sleeps; a signal ends it between two chunks.
 *
 * Return: 0, or
 * -ENOENT where the PD has no MR with one of the keys, or no longer,
 * -EACCES where the destination may not be written,
 * -ERANGE where the bytes are not all in the MRs,
 * -EFAULT and others of ib_odp_fault() where the process has no such memory,
 * -ENODEV and others of ib_umem_dmabuf_map_pages() where an exporter does not
 * let the device at its memory,
 * -EINTR after a signal, or
 * -EIO where the device is gone or does not answer.
 */
int edu_copy(struct edu_dev *edu, struct ib_pd *pd,
	     const struct edu_copy_req *req)
{
	struct edu_missed missed;
	u64 done = 0;
	u32 n;
	int ret;

	do {
		n = min_t(u64, req->length - done, EDU_CHUNK);
		if (signal_pending(current))
			return -EINTR;
		ret = mutex_lock_interruptible(&edu->lock);
		if (ret)
			return ret;
		ret = edu_copy_chunk(edu, pd, req, done, n, &missed);
		mutex_unlock(&edu->lock);
		if (!ret)
			done += n;
		else if (ret == -EAGAIN)
			ret = edu_fault(&missed);
		if (ret)
			return ret;
	} while (done < req->length);
	return 0;
}

/**
 * edu_dma_init - get the DMA engine ready
 * @edu: device with its registers mapped
 *
 * Return: 0 or a negative errno value.
 */
int edu_dma_init(struct edu_dev *edu)
{
	int ret;

	mutex_init(&edu->lock);
	init_completion(&edu->done);
	ret = pci_alloc_irq_vectors(edu->pdev, 1, 1, PCI_IRQ_MSI);
	if (ret < 0)
		return ret;
	ret = pci_request_irq(edu->pdev, 0, edu_irq, NULL, edu, "edu_ib");
	if (ret) {
		pci_free_irq_vectors(edu->pdev);
		return ret;
	}
	pci_set_master(edu->pdev);
	return 0;
}

/**
 * edu_dma_exit - undo edu_dma_init()
 * @edu: device that runs no request
 */
void edu_dma_exit(struct edu_dev *edu)
{
	pci_clear_master(edu->pdev);
	pci_free_irq(edu->pdev, 0, edu);
	pci_free_irq_vectors(edu->pdev);
	mutex_destroy(&edu->lock);
}
