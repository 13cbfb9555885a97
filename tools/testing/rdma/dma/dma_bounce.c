// SPDX-License-Identifier: GPL-2.0
/*
 * Where the DMA API bounces what it maps, a region cannot: its owner and the
 * device look at the same bytes at any time. So it is registered past that, or
 * not at all. With swiotlb=force everything is bounced that no IOMMU translates;
 * of a function that the kernel does not trust, behind an IOMMU, what is no whole
 * page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edu.h"
#include "ktap.h"
#include "resources.h"

#define ODP	(EDU_ACCESS | IBV_ACCESS_ON_DEMAND)

static bool is_forced(void)
{
	FILE *f = fopen("/proc/cmdline", "r");
	char line[4096] = "";

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	return strstr(line, "swiotlb=force");
}

/* Slots that anything is bounced in. */
static long slots_used(void)
{
	FILE *f = fopen("/sys/kernel/debug/swiotlb/io_tlb_used", "r");
	long used = -1;

	if (f) {
		if (fscanf(f, "%ld", &used) != 1)
			used = -1;
		fclose(f);
	}
	return used;
}

/* What there is of all that a registration holds. */
struct state {
	long pinned, references, slots;
};

static struct state state_now(void)
{
	return (struct state) {
		pinned_pages(), pinned_references(), slots_used(),
	};
}

static enum ktap_result compare(const struct state *was)
{
	struct state is = state_now();

	if (!memcmp(&is, was, sizeof(is)))
		return KTAP_PASS;
	return ktap_fail("%ld pages pinned, was %ld; %ld references, was %ld; %ld slots, was %ld",
			 is.pinned, was->pinned, is.references, was->references,
			 is.slots, was->slots);
}

struct bounce_test {
	const char *memory;
	size_t head, len;
	bool untrusted;
};

/* Some bytes there and back, and where they are for the device. */
static int use(struct region *r, struct region *other)
{
	size_t n = r->len < EDU_CHUNK ? r->len : EDU_CHUNK;
	int err = edu_check(r->mr, r->addr, r->len, NULL);

	region_fill(r, 1);
	region_fill(other, 2);
	if (!err)
		err = edu_copy_verify(other, 5, r, r->len - n, n);
	region_fill(other, 3);
	if (!err)
		err = edu_copy_verify(r, 0, other, 7, n);
	return err;
}

static enum ktap_result run_region(const struct bounce_test *t, bool refused)
{
	struct region r = { 0 }, other = { 0 };
	long slots = slots_used();
	bool bounced = false;
	int err;

	err = edu_region(&r, memory_kind(t->memory), &iova_same, t->head, t->len);
	if (!err)
		err = edu_region(&other, memory_kind("anon"), &iova_same, 0,
				 2 * EDU_CHUNK);
	if (!err) {
		bounced = slots_used() != slots;
		err = use(&r, &other);
	}
	region_destroy(&r);
	region_destroy(&other);
	if (bounced)
		return ktap_fail("it is bounced");
	if (refused)
		return err == -EIO ? KTAP_PASS :
		       ktap_fail("%s instead of EIO", strerrorname_np(-err));
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* It is not registered, or none of its pages is ever mapped. */
static enum ktap_result run_odp(const struct bounce_test *t, bool refused)
{
	struct region_attr attr = {
		.kind = memory_kind("anon"), .iova = &iova_same,
		.head = t->head, .len = t->len, .tail = 1, .access = ODP,
	};
	const char *what = "registration";
	struct ibv_sge sge;
	struct region r;
	int err = region_create(&r, &edu, &attr);

	if (!err) {
		what = "prefetch";
		sge = (struct ibv_sge) { r.iova, r.len, r.mr->lkey };
		err = -ibv_advise_mr(edu.pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				     IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
		region_destroy(&r);
	}
	if (!err == refused)
		return ktap_fail("%s: %s", what, strerror(-err));
	if (refused)
		ktap_diag("%s: %s", what, strerrorname_np(-err));
	return KTAP_PASS;
}

static int trust(bool trusted)
{
	char path[128], now;
	const char *text = trusted ? "0" : "1";
	int fd, err;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/untrusted", edu.name);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	err = write(fd, text, 1) != 1 || read(fd, &now, 1) != 1 ? -errno : 0;
	if (!err && now != *text)
		err = -EIO;
	close(fd);
	return err;
}

static enum ktap_result run(const void *arg)
{
	const struct bounce_test *t = arg;
	bool refused = is_forced() && !edu_is_translated();
	struct state was = state_now();
	enum ktap_result result;
	int err = trust(!t->untrusted);

	if (err)
		return ktap_fail("trust: %s", strerror(-err));
	result = t->memory ? run_region(t, refused) : run_odp(t, refused);
	err = trust(true);
	if (result == KTAP_PASS && err)
		result = ktap_fail("trust: %s", strerror(-err));
	return result == KTAP_PASS ? compare(&was) : result;
}

/* Trust is decided before anything is mapped, and by root. */
static enum ktap_result run_busy(const void *arg)
{
	struct region r;
	int err = edu_region(&r, memory_kind("anon"), &iova_same, 0, 1);
	bool refused = is_forced() && !edu_is_translated();

	(void)arg;
	if (refused)
		return ktap_skip("there are no regions");
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = trust(false);
	region_destroy(&r);
	trust(true);
	return err == -EBUSY ? KTAP_PASS : ktap_fail("%s", strerror(-err));
}

static const struct {
	const char *name, *memory;
	size_t head, len;
} kinds[] = {
	{ "scattered", "scattered", 123, 300001 },
	{ "thp", "thp", 4095, (3 << 20) + 1 },
	/* Within a page, and over the end of one */
	{ "bytes", "anon", 1000, 100 },
	{ "over", "anon", 4000, 200 },
	{ "odp", NULL, 123, 300001 },
};

static struct bounce_test tests[2 * ARRAY_SIZE(kinds)];

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		bool untrusted = i >= ARRAY_SIZE(kinds);
		size_t k = i % ARRAY_SIZE(kinds);

		tests[i] = (struct bounce_test) {
			kinds[k].memory, kinds[k].head, kinds[k].len, untrusted,
		};
		ktap_add(run, &tests[i], "bounce/%s/%s",
			 untrusted ? "untrusted" : "trusted", kinds[k].name);
	}
	ktap_add(run_busy, NULL, "bounce/untrusted/busy");
	return edu_main(argc, argv);
}
