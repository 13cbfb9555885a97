// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation that a registration makes fails, one after the other, from
 * the call's own arguments to the driver's table, those for pinned pages, a
 * dma-buf's list of ranges, IOVA and the IOMMU's page table among them. The
 * caller gets ENOMEM, and all is as it was: pages pinned and accounted,
 * attachments to dma-bufs, what the IOMMU has mapped, IOVA. Memory of the
 * kernel's that is lost, the debug kernel finds when all tests are over.
 */
#include <errno.h>
#include <string.h>

#include "edu.h"
#include "inject.h"
#include "ktap.h"
#include "resources.h"
#include "trace.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024ULL * MIB)
#define HEAD	123

/*
 * What debugging allocates with each object is not the same each time, so an
 * allocation can be passed over in one round.
 */
#define ROUNDS	4
#define DMABUF_ROUNDS	2	/* a new dma-buf for each try takes long */

#define ODP	(EDU_ACCESS | IBV_ACCESS_ON_DEMAND)

struct fail_test {
	const char *name, *memory;
	size_t len;
	int access;
};

/* A test that runs, and what there was before. */
struct tries {
	struct region_attr attr;
	struct region region, other;
	struct holdings held;
	unsigned long long iova;
	int undone;		/* refused when something was mapped */
};

/* The IOVA that a region gets now: the same while all that was free still is. */
static int find_iova(struct tries *t, unsigned long long *iova)
{
	int err;

	trace_take();
	err = region_register(&t->region, &edu, &t->attr);
	if (err)
		return err;
	*iova = trace_take().first;
	err = -ibv_dereg_mr(t->region.mr);
	t->region.mr = NULL;
	return err;
}

/* Does the device reach the memory of the region? */
static int works(struct tries *t)
{
	struct region *r = &t->region;

	if (t->attr.access & IBV_ACCESS_ON_DEMAND)
		return 0;
	if (!t->attr.kind->dmabuf)
		return edu_check(r->mr, r->addr, r->len, NULL);
	/* The last bytes: they are there if all are. */
	return edu_copy_verify(r, r->len - 1000, &t->other, 1000, 1000);
}

static int works_now(struct tries *t)
{
	int err = region_register(&t->region, &edu, &t->attr);

	if (err)
		return err;
	err = works(t);
	ibv_dereg_mr(t->region.mr);
	t->region.mr = NULL;
	return err;
}

static enum ktap_result check_refused(struct tries *t, const struct mapped *m)
{
	unsigned long long iova;
	int err;

	if (m->mapped != m->unmapped)
		return ktap_fail("%llu bytes mapped, %llu unmapped", m->mapped,
				 m->unmapped);
	if (!holdings_same(&t->held))
		return ktap_fail("something is left");
	err = find_iova(t, &iova);
	if (!err)
		err = works_now(t);
	if (err)
		return ktap_fail("the next one: %s", strerrorname_np(-err));
	/* The kernel gives up addresses of 32 bits for good if one cannot be had. */
	if (t->iova < 4 * GIB && iova >= 4 * GIB)
		t->iova = iova;
	if (iova != t->iova)
		return ktap_fail("the next one's IOVA is %llx, was %llx", iova,
				 t->iova);
	return KTAP_PASS;
}

/* An exporter allocates for the first importer only: each try has a dma-buf. */
static int renew(struct tries *t)
{
	if (!t->attr.kind->dmabuf)
		return 0;
	region_destroy(&t->region);
	return region_map(&t->region, &t->attr);
}

/* One registration, the nth allocation of which fails, if it makes so many. */
static enum ktap_result fail_one(struct injection *inj, void *arg)
{
	struct tries *t = arg;
	struct mapped m;
	int err = renew(t);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	trace_take();
	inject_begin(inj);
	err = region_register(&t->region, &edu, &t->attr);
	inject_end(inj);
	inj->refused = err;
	if (!err) {
		err = works(t);
		ibv_dereg_mr(t->region.mr);
		t->region.mr = NULL;
		return err ? ktap_fail("the device sees other memory") : KTAP_PASS;
	}
	m = trace_take();
	t->undone += m.mapped > 0;
	if (err != -ENOMEM)
		return ktap_fail("%s instead of ENOMEM", strerrorname_np(-err));
	return check_refused(t, &m);
}

static enum ktap_result fail_all(struct tries *t)
{
	enum ktap_result result;
	int err = find_iova(t, &t->iova);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	holdings_now(&t->held);
	result = inject_each(t->attr.kind->dmabuf ? DMABUF_ROUNDS : ROUNDS, t,
			     fail_one);
	ktap_diag("%d regions refused when they were mapped", t->undone);
	/* With dma-bufs, not in each run does an allocation behind the mapping fail. */
	if (result == KTAP_PASS && t->iova && !t->undone && !t->attr.kind->dmabuf)
		result = ktap_fail("no mapping had to be undone");
	return result;
}

static int set_up(struct tries *t)
{
	int err = trace_start();

	if (!err)
		err = region_map(&t->region, &t->attr);
	if (!err)
		err = edu_region(&t->other, memory_kind("scattered"), &iova_same,
				 0, 64 * KIB);
	return err;
}

static enum ktap_result run(const void *arg)
{
	const struct fail_test *test = arg;
	struct tries t = {
		.attr = {
			.kind = memory_kind(test->memory), .iova = &iova_same,
			.head = HEAD, .len = test->len, .tail = 1,
			.access = test->access,
		},
	};
	const char *missing = memory_missing(t.attr.kind);
	enum ktap_result result = inject_prepare();
	struct holdings before;
	int err;

	if (result != KTAP_PASS)
		return result;
	if (missing)
		return ktap_skip("%s", missing);
	holdings_now(&before);
	err = set_up(&t);
	result = err ? ktap_fail("set-up: %s", strerror(-err)) : fail_all(&t);
	region_destroy(&t.region);
	region_destroy(&t.other);
	if (result == KTAP_PASS && !holdings_same(&before))
		result = ktap_fail("something is left in the end");
	return result;
}

static const struct fail_test tests[] = {
	/* More pages than the list of ranges keeps in one piece */
	{ "scattered", "scattered", 5 * MIB, EDU_ACCESS },
	{ "thp", "thp", 7 * MIB, EDU_ACCESS },
	{ "read_only", "readonly", 300 * KIB, IBV_ACCESS_REMOTE_READ },
	{ "odp", "anon", 5 * MIB, ODP },
	{ "udmabuf", "udmabuf", 2560 * KIB, EDU_ACCESS },
	{ "heap", "heap", 2560 * KIB, EDU_ACCESS },
	{ "cma", "cma", 2560 * KIB, EDU_ACCESS },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run, &tests[i], "fail/%s", tests[i].name);
	return edu_main(argc, argv);
}
