// SPDX-License-Identifier: GPL-2.0
/*
 * How drivers read where their device sees a umem: as aligned blocks, for page
 * tables, or as one address. Also built where user memory cannot be registered,
 * for the drivers link against it.
 */
#include <linux/bitops.h>
#include <linux/export.h>
#include <rdma/iter.h>

/**
 * ib_umem_start_dma_addr - where the device sees the first byte of a umem
 * @umem: umem that is mapped for its device
 *
 * Context: any.
 *
 * Return: DMA address of the byte at umem->address.
 */
dma_addr_t ib_umem_start_dma_addr(const struct ib_umem *umem)
{
	struct phyr_dma_cursor cur;

	phyr_dma_seek(&cur, &umem->dma, umem->address & ~PAGE_MASK, 1);
	if (WARN_ON_ONCE(!phyr_dma_next(&cur)))
		return 0;
	return cur.addr;
}
EXPORT_SYMBOL(ib_umem_start_dma_addr);

/**
 * __rdma_umem_block_iter_start - see rdma_umem_for_each_dma_block()
 * @biter: iterator to set
 * @umem: umem that is mapped for its device
 * @pgsz: block size in bytes, a power of two
 */
void __rdma_umem_block_iter_start(struct ib_block_iter *biter,
				  struct ib_umem *umem, unsigned long pgsz)
{
	*biter = (struct ib_block_iter) {
		.__pg_bit = __fls(pgsz),
		.__blocks = ib_umem_num_dma_blocks(umem, pgsz),
		/* Blocks smaller than a page start in the middle of one. */
		.__advance = ib_umem_offset(umem) & ~(pgsz - 1),
	};
	phyr_dma_seek(&biter->__cur, &umem->dma, 0, U64_MAX);
}
EXPORT_SYMBOL(__rdma_umem_block_iter_start);

/**
 * __rdma_umem_block_iter_next - see rdma_umem_for_each_dma_block()
 * @biter: iterator to move to its next block
 *
 * Return: whether there is one.
 */
bool __rdma_umem_block_iter_next(struct ib_block_iter *biter)
{
	struct phyr_dma_cursor *cur = &biter->__cur;
	u64 size = BIT_ULL(biter->__pg_bit);

	if (!biter->__blocks)
		return false;
	biter->__blocks--;

	while (biter->__advance >= cur->len) {
		biter->__advance -= cur->len;
		if (!phyr_dma_next(cur))
			return false;
	}
	biter->__dma_addr = cur->addr + biter->__advance;
	biter->__advance += size - (biter->__dma_addr & (size - 1));
	return true;
}
EXPORT_SYMBOL(__rdma_umem_block_iter_next);
