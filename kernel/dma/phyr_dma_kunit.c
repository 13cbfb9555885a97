// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of kernel/dma/phyr.c, on devices that the machine really has.
 *
 * Every test runs on a device with direct mapping, made up by KUnit, and on a
 * PCI function behind an IOMMU: QEMU's edu, which does nothing unless it is
 * told to. Where an IOMMU translates, what a DMA address leads to is asked of
 * its page table. The peer whose MMIO is mapped is a second edu function; how
 * PCI lets the first one reach it depends on the machine, and so does what is
 * expected.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-direct.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/phyr_dma.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

#define SCATTERED	1500

struct phyr_dma_test {
	struct device		*dev;
	struct iommu_domain	*domain;	/* NULL: no IOMMU translates */
	struct pci_dev		*pdev;
	struct page		*pages[SCATTERED];
	struct page		*huge;		/* 2 MiB of them */
	struct phyr_list	list;
	struct phyr_dma		dma;
};

enum phyr_dma_test_device { TEST_DIRECT, TEST_IOMMU };

static const enum phyr_dma_test_device devices[] = { TEST_DIRECT, TEST_IOMMU };

static void phyr_dma_test_name(const enum phyr_dma_test_device *device, char *name)
{
	strscpy(name, *device == TEST_DIRECT ? "direct" : "iommu",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(phyr_dma_test, devices, phyr_dma_test_name);

static void phyr_dma_test_put(void *pdev)
{
	pci_dev_put(pdev);
}

static struct pci_dev *phyr_dma_test_edu(struct kunit *test, struct pci_dev *after)
{
	/* It gives up the reference to the one before, which is still needed. */
	struct pci_dev *pdev = pci_get_device(EDU_VENDOR, EDU_DEVICE, pci_dev_get(after));

	if (!pdev)
		kunit_skip(test, "no edu function in this machine");
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, phyr_dma_test_put, pdev));
	return pdev;
}

static void phyr_dma_test_device(struct kunit *test)
{
	const enum phyr_dma_test_device *which = test->param_value;
	struct phyr_dma_test *t = test->priv;
	struct iommu_domain *domain;

	if (which && *which == TEST_DIRECT) {
		t->dev = kunit_device_register(test, "phyr_dma");
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->dev);
		t->dev->dma_mask = &t->dev->coherent_dma_mask;
	} else {
		t->pdev = phyr_dma_test_edu(test, NULL);
		t->dev = &t->pdev->dev;
		domain = iommu_get_domain_for_dev(t->dev);
		if (domain && iommu_is_dma_domain(domain))
			t->domain = domain;
		else if (which)
			kunit_skip(test, "no IOMMU translates for the edu function");
	}
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask_and_coherent(t->dev, DMA_BIT_MASK(64)));
}

static void phyr_dma_test_exit(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	if (!t)
		return;
	phyr_dma_unmap(&t->dma, &t->list);
	phyr_list_destroy(&t->list);
	for (int i = 0; i < SCATTERED && t->pages[i]; i++)
		__free_page(t->pages[i]);
	if (t->huge)
		__free_pages(t->huge, get_order(SZ_2M));
}

static int phyr_dma_test_init(struct kunit *test)
{
	struct phyr_dma_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	phyr_dma_test_device(test);
	for (int i = 0; i < SCATTERED; i++) {
		t->pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, t->pages[i]);
	}
	t->huge = alloc_pages(GFP_KERNEL, get_order(SZ_2M));
	KUNIT_ASSERT_NOT_NULL(test, t->huge);
	/* So that few of them are neighbours, however they were allocated */
	for (int i = 0; i < SCATTERED; i++) {
		/* swap() looks at its arguments twice. */
		u32 other = get_random_u32_below(SCATTERED);

		swap(t->pages[i], t->pages[other]);
	}
	return 0;
}

static void phyr_dma_test_add(struct kunit *test, phys_addr_t paddr, size_t len,
			      struct p2pdma_provider *provider)
{
	struct phyr_dma_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, 0, phyr_list_append(&t->list,
						  (struct phys_vec) { paddr, len },
						  provider, GFP_KERNEL));
}

/* Scattered pages, 2 MiB in one, scattered pages again */
static void phyr_dma_test_fill(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	int half = SCATTERED / 2;

	KUNIT_ASSERT_EQ(test, 0, phyr_list_append_pages(&t->list, t->pages, half,
							GFP_KERNEL));
	phyr_dma_test_add(test, page_to_phys(t->huge), SZ_2M, NULL);
	KUNIT_ASSERT_EQ(test, 0, phyr_list_append_pages(&t->list, t->pages + half,
							SCATTERED - half, GFP_KERNEL));
}

/* What the device reaches at a DMA address */
static phys_addr_t phyr_dma_test_reached(struct phyr_dma_test *t, dma_addr_t addr)
{
	return t->domain ? iommu_iova_to_phys(t->domain, addr) : dma_to_phys(t->dev, addr);
}

/*
 * Every page of the mapping is that of the list, and there are @nr_ranges DMA
 * ranges, if that is known.
 */
static void phyr_dma_test_expect(struct kunit *test, u64 nr_ranges)
{
	struct phyr_dma_test *t = test->priv;
	struct phyr_dma_cursor cur;
	u64 offset = 0, ranges = 0;

	KUNIT_EXPECT_EQ(test, t->dma.nr_pages, t->list.nr_pages);
	phyr_dma_seek(&cur, &t->dma, 0, U64_MAX);
	for (; phyr_dma_next(&cur); ranges++) {
		for (size_t done = 0; done < cur.len; done += PAGE_SIZE, offset += PAGE_SIZE)
			KUNIT_ASSERT_EQ(test, phyr_at(&t->list, offset).paddr,
					phyr_dma_test_reached(t, cur.addr + done));
	}
	KUNIT_EXPECT_EQ(test, offset, t->list.nr_pages << PAGE_SHIFT);
	if (nr_ranges)
		KUNIT_EXPECT_EQ(test, ranges, nr_ranges);
}

/* Unmap, and see that the IOMMU has nothing left where the mapping was. */
static void phyr_dma_test_gone(struct kunit *test, dma_addr_t first, u64 nr_pages)
{
	struct phyr_dma_test *t = test->priv;

	phyr_dma_unmap(&t->dma, &t->list);
	KUNIT_EXPECT_TRUE(test, mem_is_zero(&t->dma, sizeof(t->dma)));
	if (!t->domain)
		return;
	for (u64 i = 0; i < nr_pages; i++)
		KUNIT_ASSERT_EQ(test, 0, iommu_iova_to_phys(t->domain,
							    first + i * PAGE_SIZE));
}

static dma_addr_t phyr_dma_test_first(struct phyr_dma_test *t)
{
	struct phyr_dma_cursor cur;

	phyr_dma_seek(&cur, &t->dma, 0, 1);
	return phyr_dma_next(&cur) ? cur.addr : 0;
}

static int phyr_dma_test_map(struct phyr_dma_test *t, unsigned int flags,
			     unsigned long attrs)
{
	return phyr_dma_map(&t->dma, t->dev, &t->list, 0, flags, DMA_BIDIRECTIONAL, attrs);
}

/* One DMA range behind an IOMMU, else one for each physical range */
static void phyr_dma_test_disjoint(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	phyr_dma_test_fill(test);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_map(t, 0, DMA_ATTR_REQUIRE_COHERENT));
	/* Kept addresses merge where a range had to be cut, or pages adjoin. */
	phyr_dma_test_expect(test, t->domain ? 1 : 0);
	phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
}

/* The same where addresses may be bounced, and have to be kept. */
static void phyr_dma_test_kept(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	phyr_dma_test_fill(test);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_map(t, 0, 0));
	phyr_dma_test_expect(test, t->domain ? 1 : 0);
	phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
}

/* Where there is a large page, the IOVA agrees with the place in the bits below. */
static void phyr_dma_test_place(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	u64 place = 5 * PMD_SIZE + 321 * PAGE_SIZE;

	phyr_dma_test_fill(test);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_map(&t->dma, t->dev, &t->list, place, 0,
					      DMA_BIDIRECTIONAL,
					      DMA_ATTR_REQUIRE_COHERENT));
	phyr_dma_test_expect(test, t->domain ? 1 : 0);
	if (t->domain)
		KUNIT_EXPECT_EQ(test, (phyr_dma_test_first(t) ^ place) & ~PMD_MASK, 0);
	phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
}

/* A window that starts and ends in the middle of pages */
static void phyr_dma_test_window(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	u64 offset = 5 * PAGE_SIZE + 123, end = offset + 300 * PAGE_SIZE + 45;
	struct phyr_dma_cursor cur;

	phyr_dma_test_fill(test);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_map(t, 0, DMA_ATTR_REQUIRE_COHERENT));
	phyr_dma_seek(&cur, &t->dma, offset, end - offset);
	for (; phyr_dma_next(&cur); offset += cur.len) {
		KUNIT_ASSERT_EQ(test, phyr_at(&t->list, offset).paddr,
				phyr_dma_test_reached(t, cur.addr));
		KUNIT_ASSERT_EQ(test, phyr_at(&t->list, offset + cur.len - 1).paddr,
				phyr_dma_test_reached(t, cur.addr + cur.len - 1));
	}
	KUNIT_EXPECT_EQ(test, offset, end);
	phyr_dma_seek(&cur, &t->dma, t->list.nr_pages << PAGE_SHIFT, 1);
	KUNIT_EXPECT_FALSE(test, phyr_dma_next(&cur));
}

/* One DMA range or an error, and then nothing is mapped. */
static void phyr_dma_test_linear(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	int ret;

	phyr_dma_test_fill(test);
	ret = phyr_dma_test_map(t, PHYR_DMA_LINEAR, DMA_ATTR_REQUIRE_COHERENT);
	if (t->domain) {
		KUNIT_ASSERT_EQ(test, 0, ret);
		phyr_dma_test_expect(test, 1);
		phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
	} else {
		KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, ret);
		KUNIT_EXPECT_TRUE(test, mem_is_zero(&t->dma, sizeof(t->dma)));
	}

	phyr_list_destroy(&t->list);
	phyr_dma_test_add(test, page_to_phys(t->huge), SZ_2M, NULL);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_map(t, PHYR_DMA_LINEAR,
						   DMA_ATTR_REQUIRE_COHERENT));
	phyr_dma_test_expect(test, 1);
}

static int phyr_dma_test_begin(struct phyr_dma_test *t, u64 nr_pages)
{
	return phyr_dma_begin(&t->dma, t->dev, nr_pages, 0, 0, DMA_BIDIRECTIONAL,
			      DMA_ATTR_REQUIRE_COHERENT);
}

/* Append pages @from to @to, @step at a time, and map as they come. */
static void phyr_dma_test_batch(struct kunit *test, int from, int to, int step)
{
	struct phyr_dma_test *t = test->priv;

	for (; from < to; from += step) {
		step = min(step, to - from);
		KUNIT_ASSERT_EQ(test, 0, phyr_list_append_pages(&t->list, t->pages + from,
								step, GFP_KERNEL));
		KUNIT_ASSERT_EQ(test, 0, phyr_dma_add(&t->dma, &t->list));
		KUNIT_ASSERT_LT(test, t->dma.nr_pages, t->list.nr_pages);
	}
}

/* Mapped while it is made, with a range that grows across several batches */
static void phyr_dma_test_batches(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	u64 before;

	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_begin(t, SCATTERED + (SZ_2M >> PAGE_SHIFT)));
	phyr_dma_test_batch(test, 0, 700, 37);
	before = t->list.nr_pages;
	for (size_t done = 0; done < SZ_2M; done += SZ_64K) {
		phyr_dma_test_add(test, page_to_phys(t->huge) + done, SZ_64K, NULL);
		KUNIT_ASSERT_EQ(test, 0, phyr_dma_add(&t->dma, &t->list));
		KUNIT_ASSERT_LE(test, t->dma.nr_pages, before);
	}
	phyr_dma_test_batch(test, 700, SCATTERED, 512);
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_finish(&t->dma, &t->list));
	phyr_dma_test_expect(test, t->domain ? 1 : 0);
	phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
}

/* Given up in the middle: what was mapped goes, and the IOVA with it. */
static void phyr_dma_test_abort(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	for (int round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_begin(t, SCATTERED));
		/* With nothing, with some, with all but the last one mapped */
		phyr_dma_test_batch(test, 0, round * SCATTERED / 2, 100);
		phyr_dma_test_gone(test, phyr_dma_test_first(t), t->list.nr_pages);
		phyr_list_destroy(&t->list);
	}
}

static void phyr_dma_test_errors(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, -EINVAL, phyr_dma_test_map(t, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL, phyr_dma_test_begin(t, U64_MAX >> PAGE_SHIFT));
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_begin(t, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, phyr_dma_finish(&t->dma, &t->list));
	phyr_dma_unmap(&t->dma, &t->list);
	KUNIT_EXPECT_TRUE(test, mem_is_zero(&t->dma, sizeof(t->dma)));
	/* As much IOVA as no device has */
	if (t->domain)
		KUNIT_EXPECT_EQ(test, -ENOMEM,
				phyr_dma_test_begin(t, BIT_ULL(62 - PAGE_SHIFT)));
}

/* A device with few address bits gets an IOVA that it reaches. */
static void phyr_dma_test_mask(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;

	if (!t->domain)
		kunit_skip(test, "the DMA API warns where nothing can help");
	phyr_dma_test_fill(test);
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask_and_coherent(t->dev, DMA_BIT_MASK(32)));
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_test_map(t, 0, DMA_ATTR_REQUIRE_COHERENT));
	phyr_dma_test_expect(test, 1);
	KUNIT_EXPECT_LE(test, phyr_dma_test_first(t), DMA_BIT_MASK(32));
}

static struct kunit_case phyr_dma_cases[] = {
	KUNIT_CASE_PARAM(phyr_dma_test_disjoint, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_kept, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_place, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_window, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_linear, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_batches, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_abort, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_errors, phyr_dma_test_gen_params),
	KUNIT_CASE_PARAM(phyr_dma_test_mask, phyr_dma_test_gen_params),
	{}
};

static struct kunit_suite phyr_dma_suite = {
	.name = "phyr_dma",
	.init = phyr_dma_test_init,
	.exit = phyr_dma_test_exit,
	.test_cases = phyr_dma_cases,
};

/* MMIO of a peer */

static void phyr_dma_test_forget_peer(void *peer)
{
	/* Else a driver could not bind to it afterwards. */
	devres_release_group(&((struct pci_dev *)peer)->dev, phyr_dma_test_forget_peer);
}

static struct pci_dev *phyr_dma_test_peer(struct kunit *test)
{
	struct phyr_dma_test *t = test->priv;
	struct pci_dev *peer = phyr_dma_test_edu(test, t->pdev);

	KUNIT_ASSERT_NOT_NULL(test, devres_open_group(&peer->dev, phyr_dma_test_forget_peer,
						      GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, phyr_dma_test_forget_peer,
							   peer));
	KUNIT_ASSERT_EQ(test, 0, pcim_p2pdma_init(peer));
	return peer;
}

/* Two functions below one switch reach each other past the IOMMU. */
static bool phyr_dma_test_by_bus(struct pci_dev *one, struct pci_dev *other)
{
	struct pci_dev *up = pci_upstream_bridge(one), *up2 = pci_upstream_bridge(other);

	up = up ? pci_upstream_bridge(up) : NULL;
	up2 = up2 ? pci_upstream_bridge(up2) : NULL;
	return up && up == up2;
}

/* RAM and MMIO in turn: every page is where it should be. */
static void phyr_dma_test_expect_mixed(struct kunit *test, bool by_bus)
{
	struct phyr_dma_test *t = test->priv;
	u64 offset = 0, total = t->list.nr_pages << PAGE_SHIFT;

	for (; offset < total; offset += PAGE_SIZE) {
		struct phyr_dma_cursor cur;
		struct phyr_cursor is;

		phyr_seek(&is, &t->list, offset, PAGE_SIZE);
		phyr_dma_seek(&cur, &t->dma, offset, PAGE_SIZE);
		KUNIT_ASSERT_TRUE(test, phyr_next(&is) && phyr_dma_next(&cur));
		KUNIT_ASSERT_EQ(test, cur.len, PAGE_SIZE);
		if (is.provider && by_bus)
			KUNIT_ASSERT_EQ(test, cur.addr,
					is.vec.paddr + is.provider->bus_offset);
		else
			KUNIT_ASSERT_EQ(test, is.vec.paddr,
					phyr_dma_test_reached(t, cur.addr));
	}
}

static void phyr_dma_test_p2p(struct kunit *test)
{
	struct pci_dev *peer = phyr_dma_test_peer(test);
	struct p2pdma_provider *provider = pcim_p2pdma_provider(peer, 0);
	phys_addr_t bar = pci_resource_start(peer, 0);
	struct phyr_dma_test *t = test->priv;
	dma_addr_t first;
	bool by_bus;
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, provider);
	for (int i = 0; i < 8; i++) {
		/* Every other page, last to first */
		phyr_dma_test_add(test, bar + 2 * (8 - i) * PAGE_SIZE, PAGE_SIZE, provider);
		phyr_dma_test_add(test, page_to_phys(t->pages[i]), PAGE_SIZE, NULL);
	}
	ret = phyr_dma_test_map(t, 0, DMA_ATTR_REQUIRE_COHERENT);
	if (pci_p2pdma_distance(peer, t->dev, false) < 0) {
		kunit_info(test, "the peer cannot be reached");
		KUNIT_EXPECT_EQ(test, -EREMOTEIO, ret);
		KUNIT_EXPECT_TRUE(test, mem_is_zero(&t->dma, sizeof(t->dma)));
		return;
	}
	KUNIT_ASSERT_EQ(test, 0, ret);
	by_bus = phyr_dma_test_by_bus(t->pdev, peer);
	kunit_info(test, "the peer is reached %s",
		   by_bus ? "by bus address" : "through the host bridge");
	phyr_dma_test_expect_mixed(test, by_bus);
	if (t->domain && !by_bus)
		phyr_dma_test_expect(test, 1);
	first = phyr_dma_test_first(t);
	phyr_dma_test_gone(test, first, by_bus ? 0 : t->list.nr_pages);

	/* All in one DMA range only where the IOMMU makes it one */
	ret = phyr_dma_test_map(t, PHYR_DMA_LINEAR, DMA_ATTR_REQUIRE_COHERENT);
	KUNIT_EXPECT_EQ(test, ret, t->domain && !by_bus ? 0 : -EOPNOTSUPP);
}

static struct kunit_case phyr_dma_p2p_cases[] = {
	KUNIT_CASE(phyr_dma_test_p2p),
	{}
};

static struct kunit_suite phyr_dma_p2p_suite = {
	.name = "phyr_dma_p2p",
	.init = phyr_dma_test_init,
	.exit = phyr_dma_test_exit,
	.test_cases = phyr_dma_p2p_cases,
};

/* DMA ranges taken from a scatterlist */

static void phyr_dma_test_sgt_expect(struct kunit *test, const struct phyr_dma *dma,
				     u64 offset, dma_addr_t addr, size_t len)
{
	struct phyr_dma_cursor cur;

	phyr_dma_seek(&cur, dma, offset, len);
	KUNIT_ASSERT_TRUE(test, phyr_dma_next(&cur));
	KUNIT_EXPECT_EQ(test, cur.addr, addr);
	KUNIT_EXPECT_EQ(test, cur.len, len);
	KUNIT_EXPECT_FALSE(test, phyr_dma_next(&cur));
}

/* Addresses of every size: a direct window at 2^59, an IOVA space of 57 bits */
static void phyr_dma_test_sgt(struct kunit *test)
{
	static const u64 addr[] = { SZ_1M, BIT_ULL(52) - SZ_8K, BIT_ULL(59) + SZ_4K,
				    BIT_ULL(57) - SZ_16K, U64_MAX - SZ_16K + 1 };
	struct scatterlist *sg;
	struct phyr_dma dma;
	struct sg_table sgt;
	int i;

	if (sizeof(dma_addr_t) < sizeof(u64))
		kunit_skip(test, "DMA addresses have 32 bits");
	KUNIT_ASSERT_EQ(test, 0, sg_alloc_table(&sgt, ARRAY_SIZE(addr), GFP_KERNEL));
	for_each_sgtable_dma_sg(&sgt, sg, i) {
		sg_dma_address(sg) = addr[i];
		sg_dma_len(sg) = SZ_16K;
	}

	KUNIT_ASSERT_EQ(test, 0, phyr_dma_copy_sgt(&dma, &sgt, 0, sizeof(addr) / 8 * SZ_16K));
	KUNIT_EXPECT_EQ(test, dma.nr_pages, ARRAY_SIZE(addr) * SZ_16K >> PAGE_SHIFT);
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		/* What lies on both sides of 2^52 is kept, and read, in two pieces. */
		phyr_dma_test_sgt_expect(test, &dma, i * SZ_16K, addr[i], SZ_8K);
		phyr_dma_test_sgt_expect(test, &dma, i * SZ_16K + SZ_8K, addr[i] + SZ_8K, SZ_8K);
	}
	phyr_dma_forget(&dma);
	KUNIT_EXPECT_TRUE(test, mem_is_zero(&dma, sizeof(dma)));

	/* A window, one that is too long, and one that is not made of pages */
	KUNIT_ASSERT_EQ(test, 0, phyr_dma_copy_sgt(&dma, &sgt, SZ_8K, SZ_16K));
	phyr_dma_test_sgt_expect(test, &dma, 0, addr[0] + SZ_8K, SZ_8K);
	phyr_dma_test_sgt_expect(test, &dma, SZ_8K, addr[1], SZ_8K);
	phyr_dma_forget(&dma);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			phyr_dma_copy_sgt(&dma, &sgt, SZ_4K, sizeof(addr) / 8 * SZ_16K));
	KUNIT_EXPECT_EQ(test, -EINVAL, phyr_dma_copy_sgt(&dma, &sgt, 1, PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, mem_is_zero(&dma, sizeof(dma)));
	sg_free_table(&sgt);
}

static struct kunit_case phyr_dma_sgt_cases[] = {
	KUNIT_CASE(phyr_dma_test_sgt),
	{}
};

static struct kunit_suite phyr_dma_sgt_suite = {
	.name = "phyr_dma_sgt",
	.test_cases = phyr_dma_sgt_cases,
};

kunit_test_suites(&phyr_dma_suite, &phyr_dma_p2p_suite, &phyr_dma_sgt_suite);

MODULE_DESCRIPTION("KUnit tests of DMA mapping of physical ranges");
MODULE_LICENSE("GPL");
