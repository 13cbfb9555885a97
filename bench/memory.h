/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a known physical layout, and proof that it has it.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

#include "util.h"

enum memory_kind { SCATTERED, HUGE };

struct memory {
	void *base;
	size_t size;
	enum memory_kind kind;
	size_t nr_pages;	/* of 4 KiB */
	size_t nr_runs;		/* physically contiguous ones */
	size_t nr_huge;		/* pages of 4 KiB that lie in huge ones */
};

/* Addresses only: no page is there before it is touched. */
void memory_reserve(struct memory *mem, enum memory_kind kind, size_t size);
/* All pages. Dies where they cannot be had in the layout asked for. */
void memory_fill(struct memory *mem);
/* Give all pages back, and keep the addresses. */
void memory_drop(const struct memory *mem);
/* Reserve and fill. */
void memory_map(struct memory *mem, enum memory_kind kind, size_t size);
void memory_unmap(const struct memory *mem);
/* All pages of an empty memfd, SCATTERED. */
void memory_fill_file(int memfd, size_t size);
/* How many pages the kernel holds for dirty. */
size_t memory_count_dirty(const struct memory *mem);

#endif
