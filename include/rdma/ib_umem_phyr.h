/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The physical ranges of pinned user memory, for drivers that read it with the
 * CPU. Drivers of devices that do DMA walk <rdma/iter.h>'s blocks.
 */
#ifndef IB_UMEM_PHYR_H
#define IB_UMEM_PHYR_H

#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/phyr.h>
#include <linux/types.h>

struct ib_umem;

#ifdef CONFIG_INFINIBAND_USER_MEM

struct page *ib_umem_page(const struct ib_umem *umem, u64 offset);
void ib_umem_seek(struct phyr_cursor *cur, const struct ib_umem *umem,
		  u64 offset, u64 length);

#else /* CONFIG_INFINIBAND_USER_MEM */

static inline struct page *ib_umem_page(const struct ib_umem *umem, u64 offset)
{
	return NULL;
}

static inline void ib_umem_seek(struct phyr_cursor *cur,
				const struct ib_umem *umem, u64 offset,
				u64 length)
{
	*cur = (struct phyr_cursor) {};
}

#endif /* CONFIG_INFINIBAND_USER_MEM */

/**
 * ib_umem_next_page - the next page of a window of a pinned umem
 * @cur: cursor that ib_umem_seek() has set, used with nothing else
 *
 * Context: any, without a lock.
 *
 * Return: the page, pinned as long as the umem lives, or NULL after the last.
 */
static inline struct page *ib_umem_next_page(struct phyr_cursor *cur)
{
	phys_addr_t paddr;
	size_t len;

	if (!cur->vec.len && !phyr_next(cur))
		return NULL;
	paddr = cur->vec.paddr;
	len = min(cur->vec.len, PAGE_SIZE - offset_in_page(paddr));
	cur->vec.paddr += len;
	cur->vec.len -= len;
	return phys_to_page(paddr);
}

#endif /* IB_UMEM_PHYR_H */
