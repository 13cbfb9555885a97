/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The physical ranges of pinned user memory, for drivers that read it with the
 * CPU. Drivers of devices that do DMA walk <rdma/iter.h>'s blocks.
 */
#ifndef IB_UMEM_PHYR_H
#define IB_UMEM_PHYR_H

#include <linux/types.h>

struct ib_umem;
struct page;

#ifdef CONFIG_INFINIBAND_USER_MEM

struct page *ib_umem_page(const struct ib_umem *umem, u64 offset);

#else /* CONFIG_INFINIBAND_USER_MEM */

static inline struct page *ib_umem_page(const struct ib_umem *umem, u64 offset)
{
	return NULL;
}

#endif /* CONFIG_INFINIBAND_USER_MEM */
#endif /* IB_UMEM_PHYR_H */
