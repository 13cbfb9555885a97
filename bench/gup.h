/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What pinning memory costs by itself: the floor of every registration. The
 * kernel measures it (CONFIG_GUP_TEST), in microseconds.
 */
#ifndef GUP_H
#define GUP_H

#include "memory.h"

void gup_measure(const struct memory *mem, u64 *pin_ns, u64 *unpin_ns);

#endif
