// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "resources.h"

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

bool memfd_is_pinned(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0;
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
