// SPDX-License-Identifier: GPL-2.0
/* A program of a user's own, as README.rst has it: opens each RDMA device and registers memory. */
#include <stdio.h>

#include <infiniband/verbs.h>

static char buffer[65536];

static int try_device(struct ibv_device *device)
{
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_pd *pd = context ? ibv_alloc_pd(context) : NULL;
	struct ibv_mr *mr = pd ? ibv_reg_mr(pd, buffer, sizeof(buffer),
					    IBV_ACCESS_LOCAL_WRITE) : NULL;

	printf("%s: %s\n", ibv_get_device_name(device),
	       mr ? "memory is registered" : "FAILED");
	if (mr)
		ibv_dereg_mr(mr);
	if (pd)
		ibv_dealloc_pd(pd);
	if (context)
		ibv_close_device(context);
	return mr ? 0 : 1;
}

int main(void)
{
	int count = 0, err = 0, i;
	struct ibv_device **devices = ibv_get_device_list(&count);

	for (i = 0; i < count; i++)
		err |= try_device(devices[i]);
	if (devices)
		ibv_free_device_list(devices);
	return err || !count;
}
