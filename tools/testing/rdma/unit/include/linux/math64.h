/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_LINUX_MATH64_H
#define UNIT_LINUX_MATH64_H

#include_next <linux/math64.h>

#ifndef div64_u64
#define div64_u64(dividend, divisor)	((u64)(dividend) / (u64)(divisor))
#endif

#endif
