/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An RDMA device on QEMU's edu PCI function.
 *
 * The function has one DMA engine and a buffer of 4 KiB of its own, and runs one
 * request at a time: between the buffer and a DMA address. The driver does in
 * software what a NIC does besides: it keeps the page tables of the MRs, finds
 * MRs by key, checks access and bounds, and cuts a copy into requests.
 *
 * Locking: edu_dev.lock is held while the device runs requests, from the look at
 * the MR's page table to the interrupt that ends the last one. So it serialises
 * the engine, and who takes it after an MR's key is gone knows that the device has
 * stopped using the MR. No memory is allocated and no other lock taken under it:
 * edu_dev.mrs, which has a lock of its own for changes, is only read. With
 * on-demand paging it is taken in reclaim, see edu_odp.c.
 */
#ifndef EDU_H
#define EDU_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/xarray.h>
#include <rdma/edu-abi.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

struct ib_odp;
struct p2pdma_provider;

struct edu_dev {
	struct ib_device ibdev;
	struct pci_dev *pdev;
	void __iomem *regs;

	struct mutex lock;		/* see above */
	struct completion done;		/* of the request that runs */
	bool dead;			/* gone, or it did not answer */

	struct xarray mrs;		/* the MRs by key */
	u32 next_key;

#ifdef CONFIG_INFINIBAND_EDU_TEST
	dma_addr_t stale;		/* of memory taken away last, under lock */
	struct dentry *debugfs;
#endif
};

/**
 * struct edu_table - the page table of memory that is all there
 * @first: byte of the first block that is the first of the MR
 * @shift: the size of blocks is 1 << @shift
 * @nr_blocks: blocks in the table
 * @blocks: DMA address of each; NULL while there is no memory
 */
struct edu_table {
	u64 first;
	unsigned int shift;
	size_t nr_blocks;
	dma_addr_t *blocks;
};

/**
 * struct edu_mr - an MR and its page table
 * @ibmr: what the core knows of it
 * @pd: PD it belongs to; ibmr.pd is set only when the key is known already
 * @umem: the memory
 * @access: IB_ACCESS_*
 * @table: where the memory is; that of a dma-buf changes, under edu_dev.lock
 * @odp: the region, with on-demand paging, in place of the table
 * @pages: its table, see edu_odp.c
 * @ref: the registration's, and one of each fault that is waited for
 */
struct edu_mr {
	struct ib_mr ibmr;
	struct ib_pd *pd;
	struct ib_umem *umem;
	int access;
	struct edu_table table;
	struct ib_odp *odp;
	struct xarray pages;
	struct kref ref;
};

/**
 * struct edu_ucontext - a context, and the page of the BAR that it has
 * @ibucontext: what the core knows of it
 * @page: what the core knows of the page; who refers to it is gone before the
 *	context is, so it is freed with that
 */
struct edu_ucontext {
	struct ib_ucontext ibucontext;
	struct rdma_user_mmap_entry page;
};

static inline struct edu_dev *to_edu(struct ib_device *ibdev)
{
	return container_of(ibdev, struct edu_dev, ibdev);
}

static inline struct edu_ucontext *to_edu_ucontext(struct ib_ucontext *ctx)
{
	return container_of(ctx, struct edu_ucontext, ibucontext);
}

static inline struct edu_mr *to_edu_mr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct edu_mr, ibmr);
}

extern const struct uapi_definition edu_uapi_defs[];

int edu_page_init(struct edu_dev *edu);
int edu_alloc_ucontext(struct ib_ucontext *ctx, struct ib_udata *udata);
void edu_dealloc_ucontext(struct ib_ucontext *ctx);
int edu_mmap(struct ib_ucontext *ctx, struct vm_area_struct *vma);
struct rdma_user_mmap_entry *
edu_pgoff_to_mmap_entry(struct ib_ucontext *ctx, off_t offset);
int edu_mmap_get_pfns(struct rdma_user_mmap_entry *entry, struct phys_vec *vec,
		      struct p2pdma_provider **provider);

struct ib_mr *edu_reg_user_mr(struct ib_pd *pd, u64 start, u64 length,
			      u64 iova, int access, struct ib_dmah *dmah,
			      struct ib_udata *udata);
int edu_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
struct edu_mr *edu_mr_alloc(struct ib_pd *pd, int access);
struct ib_mr *edu_mr_publish(struct edu_mr *mr, u64 length);
void edu_mr_put(struct edu_mr *mr);
int edu_table_fill(struct edu_table *table, struct ib_umem *umem, u64 iova);
phys_addr_t edu_phys(struct edu_dev *edu, dma_addr_t addr);

/* Which way a request goes, seen from the memory. */
enum edu_dir {
	EDU_READ,
	EDU_WRITE,
};

/* What a copy found absent, to be brought in: memory of an MR, which is held. */
struct edu_missed {
	struct edu_mr *mr;
	enum edu_dir dir;
	u64 offset;
	u32 len;
};

int edu_dma_init(struct edu_dev *edu);
void edu_dma_exit(struct edu_dev *edu);
int edu_dma(struct edu_dev *edu, enum edu_dir dir, dma_addr_t addr, u32 pos,
	    u32 len);
int edu_copy(struct edu_dev *edu, struct ib_pd *pd,
	     const struct edu_copy_req *req);

struct ib_mr *edu_reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length,
				     u64 iova, int fd, int access,
				     struct ib_dmah *dmah,
				     struct uverbs_attr_bundle *attrs);
void edu_dmabuf_release_mr(struct edu_mr *mr);
int edu_dmabuf_fault(struct edu_missed *missed);

#define EDU_ACCESS	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | \
			 IB_ACCESS_REMOTE_READ)

#ifdef CONFIG_INFINIBAND_EDU_ODP
#define EDU_ACCESS_ODP	(IB_ACCESS_ON_DEMAND | IB_ACCESS_HUGETLB)

int edu_odp_init_mr(struct edu_mr *mr, u64 start, u64 length, u64 iova);
void edu_odp_release_mr(struct edu_mr *mr);
void edu_odp_free_mr(struct edu_mr *mr);
u64 edu_odp_block(struct edu_mr *mr, enum edu_dir dir, u64 offset,
		  dma_addr_t *addr);
int edu_odp_fault(struct edu_missed *missed);
int edu_odp_check(struct edu_dev *edu, struct edu_mr *mr,
		  struct edu_check_resp *resp);
int edu_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice,
		  u32 flags, struct ib_sge *sg_list, u32 num_sge,
		  struct uverbs_attr_bundle *attrs);
int edu_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);
#else
/* No MR has a region, so what asks for one is never called. */
#define EDU_ACCESS_ODP	0

static inline int edu_odp_init_mr(struct edu_mr *mr, u64 start, u64 length,
				  u64 iova)
{
	return -EOPNOTSUPP;
}

static inline void edu_odp_release_mr(struct edu_mr *mr) {}
static inline void edu_odp_free_mr(struct edu_mr *mr) {}
static inline u64 edu_odp_block(struct edu_mr *mr, enum edu_dir dir, u64 offset,
				dma_addr_t *addr)
{
	return 0;
}

static inline int edu_odp_fault(struct edu_missed *missed)
{
	return -EOPNOTSUPP;
}

static inline int edu_odp_check(struct edu_dev *edu, struct edu_mr *mr,
				struct edu_check_resp *resp)
{
	return -EOPNOTSUPP;
}
#endif

#ifdef CONFIG_INFINIBAND_EDU_TEST
void edu_test_init(struct edu_dev *edu);
void edu_test_exit(struct edu_dev *edu);
void edu_test_forget(struct edu_dev *edu, dma_addr_t addr);
#else
static inline void edu_test_init(struct edu_dev *edu) {}
static inline void edu_test_exit(struct edu_dev *edu) {}
static inline void edu_test_forget(struct edu_dev *edu, dma_addr_t addr) {}
#endif

#endif
