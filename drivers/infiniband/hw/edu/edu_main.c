// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI function, and the RDMA device that it is to the core.
 *
 * The device moves bytes by methods of its own only, so it has PDs and MRs, and
 * no queues, and kernel users cannot use it.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>

#include "edu.h"

#define EDU_VENDOR_ID	0x1234
#define EDU_DEVICE_ID	0x11e8

#define EDU_GUID	0x02ed000000000000ULL

/*
 * QEMU's dma_mask property, which cannot be read from the device. An address
 * beyond it is cut by the device and means other memory, so this is the
 * property's default.
 */
static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "bits of the device's dma_mask property (default: 28)");

struct edu_pd {
	struct ib_pd ibpd;
};

static int edu_query_device(struct ib_device *ibdev,
			    struct ib_device_attr *attr, struct ib_udata *udata)
{
	struct edu_dev *edu = to_edu(ibdev);
	int ret = ib_no_udata_io(udata);

	if (ret)
		return ret;
	attr->vendor_id = edu->pdev->vendor;
	attr->vendor_part_id = edu->pdev->device;
	attr->hw_ver = edu->pdev->revision;
	attr->sys_image_guid = ibdev->node_guid;
	attr->max_mr_size = U64_MAX;
	attr->page_size_cap = PAGE_MASK;
	attr->max_mr = INT_MAX;
	attr->max_pd = INT_MAX;
	if (IS_ENABLED(CONFIG_INFINIBAND_EDU_ODP)) {
		attr->kernel_cap_flags |= IBK_ON_DEMAND_PAGING;
		attr->odp_caps.general_caps = IB_ODP_SUPPORT |
					      IB_ODP_SUPPORT_IMPLICIT;
	}
	return 0;
}

/* There is a port only because every RDMA device has one. */
static int edu_query_port(struct ib_device *ibdev, u32 port,
			  struct ib_port_attr *attr)
{
	attr->state = IB_PORT_DOWN;
	attr->phys_state = IB_PORT_PHYS_STATE_DISABLED;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->active_width = IB_WIDTH_1X;
	attr->active_speed = IB_SPEED_SDR;
	return 0;
}

static int edu_get_port_immutable(struct ib_device *ibdev, u32 port,
				  struct ib_port_immutable *immutable)
{
	return 0;
}

static enum rdma_link_layer edu_get_link_layer(struct ib_device *ibdev,
					       u32 port)
{
	return IB_LINK_LAYER_UNSPECIFIED;
}

static int edu_alloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	return ib_no_udata_io(udata);
}

static int edu_dealloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	return 0;
}

/* The core takes the page away, and no process has more of the device mapped. */
static void edu_disassociate_ucontext(struct ib_ucontext *ctx)
{
}

static const struct ib_device_ops edu_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_EDU,
	.uverbs_abi_ver = EDU_ABI_VERSION,
	.uverbs_robust_udata = true,

#ifdef CONFIG_INFINIBAND_EDU_ODP
	.advise_mr = edu_advise_mr,
	.fill_stat_mr_entry = edu_fill_stat_mr_entry,
#endif
	.alloc_pd = edu_alloc_pd,
	.alloc_ucontext = edu_alloc_ucontext,
	.dealloc_pd = edu_dealloc_pd,
	.dealloc_ucontext = edu_dealloc_ucontext,
	.dereg_mr = edu_dereg_mr,
	.disassociate_ucontext = edu_disassociate_ucontext,
	.get_link_layer = edu_get_link_layer,
	.get_port_immutable = edu_get_port_immutable,
	.mmap = edu_mmap,
	.mmap_get_pfns = edu_mmap_get_pfns,
	.pgoff_to_mmap_entry = edu_pgoff_to_mmap_entry,
	.query_device = edu_query_device,
	.query_port = edu_query_port,
	.reg_user_mr = edu_reg_user_mr,
	.reg_user_mr_dmabuf = edu_reg_user_mr_dmabuf,

	INIT_RDMA_OBJ_SIZE(ib_pd, edu_pd, ibpd),
	INIT_RDMA_OBJ_SIZE(ib_ucontext, edu_ucontext, ibucontext),
};

static int edu_register(struct edu_dev *edu)
{
	struct ib_device *ibdev = &edu->ibdev;

	ibdev->node_type = RDMA_NODE_UNSPECIFIED;
	/* A local one, and another for each function. */
	ibdev->node_guid = cpu_to_be64(EDU_GUID | pci_dev_id(edu->pdev));
	ibdev->phys_port_cnt = 1;
	ibdev->num_comp_vectors = 1;
	ibdev->dev.parent = &edu->pdev->dev;
	ibdev->driver_def = edu_uapi_defs;
	ib_set_device_ops(ibdev, &edu_ops);
	return ib_register_device(ibdev, "edu_%d", &edu->pdev->dev);
}

static int edu_init_pci(struct pci_dev *pdev)
{
	int ret;

	if (!dma_bits || dma_bits > 64) {
		pci_err(pdev, "dma_bits has to be 1 to 64\n");
		return -EINVAL;
	}
	ret = pcim_enable_device(pdev);
	if (!ret)
		ret = dma_set_mask_and_coherent(&pdev->dev,
						DMA_BIT_MASK(dma_bits));
	if (!ret)	/* a block may be as large as the memory has it */
		dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	return ret;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu_dev *edu;
	int ret;

	ret = edu_init_pci(pdev);
	if (ret)
		return ret;
	edu = ib_alloc_device(edu_dev, ibdev);
	if (!edu)
		return -ENOMEM;
	edu->pdev = pdev;
	xa_init_flags(&edu->mrs, XA_FLAGS_ALLOC1);
	pci_set_drvdata(pdev, edu);

	edu->regs = pcim_iomap_region(pdev, 0, "edu_ib");
	if (IS_ERR(edu->regs)) {
		ret = PTR_ERR(edu->regs);
		goto err_free;
	}
	ret = edu_page_init(edu);
	if (!ret)
		ret = edu_dma_init(edu);
	if (ret)
		goto err_free;
	ret = edu_register(edu);
	if (ret)
		goto err_dma;
	edu_test_init(edu);
	return 0;

err_dma:
	edu_dma_exit(edu);
err_free:
	ib_dealloc_device(&edu->ibdev);
	return ret;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu_dev *edu = pci_get_drvdata(pdev);

	edu_test_exit(edu);
	/* Copies end with the request that runs; the core waits for them. */
	WRITE_ONCE(edu->dead, true);
	ib_unregister_device(&edu->ibdev);
	edu_dma_exit(edu);
	WARN_ON(!xa_empty(&edu->mrs));
	ib_dealloc_device(&edu->ibdev);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR_ID, EDU_DEVICE_ID) },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_ib",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("RDMA device on QEMU's edu function");
MODULE_LICENSE("GPL");
