// SPDX-License-Identifier: GPL-2.0
/*
 * Regions of more than 4 GiB: every page is where the device sees it, and the
 * bytes at and around the sizes at which an integer runs over are the right
 * ones.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "big.h"
#include "edu.h"
#include "ktap.h"
#include "resources.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

#define SPAN	600	/* bytes that are copied at each place */
#define AROUND	512	/* and compared besides, on either side */

struct big_test {
	const char *name;
	int memfd_flags;
	size_t len, head;
};

/* From the big region to the small one, and from there to the big one. */
static int probe(struct big *b, struct region *small, u64 off)
{
	unsigned char want[SPAN + 2 * AROUND], got[SPAN + 2 * AROUND];
	size_t len = SPAN, after = AROUND;
	int err;

	if (len > b->len - off)
		len = b->len - off;
	if (after > b->len - off - len)
		after = b->len - off - len;
	region_fill(small, 6);
	big_peek(b, off, want, len);
	err = edu_copy(small->mr, 7, b->mr, off, len);
	memcpy(region_model(small, 7), want, len);
	if (!err)
		err = region_check_all(small);

	big_peek(b, off - AROUND, want, AROUND + len + after);
	region_fill(small, off);
	memcpy(want + AROUND, small->addr + 1000, len);
	if (!err)
		err = edu_copy(b->mr, off, small->mr, 1000, len);
	big_peek(b, off - AROUND, got, AROUND + len + after);
	if (!err && memcmp(want, got, AROUND + len + after))
		err = -EBADMSG;
	if (err)
		ktap_diag("at %#llx of %#zx: %s", (unsigned long long)off,
			  b->len, strerror(-err));
	return err;
}

static int run_big(struct big *b, struct region *small)
{
	const u64 places[] = { 4 * KIB, GIB, 2 * GIB, 4 * GIB, b->len };
	u64 block;
	size_t i;
	int err;

	err = edu_check(b->mr, b->addr, b->len, &block);
	if (err)
		return err;
	ktap_diag("blocks of %llu KiB", (unsigned long long)block / KIB);
	for (i = 0; !err && i < ARRAY_SIZE(places); i++) {
		if (places[i] > b->len)
			continue;
		err = probe(b, small, places[i] - SPAN);
		if (!err && places[i] < b->len)
			err = probe(b, small, places[i] - 100);
	}
	return err;
}

static enum ktap_result run_big_test(const void *arg)
{
	const struct big_test *t = arg;
	struct region small = { 0 };
	long pinned = pinned_pages();
	struct big b;
	int err = big_map(&b, t->memfd_flags, t->len, t->head);

	if (!err)
		err = edu_region(&small, memory_kind("scattered"), &iova_same,
				 0, 8 * KIB);
	if (!err) {
		b.mr = ibv_reg_mr(edu.pd, b.addr, b.len, EDU_ACCESS);
		err = b.mr ? run_big(&b, &small) : -errno;
	}
	region_destroy(&small);
	big_destroy(&b);
	if (!err && pinned_pages() != pinned)
		return ktap_fail("%ld pages still pinned", pinned_pages());
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static const struct big_test tests[] = {
	{ "pages/1G+1",	  0,		GIB + 1, 123 },
	{ "pages/4G+67K", 0,		4 * GIB + 67 * KIB + 1, 4095 },
	{ "huge/4G+67K",  MFD_HUGETLB,	4 * GIB + 67 * KIB + 1, 77 },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ktap_add(run_big_test, &tests[i], "size/%s", tests[i].name);
	return edu_main(argc, argv);
}
