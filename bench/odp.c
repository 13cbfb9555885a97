// SPDX-License-Identifier: GPL-2.0
/*
 * What memory with on-demand paging costs.
 *
 *	odp [-r REPEAT] CASE...
 *
 * where CASE is one of
 *
 *	pages:KIND:COUNT	to bring so many pages of 4 KiB in, and to have
 *				them taken away
 *	reg:KIND:BYTES		to register and to deregister so much, and the
 *				kernel memory that the region holds
 *	write:BYTES		an RDMA write into such memory, and into pinned
 *
 * and KIND is scattered (4 KiB pages that are no neighbours), huge (2 MiB pages)
 * or, for reg, sparse (addresses without a page). Prints one line of JSON for
 * each, with an error where the kernel does not register so much. Times are
 * nanoseconds, which are instructions where the VM counts them
 * (./lab exec --icount).
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "memory.h"
#include "print.h"
#include "quiet.h"
#include "write.h"

#define DEVICE		"rxe0"
#define MAX_REPEAT	64
/* Regions held at once, for their memory to stand out: empty ones, and full ones */
#define MANY		1024
#define MANY_FULL	32
#define LEAST_OF	8	/* writes */
/* The most that ibv_advise_mr() takes at once, in whole pages. */
#define ADVISE_MOST	(1024 * MIB)

static struct ibv_pd *pd;
static int repeat = 5;

static void advise(struct ibv_mr *mr, const struct memory *mem)
{
	size_t at, len;

	for (at = 0; at < mem->size; at += len) {
		struct ibv_sge sge = {
			.addr = (uintptr_t)mem->base + at, .lkey = mr->lkey,
		};

		len = mem->size - at < ADVISE_MOST ? mem->size - at : ADVISE_MOST;
		sge.length = len;
		errno = ibv_advise_mr(mr->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				      IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
		if (errno)
			err(1, "cannot prefetch %zu bytes", len);
	}
}

static u64 time_advise(struct ibv_mr *mr, const struct memory *mem)
{
	u64 begin = quiet_now();

	advise(mr, mem);
	return now() - begin;
}

static u64 time_drop(const struct memory *mem)
{
	u64 begin = quiet_now();

	memory_drop(mem);
	return now() - begin;
}

/* Takes pages away from a device, but frees none: little else is in it. */
static u64 time_protect(const struct memory *mem)
{
	u64 begin = quiet_now(), took;

	if (mprotect(mem->base, mem->size, PROT_READ))
		err(1, "mprotect");
	took = now() - begin;
	if (mprotect(mem->base, mem->size, PROT_READ | PROT_WRITE))
		err(1, "mprotect");
	return took;
}

static u64 time_unmap(const struct memory *mem)
{
	u64 begin = quiet_now();

	memory_unmap(mem);
	return now() - begin;
}

/* Pages by the CPU alone, one after the other. */
static u64 time_touch(const struct memory *mem)
{
	char *p = mem->base;
	u64 begin = quiet_now();
	size_t i;

	for (i = 0; i < mem->size; i += PAGE)
		p[i] = 1;
	/* Nobody may think that nothing reads it. */
	asm volatile("" : : "r" (p) : "memory");
	return now() - begin;
}

struct pages_result {
	/* To bring in pages that the CPU has mapped, for the first time and again */
	u64 fault[MAX_REPEAT], again[MAX_REPEAT];
	u64 present[MAX_REPEAT];	/* those that are there already */
	u64 absent[MAX_REPEAT];		/* those that the CPU has not, either */
	/* With the pages in, and of memory that no region has */
	u64 protect[MAX_REPEAT], protect_alone[MAX_REPEAT];
	u64 drop[MAX_REPEAT], drop_alone[MAX_REPEAT];
	u64 unmap[MAX_REPEAT], unmap_alone[MAX_REPEAT];
	u64 touch[MAX_REPEAT];
};

/*
 * Registered before there is a page: some kernels look for pages when they
 * register, and it is faults that are counted here.
 */
static void take_pages(struct pages_result *r, int i, enum memory_kind kind,
		       size_t size)
{
	struct memory mem;
	struct ibv_mr *mr;

	memory_reserve(&mem, kind, size);
	mr = reg_odp(pd, &mem);
	memory_fill(&mem);
	r->fault[i] = time_advise(mr, &mem);
	r->present[i] = time_advise(mr, &mem);
	r->drop[i] = time_drop(&mem);
	memory_fill(&mem);
	r->again[i] = time_advise(mr, &mem);
	r->protect[i] = time_protect(&mem);
	memory_drop(&mem);
	r->absent[i] = time_advise(mr, &mem);
	memory_drop(&mem);
	memory_fill(&mem);
	advise(mr, &mem);
	r->unmap[i] = time_unmap(&mem);
	dereg(mr);

	memory_map(&mem, kind, size);
	r->protect_alone[i] = time_protect(&mem);
	r->drop_alone[i] = time_drop(&mem);
	r->touch[i] = time_touch(&mem);
	memory_drop(&mem);
	memory_fill(&mem);
	r->unmap_alone[i] = time_unmap(&mem);
}

static void measure_pages(enum memory_kind kind, size_t count)
{
	static struct pages_result r;
	int i;

	/* What only the first one does is no cost of a fault. */
	take_pages(&r, 0, kind, count * PAGE);
	for (i = 0; i < repeat; i++)
		take_pages(&r, i, kind, count * PAGE);
	printf(", \"pages\": %zu", count);
	print_list("fault", r.fault, repeat);
	print_list("again", r.again, repeat);
	print_list("present", r.present, repeat);
	print_list("absent", r.absent, repeat);
	print_list("protect", r.protect, repeat);
	print_list("protect_alone", r.protect_alone, repeat);
	print_list("drop", r.drop, repeat);
	print_list("drop_alone", r.drop_alone, repeat);
	print_list("unmap", r.unmap, repeat);
	print_list("unmap_alone", r.unmap_alone, repeat);
	print_list("touch", r.touch, repeat);
}

struct reg_result {
	u64 reg[MAX_REPEAT], prefetch[MAX_REPEAT], dereg[MAX_REPEAT];
};

static void take_reg(struct reg_result *r, int i, const struct memory *mem,
		     bool sparse)
{
	struct ibv_mr *mr;
	u64 begin = quiet_now();

	mr = reg_odp(pd, mem);
	r->reg[i] = now() - begin;
	if (!sparse)
		r->prefetch[i] = time_advise(mr, mem);
	begin = quiet_now();
	dereg(mr);
	r->dereg[i] = now() - begin;
}

static struct ibv_mr *reg_all(struct ibv_pd *of, const struct memory *mem)
{
	struct ibv_mr *mr = reg_odp(of, mem);

	advise(mr, mem);
	return mr;
}

static bool can_register(const struct memory *mem)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, mem->base, mem->size, ACCESS_ODP);

	if (mr)
		dereg(mr);
	return mr;
}

static void measure_reg(enum memory_kind kind, bool sparse, size_t size)
{
	static struct reg_result r;
	struct memory mem;
	int i, regions, full;
	u64 bytes;

	memory_reserve(&mem, kind, size);
	printf(", \"pages\": %zu", mem.nr_pages);
	if (!can_register(&mem)) {
		printf(", \"error\": \"%s\"", strerror(errno));
		goto out;
	}
	bytes = regions_memory(pd, &mem, reg_odp, MANY, &regions);
	if (!sparse)
		memory_fill(&mem);
	for (i = 0; i < repeat; i++)
		take_reg(&r, i, &mem, sparse);
	print_list("reg", r.reg, repeat);
	print_list("dereg", r.dereg, repeat);
	printf(", \"bytes\": %llu, \"regions\": %d", bytes, regions);
	if (!sparse) {
		print_list("prefetch", r.prefetch, repeat);
		bytes = regions_memory(pd, &mem, reg_all, MANY_FULL, &full);
		printf(", \"bytes_full\": %llu, \"full\": %d", bytes, full);
	}
out:
	memory_unmap(&mem);
}

struct write_result {
	u64 pinned[MAX_REPEAT], warm[MAX_REPEAT];
	/* Pages that the CPU has, but the region has not; that nobody has */
	u64 cold[MAX_REPEAT], absent[MAX_REPEAT];
	bool good;
};

static u64 time_write(struct writer *w, const struct memory *mem,
		      struct ibv_mr *mr, size_t len, bool *good)
{
	u64 took = writer_run(w, mr, (uintptr_t)mem->base, len);

	*good = *good && writer_check(w, mem->base, len);
	return took;
}

/* What else happens only adds to a write, and to a short one much. */
static u64 least_write(struct writer *w, const struct memory *mem,
		       struct ibv_mr *mr, size_t len, bool *good)
{
	u64 took = ~0ULL;
	int i;

	for (i = 0; i < LEAST_OF; i++)
		took = least(took, time_write(w, mem, mr, len, good));
	return took;
}

static void take_writes(struct writer *w, struct write_result *r,
			const struct memory *pinned, struct memory *odp, size_t len)
{
	struct ibv_mr *pinned_mr = reg(writer_pd(w), pinned);
	struct ibv_mr *odp_mr = reg_odp(writer_pd(w), odp);
	bool pinned_good = true;
	int i;

	r->good = true;
	/* The first one of a connection is not like the others. */
	writer_run(w, pinned_mr, (uintptr_t)pinned->base, len);
	for (i = 0; i < repeat; i++) {
		r->pinned[i] = least_write(w, pinned, pinned_mr, len, &pinned_good);
		memory_drop(odp);
		memory_fill(odp);
		r->cold[i] = time_write(w, odp, odp_mr, len, &r->good);
		r->warm[i] = least_write(w, odp, odp_mr, len, &r->good);
		memory_drop(odp);
		r->absent[i] = time_write(w, odp, odp_mr, len, &r->good);
	}
	if (!pinned_good)
		errx(1, "a write of %zu bytes into pinned memory brought others", len);
	dereg(odp_mr);
	dereg(pinned_mr);
}

static void measure_write(size_t len)
{
	size_t size = (len + PAGE - 1) / PAGE * PAGE;
	struct memory pinned, odp;
	struct write_result r;
	struct writer w;

	writer_open(&w, len);
	memory_map(&pinned, SCATTERED, size);
	memory_map(&odp, SCATTERED, size);
	take_writes(&w, &r, &pinned, &odp, len);
	memory_unmap(&odp);
	memory_unmap(&pinned);
	writer_close(&w);
	print_list("pinned", r.pinned, repeat);
	print_list("warm", r.warm, repeat);
	print_list("cold", r.cold, repeat);
	print_list("absent", r.absent, repeat);
	printf(", \"good\": %s", r.good ? "true" : "false");
}

static void usage_exit(void)
{
	fputs("usage: odp [-r REPEAT] CASE...\n"
	      "CASE: pages:scattered|huge:COUNT, reg:scattered|huge|sparse:BYTES, write:BYTES\n",
	      stderr);
	exit(2);
}

/* Sparse memory is the addresses of scattered memory. */
static enum memory_kind parse_kind(const char *name, bool *sparse)
{
	*sparse = !strcmp(name, "sparse");
	if (!strcmp(name, "huge"))
		return HUGE;
	if (!*sparse && strcmp(name, "scattered"))
		usage_exit();
	return SCATTERED;
}

static void measure(const char *what)
{
	enum memory_kind kind;
	char name[16];
	bool sparse;
	size_t nr;

	printf("{\"what\": \"%s\"", what);
	if (sscanf(what, "pages:%15[a-z]:%zu", name, &nr) == 2 && nr) {
		kind = parse_kind(name, &sparse);
		if (sparse)
			usage_exit();
		measure_pages(kind, nr);
	} else if (sscanf(what, "reg:%15[a-z]:%zu", name, &nr) == 2 && nr) {
		kind = parse_kind(name, &sparse);
		measure_reg(kind, sparse, nr);
	} else if (sscanf(what, "write:%zu", &nr) == 1 && nr) {
		measure_write(nr);
	} else {
		usage_exit();
	}
	puts("}");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "r:")) != -1) {
		if (c != 'r')
			usage_exit();
		repeat = atoi(optarg);
	}
	argv += optind;
	if (!*argv || repeat < 1 || repeat > MAX_REPEAT)
		usage_exit();
	quiet_begin();
	pd = open_pd(DEVICE);
	for (; *argv; argv++)
		measure(*argv);
	return 0;
}
