// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the mapping types of dma-bufs: who is matched with whom, by what
 * type, and what each of them then gets.
 *
 * The exporter here counts what it is asked for and has two ranges: a run of
 * TEST_RUN pages and one page from elsewhere.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-phyr.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/gfp.h>
#include <linux/phyr.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>

#define TEST_ORDER	5
#define TEST_RUN	BIT(TEST_ORDER)
#define TEST_SIZE	((TEST_RUN + 1) * PAGE_SIZE)

struct test_exporter {
	struct page		*run;
	struct page		*single;
	struct phyr_list	list;
	struct sg_table		sgt;
	struct device		*dev;
	bool			revoked;
	int			attach_error;
	int			attached;	/* by &dma_buf_ops */
	int			type_attached;	/* by the mapping type */
	int			phyr_mapped;
	int			sgt_mapped;
	int			told;		/* importers, to let go */
	bool			keep;		/* and they do not */
};

static int test_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct test_exporter *x = dmabuf->priv;

	if (x->attach_error)
		return x->attach_error;
	x->attached++;
	return 0;
}

static void test_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct test_exporter *x = dmabuf->priv;

	x->attached--;
}

static int test_type_attach(struct dma_buf_attachment *attach)
{
	struct test_exporter *x = attach->dmabuf->priv;

	x->type_attached++;
	return 0;
}

static void test_type_detach(struct dma_buf_attachment *attach)
{
	struct test_exporter *x = attach->dmabuf->priv;

	x->type_attached--;
}

static const struct phyr_list *test_phyr_map(struct dma_buf_attachment *attach)
{
	struct test_exporter *x = attach->dmabuf->priv;

	dma_resv_assert_held(attach->dmabuf->resv);
	if (x->revoked)
		return ERR_PTR(-ENODEV);
	x->phyr_mapped++;
	return &x->list;
}

static void test_phyr_unmap(struct dma_buf_attachment *attach,
			    const struct phyr_list *list)
{
	struct test_exporter *x = attach->dmabuf->priv;

	dma_resv_assert_held(attach->dmabuf->resv);
	if (list == &x->list)
		x->phyr_mapped--;
}

static struct sg_table *test_sgt_map(struct dma_buf_attachment *attach,
				     enum dma_data_direction dir)
{
	struct test_exporter *x = attach->dmabuf->priv;

	x->sgt_mapped++;
	return &x->sgt;
}

static void test_sgt_unmap(struct dma_buf_attachment *attach,
			   struct sg_table *sgt, enum dma_data_direction dir)
{
	struct test_exporter *x = attach->dmabuf->priv;

	if (sgt == &x->sgt)
		x->sgt_mapped--;
}

/* The test owns all memory, and looks at it after the dma-buf is gone. */
static void test_release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_phyr_exp test_phyr = {
	.base = {
		.type = &dma_buf_phyr_type,
		.attach = test_type_attach,
		.detach = test_type_detach,
	},
	.map = test_phyr_map,
	.unmap = test_phyr_unmap,
};

static const struct dma_buf_phyr_exp test_phyr_mmio = {
	.base.type = &dma_buf_phyr_type,
	.map = test_phyr_map,
	.unmap = test_phyr_unmap,
	.mmio = true,
};

static const struct dma_buf_sgt_exp test_sgt = {
	.base.type = &dma_buf_sgt_type,
	.map = test_sgt_map,
	.unmap = test_sgt_unmap,
};

#define TEST_EXPORTER(name, ...)					\
static const struct dma_buf_exp_mapping *const name##_mappings[] = {	\
	__VA_ARGS__, NULL						\
};									\
static const struct dma_buf_ops name = {				\
	.mappings = name##_mappings,					\
	.attach = test_attach,						\
	.detach = test_detach,						\
	.release = test_release,					\
}

TEST_EXPORTER(exp_phyr, &test_phyr.base);
TEST_EXPORTER(exp_mmio, &test_phyr_mmio.base);
TEST_EXPORTER(exp_phyr_sgt, &test_phyr.base, &test_sgt.base);
TEST_EXPORTER(exp_sgt_phyr, &test_sgt.base, &test_phyr.base);

/* As exporters have always been */
static const struct dma_buf_ops exp_old = {
	.attach = test_attach,
	.detach = test_detach,
	.map_dma_buf = test_sgt_map,
	.unmap_dma_buf = test_sgt_unmap,
	.release = test_release,
};

static void test_invalidate(struct dma_buf_attachment *attach)
{
	struct test_exporter *x = attach->importer_priv;

	x->told++;
	if (!x->keep && attach->nr_phyr)
		dma_buf_unmap_phyr(attach, &x->list);
}

static const struct dma_buf_sgt_imp imp_sgt_p2p = {
	.base.type = &dma_buf_sgt_type,
	.peer2peer = true,
};

static const struct dma_buf_phyr_imp imp_ram = { .base.type = &dma_buf_phyr_type };

static const struct dma_buf_phyr_imp imp_mmio = {
	.base.type = &dma_buf_phyr_type,
	.mmio = true,
};

#define TEST_IMPORTER(name, ...)					\
static const struct dma_buf_imp_mapping *const name##_mappings[] = {	\
	__VA_ARGS__, NULL						\
};									\
static const struct dma_buf_attach_ops name = {				\
	.mappings = name##_mappings,					\
	.invalidate_mappings = test_invalidate,				\
}

TEST_IMPORTER(imp_phyr, &imp_ram.base);
TEST_IMPORTER(imp_phyr_mmio, &imp_mmio.base);
TEST_IMPORTER(imp_both, &imp_sgt_p2p.base, &imp_mmio.base);

/* As importers have always been */
static const struct dma_buf_attach_ops imp_old = {
	.invalidate_mappings = test_invalidate,
};

static const struct dma_buf_attach_ops imp_old_p2p = {
	.allow_peer2peer = true,
	.invalidate_mappings = test_invalidate,
};

static const struct dma_buf_attach_ops imp_old_pinned_p2p = {
	.allow_peer2peer = true,
};

static int test_init(struct kunit *test)
{
	struct test_exporter *x = kunit_kzalloc(test, sizeof(*x), GFP_KERNEL);
	struct phys_vec run;

	KUNIT_ASSERT_NOT_NULL(test, x);
	test->priv = x;
	x->dev = kunit_device_register(test, "dma-buf-test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, x->dev);
	x->dev->dma_mask = &x->dev->coherent_dma_mask;
	KUNIT_ASSERT_EQ(test, dma_set_mask(x->dev, DMA_BIT_MASK(64)), 0);

	x->run = alloc_pages(GFP_KERNEL, TEST_ORDER);
	x->single = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, x->run);
	KUNIT_ASSERT_NOT_NULL(test, x->single);
	phyr_list_init(&x->list);
	run = (struct phys_vec) { page_to_phys(x->run), TEST_RUN * PAGE_SIZE };
	KUNIT_ASSERT_EQ(test, 0, phyr_list_append(&x->list, run, NULL, GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0, phyr_list_append_pages(&x->list, &x->single, 1,
							GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0, sg_alloc_table(&x->sgt, 1, GFP_KERNEL));
	return 0;
}

static void test_exit(struct kunit *test)
{
	struct test_exporter *x = test->priv;

	if (!x)
		return;
	KUNIT_EXPECT_EQ(test, x->attached, 0);
	KUNIT_EXPECT_EQ(test, x->type_attached, 0);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 0);
	KUNIT_EXPECT_EQ(test, x->sgt_mapped, 0);
	sg_free_table(&x->sgt);
	phyr_list_destroy(&x->list);
	if (x->single)
		__free_page(x->single);
	if (x->run)
		__free_pages(x->run, TEST_ORDER);
}

static struct dma_buf *test_export(struct kunit *test, const struct dma_buf_ops *ops)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = ops;
	info.size = TEST_SIZE;
	info.flags = O_RDWR;
	info.priv = test->priv;
	dmabuf = dma_buf_export(&info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dmabuf);
	return dmabuf;
}

static const struct dma_buf_mapping_type no_type = { .name = "none" };

/*
 * Attach, and tell the type that was picked, no_type for -EOPNOTSUPP. The
 * exporter is called only when there is one.
 */
static const struct dma_buf_mapping_type *
test_match(struct kunit *test, const struct dma_buf_ops *ops, bool with_dev,
	   const struct dma_buf_attach_ops *importer)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, ops);
	const struct dma_buf_mapping_type *type = &no_type;
	struct dma_buf_attachment *attach;

	attach = dma_buf_dynamic_attach(dmabuf, with_dev ? x->dev : NULL,
					importer, x);
	if (IS_ERR(attach)) {
		KUNIT_EXPECT_EQ(test, PTR_ERR(attach), -EOPNOTSUPP);
		KUNIT_EXPECT_EQ(test, x->attached, 0);
	} else {
		KUNIT_EXPECT_EQ(test, x->attached, 1);
		type = attach->mapping->type;
		KUNIT_EXPECT_EQ(test, dma_buf_attach_is_phyr(attach),
				type == &dma_buf_phyr_type);
		dma_buf_detach(dmabuf, attach);
	}
	KUNIT_EXPECT_EQ(test, x->attached, 0);
	KUNIT_EXPECT_EQ(test, x->type_attached, 0);
	dma_buf_put(dmabuf);
	return type;
}

/* The exporter's order decides, not the importer's. */
static void test_order(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_phyr_sgt, true, &imp_both));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_sgt_type,
			    test_match(test, &exp_sgt_phyr, true, &imp_both));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_sgt_phyr, true, &imp_phyr));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_phyr, true, &imp_both));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_sgt_type,
			    test_match(test, &exp_old, true, &imp_both));
}

/* Those who know nothing of types use scatterlists, whoever the other one is. */
static void test_old(struct kunit *test)
{
	static const struct dma_buf_ops *const exporters[] = {
		&exp_old, &exp_phyr, &exp_phyr_sgt, &exp_sgt_phyr
	};

	for (int i = 0; i < ARRAY_SIZE(exporters); i++) {
		KUNIT_EXPECT_PTR_EQ(test, &dma_buf_sgt_type,
				    test_match(test, exporters[i], true, NULL));
		KUNIT_EXPECT_PTR_EQ(test, &dma_buf_sgt_type,
				    test_match(test, exporters[i], true, &imp_old));
	}
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_old, true, &imp_phyr));
}

static void test_no_device(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_phyr, false, &imp_phyr));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_sgt_phyr, false, &imp_both));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_old, false, &imp_both));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_old, false, &imp_phyr));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_phyr, false, &imp_old));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_old, false, NULL));
}

/* MMIO goes to those who can use it and can be told that it goes away. */
static void test_mmio(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_mmio, true, &imp_phyr));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_phyr_type,
			    test_match(test, &exp_mmio, false, &imp_phyr_mmio));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_mmio, true, NULL));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_mmio, true, &imp_old));
	KUNIT_EXPECT_PTR_EQ(test, &no_type,
			    test_match(test, &exp_mmio, true, &imp_old_pinned_p2p));
	KUNIT_EXPECT_PTR_EQ(test, &dma_buf_sgt_type,
			    test_match(test, &exp_mmio, true, &imp_old_p2p));
}

static void test_attach_fails(struct kunit *test)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, &exp_phyr);
	struct dma_buf_attachment *attach;

	x->attach_error = -EBUSY;
	attach = dma_buf_dynamic_attach(dmabuf, NULL, &imp_phyr, x);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(attach), -EBUSY);
	dma_buf_put(dmabuf);
}

/* The ranges come as they are, while the exporter allows it. */
static void test_map_phyr(struct kunit *test)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, &exp_phyr);
	struct dma_buf_attachment *attach;
	const struct phyr_list *list;

	attach = dma_buf_dynamic_attach(dmabuf, NULL, &imp_phyr, x);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);

	dma_resv_lock(dmabuf->resv, NULL);
	list = dma_buf_map_phyr(attach);
	KUNIT_EXPECT_PTR_EQ(test, list, &x->list);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 1);
	dma_buf_invalidate_mappings(dmabuf);
	KUNIT_EXPECT_EQ(test, x->told, 1);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 0);
	x->revoked = true;
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf_map_phyr(attach)), -ENODEV);
	dma_resv_unlock(dmabuf->resv);

	dma_buf_detach(dmabuf, attach);
	dma_buf_put(dmabuf);
}

/* Let go of the ranges, or leave; how often the core complains. */
static int test_complaints(struct kunit *test, struct dma_buf_attachment *attach,
			   bool leave)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	int nr = -1;

	kunit_warning_suppress(test) {
		if (leave) {
			dma_buf_detach(dmabuf, attach);
		} else {
			dma_resv_lock(dmabuf->resv, NULL);
			dma_buf_invalidate_mappings(dmabuf);
			dma_resv_unlock(dmabuf->resv);
		}
		nr = KUNIT_SUPPRESSED_WARNING_COUNT();
	}
	return nr;
}

static void test_map_again(struct kunit *test, struct dma_buf_attachment *attach)
{
	struct test_exporter *x = test->priv;

	dma_resv_lock(attach->dmabuf->resv, NULL);
	KUNIT_EXPECT_PTR_EQ(test, dma_buf_map_phyr(attach), &x->list);
	dma_resv_unlock(attach->dmabuf->resv);
}

/* An importer that keeps ranges which it was told to let go of is found out. */
static void test_kept(struct kunit *test)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, &exp_phyr);
	struct dma_buf_attachment *attach;

	attach = dma_buf_dynamic_attach(dmabuf, NULL, &imp_phyr, x);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);

	test_map_again(test, attach);
	KUNIT_EXPECT_EQ(test, test_complaints(test, attach, false), 0);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 0);

	x->keep = true;
	KUNIT_EXPECT_EQ(test, test_complaints(test, attach, false), 0);
	test_map_again(test, attach);
	KUNIT_EXPECT_EQ(test, test_complaints(test, attach, false), 1);
	KUNIT_EXPECT_EQ(test, test_complaints(test, attach, true), 1);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 1);
	x->phyr_mapped = 0;

	attach = dma_buf_dynamic_attach(dmabuf, NULL, &imp_phyr, x);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);
	KUNIT_EXPECT_EQ(test, test_complaints(test, attach, true), 0);
	dma_buf_put(dmabuf);
}

/* An exporter of both makes its scatterlist itself. */
static void test_map_sgt(struct kunit *test)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, &exp_phyr_sgt);
	struct dma_buf_attachment *attach = dma_buf_attach(dmabuf, x->dev);
	struct sg_table *sgt;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);
	sgt = dma_buf_map_attachment_unlocked(attach, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, sgt);
	KUNIT_EXPECT_EQ(test, x->sgt_mapped, 1);
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 0);
	if (!IS_ERR_OR_NULL(sgt))
		dma_buf_unmap_attachment_unlocked(attach, sgt, DMA_BIDIRECTIONAL);
	dma_buf_detach(dmabuf, attach);
	dma_buf_put(dmabuf);
}

static void test_check_sgt(struct kunit *test, struct sg_table *sgt, size_t max)
{
	struct test_exporter *x = test->priv;
	size_t total = 0;
	struct scatterlist *sg;
	int i;

	/* With the checks on, the importer sees a copy. */
	if (!IS_ENABLED(CONFIG_DMABUF_DEBUG))
		KUNIT_EXPECT_EQ(test, sgt->orig_nents, 0);
	KUNIT_EXPECT_EQ(test, sgt->nents, DIV_ROUND_UP(TEST_RUN * PAGE_SIZE, max) + 1);
	for_each_sgtable_dma_sg(sgt, sg, i) {
		phys_addr_t at = dma_to_phys(x->dev, sg_dma_address(sg));

		KUNIT_EXPECT_EQ(test, at, phyr_at(&x->list, total).paddr);
		KUNIT_EXPECT_LE(test, sg_dma_len(sg), max);
		total += sg_dma_len(sg);
	}
	KUNIT_EXPECT_EQ(test, total, TEST_SIZE);
}

/* The core makes a scatterlist of ranges, with pieces as the device has them. */
static void test_phyr_to_sgt(struct kunit *test)
{
	struct test_exporter *x = test->priv;
	struct dma_buf *dmabuf = test_export(test, &exp_phyr);
	struct dma_buf_attachment *attach = dma_buf_attach(dmabuf, x->dev);
	struct sg_table *sgt;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);
	KUNIT_ASSERT_EQ(test, dma_get_max_seg_size(x->dev), SZ_64K);
	sgt = dma_buf_map_attachment_unlocked(attach, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, sgt);
	if (!IS_ERR_OR_NULL(sgt)) {
		KUNIT_EXPECT_EQ(test, x->phyr_mapped, 1);
		test_check_sgt(test, sgt, SZ_64K);
		dma_buf_unmap_attachment_unlocked(attach, sgt, DMA_BIDIRECTIONAL);
	}
	KUNIT_EXPECT_EQ(test, x->phyr_mapped, 0);

	x->revoked = true;
	sgt = dma_buf_map_attachment_unlocked(attach, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(sgt), -ENODEV);
	dma_buf_detach(dmabuf, attach);
	dma_buf_put(dmabuf);
}

static struct kunit_case test_cases[] = {
	KUNIT_CASE(test_order),
	KUNIT_CASE(test_old),
	KUNIT_CASE(test_no_device),
	KUNIT_CASE(test_mmio),
	KUNIT_CASE(test_attach_fails),
	KUNIT_CASE(test_map_phyr),
	KUNIT_CASE(test_kept),
	KUNIT_CASE(test_map_sgt),
	KUNIT_CASE(test_phyr_to_sgt),
	{}
};

static struct kunit_suite test_suite = {
	.name = "dma-buf-phyr",
	.init = test_init,
	.exit = test_exit,
	.test_cases = test_cases,
};

kunit_test_suite(test_suite);

MODULE_IMPORT_NS("DMA_BUF");
