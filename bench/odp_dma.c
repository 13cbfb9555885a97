// SPDX-License-Identifier: GPL-2.0
/*
 * What on-demand paging costs a device that does DMA: pages that the CPU has
 * mapped are brought in by one call, and taken away by one call, behind an IOMMU.
 *
 *	odp_dma [-r REPEAT] KIND:PAGES...
 *
 * on the edu device, where KIND is scattered (4 KiB pages that are no neighbours)
 * or huge (2 MiB pages), and PAGES counts those of 4 KiB. Prints one line of JSON
 * for each. Times are nanoseconds, which are instructions where the VM counts
 * them (./lab exec --icount).
 *
 * Pages are brought in by ibv_advise_mr() and taken away by mprotect(), and both
 * have a cost of their own: that of an advice that finds the pages there, and
 * that of an mprotect() of memory that is no MR. They are told apart.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "memory.h"
#include "print.h"
#include "quiet.h"
#include "trace.h"

#define MAX_REPEAT	64
#define DEVICE		"edu_0"

struct result {
	u64 fault[MAX_REPEAT];		/* pages come in */
	u64 again[MAX_REPEAT];		/* they are there */
	u64 invalidate[MAX_REPEAT];	/* pages go */
	u64 protect[MAX_REPEAT];	/* there are none to go */
	u64 fault_events[NR_TRACE], invalidate_events[NR_TRACE];
};

static u64 advise(struct ibv_mr *mr)
{
	struct ibv_sge sge = { (uintptr_t)mr->addr, mr->length, mr->lkey };
	u64 begin = quiet_now();

	errno = ibv_advise_mr(mr->pd, IBV_ADVISE_MR_ADVICE_PREFETCH,
			      IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
	if (errno)
		err(1, "cannot bring pages in");
	return now() - begin;
}

/* The CPU loses the pages, and gets the same ones back. */
static u64 protect(const struct memory *mem)
{
	u64 begin = quiet_now(), end;
	int ret = mprotect(mem->base, mem->size, PROT_NONE);

	end = now();
	if (ret || mprotect(mem->base, mem->size, PROT_READ | PROT_WRITE))
		err(1, "mprotect");
	return end - begin;
}

/* A page that is mapped again has its entry when it is touched. */
static void touch(const struct memory *mem)
{
	size_t at;

	for (at = 0; at < mem->size; at += PAGE)
		__atomic_fetch_add((char *)mem->base + at, 1, __ATOMIC_RELAXED);
}

static void measure(struct ibv_pd *pd, const struct memory *mem, int repeat,
		    struct result *r)
{
	struct ibv_mr *mr;
	int i;

	for (i = 0; i < repeat; i++) {
		touch(mem);
		r->protect[i] = protect(mem);
	}
	touch(mem);
	mr = reg_odp(pd, mem);
	for (i = 0; i < repeat; i++) {
		r->fault[i] = advise(mr);
		r->again[i] = advise(mr);
		r->invalidate[i] = protect(mem);
		touch(mem);
	}
	trace_start();
	advise(mr);
	trace_take(r->fault_events);
	protect(mem);
	trace_take(r->invalidate_events);
	trace_stop();
	dereg(mr);
}

static void print(const char *what, const struct memory *mem, int repeat,
		  const struct result *r)
{
	printf("{\"what\": \"%s\", \"pages\": %zu, \"runs\": %zu", what,
	       mem->nr_pages, mem->nr_runs);
	print_list("fault", r->fault, repeat);
	print_list("again", r->again, repeat);
	print_list("invalidate", r->invalidate, repeat);
	print_list("protect", r->protect, repeat);
	trace_print("fault_events", r->fault_events);
	trace_print("invalidate_events", r->invalidate_events);
	printf("}\n");
	fflush(stdout);
}

static void usage_exit(void)
{
	fputs("usage: odp_dma [-r REPEAT] scattered|huge:PAGES...\n", stderr);
	exit(2);
}

static void run(struct ibv_pd *pd, const char *what, int repeat)
{
	const char *colon = strchr(what, ':');
	struct result r = { 0 };
	enum memory_kind kind;
	struct memory mem;
	size_t pages;
	char *end;

	if (!colon)
		usage_exit();
	if (!strncmp(what, "scattered:", colon + 1 - what))
		kind = SCATTERED;
	else if (!strncmp(what, "huge:", colon + 1 - what))
		kind = HUGE;
	else
		usage_exit();
	pages = strtoull(colon + 1, &end, 10);
	if (*end || !pages)
		usage_exit();
	memory_map(&mem, kind, pages * PAGE);
	measure(pd, &mem, repeat, &r);
	print(what, &mem, repeat, &r);
	memory_unmap(&mem);
}

int main(int argc, char **argv)
{
	int repeat = 3, opt;
	struct ibv_pd *pd;

	while ((opt = getopt(argc, argv, "r:")) != -1) {
		if (opt != 'r')
			usage_exit();
		repeat = atoi(optarg);
	}
	if (optind == argc || repeat < 1 || repeat > MAX_REPEAT)
		usage_exit();
	quiet_begin();
	pd = open_pd(DEVICE);
	for (; optind < argc; optind++)
		run(pd, argv[optind], repeat);
	return 0;
}
