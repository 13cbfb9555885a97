/* SPDX-License-Identifier: GPL-2.0 */
/* A page size of our own choice: small pages make deep trees of few ranges. */
#ifndef UNIT_ASM_PAGE_H
#define UNIT_ASM_PAGE_H

#include <linux/const.h>

#ifndef UNIT_PAGE_SHIFT
#define UNIT_PAGE_SHIFT	12
#endif

#define PAGE_SHIFT	UNIT_PAGE_SHIFT
#define PAGE_SIZE	(_AC(1, UL) << PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))

#endif
