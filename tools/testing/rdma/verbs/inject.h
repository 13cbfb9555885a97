/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations of this thread in the kernel that fail, one at a time. The debug
 * kernel can do that.
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>

#include "ktap.h"

/* One try of something, one allocation of which fails. */
struct injection {
	int nth;
	bool failed;		/* it made so many */
	bool refused;		/* and failed as a whole: for the test to say */
};

/*
 * Let allocations of any kind fail, those that can sleep, too. KTAP_PASS, or
 * why that cannot be.
 */
enum ktap_result inject_prepare(void);
/* Allocations count from here */
void inject_begin(const struct injection *inj);
/* to here. errno stays as it is. */
void inject_end(struct injection *inj);

/*
 * Have it try with the first allocation failing, then with the second, and so
 * on until it makes fewer; the whole of it some times. An error if it never
 * refused, or if it did so for another reason.
 */
enum ktap_result inject_each(int rounds, void *arg,
			     enum ktap_result (*try)(struct injection *inj,
						     void *arg));

#endif
