// SPDX-License-Identifier: GPL-2.0
/*
 * MRs of dma-bufs.
 *
 * rxe has no device that does DMA: it is an importer of physical ranges, and
 * reads and writes them with the CPU. RAM it reaches by the kernel's direct map,
 * MMIO of a device by mappings of its own, of the MR's bytes, with the I/O copy
 * functions. The ranges are mapped when the MR is registered, and again at the
 * first access after the exporter has moved the memory. While the exporter lets
 * nobody at it, accesses fail.
 *
 * Every access, of a packet's payload at most, goes like this:
 *
 *	rxe_dmabuf_begin()	the CPU may access; the mapping is there and stays
 *	...			rxe_mem.c copies
 *	rxe_dmabuf_end()
 *
 * What makes memory safe to use that has no page reference is that its exporter
 * takes it away only after rxe_dmabuf_invalidate(), and that this waits for all
 * accesses under way: when it returns, nobody has the mapping, and nobody gets
 * it before the exporter hands the memory out again. The same goes for MMIO.
 *
 * Locking: accesses are SRCU readers, so they do not wait for each other. They
 * never take the reservation lock of the dma-buf in there: it is held by who
 * waits for them. It is taken before, to map.
 */
#include <linux/dma-buf.h>
#include <linux/dma-buf-phyr.h>
#include <linux/dma-resv.h>
#include <linux/io.h>
#include <linux/overflow.h>
#include <linux/phyr.h>
#include <linux/slab.h>
#include <linux/srcu.h>

#include "rxe.h"
#include "rxe_loc.h"

MODULE_IMPORT_NS("DMA_BUF");

/**
 * struct rxe_piece - a range of an MR's memory that has MMIO in it
 * @start: in bytes from the start of the dma-buf
 * @va: where the CPU sees it, by an I/O mapping if @io
 * @len: bytes in it
 * @io: it is MMIO
 */
struct rxe_piece {
	u64	start;
	void	*va;
	size_t	len;
	bool	io;
};

/**
 * struct rxe_mapping - where the memory of an MR is, until it is invalidated
 * @attach: attachment that the ranges came from
 * @next: another one that is hidden together with it
 * @list: the ranges of the dma-buf
 * @nr: pieces
 * @pieces: the MR's memory in order; none, where all of it is RAM
 */
struct rxe_mapping {
	struct dma_buf_attachment *attach;
	struct rxe_mapping	*next;
	const struct phyr_list	*list;
	unsigned int		nr;
	struct rxe_piece	pieces[] __counted_by(nr);
};

/**
 * struct rxe_dmabuf - the memory of an MR that is in a dma-buf
 * @dmabuf: holds a reference
 * @attach: our attachment to it
 * @mapping: where it is, NULL while it is not mapped; written under the
 *	reservation lock, read under rxe_dmabuf_srcu
 * @offset: of the MR's first byte in the dma-buf
 * @length: of the MR
 */
struct rxe_dmabuf {
	struct dma_buf			*dmabuf;
	struct dma_buf_attachment	*attach;
	struct rxe_mapping __rcu	*mapping;
	u64				offset;
	u64				length;
};

/* One for all: an access lasts as long as it takes to copy a packet. */
DEFINE_STATIC_SRCU(rxe_dmabuf_srcu);

static const struct dma_buf_attach_ops rxe_dmabuf_ops;

static void rxe_free_mapping(struct rxe_mapping *m)
{
	for (unsigned int i = 0; i < m->nr; i++)
		if (m->pieces[i].io)
			iounmap((void __iomem *)m->pieces[i].va);
	kvfree(m);
}

/* From now on nobody finds the mapping; accesses under way may still use it. */
static struct rxe_mapping *rxe_hide_mapping(struct rxe_dmabuf *buf)
{
	return rcu_replace_pointer(buf->mapping, NULL,
				   dma_resv_held(buf->dmabuf->resv));
}

/* Wait for accesses of hidden mappings, once for all of them, and unmap them. */
static void rxe_unmap_hidden(struct rxe_mapping *all)
{
	struct rxe_mapping *m;

	if (!all)
		return;
	synchronize_srcu_expedited(&rxe_dmabuf_srcu);
	while ((m = all)) {
		struct dma_buf_attachment *attach = m->attach;
		const struct phyr_list *list = m->list;

		all = m->next;
		rxe_free_mapping(m);
		dma_buf_unmap_phyr(attach, list);
	}
}

/*
 * The exporter tells one attachment after the other, and waits meanwhile. To
 * wait for accesses once, not once for each MR, the first one that is told does
 * the work of all of them: the others then have nothing left to do.
 */
static void rxe_dmabuf_invalidate(struct dma_buf_attachment *attach)
{
	struct rxe_dmabuf *buf = attach->importer_priv;
	struct dma_buf_attachment *other;
	struct rxe_mapping *m, *all = NULL;

	dma_resv_assert_held(attach->dmabuf->resv);
	if (!rcu_access_pointer(buf->mapping))
		return;
	list_for_each_entry(other, &attach->dmabuf->attachments, node) {
		if (other->importer_ops != &rxe_dmabuf_ops)
			continue;
		m = rxe_hide_mapping(other->importer_priv);
		if (!m)
			continue;
		m->next = all;
		all = m;
	}
	rxe_unmap_hidden(all);
}

static const struct dma_buf_phyr_imp rxe_dmabuf_phyr = {
	.base.type = &dma_buf_phyr_type,
	.mmio = true,
};

static const struct dma_buf_imp_mapping *const rxe_dmabuf_mappings[] = {
	&rxe_dmabuf_phyr.base, NULL
};

static const struct dma_buf_attach_ops rxe_dmabuf_ops = {
	.mappings = rxe_dmabuf_mappings,
	.invalidate_mappings = rxe_dmabuf_invalidate,
};

/* Pieces that the MR's memory needs, 0 where all of it is RAM. */
static unsigned int rxe_count_pieces(const struct rxe_dmabuf *buf,
				     const struct phyr_list *list)
{
	struct phyr_cursor cur;
	unsigned int nr = 0;
	bool io = false;

	if (!phyr_has_mmio(list))
		return 0;
	phyr_seek(&cur, list, buf->offset, buf->length);
	for (; phyr_next(&cur); nr++)
		io |= !!cur.provider;
	return io ? nr : 0;
}

static int rxe_map_pieces(struct rxe_mapping *m, const struct rxe_dmabuf *buf)
{
	unsigned int nr = m->nr;
	u64 at = buf->offset;
	struct phyr_cursor cur;

	phyr_seek(&cur, m->list, buf->offset, buf->length);
	for (m->nr = 0; m->nr < nr && phyr_next(&cur); m->nr++) {
		struct rxe_piece piece = {
			.start = at, .len = cur.vec.len, .io = cur.provider,
		};

		piece.va = piece.io ?
			(void __force *)ioremap(cur.vec.paddr, cur.vec.len) :
			phys_to_virt(cur.vec.paddr);
		if (!piece.va)
			return -ENOMEM;
		m->pieces[m->nr] = piece;
		at += cur.vec.len;
	}
	return 0;
}

static struct rxe_mapping *rxe_new_mapping(const struct rxe_dmabuf *buf,
					   const struct phyr_list *list)
{
	unsigned int nr = rxe_count_pieces(buf, list);
	struct rxe_mapping *m;
	int ret;

	m = kvzalloc_flex(*m, pieces, nr);
	if (!m)
		return ERR_PTR(-ENOMEM);
	m->attach = buf->attach;
	m->list = list;
	m->nr = nr;
	ret = rxe_map_pieces(m, buf);
	if (ret) {
		rxe_free_mapping(m);
		return ERR_PTR(ret);
	}
	return m;
}

/*
 * Map the memory, if it is not, and wait until it can be used: mapping it may
 * be what makes the exporter move it. Accesses find it only after that.
 */
static int rxe_dmabuf_map_locked(struct rxe_dmabuf *buf)
{
	struct dma_resv *resv = buf->dmabuf->resv;
	const struct phyr_list *list;
	struct rxe_mapping *m;
	long left;

	if (rcu_dereference_protected(buf->mapping, dma_resv_held(resv)))
		return 0;
	list = dma_buf_map_phyr(buf->attach);
	if (IS_ERR(list))
		return PTR_ERR(list);
	left = dma_resv_wait_timeout(resv, DMA_RESV_USAGE_KERNEL, false,
				     MAX_SCHEDULE_TIMEOUT);
	m = left < 0 ? ERR_PTR(left) : rxe_new_mapping(buf, list);
	if (IS_ERR(m)) {
		dma_buf_unmap_phyr(buf->attach, list);
		return PTR_ERR(m);
	}
	rcu_assign_pointer(buf->mapping, m);
	return 0;
}

static int rxe_dmabuf_map(struct rxe_dmabuf *buf)
{
	struct dma_resv *resv = buf->dmabuf->resv;
	int ret;

	dma_resv_lock(resv, NULL);
	ret = rxe_dmabuf_map_locked(buf);
	dma_resv_unlock(resv);
	return ret;
}

/**
 * rxe_dmabuf_begin - begin to access the memory of an MR that is in a dma-buf
 * @buf: the MR's memory
 * @ranges: gets the ranges, which stay until rxe_dmabuf_end()
 * @dir: DMA_FROM_DEVICE for reading, DMA_BIDIRECTIONAL for anything else
 *
 * Context: may sleep; not in what comes between here and rxe_dmabuf_end().
 *
 * Return: 0, -EAGAIN to try again later, -ENODEV where the exporter lets nobody
 * access the memory, or others of its errors.
 */
int rxe_dmabuf_begin(struct rxe_dmabuf *buf, struct rxe_ranges *ranges,
		     enum dma_data_direction dir)
{
	const struct rxe_mapping *m;
	int ret;

	ret = dma_buf_begin_cpu_access(buf->dmabuf, dir);
	if (ret)
		return rxe_memory_error(ret);
	ranges->offset = buf->offset;
	for (;;) {
		ranges->srcu = srcu_read_lock(&rxe_dmabuf_srcu);
		m = srcu_dereference(buf->mapping, &rxe_dmabuf_srcu);
		if (likely(m)) {
			ranges->list = m->list;
			ranges->mapping = m->nr ? m : NULL;
			return 0;
		}
		srcu_read_unlock(&rxe_dmabuf_srcu, ranges->srcu);

		ret = rxe_dmabuf_map(buf);
		if (ret) {
			dma_buf_end_cpu_access(buf->dmabuf, dir);
			return rxe_memory_error(ret);
		}
	}
}

/**
 * rxe_dmabuf_end - end what rxe_dmabuf_begin() began
 * @buf: the MR's memory
 * @ranges: what rxe_dmabuf_begin() gave
 * @dir: what it was given
 *
 * Context: may sleep.
 */
void rxe_dmabuf_end(struct rxe_dmabuf *buf, struct rxe_ranges *ranges,
		    enum dma_data_direction dir)
{
	srcu_read_unlock(&rxe_dmabuf_srcu, ranges->srcu);
	dma_buf_end_cpu_access(buf->dmabuf, dir);
}

/**
 * rxe_dmabuf_span - where the CPU sees a byte of memory that has MMIO in it
 * @ranges: what rxe_dmabuf_begin() gave; its mapping is not NULL
 * @offset: of the byte, from the start of the dma-buf
 *
 * Context: between rxe_dmabuf_begin() and rxe_dmabuf_end().
 *
 * Return: the piece from the byte on, empty where the memory ends before it.
 */
struct rxe_span rxe_dmabuf_span(const struct rxe_ranges *ranges, u64 offset)
{
	const struct rxe_mapping *m = ranges->mapping;
	const struct rxe_piece *piece;
	unsigned int low = 0, high = m->nr - 1;
	u64 skip;

	while (low < high) {
		unsigned int mid = (low + high + 1) / 2;

		if (m->pieces[mid].start <= offset)
			low = mid;
		else
			high = mid - 1;
	}
	piece = &m->pieces[low];
	skip = offset - piece->start;
	if (skip >= piece->len)
		return (struct rxe_span) {};
	return (struct rxe_span) {
		.va = piece->va + skip,
		.len = piece->len - skip,
		.io = piece->io,
	};
}

static struct rxe_dmabuf *rxe_dmabuf_get(u64 offset, u64 length, int fd)
{
	struct rxe_dmabuf *buf;
	u64 end;
	int ret;

	if (!length || check_add_overflow(offset, length, &end))
		return ERR_PTR(-EINVAL);
	buf = kzalloc_obj(*buf);
	if (!buf)
		return ERR_PTR(-ENOMEM);
	buf->offset = offset;
	buf->length = length;
	buf->dmabuf = dma_buf_get(fd);
	if (IS_ERR(buf->dmabuf)) {
		ret = PTR_ERR(buf->dmabuf);
		goto err_free;
	}
	if (buf->dmabuf->size < end) {
		ret = -EINVAL;
		goto err_put;
	}
	buf->attach = dma_buf_dynamic_attach(buf->dmabuf, NULL, &rxe_dmabuf_ops,
					     buf);
	if (IS_ERR(buf->attach)) {
		ret = PTR_ERR(buf->attach);
		goto err_put;
	}
	ret = rxe_dmabuf_map(buf);
	if (!ret)
		return buf;

	dma_buf_detach(buf->dmabuf, buf->attach);
err_put:
	dma_buf_put(buf->dmabuf);
err_free:
	kfree(buf);
	return ERR_PTR(ret);
}

/**
 * rxe_dmabuf_release - let go of the memory of an MR that is in a dma-buf
 * @buf: memory that nobody accesses any more, or NULL
 *
 * Context: may sleep.
 */
void rxe_dmabuf_release(struct rxe_dmabuf *buf)
{
	if (!buf)
		return;
	dma_resv_lock(buf->dmabuf->resv, NULL);
	/* The pool gives up on a reference that stays: wait here all the same */
	rxe_unmap_hidden(rxe_hide_mapping(buf));
	dma_resv_unlock(buf->dmabuf->resv);
	dma_buf_detach(buf->dmabuf, buf->attach);
	dma_buf_put(buf->dmabuf);
	kfree(buf);
}

/**
 * rxe_mr_init_dmabuf - make an MR of memory in a dma-buf
 * @mr: new MR, in the pool but not yet found there
 * @offset: where the memory starts, in bytes from the start of the dma-buf
 * @length: bytes of memory
 * @iova: address of the first byte in the MR; the same as @offset modulo pages
 * @fd: the dma-buf
 * @access: IB_ACCESS_*
 *
 * Context: process context of who has the fd; may sleep.
 *
 * Return: 0, or with nothing to undo
 * -EBADF or -EINVAL where the fd is not one of a dma-buf,
 * -EINVAL where the range is empty, wraps or is not in the dma-buf,
 * -EOPNOTSUPP where its exporter cannot tell the ranges, or the access is of a
 * kind that the memory cannot give,
 * -ENODEV where the exporter lets nobody access the memory, or -ENOMEM.
 */
int rxe_mr_init_dmabuf(struct rxe_mr *mr, u64 offset, u64 length, u64 iova,
		       int fd, int access)
{
	struct rxe_dmabuf *buf;
	u64 end;

	/* What is persistent now may be moved to where it is not. */
	if (access & IB_ACCESS_FLUSH_PERSISTENT)
		return -EOPNOTSUPP;
	if (check_add_overflow(iova, length, &end))
		return -EINVAL;

	rxe_mr_init(access, mr);
	buf = rxe_dmabuf_get(offset, length, fd);
	if (IS_ERR(buf))
		return PTR_ERR(buf);

	mr->dmabuf = buf;
	mr->ibmr.iova = iova;
	mr->ibmr.length = length;
	mr->ibmr.type = IB_MR_TYPE_USER;
	mr->state = RXE_MR_STATE_VALID;
	return 0;
}
