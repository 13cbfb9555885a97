// SPDX-License-Identifier: GPL-2.0
/*
 * A device whose addresses are too short for all of the memory. Behind an IOMMU
 * it reaches every page all the same, by an address that is short enough, until
 * there are no more of those. Without one, a region is registered if the device
 * reaches all of its pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "big.h"
#include "edu.h"
#include "ktap.h"
#include "resources.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)
/* The VM has 3 GiB, and 1 GiB of that beyond 4 GiB. */
#define SIZE	(1280 * MIB)

/* Where a page is in physical memory, which only root may see. */
static u64 physical(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	u64 entry = 0;

	if (fd < 0 || pread(fd, &entry, sizeof(entry),
			    (uintptr_t)addr / PAGE * sizeof(entry)) < 0)
		entry = 0;
	if (fd >= 0)
		close(fd);
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static bool reached(const void *addr)
{
	return !((physical(addr) + PAGE - 1) >> edu_bits());
}

/* Memory that the device reaches, and memory that it does not. */
static unsigned char *map_both(void)
{
	unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
				0);

	return p == MAP_FAILED ? NULL : p;
}

/* A page that the device reaches directly, or one that it does not. */
static unsigned char *find(unsigned char *p, bool near)
{
	size_t off;

	for (off = 0; off < SIZE; off += 64 * PAGE)
		if (reached(p + off) == near)
			return p + off;
	return NULL;
}

/* The errno of a registration. */
static int try(unsigned char *p, size_t len)
{
	struct ibv_mr *mr = ibv_reg_mr(edu.pd, p, len, EDU_ACCESS);
	int err = mr ? edu_check(mr, p, len, NULL) : -errno;

	if (mr)
		ibv_dereg_mr(mr);
	return err;
}

static int copy_page(unsigned char *to, unsigned char *from)
{
	struct ibv_mr *dst = ibv_reg_mr(edu.pd, to, PAGE, EDU_ACCESS);
	struct ibv_mr *src = ibv_reg_mr(edu.pd, from, PAGE, EDU_ACCESS);
	int err = dst && src ? 0 : -errno;

	fill_pattern(from, PAGE, 9);
	if (!err)
		err = edu_copy(dst, 100, src, 1000, 3000);
	if (!err && memcmp(to + 100, from + 1000, 3000))
		err = -EBADMSG;
	if (dst)
		ibv_dereg_mr(dst);
	if (src)
		ibv_dereg_mr(src);
	return err;
}

static enum ktap_result expect(const char *what, int got, int want)
{
	return got == want ? KTAP_PASS :
	       ktap_fail("%s: %s instead of %s", what, strerrorname_np(-got),
			 strerrorname_np(-want));
}

static enum ktap_result run_pages(unsigned char *p)
{
	unsigned char *near = find(p, true), *far = find(p, false);
	bool translated = edu_is_translated();
	enum ktap_result res;

	if (!near || !far)
		return ktap_fail("the VM has no memory %s the device's reach",
				 near ? "out of" : "within");
	res = expect("a page within reach", try(near, PAGE), 0);
	if (res == KTAP_PASS)
		res = expect("a page out of reach", try(far, PAGE),
			     translated ? 0 : -EIO);
	if (res == KTAP_PASS)
		res = expect("a copy", copy_page(near + PAGE, near), 0);
	if (res == KTAP_PASS && translated)
		res = expect("a copy from afar", copy_page(near, far), 0);
	return res;
}

/* Behind an IOMMU addresses run out, whatever the memory is. */
static int try_all(unsigned char *p)
{
	struct big b;
	int err;

	if (!edu_is_translated())
		return try(p, SIZE);
	err = big_map(&b, 0, (1UL << edu_bits()) + 64 * MIB, 0);
	if (!err)
		err = try(b.addr, b.len);
	big_destroy(&b);
	return err;
}

static enum ktap_result run_mask(const void *arg)
{
	long pinned = pinned_pages();
	enum ktap_result res;
	unsigned char *p;

	(void)arg;
	if (edu_bits() > 32)
		return ktap_skip("the device reaches all of the memory");
	p = map_both();
	if (!p)
		return ktap_fail("set-up: %s", strerror(errno));
	res = run_pages(p);
	if (res == KTAP_PASS)
		res = expect("too much", try_all(p),
			     edu_is_translated() ? -ENOMEM : -EIO);
	if (res == KTAP_PASS && pinned_pages() != pinned)
		res = ktap_fail("%ld pages still pinned", pinned_pages());
	munmap(p, SIZE);
	return res;
}

int main(int argc, char **argv)
{
	ktap_add(run_mask, NULL, "mask/reach");
	return edu_main(argc, argv);
}
