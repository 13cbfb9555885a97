// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"
#include "page.h"
#include "textfile.h"

#define DRIVER	"/sys/bus/pci/drivers/edu_ib/"

int page_open(struct page *p, int nth)
{
	uint64_t offset = 0;
	int err;

	memset(p, 0, sizeof(*p));
	p->fd = -1;
	err = edu_open_nth(&p->owner, nth);
	if (!err)
		err = -edudv_page_offset(p->owner.ctx, &offset);
	p->offset = offset;
	return err;
}

int page_export(struct page *p)
{
	return -edudv_export(p->owner.ctx, p->offset, &p->fd);
}

void page_close_fd(struct page *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

void page_close(struct page *p)
{
	page_close_fd(p);
	edu_close(&p->owner);
}

u64 *page_map(const struct page *p)
{
	void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 p->owner.ctx->cmd_fd, p->offset);

	return map == MAP_FAILED ? NULL : map;
}

void page_unmap(u64 *map)
{
	if (map)
		munmap(map, PAGE);
}

/* The first line is the first BAR. All registers are in its first page. */
int page_address(const struct page *p, u64 *addr)
{
	unsigned long long start = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/resource",
		 p->owner.name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	if (fscanf(f, "%llx", &start) != 1)
		start = 0;
	fclose(f);
	*addr = start + PAGE;
	return start ? 0 : -ENXIO;
}

int page_function(const struct page *p, char name[16])
{
	char link[128], path[4096];
	const char *base;

	snprintf(link, sizeof(link), "/sys/class/infiniband/%s/device",
		 p->owner.name);
	if (!realpath(link, path))
		return -errno;
	base = strrchr(path, '/') + 1;
	return snprintf(name, 16, "%s", base) < 16 ? 0 : -ENAMETOOLONG;
}

int page_unbind(const char *function)
{
	return write_text(function, DRIVER "unbind");
}

int page_bind(const char *function)
{
	return write_text(function, DRIVER "bind");
}
