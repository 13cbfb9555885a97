// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping types of dma-bufs, see include/linux/dma-buf-phyr.h.
 *
 * The exporter's offers are gone through in its order, and the first one that
 * an offer of the importer matches decides. Those who say nothing about types
 * offer SGT: exporters by their map_dma_buf, importers by having a device. An
 * exporter of ranges has, behind its own offers, one of SGT too, that the core
 * makes from the ranges: so exporters of ranges need no scatterlist, importers
 * of scatterlists no ranges.
 *
 * Ranges are physical addresses, so who gets them is limited:
 *  - dma_buf_map_phyr() is exported to modules known to use them well;
 *  - only an importer that can be told that memory moves or goes away gets
 *    them. It may rely on a range from dma_buf_map_phyr() on until it is told.
 *    When it has been told, it stops its users, waits for them, and unmaps,
 *    all before it returns. The core counts what each has mapped, and complains
 *    of what is left then.
 *
 * The latter is what makes memory without struct page safe to use: no page
 * reference keeps it, and none is needed, for its exporter takes it away only
 * after dma_buf_invalidate_mappings() and after all have unmapped, and hands it
 * out again (-ENODEV until then) only when it is there again.
 *
 * The importer keeps a reference to the dma-buf from before it attaches until
 * after it detached; that keeps the exporter, whose fd may be closed meanwhile.
 *
 * Locking: mapping, unmapping and invalidating are under the reservation lock
 * of the dma-buf, so no mapping is made while one is taken away. Attaching and
 * detaching are not.
 */
#include <linux/align.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-phyr.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-resv.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/phyr.h>
#include <linux/phyr_dma.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

static int dma_buf_sgt_match(struct dma_buf_attachment *attach,
			     const struct dma_buf_exp_mapping *exp,
			     const struct dma_buf_imp_mapping *imp)
{
	if (!attach->dev)
		return -EOPNOTSUPP;
	attach->peer2peer = to_dma_buf_sgt_imp(imp)->peer2peer;
	return 0;
}

/* A scatterlist of DMA addresses, made by the exporter for the device. */
const struct dma_buf_mapping_type dma_buf_sgt_type = {
	.name = "sgt",
	.match = dma_buf_sgt_match,
};
EXPORT_SYMBOL_NS_GPL(dma_buf_sgt_type, "DMA_BUF");

static int dma_buf_phyr_match(struct dma_buf_attachment *attach,
			      const struct dma_buf_exp_mapping *exp,
			      const struct dma_buf_imp_mapping *imp)
{
	if (WARN_ON_ONCE(!dma_buf_attach_revocable(attach)))
		return -EINVAL;
	if (to_dma_buf_phyr_exp(exp)->mmio && !to_dma_buf_phyr_imp(imp)->mmio)
		return -EOPNOTSUPP;
	/*
	 * Exporters maintain the caches of devices whose scatterlist they made
	 * in begin_cpu_access(); of others they know nothing.
	 */
	if (attach->dev && !dev_is_dma_coherent(attach->dev))
		return -EOPNOTSUPP;
	return 0;
}

/* A list of the physical ranges of the memory. */
const struct dma_buf_mapping_type dma_buf_phyr_type = {
	.name = "phyr",
	.match = dma_buf_phyr_match,
};
EXPORT_SYMBOL_NS_GPL(dma_buf_phyr_type, "DMA_BUF");

/**
 * dma_buf_attach_is_phyr - whether an attachment hands out physical ranges
 * @attach: attachment
 *
 * Context: any.
 *
 * Return: whether dma_buf_map_phyr() is the way to map it, and not
 * dma_buf_map_attachment().
 */
bool dma_buf_attach_is_phyr(const struct dma_buf_attachment *attach)
{
	return attach->mapping->type == &dma_buf_phyr_type;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_attach_is_phyr, "DMA_BUF");

/* The exporter's operations where @attach is of type SGT, else NULL. */
const struct dma_buf_sgt_exp *
dma_buf_attach_sgt(const struct dma_buf_attachment *attach)
{
	return attach->mapping->type == &dma_buf_sgt_type ?
		       to_dma_buf_sgt_exp(attach->mapping) : NULL;
}

static void dma_buf_put_phyr(struct dma_buf_attachment *attach,
			     const struct dma_buf_phyr_exp *exp,
			     const struct phyr_list *list)
{
	if (exp->unmap)
		exp->unmap(attach, list);
}

static const struct phyr_list *
dma_buf_get_phyr(struct dma_buf_attachment *attach,
		 const struct dma_buf_phyr_exp *exp)
{
	u64 nr_pages = PAGE_ALIGN((u64)attach->dmabuf->size) >> PAGE_SHIFT;
	const struct phyr_list *list = exp->map(attach);

	/* Importers check their windows against the size of the dma-buf. */
	if (!IS_ERR(list) && WARN_ON_ONCE(list->nr_pages < nr_pages)) {
		dma_buf_put_phyr(attach, exp, list);
		return ERR_PTR(-EINVAL);
	}
	return list;
}

/**
 * dma_buf_map_phyr - get the physical ranges of a dma-buf
 * @attach: attachment of type phyr
 *
 * The list covers the buffer from its first byte on and belongs to the
 * exporter. It stays as it is, and the memory where it is, until the importer
 * unmaps it: when it has no use for it any more, or when its
 * &dma_buf_attach_ops.invalidate_mappings is called, before that returns. As
 * with any dynamic mapping, the fences of DMA_RESV_USAGE_KERNEL must be waited
 * for before the memory is used.
 * Context: may sleep. The reservation lock of the dma-buf is held.
 *
 * Return: the list, or an ERR_PTR():
 * -EINVAL for an attachment of another type,
 * -ENODEV while the exporter lets nobody access the memory, or others of it.
 */
const struct phyr_list *dma_buf_map_phyr(struct dma_buf_attachment *attach)
{
	const struct phyr_list *list;

	might_sleep();
	dma_resv_assert_held(attach->dmabuf->resv);

	if (WARN_ON(!dma_buf_attach_is_phyr(attach)))
		return ERR_PTR(-EINVAL);
	list = dma_buf_get_phyr(attach, to_dma_buf_phyr_exp(attach->mapping));
	if (!IS_ERR(list))
		attach->nr_phyr++;
	return list;
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_map_phyr, "ib_core,iommufd,rdma_rxe,dmabuf_kunit");

/**
 * dma_buf_unmap_phyr - give the physical ranges of a dma-buf back
 * @attach: attachment of type phyr
 * @list: what dma_buf_map_phyr() gave; nobody uses it or its memory any more
 *
 * Context: may sleep. The reservation lock of the dma-buf is held.
 */
void dma_buf_unmap_phyr(struct dma_buf_attachment *attach,
			const struct phyr_list *list)
{
	dma_resv_assert_held(attach->dmabuf->resv);

	if (WARN_ON(!dma_buf_attach_is_phyr(attach)))
		return;
	if (WARN_ON(!attach->nr_phyr))
		return;
	attach->nr_phyr--;
	dma_buf_put_phyr(attach, to_dma_buf_phyr_exp(attach->mapping), list);
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_unmap_phyr, "ib_core,iommufd,rdma_rxe,dmabuf_kunit");

/*
 * The importer of @attach has been told to let go of the memory, or leaves: what
 * it has mapped by now may be used when the memory is not there any more.
 */
void dma_buf_check_unmapped(const struct dma_buf_attachment *attach)
{
	dma_resv_assert_held(attach->dmabuf->resv);
	WARN(attach->nr_phyr, "dma-buf: an importer keeps %u mappings of %s\n",
	     attach->nr_phyr, attach->dmabuf->exp_name);
}

/*
 * A scatterlist made from ranges. @sgt comes first in what the importer gets,
 * and is all it knows.
 */
struct dma_buf_phyr_sgt {
	struct sg_table		sgt;
	struct phyr_dma		dma;
	const struct phyr_list	*list;
};

/* The offer of ranges of the exporter, NULL where it has none. */
static const struct dma_buf_phyr_exp *dma_buf_phyr_offer(struct dma_buf *dmabuf)
{
	const struct dma_buf_exp_mapping *const *exp = dmabuf->ops->mappings;

	for (; exp && *exp; exp++)
		if ((*exp)->type == &dma_buf_phyr_type)
			return to_dma_buf_phyr_exp(*exp);
	return NULL;
}

/* Bytes that one entry of a scatterlist for @dev can have. */
static size_t dma_buf_sg_max(struct device *dev)
{
	return max_t(size_t, PAGE_SIZE,
		     ALIGN_DOWN(dma_get_max_seg_size(dev), PAGE_SIZE));
}

/*
 * Put the DMA addresses into the entries of @sgl, which are as many as it says
 * when called without. There are no pages in it: nobody is to look at them.
 */
static unsigned int dma_buf_phyr_fill(const struct phyr_dma *dma, size_t max,
				      struct scatterlist *sgl)
{
	struct phyr_dma_cursor cur;
	unsigned int nr = 0;

	phyr_dma_seek(&cur, dma, 0, U64_MAX);
	while (phyr_dma_next(&cur)) {
		for (; cur.len; nr++) {
			size_t len = min(cur.len, max);

			if (sgl) {
				sg_set_page(sgl, NULL, 0, 0);
				sg_dma_address(sgl) = cur.addr;
				sg_dma_len(sgl) = len;
				sgl = sg_next(sgl);
			}
			cur.addr += len;
			cur.len -= len;
		}
	}
	return nr;
}

static int dma_buf_phyr_to_sgt(struct dma_buf_attachment *attach,
			       struct dma_buf_phyr_sgt *m,
			       const struct dma_buf_phyr_exp *phyr,
			       enum dma_data_direction dir)
{
	size_t max = dma_buf_sg_max(attach->dev);
	int ret;

	ret = phyr_dma_map(&m->dma, attach->dev, m->list, 0, 0, dir,
			   phyr->dma_attrs);
	if (ret)
		return ret;
	ret = sg_alloc_table(&m->sgt, dma_buf_phyr_fill(&m->dma, max, NULL),
			     GFP_KERNEL);
	if (ret) {
		phyr_dma_unmap(&m->dma, m->list);
		return ret;
	}
	dma_buf_phyr_fill(&m->dma, max, m->sgt.sgl);
	/* No pages: no entries of a CPU's side */
	m->sgt.orig_nents = 0;
	return 0;
}

static struct sg_table *dma_buf_phyr_sgt_map(struct dma_buf_attachment *attach,
					     enum dma_data_direction dir)
{
	const struct dma_buf_phyr_exp *phyr = dma_buf_phyr_offer(attach->dmabuf);
	struct dma_buf_phyr_sgt *m;
	int ret;

	m = kzalloc_obj(*m);
	if (!m)
		return ERR_PTR(-ENOMEM);
	m->list = dma_buf_get_phyr(attach, phyr);
	if (IS_ERR(m->list)) {
		ret = PTR_ERR(m->list);
		goto err_free;
	}
	ret = dma_buf_phyr_to_sgt(attach, m, phyr, dir);
	if (ret)
		goto err_unmap;
	return &m->sgt;

err_unmap:
	dma_buf_put_phyr(attach, phyr, m->list);
err_free:
	kfree(m);
	return ERR_PTR(ret);
}

static void dma_buf_phyr_sgt_unmap(struct dma_buf_attachment *attach,
				   struct sg_table *sgt,
				   enum dma_data_direction dir)
{
	struct dma_buf_phyr_sgt *m = container_of(sgt, struct dma_buf_phyr_sgt, sgt);
	const struct dma_buf_phyr_exp *phyr = dma_buf_phyr_offer(attach->dmabuf);

	/* As many as there are entries to free, which the importer was not told */
	m->sgt.orig_nents = m->sgt.nents;
	sg_free_table(&m->sgt);
	phyr_dma_unmap(&m->dma, m->list);
	dma_buf_put_phyr(attach, phyr, m->list);
	kfree(m);
}

/*
 * An importer of a scatterlist of MMIO has said that it can use it, and can be
 * told that the memory goes away, like an importer of ranges.
 */
static int dma_buf_phyr_sgt_attach(struct dma_buf_attachment *attach)
{
	if (!dma_buf_phyr_offer(attach->dmabuf)->mmio)
		return 0;
	if (!attach->peer2peer || !dma_buf_attach_revocable(attach))
		return -EOPNOTSUPP;
	return 0;
}

static const struct dma_buf_sgt_exp dma_buf_phyr_sgt = {
	.base = {
		.type = &dma_buf_sgt_type,
		.attach = dma_buf_phyr_sgt_attach,
	},
	.map = dma_buf_phyr_sgt_map,
	.unmap = dma_buf_phyr_sgt_unmap,
};

static struct sg_table *dma_buf_ops_map(struct dma_buf_attachment *attach,
					enum dma_data_direction dir)
{
	return attach->dmabuf->ops->map_dma_buf(attach, dir);
}

static void dma_buf_ops_unmap(struct dma_buf_attachment *attach,
			      struct sg_table *sgt, enum dma_data_direction dir)
{
	attach->dmabuf->ops->unmap_dma_buf(attach, sgt, dir);
}

/* What an exporter with map_dma_buf offers. */
static const struct dma_buf_sgt_exp dma_buf_ops_sgt = {
	.base.type = &dma_buf_sgt_type,
	.map = dma_buf_ops_map,
	.unmap = dma_buf_ops_unmap,
};

/* What an importer that says nothing about types offers, [1] with P2P. */
static const struct dma_buf_sgt_imp dma_buf_any_imp[] = {
	{ .base.type = &dma_buf_sgt_type },
	{ .base.type = &dma_buf_sgt_type, .peer2peer = true },
};

/* What the exporter offers without saying so, behind all that it says. */
static const struct dma_buf_exp_mapping *
dma_buf_implicit_exp(struct dma_buf *dmabuf)
{
	if (dmabuf->ops->map_dma_buf)
		return &dma_buf_ops_sgt.base;
	if (IS_ENABLED(CONFIG_PHYR_DMA) && dma_buf_phyr_offer(dmabuf))
		return &dma_buf_phyr_sgt.base;
	return NULL;
}

/* Find what the importer offers to go with @exp. */
static int dma_buf_match_exp(struct dma_buf_attachment *attach,
			     const struct dma_buf_exp_mapping *exp)
{
	const struct dma_buf_attach_ops *ops = attach->importer_ops;
	const struct dma_buf_imp_mapping *any[] = {
		&dma_buf_any_imp[ops && ops->allow_peer2peer].base, NULL
	};
	const struct dma_buf_imp_mapping *const *imp = any;
	int ret = -EOPNOTSUPP;

	if (ops && ops->mappings)
		imp = ops->mappings;
	for (; *imp; imp++) {
		if ((*imp)->type != exp->type)
			continue;
		ret = exp->type->match(attach, exp, *imp);
		if (!ret) {
			attach->mapping = exp;
			return 0;
		}
	}
	return ret;
}

/*
 * Pick the mapping type of an attachment that has all but that. Nothing of the
 * exporter is called. 0, or -EOPNOTSUPP where the two have no type in common,
 * or what the last type that they have said.
 */
int dma_buf_match_mapping(struct dma_buf_attachment *attach)
{
	const struct dma_buf_exp_mapping *const *exp = attach->dmabuf->ops->mappings;
	const struct dma_buf_exp_mapping *last;

	for (; exp && *exp; exp++)
		if (!dma_buf_match_exp(attach, *exp))
			return 0;
	last = dma_buf_implicit_exp(attach->dmabuf);
	return last ? dma_buf_match_exp(attach, last) : -EOPNOTSUPP;
}
