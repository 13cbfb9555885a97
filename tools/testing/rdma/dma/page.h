/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The page of its BAR that a context of the edu device has: exported, mapped,
 * and the device taken from its driver.
 *
 * The page has no memory. It reads as all ones, where a place in which there is
 * no function reads as zero here, and takes accesses of 4 and of 8 bytes.
 *
 * All functions that return int return 0 or a negative errno value.
 */
#ifndef PAGE_H
#define PAGE_H

#include "rdma_pair.h"

#define PAGE		4096UL
#define PAGE_ONES	(~0ULL)

/* A context of its own, and a dma-buf of the page. */
struct page {
	struct rdma_dev owner;
	u64 offset;		/* of the page in the context's file */
	int fd;			/* of the dma-buf, or -1 */
};

/* The page of a device, the first of which is 0. */
int page_open(struct page *p, int nth);
int page_export(struct page *p);
void page_close_fd(struct page *p);
/* Also where the context is closed already, or there is only a part of it. */
void page_close(struct page *p);

/* A mapping of it, or NULL with errno; and the access to a word of that. */
u64 *page_map(const struct page *p);
void page_unmap(u64 *map);

static inline u64 page_get(const u64 *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void page_set(u64 *word, u64 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Where the page is in physical memory, as sysfs says. */
int page_address(const struct page *p, u64 *addr);

/* The name of the device's PCI function; take it from the driver, give it back. */
int page_function(const struct page *p, char name[16]);
int page_unbind(const char *function);
int page_bind(const char *function);

#endif
