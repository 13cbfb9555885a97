/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations of this thread in the kernel that fail, one at a time. The debug
 * kernel can do that.
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>

/* This kernel has what it takes. */
bool inject_possible(void);
/* Let allocations of any kind fail, those that can sleep, too. 0 or -errno. */
int inject_any(void);
/* Make the nth allocation from now on fail. 0 switches that off. */
int inject_nth(int nth);
/* What was to fail has failed: nothing is left to count. */
bool inject_done(void);

#endif
