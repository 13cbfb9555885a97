// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "exporter.h"
#include "ktap.h"
#include "memory.h"
#include "resources.h"

#define KIB4	4096UL
#define MIB2	(2UL << 20)
#define GUARD	4096UL		/* compared on either side of a transfer */

static u64 mix(u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

void fill_pattern(void *to, size_t len, u64 seed)
{
	u64 word;
	size_t i, n;

	for (i = 0; i < len; i += n) {
		word = mix(seed * 0x9e3779b97f4a7c15ULL + i);
		n = len - i < sizeof(word) ? len - i : sizeof(word);
		memcpy((char *)to + i, &word, n);
	}
}

/* Physical page numbers, which only root may see. 0 or -errno. */
static int read_pfns(const void *addr, u64 *pfn, size_t nr)
{
	off_t off = (uintptr_t)addr / KIB4 * sizeof(*pfn);
	int fd = open("/proc/self/pagemap", O_RDONLY);
	ssize_t n;
	size_t i;

	if (fd < 0)
		return -errno;
	n = pread(fd, pfn, nr * sizeof(*pfn), off);
	close(fd);
	if (n != (ssize_t)(nr * sizeof(*pfn)))
		return -EIO;
	for (i = 0; i < nr; i++)
		pfn[i] &= (1ULL << 55) - 1;
	return 0;
}

/* How many pages directly follow the one before, in physical memory. */
static int count_neighbours(const struct memory *mem, size_t *count)
{
	size_t i, nr = mem->size / KIB4;
	u64 *pfn = calloc(nr, sizeof(*pfn));
	int err = pfn ? read_pfns(mem->base, pfn, nr) : -ENOMEM;

	for (i = 1, *count = 0; !err && i < nr; i++)
		*count += pfn[i] == pfn[i - 1] + 1;
	free(pfn);
	return err;
}

/* A few pages may well be neighbours by chance. */
static int check_scattered(const struct memory *mem)
{
	size_t count;
	int err = count_neighbours(mem, &count);

	if (err)
		return err;
	return count > 16 + mem->size / KIB4 / 4 ? -EBADMSG : 0;
}

static int check_huge(const struct memory *mem)
{
	size_t count, nr = mem->size / KIB4;
	int err = count_neighbours(mem, &count);

	if (err)
		return err;
	return count < nr - mem->size / MIB2 ? -EBADMSG : 0;
}

static int map_plain(struct memory *mem, int prot, int flags)
{
	void *p = mmap(NULL, mem->size, prot, flags, mem->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	mem->base = p;
	return 0;
}

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static int map_anon(struct memory *mem)
{
	return map_plain(mem, RW, ANON);
}

/*
 * The page allocator hands out neighbours to one who asks in a row, so ask
 * for the pages in random order.
 */
static int map_scattered(struct memory *mem)
{
	size_t i, j, nr = mem->size / KIB4;
	u32 *order, swap;
	int err = map_plain(mem, RW, ANON);

	if (err)
		return err;
	madvise(mem->base, mem->size, MADV_NOHUGEPAGE);
	order = calloc(nr, sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		j = rand() % (i + 1);
		order[i] = i;
		swap = order[j];
		order[j] = order[i];
		order[i] = swap;
	}
	for (i = 0; i < nr; i++)
		mem->base[order[i] * KIB4] = 1;
	free(order);
	return 0;
}

static int map_thp(struct memory *mem)
{
	size_t size = mem->size + MIB2, skip;
	unsigned char *p = mmap(NULL, size, RW, ANON, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	skip = -(uintptr_t)p & (MIB2 - 1);
	if (skip)
		munmap(p, skip);
	if (skip != MIB2)
		munmap(p + skip + mem->size, MIB2 - skip);
	mem->base = p + skip;
	if (madvise(mem->base, mem->size, MADV_HUGEPAGE))
		return -errno;
	memset(mem->base, 1, mem->size);
	return 0;
}

void memory_reserve_huge_pages(size_t nr)
{
	const char *path = "/proc/sys/vm/nr_hugepages";
	unsigned long have = 0;
	FILE *f = fopen(path, "r+");

	if (!f)
		return;
	if (fscanf(f, "%lu", &have) == 1) {
		rewind(f);
		fprintf(f, "%lu\n", have + nr);
	}
	fclose(f);
}

static int map_hugetlb(struct memory *mem)
{
	int err = map_plain(mem, RW, ANON | MAP_HUGETLB);

	if (!err)
		return 0;
	memory_reserve_huge_pages(mem->size / MIB2);
	return map_plain(mem, RW, ANON | MAP_HUGETLB);
}

static int map_memfd(struct memory *mem)
{
	mem->fd = memfd_create("region", MFD_CLOEXEC);
	if (mem->fd < 0 || ftruncate(mem->fd, mem->size))
		return -errno;
	return map_plain(mem, RW, MAP_SHARED);
}

/* A file system of its own, so that it is a tmpfs whatever /tmp is. */
static int open_tmpfs_file(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt = -1, fd = -1;

	if (fs >= 0 && !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt >= 0) {
		fd = openat(mnt, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		close(mnt);
	}
	if (fs >= 0)
		close(fs);
	return fd;
}

static int map_file(struct memory *mem)
{
	mem->fd = open_tmpfs_file();
	if (mem->fd < 0 || ftruncate(mem->fd, mem->size))
		return -errno;
	return map_plain(mem, RW, MAP_SHARED);
}

static int map_read_only(struct memory *mem)
{
	int err = map_plain(mem, RW, ANON);

	if (err)
		return err;
	fill_pattern(mem->base, mem->size, 1);
	return mprotect(mem->base, mem->size, PROT_READ) ? -errno : 0;
}

/* Memory of a dma-buf: its fd, or a negative errno value. */
static int map_dmabuf(struct memory *mem, int fd)
{
	mem->fd = fd;
	return fd < 0 ? fd : map_plain(mem, RW, MAP_SHARED);
}

static int map_udmabuf(struct memory *mem)
{
	return map_dmabuf(mem, udmabuf_alloc(mem->size, 0));
}

static int map_udmabuf_huge(struct memory *mem)
{
	memory_reserve_huge_pages(mem->size / MIB2);
	return map_dmabuf(mem, udmabuf_alloc(mem->size, MFD_HUGETLB));
}

static int map_heap(struct memory *mem)
{
	return map_dmabuf(mem, heap_alloc(mem->size));
}

static int map_cma(struct memory *mem)
{
	return map_dmabuf(mem, cma_alloc(mem->size));
}

const struct memory_kind memory_kinds[] = {
	{ "scattered",	KIB4, false, false, map_scattered, check_scattered },
	{ "anon",	KIB4, false, false, map_anon },
	{ "thp",	MIB2, false, false, map_thp, check_huge },
	{ "hugetlb",	MIB2, false, false, map_hugetlb, check_huge },
	{ "memfd",	KIB4, false, false, map_memfd },
	{ "file",	KIB4, false, false, map_file },
	{ "readonly",	KIB4, true, false, map_read_only },
};

const size_t nr_memory_kinds = ARRAY_SIZE(memory_kinds);

const struct memory_kind dmabuf_kinds[] = {
	{ "udmabuf",	  KIB4, false, true, map_udmabuf, check_scattered },
	{ "udmabuf_huge", MIB2, false, true, map_udmabuf_huge },
	{ "heap",	  KIB4, false, true, map_heap },
	{ "cma",	  KIB4, false, true, map_cma },
};

const size_t nr_dmabuf_kinds = ARRAY_SIZE(dmabuf_kinds);

const struct memory_kind *memory_kind(const char *name)
{
	size_t i;

	for (i = 0; i < nr_memory_kinds; i++)
		if (!strcmp(memory_kinds[i].name, name))
			return &memory_kinds[i];
	for (i = 0; i < nr_dmabuf_kinds; i++)
		if (!strcmp(dmabuf_kinds[i].name, name))
			return &dmabuf_kinds[i];
	abort();
}

const char *memory_missing(const struct memory_kind *kind)
{
	return kind->map == map_cma && cma_bytes() <= 0 ?
	       "no CMA heap: boot with --kernel debug --append cma=64M" :
	       NULL;
}

int memory_map(struct memory *mem, const struct memory_kind *kind, size_t size)
{
	int err;

	*mem = (struct memory) {
		.size = (size + kind->page - 1) / kind->page * kind->page,
		.fd = -1,
	};
	err = kind->map(mem);
	if (err) {
		memory_unmap(mem);
		return err;
	}
	if (!kind->read_only)	/* fault it all in before its layout is read */
		fill_pattern(mem->base, mem->size, 1);
	err = kind->check ? kind->check(mem) : 0;
	if (err)
		memory_unmap(mem);
	return err;
}

void memory_unmap(struct memory *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
	*mem = (struct memory) { .fd = -1 };
}

/* Address and iova must agree in the bits below the page. */
static u64 same(const unsigned char *addr)
{
	return (uintptr_t)addr;
}

static u64 far(const unsigned char *addr)
{
	return 0x5a5a00001000ULL + ((uintptr_t)addr & (KIB4 - 1));
}

static u64 zero(const unsigned char *addr)
{
	return (uintptr_t)addr & (KIB4 - 1);
}

const struct iova_kind iova_same = { "same", same };
const struct iova_kind iova_far = { "iova", far };
const struct iova_kind iova_zero = { "zero", zero };

int region_map(struct region *r, const struct region_attr *attr)
{
	int err;

	memset(r, 0, sizeof(*r));
	err = memory_map(&r->mem, attr->kind,
			 attr->head + attr->len + attr->tail);
	if (err)
		return err;
	r->read_only = attr->kind->read_only;
	r->head = attr->head;
	r->len = attr->len;
	r->addr = r->mem.base + attr->head;
	r->iova = attr->iova->iova(r->addr);
	r->model = malloc(r->mem.size);
	if (!r->model) {
		region_destroy(r);
		return -ENOMEM;
	}
	memcpy(r->model, r->mem.base, r->mem.size);
	return 0;
}

int region_register(struct region *r, struct rdma_dev *dev,
		    const struct region_attr *attr)
{
	int access = attr->access;

	if (!access)
		access = r->read_only ? IBV_ACCESS_REMOTE_READ : ACCESS_ALL;
	if (attr->kind->dmabuf)
		r->mr = ibv_reg_dmabuf_mr(dev->pd, r->head, r->len, r->iova,
					  r->mem.fd, access);
	else
		r->mr = ibv_reg_mr_iova(dev->pd, r->addr, r->len, r->iova,
					access);
	return r->mr ? 0 : -errno;
}

int region_create(struct region *r, struct rdma_dev *dev,
		  const struct region_attr *attr)
{
	int err = region_map(r, attr);

	if (err)
		return err;
	err = region_register(r, dev, attr);
	if (err)
		region_destroy(r);
	return err;
}

void region_destroy(struct region *r)
{
	if (r->mr)
		ibv_dereg_mr(r->mr);
	free(r->model);
	memory_unmap(&r->mem);
	memset(r, 0, sizeof(*r));
	r->mem.fd = -1;
}

void region_fill(struct region *r, u64 seed)
{
	if (r->read_only)
		return;
	fill_pattern(r->model, r->mem.size, seed);
	memcpy(r->mem.base, r->model, r->mem.size);
}

unsigned char *region_model(struct region *r, size_t off)
{
	return r->model + r->head + off;
}

static int check_bytes(const struct region *r, size_t from, size_t to)
{
	size_t i;

	if (!memcmp(r->mem.base + from, r->model + from, to - from))
		return 0;
	for (i = from; r->mem.base[i] == r->model[i]; i++)
		;
	ktap_diag("region of %zu bytes, offset %zd: %#x instead of %#x",
		  r->len, (ssize_t)(i - r->head), r->mem.base[i], r->model[i]);
	return -EBADMSG;
}

int region_check(const struct region *r, size_t off, size_t len)
{
	size_t from = r->head + off, to = from + len;

	from = from > GUARD ? from - GUARD : 0;
	to = to + GUARD < r->mem.size ? to + GUARD : r->mem.size;
	return check_bytes(r, from, to);
}

int region_check_all(const struct region *r)
{
	return check_bytes(r, 0, r->mem.size);
}
