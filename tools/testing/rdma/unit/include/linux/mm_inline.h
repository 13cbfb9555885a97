/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_LINUX_MM_INLINE_H
#define UNIT_LINUX_MM_INLINE_H

#include <linux/mm.h>

static inline size_t num_pages_contiguous(struct page **pages, size_t nr_pages)
{
	size_t nr = 1;

	while (nr < nr_pages && page_to_pfn(pages[nr]) == page_to_pfn(pages[0]) + nr)
		nr++;
	return nr;
}

#endif
