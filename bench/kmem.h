/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KMEM_H
#define KMEM_H

/*
 * Bytes of memory in use, counted from some point that stays the same: what
 * the kernel allocated between two calls is their difference. Exact: objects
 * count as what they take, not the slabs that they happen to lie in.
 */
long long kmem_used(void);

#endif
