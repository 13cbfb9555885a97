/* SPDX-License-Identifier: GPL-2.0 */
/*
 * RDMA without end, in a thread, while something happens to the peer's memory.
 *
 * It comes in rounds, that are numbered from 1. Each writes its number into
 * every word of a part of the remote region, another part than the one before,
 * and reads them back: a write that ended well is there. Accesses may fail, by
 * a remote access error, and the next round is tried all the same.
 *
 * Functions that return int return 0 or a negative errno value, and say why by
 * ktap_diag().
 */
#ifndef RDMA_TRAFFIC_H
#define RDMA_TRAFFIC_H

#include <pthread.h>
#include <stdatomic.h>

#include "fixture.h"

/* Both regions are of these bytes, the remote one of any number of them. */
#define TRAFFIC_LOCAL	(2 * TRAFFIC_REMOTE)
#define TRAFFIC_REMOTE	(256 * 1024UL)

struct traffic {
	struct fixture *f;
	pthread_t thread;
	atomic_bool stop;
	atomic_int err;
	/* The newest round of all, of those that ended well, and of the others */
	atomic_ullong begun, good, bad;
};

int traffic_start(struct traffic *tr, struct fixture *f);
/* Gives what went wrong meanwhile, other than a remote access error. */
int traffic_stop(struct traffic *tr);

/* Wait for some rounds that begin from now on, which all end well, or fail. */
int traffic_goes_on(struct traffic *tr);
int traffic_fails(struct traffic *tr);

#endif
