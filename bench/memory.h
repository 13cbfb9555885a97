/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a known physical layout, and proof that it has it.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

#include "util.h"

struct memory {
	void *base;
	size_t size;
	size_t nr_pages;	/* of 4 KiB */
	size_t nr_runs;		/* physically contiguous ones */
	size_t nr_huge;		/* pages of 4 KiB that lie in huge ones */
};

enum memory_kind { SCATTERED, HUGE };

/* Dies where the memory cannot be had in the layout asked for. */
void memory_map(struct memory *mem, enum memory_kind kind, size_t size);
void memory_unmap(struct memory *mem);
/* How many pages the kernel holds for dirty. */
size_t memory_count_dirty(const struct memory *mem);

#endif
