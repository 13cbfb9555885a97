/* SPDX-License-Identifier: GPL-2.0 */
/*
 * CPU access to the memory of an MR.
 */
#ifndef RXE_MEM_H
#define RXE_MEM_H

#include <linux/phyr.h>
#include <linux/types.h>

struct rxe_mr;

/**
 * struct rxe_mem - a walk over a range of an MR, in CPU addresses
 * @va: current piece
 * @len: bytes in it
 */
struct rxe_mem {
	void			*va;
	size_t			len;
	/* private: */
	struct rxe_mr		*mr;
	u64			iova;
	size_t			left;
	struct phyr_cursor	cur;
};

int rxe_mem_seek(struct rxe_mem *mem, struct rxe_mr *mr, u64 iova,
		 size_t length);
bool rxe_mem_next(struct rxe_mem *mem);

#endif /* RXE_MEM_H */
