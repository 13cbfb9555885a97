/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a device sees a list of physical ranges.
 *
 * A struct phyr_list goes in, a struct phyr_dma comes out: DMA ranges that a
 * driver walks with a cursor and puts into its page tables. Neither is ever
 * written into the other.
 */
#ifndef _LINUX_PHYR_DMA_H
#define _LINUX_PHYR_DMA_H

#include <linux/dma-mapping.h>
#include <linux/phyr.h>

/**
 * enum phyr_dma_mode - how the DMA addresses of a mapping are known
 * @PHYR_DMA_NONE: not mapped
 * @PHYR_DMA_LINEAR: one range, allocated in the IOVA space and linked
 * @PHYR_DMA_DIRECT: the physical addresses, translated; nothing is stored
 * @PHYR_DMA_RANGES: a stored list of DMA ranges
 */
enum phyr_dma_mode {
	PHYR_DMA_NONE,
	PHYR_DMA_LINEAR,
	PHYR_DMA_DIRECT,
	PHYR_DMA_RANGES,
};

/**
 * struct phyr_dma - the DMA ranges of a list of physical ranges
 * @nr_pages: pages mapped, the same as in the list
 *
 * Page granular like its list, byte for byte in the same order. All zero is a
 * mapping of nothing.
 */
struct phyr_dma {
	u64			nr_pages;
	/* private: */
	enum phyr_dma_mode	mode;
	struct device		*dev;
	union {
		struct dma_iova_state	state;
		const struct phyr_list	*direct;
		struct phyr_list	ranges;
	};
};

/**
 * struct phyr_dma_cursor - a place in DMA ranges
 * @addr: DMA address of the current piece
 * @len: bytes in it
 */
struct phyr_dma_cursor {
	dma_addr_t		addr;
	size_t			len;
	/* private: */
	const struct phyr_dma	*dma;
	struct phyr_cursor	at;
};

int phyr_dma_map(struct device *dev, struct phyr_dma *dma,
		 const struct phyr_list *list, enum dma_data_direction dir,
		 unsigned long attrs);
void phyr_dma_unmap(struct phyr_dma *dma, const struct phyr_list *list,
		    enum dma_data_direction dir, unsigned long attrs);
int phyr_dma_copy_sgt(struct phyr_dma *dma, const struct sg_table *sgt,
		      u64 offset, u64 length);
void phyr_dma_forget(struct phyr_dma *dma);
void phyr_dma_seek(struct phyr_dma_cursor *cur, const struct phyr_dma *dma,
		   u64 offset, u64 length);
bool phyr_dma_next(struct phyr_dma_cursor *cur);

#endif /* _LINUX_PHYR_DMA_H */
