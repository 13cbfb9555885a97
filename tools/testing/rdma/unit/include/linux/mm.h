/* SPDX-License-Identifier: GPL-2.0 */
/* A struct page is its number, and nothing to look into. */
#ifndef UNIT_LINUX_MM_H
#define UNIT_LINUX_MM_H

#include <linux/align.h>

#include <asm/page.h>

#define page_to_pfn(page)	((unsigned long)(page))
#undef pfn_to_page
#define pfn_to_page(pfn)	((struct page *)(unsigned long)(pfn))

/* A page is known by its address alone, as if the memory map began at 0. */
struct page {
	char none;
};

#define page_to_pfn(page)	((unsigned long)(page))
#define pfn_to_page(pfn)	((struct page *)(unsigned long)(pfn))

#endif
