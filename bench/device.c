// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <string.h>

#include "device.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
		IBV_ACCESS_REMOTE_READ)

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

struct ibv_mr *reg(struct ibv_pd *pd, const struct memory *mem)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, mem->base, mem->size, ACCESS);

	if (!mr)
		err(1, "cannot register %zu bytes", mem->size);
	return mr;
}

void dereg(struct ibv_mr *mr)
{
	errno = ibv_dereg_mr(mr);
	if (errno)
		err(1, "cannot deregister");
}
