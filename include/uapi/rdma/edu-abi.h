/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What is particular about the edu device: a page of its BAR that each context
 * has, and methods of its own. A PD and an MR have no driver data.
 */
#ifndef EDU_ABI_USER_H
#define EDU_ABI_USER_H

#include <linux/types.h>
#include <rdma/ib_user_ioctl_cmds.h>

#define EDU_ABI_VERSION 1

/*
 * @page_offset: of the page, for mmap() of the context's file, shared, and for
 * UVERBS_METHOD_DMABUF_ALLOC. It takes accesses of 4 and of 8 bytes, reads as
 * all ones, and writes to it are lost.
 */
struct edu_alloc_ucontext_resp {
	__aligned_u64 page_offset;
};

enum edu_pd_methods {
	EDU_METHOD_PD_COPY = (1U << UVERBS_ID_NS_SHIFT),
};

enum edu_pd_copy_attrs {
	EDU_ATTR_COPY_PD_HANDLE = (1U << UVERBS_ID_NS_SHIFT),
	EDU_ATTR_COPY_REQ,
};

/*
 * Copy @length bytes from one MR to another by the device's DMA. The keys are
 * those of MRs of the PD, offsets count bytes from the start of the MR.
 */
struct edu_copy_req {
	__aligned_u64 dst_offset;
	__aligned_u64 src_offset;
	__aligned_u64 length;
	__u32 dst_key;
	__u32 src_key;
};

enum edu_mr_methods {
	EDU_METHOD_MR_CHECK = (1U << UVERBS_ID_NS_SHIFT),
};

enum edu_mr_check_attrs {
	EDU_ATTR_CHECK_MR_HANDLE = (1U << UVERBS_ID_NS_SHIFT),
	EDU_ATTR_CHECK_RESP,
};

/*
 * What was found to be right of an MR: as many pages of memory, in as many
 * blocks of @block_size bytes of the device's page table.
 */
struct edu_check_resp {
	__aligned_u64 pages;
	__aligned_u64 blocks;
	__aligned_u64 block_size;
};

#endif
