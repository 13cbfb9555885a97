/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's min() takes two unsigned types; the one of tools/include not. */
#ifndef UNIT_LINUX_MINMAX_H
#define UNIT_LINUX_MINMAX_H

#include <linux/kernel.h>

#undef min
#define min(x, y) ({				\
	__auto_type _min1 = (x);		\
	__auto_type _min2 = (y);		\
	_min1 < _min2 ? _min1 : _min2; })

#define min3(x, y, z)	min(min(x, y), z)

#undef min3
#define min3(x, y, z)	min(min(x, y), z)

#endif
