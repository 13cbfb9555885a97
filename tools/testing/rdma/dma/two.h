/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A region of a peer's memory, and one of RAM, for the device to copy between.
 *
 * All functions that return int return 0 or a negative errno value.
 */
#ifndef TWO_H
#define TWO_H

#include "edu.h"

struct two {
	struct region peer, ram;
};

/* With a pattern in both. */
int two_create(struct two *t, const struct region_attr *peer);
void two_destroy(struct two *t);

/* Both regions and all around are what they have to be, after each: */
int two_to_peer(struct two *t, u64 at, u64 len);
int two_from_peer(struct two *t, u64 at, u64 len);

#endif
