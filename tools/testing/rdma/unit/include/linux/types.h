/* SPDX-License-Identifier: GPL-2.0 */
/* What tools/include lacks: struct phys_vec, and SIZE_MAX as the build wants it. */
#ifndef UNIT_LINUX_TYPES_H
#define UNIT_LINUX_TYPES_H

/* The kernel's u64, which is the same in printf() on every machine. */
#define u64 tools_u64
#include_next <linux/types.h>
#undef u64
typedef __u64 u64;

#ifdef UNIT_SIZE_MAX
#undef SIZE_MAX
#define SIZE_MAX	UNIT_SIZE_MAX
#endif

#ifndef U64_MAX
#define U64_MAX		((u64)~0ULL)
#endif

struct phys_vec {
	phys_addr_t	paddr;
	size_t		len;
};

#endif
