// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "device.h"
#include "kmem.h"

/* Regions held at once, for their memory to stand out: no more bytes than this. */
#define STAND_OUT	(64 * MIB)

struct ibv_pd *open_pd(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;
	struct ibv_pd *pd;
	int i;

	for (i = 0; list && list[i] && !ctx; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			ctx = ibv_open_device(list[i]);
	if (!ctx)
		err(1, "cannot open the RDMA device %s", name);
	ibv_free_device_list(list);
	pd = ibv_alloc_pd(ctx);
	if (!pd)
		err(1, "no protection domain");
	return pd;
}

static struct ibv_mr *reg_as(struct ibv_pd *pd, const struct memory *mem,
			     int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, mem->base, mem->size, access);

	if (!mr)
		err(1, "cannot register %zu bytes", mem->size);
	return mr;
}

struct ibv_mr *reg(struct ibv_pd *pd, const struct memory *mem)
{
	return reg_as(pd, mem, ACCESS_PINNED);
}

struct ibv_mr *reg_odp(struct ibv_pd *pd, const struct memory *mem)
{
	return reg_as(pd, mem, ACCESS_ODP);
}

void dereg(struct ibv_mr *mr)
{
	errno = ibv_dereg_mr(mr);
	if (errno)
		err(1, "cannot deregister");
}

static u64 free_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		err(1, "sysinfo");
	return (u64)info.freeram * info.mem_unit;
}

void warm_library(struct ibv_pd *pd, struct ibv_mr **mr, int nr)
{
	static char byte;
	int i;

	for (i = 0; i < nr; i++) {
		mr[i] = ibv_reg_mr(pd, &byte, sizeof(byte), ACCESS_PINNED);
		if (!mr[i])
			err(1, "cannot register %d regions", nr);
	}
	for (i = 0; i < nr; i++)
		dereg(mr[i]);
}

u64 regions_memory(struct ibv_pd *pd, const struct memory *mem,
		   struct ibv_mr *(*make)(struct ibv_pd *pd,
					  const struct memory *mem),
		   int most, int *regions)
{
	struct ibv_mr **mr = calloc(most, sizeof(*mr));
	long long before, after;
	int i, n = 0;
	u64 start;

	if (!mr)
		err(1, "no memory");
	warm_library(pd, mr, most);
	before = kmem_used();
	start = free_memory();
	while (n < most && free_memory() + STAND_OUT > start)
		mr[n++] = make(pd, mem);
	after = kmem_used();
	for (i = 0; i < n; i++)
		dereg(mr[i]);
	free(mr);
	errno = EAGAIN;
	if (after <= before)
		err(1, "others freed more memory than %d regions take", n);
	*regions = n;
	return after - before;
}
