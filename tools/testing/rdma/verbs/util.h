/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UTIL_H
#define UTIL_H

#include <linux/types.h>

typedef __u64 u64;
typedef __u32 u32;

#define __attr(a) __attribute__((a))
#define __printf(a, b) __attr(format(printf, a, b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
