/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel does by the way is no cost of what is counted, where the VM
 * has one processor: it waits for us to sleep, and has its turn before a count.
 */
#ifndef QUIET_H
#define QUIET_H

#include "util.h"

/* Each from here on. Both die where they fail. */
void quiet_begin(void);
/*
 * Others do the work, and what is polled for in vain is no cost of it: run in the
 * time only that nobody else wants.
 */
void quiet_poll(void);
/* now(), and nobody waits for a turn */
u64 quiet_now(void);

#endif
