/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of every kind that a user may register, and a region of it: the
 * memory, its registration, and a copy of what it must hold.
 *
 * A test changes the copy as the operation should have changed the memory and
 * asks for a comparison, so bytes that nobody should have touched count too.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

#include "rdma_pair.h"

struct memory {
	unsigned char *base;
	size_t size;
	int fd;
};

struct memory_kind {
	const char *name;
	size_t page;		/* size is rounded up to this */
	bool read_only;
	bool dmabuf;		/* mem->fd is a dma-buf, registered as that */
	/* Both return 0 or a negative errno value. */
	int (*map)(struct memory *mem);
	/*
	 * Is the memory laid out as the name says? -EBADMSG if not. NULL:
	 * nothing to check.
	 */
	int (*check)(const struct memory *mem);
};

extern const struct memory_kind memory_kinds[];
extern const size_t nr_memory_kinds;

/* Memory that is registered as a dma-buf. */
extern const struct memory_kind dmabuf_kinds[];
extern const size_t nr_dmabuf_kinds;

/* One of either list; there is no other name. */
const struct memory_kind *memory_kind(const char *name);
/* Why there is no such memory here, or NULL. */
const char *memory_missing(const struct memory_kind *kind);
int memory_map(struct memory *mem, const struct memory_kind *kind, size_t size);
void memory_unmap(struct memory *mem);
/* Ask for nr more huge pages; the kernel may give fewer. */
void memory_reserve_huge_pages(size_t nr);

/* How the address that the wire carries relates to the memory's address. */
struct iova_kind {
	const char *name;
	u64 (*iova)(const unsigned char *addr);
};

extern const struct iova_kind iova_same, iova_far, iova_zero;

struct region_attr {
	const struct memory_kind *kind;
	const struct iova_kind *iova;
	size_t head;		/* bytes of the memory before the region */
	size_t len;
	size_t tail;		/* and after it, at least */
	int access;		/* 0: ACCESS_ALL, or what read-only allows */
};

struct region {
	struct memory mem;
	struct ibv_mr *mr;
	unsigned char *addr;
	size_t len;
	u64 iova;
	unsigned char *model;	/* of all of mem */
	size_t head;
	bool read_only;
};

int region_create(struct region *r, struct rdma_dev *dev,
		  const struct region_attr *attr);
void region_destroy(struct region *r);
/* The halves of region_create(), the second of which can be tried again. */
int region_map(struct region *r, const struct region_attr *attr);
int region_register(struct region *r, struct rdma_dev *dev,
		    const struct region_attr *attr);
/*
 * Give all of the memory, and the model, a pattern made from seed. Read-only
 * memory keeps the one it has.
 */
void region_fill(struct region *r, u64 seed);
/* The model's byte at an offset into the region. */
unsigned char *region_model(struct region *r, size_t off);
/*
 * Compare memory and model around [off, off + len) or, with check_all, all of
 * it. 0, or the first byte that differs is told by ktap_diag().
 */
int region_check(const struct region *r, size_t off, size_t len);
int region_check_all(const struct region *r);

static inline struct ibv_sge region_sge(const struct region *r, u64 off,
					u32 len)
{
	return (struct ibv_sge) {
		.addr = r->iova + off,
		.length = len,
		.lkey = r->mr->lkey,
	};
}

void fill_pattern(void *to, size_t len, u64 seed);

#endif
