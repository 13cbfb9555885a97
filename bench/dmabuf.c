// SPDX-License-Identifier: GPL-2.0
/*
 * What memory regions of dma-bufs cost, beside pinned ones of as many bytes.
 *
 *	dmabuf [-r REPEAT] CASE...
 *
 * where CASE is one of
 *
 *	reg:KIND:BYTES		to register and to deregister, and the kernel
 *				memory that a region holds
 *	write:KIND:BYTES	an RDMA write
 *	revoke:COUNT		to take a BAR away from so many regions
 *	sgt:BYTES		to make a scatterlist of udmabuf, as CPU access
 *				to it does
 *
 * and KIND is udmabuf (4 KiB pages that are no neighbours), hugetlb (udmabuf of 2
 * MiB pages), heap (the system heap) or bar (of QEMU's ivshmem, by vfio-pci).
 * Prints one line of JSON for each, with an error where the kernel has no such
 * regions. Times are nanoseconds, which are instructions where the VM counts
 * them (./lab exec --icount).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../tools/testing/rdma/verbs/exporter.h"
#include "../tools/testing/rdma/verbs/vfio.h"
#include "device.h"
#include "kmem.h"
#include "memory.h"
#include "print.h"
#include "quiet.h"
#include "write.h"

#define MAX_REPEAT	64
/* Of memory that regions are registered in at once, for theirs to stand out */
#define STAND_OUT	(256 * MIB)
#define MANY		16
#define MANY_MORE	512
#define MANY_PINNED	256

/* The least that all kinds of memory come in */
#define WHOLE		(2 * MIB)
#define WRITE_MOST	MIB

/* Of each region that the BAR is taken away from */
#define REVOKE_BYTES	(64 * KIB)
#define MOST_REVOKED	10000

static int repeat = 5;
static struct writer writer;
static struct vfio bar = { .iommufd = -1, .fd = -1 };

struct kind {
	const char *name;
	int (*export)(size_t size);		/* fd or -errno */
	enum memory_kind pinned;		/* to compare with */
};

static int export_udmabuf(size_t size)
{
	int memfd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING), fd;

	if (memfd < 0 || ftruncate(memfd, size) ||
	    fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		err(1, "memfd");
	memory_fill_file(memfd, size);
	fd = udmabuf_create(memfd, 0, size);
	close(memfd);
	return fd;
}

static int export_hugetlb(size_t size)
{
	return udmabuf_alloc(size, MFD_HUGETLB);
}

static void open_bar(void)
{
	if (bar.fd >= 0)
		return;
	errno = -vfio_open(&bar, IVSHMEM_VENDOR, IVSHMEM_DEVICE, IVSHMEM_BAR);
	if (errno)
		err(1, "ivshmem by vfio-pci");
}

static int export_bar(size_t size)
{
	const struct vfio_range all = { 0, size };

	open_bar();
	return vfio_dmabuf(&bar, IVSHMEM_BAR, &all, 1);
}

static const struct kind kinds[] = {
	{ "udmabuf", export_udmabuf, SCATTERED },
	{ "hugetlb", export_hugetlb, HUGE },
	{ "heap", heap_alloc, HUGE },
	{ "bar", export_bar, HUGE },
};

static int export(const struct kind *kind, size_t size)
{
	int fd = kind->export(size);

	errno = -fd;
	if (fd < 0)
		err(1, "cannot make a dma-buf: %s, %zu bytes", kind->name, size);
	return fd;
}

/* What the CPU sees of a dma-buf; vfio has no mmap() of its ones. */
static void *map(const struct kind *kind, int fd, size_t size)
{
	bool is_bar = kind->export == export_bar;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       is_bar ? bar.fd : fd, is_bar ? bar.bar : 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %s", kind->name);
	return p;
}

static struct ibv_mr *try_reg(int fd, size_t size)
{
	return ibv_reg_dmabuf_mr(writer_pd(&writer), 0, size, 0, fd,
				 ACCESS_PINNED);
}

static struct ibv_mr *reg_dmabuf(int fd, size_t size)
{
	struct ibv_mr *mr = try_reg(fd, size);

	if (!mr)
		err(1, "cannot register %zu bytes of a dma-buf", size);
	return mr;
}

/* With "error" printed where the kernel has no such regions. */
static bool can_register(int fd, size_t size)
{
	struct ibv_mr *mr = try_reg(fd, size);

	if (mr)
		dereg(mr);
	else
		printf(", \"error\": \"%s\"", strerror(errno));
	return mr;
}

static u64 time_dereg(struct ibv_mr *mr)
{
	u64 begin = quiet_now();

	dereg(mr);
	return now() - begin;
}

struct reg_result {
	/* The first region of a dma-buf, and one more of the same */
	u64 first[MAX_REPEAT], more[MAX_REPEAT];
	u64 dereg[MAX_REPEAT], last[MAX_REPEAT];
	u64 pinned[MAX_REPEAT], unpinned[MAX_REPEAT];
	/*
	 * One that each turn leaves behind: so each finds the kernel's slabs filled
	 * otherwise, and in some no allocation has to get another slab.
	 */
	struct ibv_mr *left[MAX_REPEAT];
};

static void take_reg(struct reg_result *r, int i, const struct kind *kind,
		     size_t size)
{
	int fd = export(kind, size);
	struct ibv_mr *one, *two;
	u64 begin = quiet_now();

	one = reg_dmabuf(fd, size);
	r->first[i] = now() - begin;
	begin = quiet_now();
	two = reg_dmabuf(fd, size);
	r->more[i] = now() - begin;
	r->dereg[i] = time_dereg(one);
	r->last[i] = time_dereg(two);
	r->left[i] = reg_dmabuf(fd, size);
	close(fd);
}

static void take_regs(struct reg_result *r, const struct kind *kind, size_t size)
{
	int i;

	/* What only the first one does is no cost of a region. */
	take_reg(r, 0, kind, size);
	dereg(r->left[0]);
	for (i = 0; i < repeat; i++)
		take_reg(r, i, kind, size);
	for (i = 0; i < repeat; i++)
		dereg(r->left[i]);
}

static void take_pinned(struct reg_result *r, int i, const struct memory *mem)
{
	struct ibv_mr *mr;
	u64 begin = quiet_now();

	mr = reg(writer_pd(&writer), mem);
	r->pinned[i] = now() - begin;
	r->unpinned[i] = time_dereg(mr);
}

/* By the first region of a dma-buf, by one more, and when it has been accessed. */
static void print_memory(const struct kind *kind, size_t size)
{
	int nr = size < STAND_OUT / MANY ? MANY : STAND_OUT / size, i;
	struct ibv_mr *one[MANY], *two[MANY_MORE];
	long long before, first, more, used;
	int fd[MANY];

	for (i = 0; i < nr; i++)
		fd[i] = export(kind, size);
	warm_library(writer_pd(&writer), two, MANY_MORE);
	before = kmem_used();
	for (i = 0; i < nr; i++)
		one[i] = reg_dmabuf(fd[i], size);
	first = kmem_used();
	for (i = 0; i < MANY_MORE; i++)
		two[i] = reg_dmabuf(fd[i % nr], size);
	more = kmem_used();
	for (i = 0; i < nr; i++)
		writer_run(&writer, one[i], 0, sizeof(u64));
	used = kmem_used();
	for (i = 0; i < MANY_MORE; i++)
		dereg(two[i]);
	for (i = 0; i < nr; i++) {
		dereg(one[i]);
		close(fd[i]);
	}
	printf(", \"bytes_first\": %.1f, \"bytes_more\": %.1f, \"bytes_used\": %.1f",
	       (double)(first - before) / nr, (double)(more - first) / MANY_MORE,
	       (double)(used - more) / nr);
}

static void measure_reg(const struct kind *kind, size_t size)
{
	static struct reg_result r;
	struct memory mem;
	int i, regions, fd = export(kind, size);
	bool can = can_register(fd, size);

	close(fd);
	printf(", \"pages\": %zu", (size_t)(size / PAGE));
	if (can)
		take_regs(&r, kind, size);
	memory_map(&mem, kind->pinned, size);
	for (i = 0; i < repeat; i++)
		take_pinned(&r, i, &mem);
	printf(", \"bytes_pinned\": %.1f",
	       (double)regions_memory(writer_pd(&writer), &mem, reg, MANY_PINNED,
				      &regions) / regions);
	memory_unmap(&mem);
	print_list("pinned", r.pinned, repeat);
	print_list("unpinned", r.unpinned, repeat);
	if (!can)
		return;
	print_list("first", r.first, repeat);
	print_list("more", r.more, repeat);
	print_list("dereg", r.dereg, repeat);
	print_list("last", r.last, repeat);
	print_memory(kind, size);
}

static void measure_write(const struct kind *kind, size_t size)
{
	u64 pinned[MAX_REPEAT], dmabuf[MAX_REPEAT];
	struct ibv_mr *pinned_mr, *mr;
	bool good = true, can;
	int i, fd = export(kind, WHOLE);
	void *base = map(kind, fd, WHOLE);
	struct memory mem;

	memory_map(&mem, kind->pinned, WHOLE);
	pinned_mr = reg(writer_pd(&writer), &mem);
	can = can_register(fd, WHOLE);
	mr = can ? reg_dmabuf(fd, WHOLE) : NULL;
	/* The first ones of a connection, or of a region, are not like the others. */
	for (i = -1; i < repeat; i++) {
		pinned[i < 0 ? 0 : i] = writer_run(&writer, pinned_mr,
						   (uintptr_t)mem.base, size);
		good = good && writer_check(&writer, mem.base, size);
		if (!can)
			continue;
		memset(base, 0, size);
		dmabuf[i < 0 ? 0 : i] = writer_run(&writer, mr, 0, size);
		good = good && writer_check(&writer, base, size);
	}
	print_list("pinned", pinned, repeat);
	if (can) {
		print_list("dmabuf", dmabuf, repeat);
		dereg(mr);
	}
	printf(", \"good\": %s", good ? "true" : "false");
	dereg(pinned_mr);
	memory_unmap(&mem);
	munmap(base, WHOLE);
	close(fd);
}

static u64 time_enable(int on)
{
	u64 begin = quiet_now();

	errno = -vfio_enable_memory(&bar, on);
	if (errno)
		err(1, "cannot turn memory %s", on ? "on" : "off");
	return now() - begin;
}

/* Taken away, given back, and the first access after that, which maps it again */
static void measure_revoke(int count)
{
	u64 off[MAX_REPEAT], on[MAX_REPEAT], again[MAX_REPEAT], warm[MAX_REPEAT];
	static struct ibv_mr *mr[MOST_REVOKED];
	int i, n, fd = export(&kinds[ARRAY_SIZE(kinds) - 1], REVOKE_BYTES);

	if (!can_register(fd, REVOKE_BYTES)) {
		close(fd);
		return;
	}
	for (i = 0; i < count; i++) {
		mr[i] = reg_dmabuf(fd, REVOKE_BYTES);
		writer_run(&writer, mr[i], 0, sizeof(u64));
	}
	for (n = 0; n < repeat; n++) {
		off[n] = time_enable(0);
		on[n] = time_enable(1);
		for (i = 0, again[n] = ~0ULL; i < count; i++)
			again[n] = least(again[n],
					 writer_run(&writer, mr[i], 0, sizeof(u64)));
		if (count)
			warm[n] = writer_run(&writer, mr[0], 0, sizeof(u64));
	}
	for (i = 0; i < count; i++)
		dereg(mr[i]);
	close(fd);
	print_list("off", off, repeat);
	print_list("on", on, repeat);
	if (count) {
		print_list("again", again, repeat);
		print_list("warm", warm, repeat);
	}
}

static void sync_start(int fd)
{
	struct dma_buf_sync sync = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	};

	if (ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync))
		err(1, "DMA_BUF_IOCTL_SYNC");
}

static void measure_sgt(size_t size)
{
	u64 make[MAX_REPEAT], begin;
	long long before, after;
	int i, fd;

	for (i = 0; i < repeat; i++) {
		fd = export_udmabuf(size);
		begin = quiet_now();
		sync_start(fd);
		make[i] = now() - begin;
		close(fd);
	}
	fd = export_udmabuf(size);
	before = kmem_used();
	sync_start(fd);
	after = kmem_used();
	close(fd);
	print_list("make", make, repeat);
	printf(", \"pages\": %zu, \"bytes\": %lld", (size_t)(size / PAGE), after - before);
}

static void usage_exit(void)
{
	fputs("usage: dmabuf [-r REPEAT] CASE...\n"
	      "CASE: reg:KIND:BYTES, write:KIND:BYTES, revoke:COUNT, sgt:BYTES\n"
	      "KIND: udmabuf, hugetlb, heap, bar\n", stderr);
	exit(2);
}

static const struct kind *find_kind(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	usage_exit();
	return NULL;
}

static void measure(const char *what)
{
	char kind[16];
	size_t nr;

	printf("{\"what\": \"%s\"", what);
	if (sscanf(what, "reg:%15[a-z]:%zu", kind, &nr) == 2 && nr &&
	    nr <= STAND_OUT && nr % WHOLE == 0)
		measure_reg(find_kind(kind), nr);
	else if (sscanf(what, "write:%15[a-z]:%zu", kind, &nr) == 2 && nr &&
		 nr <= WRITE_MOST)
		measure_write(find_kind(kind), nr);
	else if (sscanf(what, "revoke:%zu", &nr) == 1 && nr <= MOST_REVOKED)
		measure_revoke(nr);
	else if (sscanf(what, "sgt:%zu", &nr) == 1 && nr)
		measure_sgt(nr);
	else
		usage_exit();
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
	writer_open(&writer, WRITE_MOST);
	for (; *argv; argv++)
		measure(*argv);
	writer_close(&writer);
	return 0;
}
