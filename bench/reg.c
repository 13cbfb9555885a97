// SPDX-License-Identifier: GPL-2.0
/*
 * What a pinned memory region costs: time to register and to deregister it,
 * kernel memory that it holds, what is asked of the IOMMU, and beside them what
 * pinning alone costs.
 *
 *	reg [-d DEVICE] [-r REPEAT] KIND:BYTES...
 *
 * KIND is scattered (4 KiB pages that are no neighbours) or huge (2 MiB pages,
 * no neighbours either). Prints one line of JSON for each, with an error where
 * the kernel does not register so much. Times are nanoseconds, which are
 * instructions where the VM counts them (./lab exec --icount).
 */
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "gup.h"
#include "memory.h"
#include "print.h"
#include "quiet.h"
#include "trace.h"

#define MAX_REPEAT	64
/* Regions, for their memory to stand out, and runs in all of them together. */
#define MANY		1024
#define FEW		8
#define RUNS		(1024 * 1024UL)

struct result {
	u64 reg[MAX_REPEAT], dereg[MAX_REPEAT];
	u64 pin[MAX_REPEAT], unpin[MAX_REPEAT];
	u64 first_reg, first_dereg;	/* the pages are still clean */
	size_t dirty_before, dirty_after;
	u64 kernel_bytes;		/* that the regions hold together */
	int regions;
	u64 reg_events[NR_TRACE], dereg_events[NR_TRACE];
};

static void time_once(struct ibv_pd *pd, const struct memory *mem,
		      u64 *reg_ns, u64 *dereg_ns)
{
	struct ibv_mr *mr;
	u64 begin;

	begin = quiet_now();
	mr = reg(pd, mem);
	*reg_ns = now() - begin;
	begin = quiet_now();
	dereg(mr);
	*dereg_ns = now() - begin;
}

static void count_events(struct ibv_pd *pd, const struct memory *mem,
			 struct result *r)
{
	struct ibv_mr *mr;

	trace_start();
	mr = reg(pd, mem);
	trace_take(r->reg_events);
	dereg(mr);
	trace_take(r->dereg_events);
	trace_stop();
}

/*
 * As many as every kernel has room for: their number shows in the ids of the
 * regions that come after, and so in the cost of those.
 */
static int how_many(const struct memory *mem)
{
	size_t nr = RUNS / mem->nr_runs;

	return nr < FEW ? FEW : nr > MANY ? MANY : nr;
}

static void measure(struct ibv_pd *pd, const struct memory *mem, int repeat,
		    struct result *r)
{
	int i;

	r->dirty_before = memory_count_dirty(mem);
	time_once(pd, mem, &r->first_reg, &r->first_dereg);
	r->dirty_after = memory_count_dirty(mem);
	for (i = 0; i < repeat; i++)
		time_once(pd, mem, &r->reg[i], &r->dereg[i]);
	for (i = 0; i < repeat; i++)
		gup_measure(mem, &r->pin[i], &r->unpin[i]);
	count_events(pd, mem, r);
	r->kernel_bytes = regions_memory(pd, mem, reg, how_many(mem), &r->regions);
}

static void print(const char *what, const struct memory *mem, int repeat,
		  const struct result *r)
{
	printf("{\"what\": \"%s\", \"size\": %zu, \"pages\": %zu, \"runs\": %zu",
	       what, mem->size, mem->nr_pages, mem->nr_runs);
	printf(", \"dirty_before\": %zu, \"dirty_after\": %zu",
	       r->dirty_before, r->dirty_after);
	printf(", \"first_reg\": %llu, \"first_dereg\": %llu", r->first_reg,
	       r->first_dereg);
	print_list("reg", r->reg, repeat);
	print_list("dereg", r->dereg, repeat);
	print_list("pin", r->pin, repeat);
	print_list("unpin", r->unpin, repeat);
	trace_print("reg_events", r->reg_events);
	trace_print("dereg_events", r->dereg_events);
	printf(", \"kernel_bytes\": %llu, \"regions\": %d}\n",
	       r->kernel_bytes, r->regions);
	fflush(stdout);
}

/* Pages that are only read stay clean: this changes nothing for what follows. */
static bool can_register(struct ibv_pd *pd, const struct memory *mem)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, mem->base, mem->size, 0);

	if (mr)
		dereg(mr);
	return mr;
}

static void usage_exit(void)
{
	fputs("usage: reg [-d DEVICE] [-r REPEAT] scattered|huge:BYTES...\n", stderr);
	exit(2);
}

static void parse(const char *arg, enum memory_kind *kind, size_t *size)
{
	if (sscanf(arg, "scattered:%zu", size) == 1)
		*kind = SCATTERED;
	else if (sscanf(arg, "huge:%zu", size) == 1)
		*kind = HUGE;
	else
		usage_exit();
}

int main(int argc, char **argv)
{
	const char *device = "rxe0";
	struct ibv_pd *pd;
	int repeat = 5, c;

	while ((c = getopt(argc, argv, "d:r:")) != -1) {
		if (c == 'd')
			device = optarg;
		else if (c == 'r')
			repeat = atoi(optarg);
		else
			usage_exit();
	}
	argv += optind;
	if (!*argv || repeat < 1 || repeat > MAX_REPEAT)
		usage_exit();
	quiet_begin();
	pd = open_pd(device);
	for (; *argv; argv++) {
		struct result r = { 0 };
		enum memory_kind kind;
		struct memory mem;
		size_t size;

		parse(*argv, &kind, &size);
		memory_map(&mem, kind, size);
		if (can_register(pd, &mem)) {
			measure(pd, &mem, repeat, &r);
			print(*argv, &mem, repeat, &r);
		} else {
			printf("{\"what\": \"%s\", \"error\": \"%s\"}\n", *argv,
			       strerror(errno));
		}
		memory_unmap(&mem);
	}
	return 0;
}
