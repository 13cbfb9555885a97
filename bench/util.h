/* SPDX-License-Identifier: GPL-2.0 */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <linux/types.h>
#include <time.h>

typedef __u64 u64;
typedef __u32 u32;

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define PAGE	(4 * KIB)

/* Nanoseconds; instructions, where the VM counts them. */
static inline u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline u64 least(u64 a, u64 b)
{
	return a < b ? a : b;
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
