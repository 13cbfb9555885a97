/* SPDX-License-Identifier: GPL-2.0 */
/* kmalloc() and kfree() are in memory.c. */
#ifndef UNIT_LINUX_SLAB_H
#define UNIT_LINUX_SLAB_H

#include_next <linux/slab.h>

#ifndef kmalloc_obj
#define kmalloc_obj(P, ...) \
	__alloc_objs(kmalloc, default_gfp(__VA_ARGS__), typeof(P), 1)
#define kmalloc_objs(P, COUNT, ...) \
	__alloc_objs(kmalloc, default_gfp(__VA_ARGS__), typeof(P), COUNT)
#endif

#endif
