/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input that no device registers, and whether a registration that failed left
 * anything behind: pages accounted or referenced, or memory of the kernel's.
 */
#ifndef BAD_INPUT_H
#define BAD_INPUT_H

#include <infiniband/verbs.h>

#include "ktap.h"

struct input {
	unsigned char *map;
	size_t map_len;
	int fd;			/* memfd behind the map, or -1 */
	unsigned char *addr;
	size_t len;
	u64 iova;
	int access;
	struct ibv_mr *again;	/* register this one again, no new one */
};

struct bad_input {
	const char *name;
	int (*spoil)(struct input *in);	/* NULL: only the access is bad */
	int expect;
	int access;		/* 0: as it is */
};

/* Bad memory. What access a device refuses is its own affair. */
extern const struct bad_input bad_inputs[];
extern const size_t nr_bad_inputs;

enum ktap_result bad_input_run(struct ibv_pd *pd, int access,
			       const struct bad_input *bad);
/* A region that is, registered again with this: it stays as it is. */
enum ktap_result bad_input_run_again(struct ibv_mr *mr, int access,
				     const struct bad_input *bad);
/* The check of the checks: what they look at does see a registration. */
enum ktap_result bad_input_control(struct ibv_pd *pd, int access);
/* Good input, and each allocation of its registration failing in turn. */
enum ktap_result bad_input_inject(struct ibv_pd *pd, int access);
/* The same of a small region that is registered again. */
enum ktap_result bad_input_inject_again(struct ibv_pd *pd, int access);

#endif
