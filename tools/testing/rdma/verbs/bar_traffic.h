/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The BAR is revoked while RDMA traffic to it runs: its function stops to
 * answer, is reset, closed, or taken away.
 */
#ifndef BAR_TRAFFIC_H
#define BAR_TRAFFIC_H

/* Add these tests; they run with the function open, and leave it so. */
void bar_traffic_add(void);

#endif
