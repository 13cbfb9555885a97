/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that one seed repeats on every machine (xorshift64*). */
#ifndef UNIT_RANDOM_H
#define UNIT_RANDOM_H

#include <linux/types.h>

struct random {
	u64 state;		/* never 0 */
};

static inline u64 random_u64(struct random *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * 2685821657736338717ULL;
}

static inline u64 random_below(struct random *r, u64 limit)
{
	return (random_u64(r) >> 8) % limit;
}

#endif
