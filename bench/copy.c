// SPDX-License-Identifier: GPL-2.0
/*
 * What memcpy() alone costs: the floor of a message that is copied.
 *
 *	copy BYTES...
 *
 * Prints one line of JSON for each. Times are nanoseconds, which are
 * instructions where the VM counts them (./lab exec --icount).
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* So much is copied for one figure, in pieces of BYTES */
#define TOTAL	(32 * MIB)
#define MOST	65536

static double time_copies(char *to, const char *from, size_t size)
{
	size_t i, nr = TOTAL / size;
	u64 begin;

	if (nr > MOST)
		nr = MOST;
	begin = now();
	for (i = 0; i < nr; i++) {
		memcpy(to, from, size);
		/* Each copy counts: nobody may leave one out. */
		asm volatile("" : : "r" (to) : "memory");
	}
	return (double)(now() - begin) / nr;
}

int main(int argc, char **argv)
{
	size_t size;
	char *mem;
	int i;

	for (i = 1; i < argc; i++) {
		size = strtoull(argv[i], NULL, 10);
		if (!size || size > TOTAL) {
			fputs("usage: copy BYTES...\n", stderr);
			return 2;
		}
		mem = malloc(2 * size);
		if (!mem)
			err(1, "no memory");
		memset(mem, 1, 2 * size);
		time_copies(mem, mem + size, size);
		printf("{\"size\": %zu, \"ns\": %.3f}\n", size,
		       time_copies(mem, mem + size, size));
		fflush(stdout);
		free(mem);
	}
	return 0;
}
