// SPDX-License-Identifier: GPL-2.0
/*
 * Regions of every size, from one byte to more than 4 GiB.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "big.h"
#include "fixture.h"
#include "ktap.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

#define WINDOW	(256 * KIB)	/* around each place that is looked at */

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

struct size_test {
	const struct memory_kind *memory;
	size_t len, head;
};

static const size_t sizes[] = {
	1, 2, 7, 8, 4095, 4096, 4097, 8191, 8192, 8193, 64 * KIB - 1,
	64 * KIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB + 5,
	4 * MIB + 4 * KIB,
};

static const size_t heads[] = { 0, 1, 4095 };

/* All bytes there and back, then one byte at each end. */
static int move_all(struct fixture *f, size_t len)
{
	struct transfer t = {
		.op = operation("write"),
		.local = &f->local,
		.remote = &f->remote,
		.len = len,
	};
	int err = transfer_verify(&f->conn, &t);

	if (!err) {
		region_fill(&f->local, 3);
		t.op = operation("read");
		err = transfer_verify(&f->conn, &t);
	}
	if (!err) {
		region_fill(&f->local, 4);
		t.op = operation("send");
		t.len = 1;
		t.remote_off = len - 1;
		err = transfer_verify(&f->conn, &t);
	}
	if (!err) {
		t.local_off = len - 1;
		t.remote_off = 0;
		err = transfer_verify(&f->conn, &t);
	}
	return err;
}

static enum ktap_result run_size_test(const void *arg)
{
	const struct size_test *t = arg;
	struct region_attr attr = {
		.kind = t->memory, .iova = &iova_far,
		.head = t->head, .len = t->len, .tail = 1,
	};
	struct fixture f;
	int err = fixture_create(&f, &rc, &attr, &attr);

	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = move_all(&f, t->len);
	if (!err)
		err = region_check_all(&f.local);
	if (!err)
		err = region_check_all(&f.remote);
	fixture_destroy(&f);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

struct big_test {
	const char *name;
	int memfd_flags;
	size_t len, head;
};

/*
 * Look at one place of the big region: read it, write it, check what is
 * around it. What would be past the region's end is left out.
 */
static int probe(struct rdma_conn *c, struct big *b, struct region *local,
		 u64 off, u32 len)
{
	unsigned char *want, *got;
	struct region remote = {	/* no memory: only its address is used */
		.mr = b->mr, .iova = b->iova, .len = b->len,
	};
	struct transfer t = {
		.op = operation("read"),
		.local = local, .remote = &remote,
		.remote_off = off,
	};
	u64 from = off < KIB ? 0 : off - KIB;
	struct transfer_status status;
	size_t span;
	int err;

	if (off >= b->len)
		return 0;
	if (len > b->len - off)
		len = b->len - off;
	t.len = len;
	want = malloc(len + 2 * KIB);
	got = malloc(len + 2 * KIB);
	span = len + 2 * KIB;
	span = span < b->len - from ? span : b->len - from;
	err = transfer_run(c, &t, &status);
	big_peek(b, off, want, len);
	if (!err && (status.a || memcmp(local->addr, want, len)))
		err = -EBADMSG;

	big_peek(b, from, want, span);
	fill_pattern(local->addr, len, off);
	memcpy(want + (off - from), local->addr, len);
	t.op = operation("write");
	if (!err)
		err = transfer_run(c, &t, &status);
	big_peek(b, from, got, span);
	if (!err && (status.a || memcmp(got, want, span)))
		err = -EBADMSG;
	if (err)
		ktap_diag("%u bytes at %#llx of %#zx: %s", len,
			  (unsigned long long)off, b->len,
			  ibv_wc_status_str(status.a));
	free(want);
	free(got);
	return err;
}

/* Everything at and around the sizes at which an integer runs over. */
static int probe_places(struct rdma_conn *c, struct big *b,
			struct region *local)
{
	const u64 places[] = { 2 * KIB, 1 * GIB, 2 * GIB, 4 * GIB, b->len };
	size_t i;
	int err = 0;

	for (i = 0; !err && i < ARRAY_SIZE(places); i++) {
		u64 p = places[i];

		if (p > b->len)
			continue;
		err = probe(c, b, local, p - 1, 1);
		if (!err)
			err = probe(c, b, local, p - 1025, 1025);
		if (err || p == b->len)
			continue;
		err = probe(c, b, local, p, 1);
		if (!err)
			err = probe(c, b, local, p - 7, 15);
		if (!err)
			err = probe(c, b, local, p + 3, WINDOW);
		if (!err && p > WINDOW)
			err = probe(c, b, local, p - WINDOW / 2 - 1, WINDOW);
	}
	return err;
}

/* All of the region is flushed, and nothing past its end is reached. */
static int flush_and_overrun(struct rdma_conn *c, struct big *b,
			     struct region *local)
{
	struct region remote = {
		.mr = b->mr, .iova = b->iova, .len = b->len,
	};
	struct transfer t = {
		.op = operation("flush_mr"),
		.local = local, .remote = &remote, .len = 8,
	};
	struct transfer_status status;
	int err = transfer_run(c, &t, &status);

	if (err || status.a)
		return err ? err : -EREMOTEIO;
	t.op = operation("write");
	t.remote_off = b->len - 7;
	err = transfer_run(c, &t, &status);
	return err || status.a == IBV_WC_REM_ACCESS_ERR ? err : -ERANGE;
}

static int run_big(const struct big_test *t, struct big *b)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same,
		.len = WINDOW,
	};
	struct rdma_conn c = { 0 };
	struct region local = { 0 };
	int err;

	b->mr = ibv_reg_mr_iova(rxe[1].pd, b->addr, t->len, b->iova,
				ACCESS_ALL);
	if (!b->mr)
		return -errno;
	err = conn_open(&c, &rxe[0], &rxe[1], IBV_QPT_RC, false);
	if (!err)
		err = region_create(&local, &rxe[0], &attr);
	if (!err)
		err = probe_places(&c, b, &local);
	if (!err)
		err = flush_and_overrun(&c, b, &local);
	conn_close(&c);
	region_destroy(&local);
	return err;
}

static enum ktap_result run_big_test(const void *arg)
{
	const struct big_test *t = arg;
	struct big b;
	int err;

	/* It complains loudly of the size of its page table, too. */
	if (t->len > GIB && stock_kernel())
		return ktap_skip("the stock kernel stops at 1 GiB");
	err = big_map(&b, t->memfd_flags, t->len, t->head);
	if (!err)
		err = run_big(t, &b);
	big_destroy(&b);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static const struct big_test big_tests[] = {
	{ "pages/1G-4K",    0,		 GIB - 4 * KIB, 0 },
	{ "pages/1G+1",	    0,		 GIB + 1,	123 },
	{ "pages/4G+123K",  0,		 4 * GIB + 123 * KIB + 1, 4095 },
	{ "huge/1G-4K",	    MFD_HUGETLB, GIB - 4 * KIB, 0 },
	{ "huge/2G+5",	    MFD_HUGETLB, 2 * GIB + 5,	2 * MIB - 1 },
	{ "huge/4G+123K",   MFD_HUGETLB, 4 * GIB + 123 * KIB + 1, 77 },
	{ "huge/9G",	    MFD_HUGETLB, 9 * GIB,	77 },
};

static void add_sizes(const struct memory_kind *memory)
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(heads); j++) {
			struct size_test *t = calloc(1, sizeof(*t));

			*t = (struct size_test) { memory, sizes[i], heads[j] };
			ktap_add(run_size_test, t, "size/%s/%zu@%zu",
				 memory->name, t->len, t->head);
		}
	}
}

int main(int argc, char **argv)
{
	size_t i;

	add_sizes(memory_kind("scattered"));
	add_sizes(memory_kind("thp"));
	for (i = 0; i < ARRAY_SIZE(big_tests); i++)
		ktap_add(run_big_test, &big_tests[i], "size/big/%s",
			 big_tests[i].name);
	return fixture_main(argc, argv);
}
