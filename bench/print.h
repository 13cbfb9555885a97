/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PRINT_H
#define PRINT_H

#include <stdio.h>

#include "util.h"

/* A member of a JSON object that is an array of figures. */
static inline void print_list(const char *name, const u64 *value, int nr)
{
	int i;

	printf(", \"%s\": [", name);
	for (i = 0; i < nr; i++)
		printf("%s%llu", i ? ", " : "", value[i]);
	printf("]");
}

#endif
