// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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
