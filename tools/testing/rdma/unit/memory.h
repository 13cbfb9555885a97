/* SPDX-License-Identifier: GPL-2.0 */
/* kmalloc() and kfree() that count what they hand out, and fail on demand. */
#ifndef UNIT_MEMORY_H
#define UNIT_MEMORY_H

#include <linux/types.h>

extern struct memory {
	size_t live;		/* bytes handed out and not freed yet */
	unsigned long blocks;	/* allocations not freed yet */
	unsigned long calls;	/* of kmalloc(), so far */
	unsigned long fail_in;	/* calls until one fails, that one included */
	unsigned long failed;	/* calls that did */
	gfp_t gfp;		/* what calls must pass; 0: anything */
} memory;

#endif
