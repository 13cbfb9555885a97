/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ways in which a dma-buf hands out its memory.
 *
 * A mapping type is one such way: as a scatterlist of DMA addresses, made by
 * the exporter for the importer's device (SGT), or as the physical ranges of
 * the memory itself (phyr). Exporter and importer each offer the types that
 * they can do, and the core picks one when they are attached, see
 * drivers/dma-buf/dma-buf-phyr.c. From then on each of them calls, or is called
 * by, the operations of that type only.
 *
 * What an exporter offers of a type and what an importer offers of it are two
 * structures, each with the type's generic part as its first member. P2P is
 * part of the type: both say what they can do of it.
 */
#ifndef _LINUX_DMA_BUF_PHYR_H
#define _LINUX_DMA_BUF_PHYR_H

#include <linux/container_of.h>
#include <linux/dma-direction.h>
#include <linux/types.h>

struct dma_buf;
struct dma_buf_attachment;
struct dma_buf_exp_mapping;
struct dma_buf_imp_mapping;
struct phyr_list;
struct sg_table;

/**
 * struct dma_buf_mapping_type - a way to hand out memory
 * @name: for people
 * @match: whether the two, both of this type, can work together in @attach: 0,
 *	or the error for the importer. @attach has the buffer, the device, if
 *	any, and the importer's operations, if any.
 */
struct dma_buf_mapping_type {
	const char *name;
	int (*match)(struct dma_buf_attachment *attach,
		     const struct dma_buf_exp_mapping *exp,
		     const struct dma_buf_imp_mapping *imp);
};

/**
 * struct dma_buf_exp_mapping - what all types have in an exporter's offer
 * @type: the type; says which structure this is the first member of
 * @attach: optional, an importer has been attached by this offer; called before
 *	&dma_buf_ops.attach and in the same context
 * @detach: optional, undoes it
 */
struct dma_buf_exp_mapping {
	const struct dma_buf_mapping_type *type;
	int (*attach)(struct dma_buf_attachment *attach);
	void (*detach)(struct dma_buf_attachment *attach);
};

/**
 * struct dma_buf_imp_mapping - what all types have in an importer's offer
 * @type: the type; says which structure this is the first member of
 */
struct dma_buf_imp_mapping {
	const struct dma_buf_mapping_type *type;
};

/**
 * struct dma_buf_sgt_exp - an exporter maps its memory for the importer's device
 * @base: generic part
 * @map: &dma_buf_ops.map_dma_buf says what it does
 * @unmap: undoes it
 */
struct dma_buf_sgt_exp {
	struct dma_buf_exp_mapping base;
	struct sg_table *(*map)(struct dma_buf_attachment *attach,
				enum dma_data_direction dir);
	void (*unmap)(struct dma_buf_attachment *attach, struct sg_table *sgt,
		      enum dma_data_direction dir);
};

/**
 * struct dma_buf_sgt_imp - an importer has a device and uses DMA addresses
 * @base: generic part
 * @peer2peer: the addresses may be those of a peer's MMIO, without struct page
 */
struct dma_buf_sgt_imp {
	struct dma_buf_imp_mapping base;
	bool peer2peer;
};

/**
 * struct dma_buf_phyr_exp - an exporter names the physical ranges of its memory
 * @base: generic part
 * @map: gives the ranges of the whole buffer, which stay as they are and where
 *	they are until @unmap, or an ERR_PTR(): -ENODEV while access is revoked.
 *	Called with the reservation lock held. To move or revoke the memory, call
 *	dma_buf_invalidate_mappings(), and do not touch it before every importer
 *	has unmapped.
 * @unmap: optional, the importer does not use the ranges any more
 * @dma_attrs: DMA_ATTR_* for mapping the ranges for an importer that wants SGT
 * @mmio: ranges may be a peer's MMIO, without struct page
 */
struct dma_buf_phyr_exp {
	struct dma_buf_exp_mapping base;
	const struct phyr_list *(*map)(struct dma_buf_attachment *attach);
	void (*unmap)(struct dma_buf_attachment *attach,
		      const struct phyr_list *list);
	unsigned long dma_attrs;
	bool mmio;
};

/**
 * struct dma_buf_phyr_imp - an importer uses physical ranges
 * @base: generic part
 * @mmio: it can use MMIO
 *
 * Such an importer has &dma_buf_attach_ops.invalidate_mappings: it stops using
 * the ranges and unmaps them before that returns. Whether it does DMA, and if
 * so, how it maps the ranges for its device, is its own business; with no
 * device it is attached without one.
 */
struct dma_buf_phyr_imp {
	struct dma_buf_imp_mapping base;
	bool mmio;
};

#define to_dma_buf_sgt_exp(ptr) \
	container_of_const(ptr, struct dma_buf_sgt_exp, base)
#define to_dma_buf_sgt_imp(ptr) \
	container_of_const(ptr, struct dma_buf_sgt_imp, base)
#define to_dma_buf_phyr_exp(ptr) \
	container_of_const(ptr, struct dma_buf_phyr_exp, base)
#define to_dma_buf_phyr_imp(ptr) \
	container_of_const(ptr, struct dma_buf_phyr_imp, base)

extern const struct dma_buf_mapping_type dma_buf_sgt_type;
extern const struct dma_buf_mapping_type dma_buf_phyr_type;

bool dma_buf_attach_is_phyr(const struct dma_buf_attachment *attach);
const struct phyr_list *dma_buf_map_phyr(struct dma_buf_attachment *attach);
void dma_buf_unmap_phyr(struct dma_buf_attachment *attach,
			const struct phyr_list *list);

/* For dma-buf.c */
int dma_buf_match_mapping(struct dma_buf_attachment *attach);
void dma_buf_check_unmapped(const struct dma_buf_attachment *attach);
const struct dma_buf_sgt_exp *
dma_buf_attach_sgt(const struct dma_buf_attachment *attach);

#endif /* _LINUX_DMA_BUF_PHYR_H */
