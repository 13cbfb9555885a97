// SPDX-License-Identifier: GPL-2.0
/*
 * What many regions cost: time to register and to deregister each, while the
 * others are there, and kernel memory that each holds.
 *
 *	many [-d DEVICE] COUNT...
 *
 * Each region is one page of 4 KiB, the same one. Prints one line of JSON for
 * each COUNT. Times are nanoseconds for one region, which are instructions
 * where the VM counts them (./lab exec --icount).
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device.h"
#include "kmem.h"
#include "memory.h"
#include "quiet.h"

/* Of fewer, the memory does not stand out from what else happens in the kernel. */
#define STAND_OUT	1000
/* What else happens only adds to the time, and to that of few regions much. */
#define LEAST_OF	5
#define ONCE		10000

static struct ibv_mr **mr;

static u64 time_reg(struct ibv_pd *pd, const struct memory *mem, int count)
{
	u64 begin = quiet_now();
	int i;

	for (i = 0; i < count; i++)
		mr[i] = reg(pd, mem);
	return now() - begin;
}

static u64 time_dereg(int count)
{
	u64 begin = quiet_now();
	int i;

	for (i = 0; i < count; i++)
		dereg(mr[i]);
	return now() - begin;
}

static void print_memory(struct ibv_pd *pd, const struct memory *mem, int count)
{
	long long before;

	warm_library(pd, mr, count);
	before = kmem_used();
	time_reg(pd, mem, count);
	printf(", \"kernel_bytes\": %.1f", (double)(kmem_used() - before) / count);
	time_dereg(count);
}

static void measure(struct ibv_pd *pd, const struct memory *mem, int count)
{
	u64 reg_ns = ~0ULL, dereg_ns = ~0ULL;
	int i, rounds = count < ONCE ? LEAST_OF : 1;

	mr = calloc(count, sizeof(*mr));
	if (!mr)
		err(1, "no memory");
	printf("{\"count\": %d", count);
	if (count >= STAND_OUT)
		print_memory(pd, mem, count);
	for (i = 0; i < rounds; i++) {
		reg_ns = least(reg_ns, time_reg(pd, mem, count));
		dereg_ns = least(dereg_ns, time_dereg(count));
	}
	printf(", \"reg\": %.1f, \"dereg\": %.1f}\n",
	       (double)reg_ns / count, (double)dereg_ns / count);
	fflush(stdout);
	free(mr);
}

int main(int argc, char **argv)
{
	const char *device = "rxe0";
	struct memory mem;
	struct ibv_pd *pd;
	int i, count, c;

	while ((c = getopt(argc, argv, "d:")) != -1) {
		if (c != 'd')
			goto usage;
		device = optarg;
	}
	if (optind == argc)
		goto usage;
	quiet_begin();
	pd = open_pd(device);
	memory_map(&mem, SCATTERED, PAGE);
	/* What only the first one does is no cost of a region. */
	dereg(reg(pd, &mem));
	for (i = optind; i < argc; i++) {
		count = atoi(argv[i]);
		if (count < 1)
			goto usage;
		measure(pd, &mem, count);
	}
	return 0;
usage:
	fputs("usage: many [-d DEVICE] COUNT...\n", stderr);
	return 2;
}
