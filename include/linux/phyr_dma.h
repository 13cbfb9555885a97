/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a device sees a list of physical ranges.
 *
 * A struct phyr_list goes in, a struct phyr_dma comes out: DMA ranges that a
 * driver walks with a cursor and puts into its page tables. Neither is ever
 * written into the other.
 *
 * Who has the whole list maps it by phyr_dma_map(). Who makes it piece by piece
 * can map it at the same pace::
 *
 *	ret = phyr_dma_begin(&dma, dev, nr_pages, place, flags, dir, attrs);
 *	while (!ret && (more to come)) {
 *		ret = phyr_list_append(&list, ...);
 *		if (!ret)
 *			ret = phyr_dma_add(&dma, &list);
 *	}
 *	if (!ret)
 *		ret = phyr_dma_finish(&dma, &list);
 *	if (ret)
 *		phyr_dma_unmap(&dma, &list);
 */
#ifndef _LINUX_PHYR_DMA_H
#define _LINUX_PHYR_DMA_H

#include <linux/dma-mapping.h>
#include <linux/phyr.h>

/* One contiguous DMA range, or an error; else as few as the device allows. */
#define PHYR_DMA_LINEAR		BIT(0)
/* The list may have peer-to-peer MMIO in it. */
#define PHYR_DMA_P2P		BIT(1)

struct phyr_dma_stored;

/**
 * struct phyr_dma - the DMA ranges of a list of physical ranges
 * @nr_pages: pages mapped so far; all of the list, once it is finished
 *
 * Page granular like its list, byte for byte in the same order. All zero is a
 * mapping of nothing.
 */
struct phyr_dma {
	u64			nr_pages;
	/* private: */
	struct device		*dev;
	union {				/* by how */
		struct dma_iova_state	span;
		const struct phyr_list	*direct;
		struct phyr_dma_stored	*stored;
	};
	u32			attrs;	/* they are less than 32 bits */
	u16			pad;	/* pages of the IOVA that are left free in front */
	u8			dir;
	u8			flags : 4;
	u8			how : 4;	/* enum phyr_dma_how */
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

int phyr_dma_begin(struct phyr_dma *dma, struct device *dev, u64 nr_pages,
		   u64 place, unsigned int flags, enum dma_data_direction dir,
		   unsigned long attrs);
int phyr_dma_add(struct phyr_dma *dma, const struct phyr_list *list);
int phyr_dma_finish(struct phyr_dma *dma, const struct phyr_list *list);
int phyr_dma_map(struct phyr_dma *dma, struct device *dev,
		 const struct phyr_list *list, u64 place, unsigned int flags,
		 enum dma_data_direction dir, unsigned long attrs);
void phyr_dma_unmap(struct phyr_dma *dma, const struct phyr_list *list);
int phyr_dma_copy_sgt(struct phyr_dma *dma, const struct sg_table *sgt,
		      u64 offset, u64 length);
void phyr_dma_forget(struct phyr_dma *dma);
void phyr_dma_seek(struct phyr_dma_cursor *cur, const struct phyr_dma *dma,
		   u64 offset, u64 length);
bool phyr_dma_next(struct phyr_dma_cursor *cur);

/**
 * enum phyr_window_how - how pages get into a window
 * @PHYR_WINDOW_NONE: it is not open
 * @PHYR_WINDOW_IOVA: they are linked at their place in a span of IOVA
 * @PHYR_WINDOW_DIRECT: there is nothing to do
 * @PHYR_WINDOW_EACH: by dma_map_phys(); the owner keeps the address of each
 */
enum phyr_window_how {
	PHYR_WINDOW_NONE,
	PHYR_WINDOW_IOVA,
	PHYR_WINDOW_DIRECT,
	PHYR_WINDOW_EACH,
};

/**
 * struct phyr_window - DMA addresses for pages that come and go
 * @dev: device that does the DMA
 * @dir: &enum dma_data_direction
 * @how: &enum phyr_window_how
 *
 * All zero is a window that is not open.
 */
struct phyr_window {
	struct device		*dev;
	u8			dir;
	u8			how;
	/* private: */
	struct dma_iova_state	state;
};

/**
 * enum phyr_peer - how a device reaches a page that is MMIO of another
 * @PHYR_PEER_LINK: at its place in the window, linked (or mapped, if each page is)
 *	with DMA_ATTR_MMIO
 * @PHYR_PEER_ADDR: at an address that needs no mapping
 * @PHYR_PEER_NONE: not at all
 */
enum phyr_peer {
	PHYR_PEER_LINK,
	PHYR_PEER_ADDR,
	PHYR_PEER_NONE,
};

int phyr_window_open(struct phyr_window *win, struct device *dev, size_t size,
		     enum dma_data_direction dir);
void phyr_window_close(struct phyr_window *win);
int phyr_window_link(struct phyr_window *win, size_t offset,
		     struct phyr_cursor *cur, size_t largest,
		     unsigned long attrs);
int phyr_window_sync(struct phyr_window *win, size_t offset, size_t size);
void phyr_window_unlink(struct phyr_window *win, size_t offset, size_t size);
enum phyr_peer phyr_window_peer(const struct phyr_window *win, struct page *page,
				dma_addr_t *addr);
dma_addr_t phyr_window_addr(const struct phyr_window *win, size_t offset,
			    phys_addr_t phys);

/* Between here and the IOMMU: see drivers/iommu/dma-iommu.c. */
#ifdef CONFIG_IOMMU_DMA
int dma_iova_link_phyr(struct device *dev, struct dma_iova_state *state,
		       size_t offset, struct phyr_cursor *cur, size_t largest,
		       enum dma_data_direction dir, unsigned long attrs,
		       gfp_t gfp);
void dma_iova_unlink_sparse(struct device *dev, struct dma_iova_state *state,
			    size_t offset, size_t size,
			    enum dma_data_direction dir, unsigned long attrs);
void dma_iova_free_sparse(struct device *dev, struct dma_iova_state *state);
#else
/* No state is ever allocated. */
static inline int dma_iova_link_phyr(struct device *dev,
				     struct dma_iova_state *state, size_t offset,
				     struct phyr_cursor *cur, size_t largest,
				     enum dma_data_direction dir,
				     unsigned long attrs, gfp_t gfp)
{
	return -EOPNOTSUPP;
}

static inline void dma_iova_unlink_sparse(struct device *dev,
					  struct dma_iova_state *state,
					  size_t offset, size_t size,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
}

static inline void dma_iova_free_sparse(struct device *dev,
					struct dma_iova_state *state)
{
}
#endif

#endif /* _LINUX_PHYR_DMA_H */
