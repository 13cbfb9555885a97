// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation that a registration makes fails, one after the other, from the
 * call's own arguments to the driver's table, those for pinned pages, IOVA and
 * the IOMMU's page table among them. The caller gets ENOMEM, and all is as it was:
 * pages pinned and accounted, what the IOMMU has mapped, IOVA. Memory of the
 * kernel's that is lost, the debug kernel finds by itself when all tests are over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edu.h"
#include "inject.h"
#include "ktap.h"
#include "resources.h"
#include "textfile.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024ULL * MIB)

/* More than any registration here makes */
#define MANY	1000
/*
 * What debugging allocates with each object is not the same each time, so an
 * allocation can be passed over in one round.
 */
#define ROUNDS	4

#define ODP	(EDU_ACCESS | IBV_ACCESS_ON_DEMAND)

/* A trace of our own, of what the IOMMU is told to map and to unmap. */
#define TRACING	"/sys/kernel/debug/tracing/instances/dma_fail"

/* Bytes, and the address that came first. */
struct mapped {
	unsigned long long mapped, unmapped, first;
};

static int trace_start(void)
{
	int err = mkdir(TRACING, 0700) && errno != EEXIST ? -errno : 0;

	if (!err)
		err = write_text("4096", TRACING "/buffer_size_kb");
	if (!err)
		err = write_text("1", TRACING "/events/iommu/map/enable");
	if (!err)
		err = write_text("1", TRACING "/events/iommu/unmap/enable");
	return err;
}

static void count_line(struct mapped *m, const char *line)
{
	unsigned long long first, last, size, unmapped;
	const char *text;

	text = strstr(line, ": map: IOMMU: iova=");
	if (text && sscanf(text, ": map: IOMMU: iova=%llx - %llx paddr=%*x size=%llu",
			   &first, &last, &size) == 3) {
		if (!m->mapped)
			m->first = first;
		m->mapped += size;
	}
	text = strstr(line, ": unmap: IOMMU: iova=");
	if (text && sscanf(text, ": unmap: IOMMU: iova=%llx - %llx size=%llu unmapped_size=%llu",
			   &first, &last, &size, &unmapped) == 4)
		m->unmapped += unmapped;
}

/* What was mapped and unmapped since the last call. */
static struct mapped trace_take(void)
{
	struct mapped m = { 0 };
	char line[512];
	FILE *f = fopen(TRACING "/trace", "r");

	while (f && fgets(line, sizeof(line), f))
		count_line(&m, line);
	if (f)
		fclose(f);
	write_text("", TRACING "/trace");	/* empties it */
	return m;
}

struct fail_test {
	const char *name, *memory;
	size_t len;
	int access;
};

static struct ibv_mr *reg(const struct memory *mem, const struct fail_test *t)
{
	return ibv_reg_mr(edu.pd, mem->base + 123, t->len, t->access);
}

/* The IOVA that a region gets now: the same while all that was free still is. */
static int find_iova(const struct memory *mem, const struct fail_test *t,
		     unsigned long long *iova)
{
	struct mapped m;
	struct ibv_mr *mr;

	trace_take();
	mr = reg(mem, t);
	if (!mr)
		return -errno;
	m = trace_take();
	*iova = m.first;
	return -ibv_dereg_mr(mr);
}

/* What there is before, and has to be after. */
struct state {
	long pinned, references;
	unsigned long long iova;
};

static int take_state(struct state *s, const struct memory *mem,
		      const struct fail_test *t)
{
	int err = find_iova(mem, t, &s->iova);

	s->pinned = pinned_pages();
	s->references = pinned_references();
	return err;
}

/* What happened to all registrations. */
struct tally {
	int refused, undone;
};

static enum ktap_result check_refused(const struct memory *mem,
				      const struct fail_test *t,
				      struct state *was, const struct mapped *m)
{
	struct state is;
	int err;

	if (m->mapped != m->unmapped)
		return ktap_fail("%llu bytes mapped, %llu unmapped", m->mapped,
				 m->unmapped);
	err = take_state(&is, mem, t);
	if (err)
		return ktap_fail("the next one: %s", strerrorname_np(-err));
	if (is.pinned != was->pinned || is.references != was->references)
		return ktap_fail("%ld pages in VmPin, was %ld; %ld references, was %ld",
				 is.pinned, was->pinned, is.references,
				 was->references);
	/* The kernel gives up addresses of 32 bits for good if one cannot be had. */
	if (was->iova < 4 * GIB && is.iova >= 4 * GIB)
		was->iova = is.iova;
	if (is.iova != was->iova)
		return ktap_fail("the next one's IOVA is %llx, was %llx",
				 is.iova, was->iova);
	return KTAP_PASS;
}

/* One registration, the nth allocation of which fails, if it makes so many. */
static enum ktap_result fail_one(const struct memory *mem,
				 const struct fail_test *t, struct state *was,
				 int nth, struct tally *tally, bool *done)
{
	struct mapped m;
	struct ibv_mr *mr;
	int err;

	trace_take();
	inject_nth(nth);
	mr = reg(mem, t);
	err = errno;
	*done = !inject_done();
	inject_nth(0);
	if (mr) {
		err = t->access & IBV_ACCESS_ON_DEMAND ? 0 :
		      edu_check(mr, mem->base + 123, t->len, NULL);
		ibv_dereg_mr(mr);
		return err ? ktap_fail("the device sees other memory") : KTAP_PASS;
	}
	m = trace_take();
	tally->refused++;
	tally->undone += m.mapped > 0;
	if (err != ENOMEM)
		return ktap_fail("%s instead of ENOMEM", strerrorname_np(err));
	return check_refused(mem, t, was, &m);
}

/* Fail the first allocation, then the second, until there is none to fail. */
static enum ktap_result fail_each(const struct memory *mem,
				  const struct fail_test *t, struct state *was,
				  struct tally *tally)
{
	enum ktap_result result = KTAP_PASS;
	bool done = false;
	int nth;

	for (nth = 1; nth < MANY && !done && result == KTAP_PASS; nth++)
		result = fail_one(mem, t, was, nth, tally, &done);
	if (result != KTAP_PASS)
		ktap_diag("allocation %d", nth - 1);
	else if (!done)
		result = ktap_fail("there is no end of allocations");
	return result;
}

static enum ktap_result fail_all(const struct memory *mem,
				 const struct fail_test *t)
{
	enum ktap_result result = KTAP_PASS;
	struct tally tally = { 0 };
	struct state was;
	int round, err;

	err = take_state(&was, mem, t);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	for (round = 0; round < ROUNDS && result == KTAP_PASS; round++)
		result = fail_each(mem, t, &was, &tally);
	ktap_diag("%d regions refused, %d of them when they were mapped",
		  tally.refused, tally.undone);
	if (result == KTAP_PASS && !tally.refused)
		result = ktap_fail("no failure was one of the region");
	if (result == KTAP_PASS && was.iova && !tally.undone)
		result = ktap_fail("no mapping had to be undone");
	return result;
}

static enum ktap_result run(const void *arg)
{
	const struct fail_test *t = arg;
	enum ktap_result result;
	struct memory mem;
	int err;

	if (!inject_possible())
		return ktap_skip("this kernel cannot inject failures; the debug kernel can");
	err = inject_any();
	if (!err)
		err = trace_start();
	if (!err)
		err = memory_map(&mem, memory_kind(t->memory), t->len + MIB);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	result = fail_all(&mem, t);
	memory_unmap(&mem);
	return result;
}

static const struct fail_test tests[] = {
	/* More pages than the list of ranges keeps in one piece */
	{ "scattered", "scattered", 5 * MIB, EDU_ACCESS },
	{ "thp", "thp", 7 * MIB, EDU_ACCESS },
	{ "read_only", "readonly", 300 * KIB, IBV_ACCESS_REMOTE_READ },
	{ "odp", "anon", 5 * MIB, ODP },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run, &tests[i], "fail/%s", tests[i].name);
	return edu_main(argc, argv);
}
