// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"
#include "resources.h"
#include "util.h"

/* Of an entry of /proc/self/pagemap */
#define PRESENT_BIT	63
#define PFN_MASK	((1ULL << 55) - 1)

/* The number behind a name at the start of a line, or -1. */
static long read_field(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[256];
	long value = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			sscanf(line + strlen(name), "%ld", &value);
	if (f)
		fclose(f);
	return value;
}

long pinned_pages(void)
{
	return read_field("/proc/self/status", "VmPin:") * 1024 /
	       sysconf(_SC_PAGESIZE);
}

long pinned_references(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

	/* Each processor counts for itself at first. */
	if (fd < 0 || write(fd, "1", 1) != 1) {
		perror("/proc/sys/vm/stat_refresh");
		abort();
	}
	close(fd);
	return read_field("/proc/vmstat", "nr_foll_pin_acquired ") -
	       read_field("/proc/vmstat", "nr_foll_pin_released ");
}

bool memfd_is_pinned(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0;
}

static int read_at(const char *path, void *to, size_t len, off_t at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, to, len, at);
	close(fd);
	return n == (ssize_t)len ? 0 : -EIO;
}

long dirty_pages(const void *addr, size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	u64 pagemap, flags;
	long count = 0;
	size_t i;

	for (i = 0; i < len / page; i++) {
		u64 at = ((uintptr_t)addr / page + i) * sizeof(pagemap);
		int err = read_at("/proc/self/pagemap", &pagemap,
				  sizeof(pagemap), at);

		if (!err && !(pagemap >> PRESENT_BIT))
			err = -ENXIO;
		if (!err)
			err = read_at("/proc/kpageflags", &flags, sizeof(flags),
				      (pagemap & PFN_MASK) * sizeof(flags));
		if (err)
			return err;
		count += flags >> KPF_DIRTY & 1;
	}
	return count;
}

/* One line for each dma-buf says how many are attached. */
static void count_dmabufs(struct holdings *h)
{
	FILE *f = fopen("/sys/kernel/debug/dma_buf/bufinfo", "r");
	char line[256];
	long nr;

	if (!f) {
		perror("/sys/kernel/debug/dma_buf/bufinfo");
		abort();
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Total %ld", &nr) != 1 ||
		    !strstr(line, "attached"))
			continue;
		h->dmabufs++;
		h->attached += nr;
	}
	fclose(f);
}

void holdings_now(struct holdings *h)
{
	*h = (struct holdings) {
		.pinned = pinned_pages(), .references = pinned_references(),
	};
	count_dmabufs(h);
}

bool holdings_same(const struct holdings *was)
{
	struct holdings is;

	holdings_now(&is);
	if (is.pinned == was->pinned && is.references == was->references &&
	    is.dmabufs == was->dmabufs && is.attached == was->attached)
		return true;
	ktap_diag("pages in VmPin: %ld, was %ld; references: %ld, was %ld",
		  is.pinned, was->pinned, is.references, was->references);
	ktap_diag("dma-bufs: %ld, was %ld; attachments: %ld, was %ld",
		  is.dmabufs, was->dmabufs, is.attached, was->attached);
	return false;
}

long cma_bytes(void)
{
	return read_field("/proc/meminfo", "CmaTotal:") * 1024;
}

long slab_bytes(void)
{
	return read_field("/proc/meminfo", "SUnreclaim:") * 1024;
}

bool slab_is_exact(void)
{
	return access("/sys/kernel/debug/kmemleak", F_OK) != 0;
}

int sealed_map(struct sealed *s, size_t len)
{
	s->len = len;
	s->fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->fd < 0 || ftruncate(s->fd, len))
		return -errno;
	s->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (s->map == MAP_FAILED)
		return -errno;
	memset(s->map, 1, len);
	return 0;
}

void sealed_unmap(struct sealed *s)
{
	if (s->map)
		munmap(s->map, s->len);
	s->map = NULL;
}

bool sealed_is_pinned(struct sealed *s)
{
	sealed_unmap(s);
	return memfd_is_pinned(s->fd);
}

void sealed_destroy(struct sealed *s)
{
	sealed_unmap(s);
	close(s->fd);
}
