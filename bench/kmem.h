/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KMEM_H
#define KMEM_H

#include "util.h"

/*
 * Pages that are free in the whole machine. What the kernel allocated between
 * two calls is their difference, exact to a page; caches that only keep
 * unused objects are emptied first.
 */
u64 kmem_free_pages(void);

#endif
