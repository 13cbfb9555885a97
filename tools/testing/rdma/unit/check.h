/* SPDX-License-Identifier: GPL-2.0 */
/* Assertions. Who links this says what a failed one does. */
#ifndef UNIT_CHECK_H
#define UNIT_CHECK_H

#include <linux/compiler.h>

void __noreturn __printf(1, 2) check_failed(const char *fmt, ...);

#define check(condition, ...)				\
	do {						\
		if (!(condition))			\
			check_failed(__VA_ARGS__);	\
	} while (0)

#endif
