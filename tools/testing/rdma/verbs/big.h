/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of any length on a small machine: one block, mapped many times in a
 * row. The size of the block is such that 1, 2 and 4 GiB are no multiple of it:
 * an offset cut to 32 bits finds other bytes.
 *
 * All functions that return int return 0 or a negative errno value.
 */
#ifndef BIG_H
#define BIG_H

#include <stddef.h>

#include "rdma_pair.h"

#define BIG_BLOCK	(62UL << 20)

struct big {
	unsigned char *block;	/* an extra view, to look at the bytes */
	unsigned char *addr;	/* of the region */
	unsigned char *map;
	size_t map_len, len;
	u64 iova;
	struct ibv_mr *mr;
};

/* len bytes from the byte head of the first view on, of a memfd with flags */
int big_map(struct big *b, int memfd_flags, size_t len, size_t head);
/* Deregisters b->mr, too. */
void big_destroy(struct big *b);
/* Copy a piece of the region, which may start over at the end of the block. */
void big_peek(const struct big *b, u64 off, void *to, size_t len);

#endif
