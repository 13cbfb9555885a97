// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"
#include "ktap.h"

#define PAGE 4096UL

struct rdma_dev edu;

int edu_open_nth(struct rdma_dev *dev, int nth)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	int i;

	memset(dev, 0, sizeof(*dev));
	for (i = 0; list && list[i] && !dev->ctx; i++)
		if (edudv_is_supported(list[i]) && !nth--)
			dev->ctx = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	if (!dev->ctx)
		return -ENODEV;
	dev->name = ibv_get_device_name(dev->ctx->device);
	dev->pd = ibv_alloc_pd(dev->ctx);
	if (!dev->pd) {
		edu_close(dev);
		return -ENOMEM;
	}
	return 0;
}

int edu_open(struct rdma_dev *dev)
{
	return edu_open_nth(dev, 0);
}

void edu_close(struct rdma_dev *dev)
{
	if (dev->pd)
		ibv_dealloc_pd(dev->pd);
	if (dev->ctx)
		ibv_close_device(dev->ctx);
	memset(dev, 0, sizeof(*dev));
}

/* /sys/class/infiniband/NAME/device is the PCI function. */
void edu_iommu_type(char *type, size_t size)
{
	char path[256];
	FILE *f;

	type[0] = 0;
	snprintf(path, sizeof(path),
		 "/sys/class/infiniband/%s/device/iommu_group/type", edu.name);
	f = fopen(path, "r");
	if (f) {
		if (!fgets(type, size, f))
			type[0] = 0;
		fclose(f);
	}
	type[strcspn(type, "\n")] = 0;
}

bool edu_is_translated(void)
{
	char type[32];

	edu_iommu_type(type, sizeof(type));
	return !strncmp(type, "DMA", 3);
}

unsigned int edu_bits(void)
{
	unsigned int bits = 0;
	FILE *f = fopen("/sys/module/edu_ib/parameters/dma_bits", "r");

	if (f) {
		if (fscanf(f, "%u", &bits) != 1)
			bits = 0;
		fclose(f);
	}
	return bits;
}

int edu_region(struct region *r, const struct memory_kind *kind,
	       const struct iova_kind *iova, size_t head, size_t len)
{
	struct region_attr attr = {
		.kind = kind, .iova = iova, .head = head, .len = len, .tail = 1,
		.access = kind->read_only ? IBV_ACCESS_REMOTE_READ : EDU_ACCESS,
	};

	return region_create(r, &edu, &attr);
}

int edu_copy(struct ibv_mr *dst, u64 dst_off, struct ibv_mr *src, u64 src_off,
	     u64 len)
{
	return -edudv_copy(edu.pd, (struct edudv_place) { dst, dst_off },
			   (struct edudv_place) { src, src_off }, len);
}

int edu_copy_verify(struct region *dst, u64 dst_off, struct region *src,
		    u64 src_off, u64 len)
{
	int err = edu_copy(dst->mr, dst_off, src->mr, src_off, len);

	if (err)
		return err;
	memcpy(region_model(dst, dst_off), region_model(src, src_off), len);
	err = region_check_all(dst);
	return err ? err : region_check_all(src);
}

int edu_check(struct ibv_mr *mr, const void *addr, size_t len, u64 *block)
{
	u64 first = (uintptr_t)addr / PAGE;
	u64 pages = ((uintptr_t)addr + len - 1) / PAGE - first + 1;
	struct edudv_check check;
	int err = -edudv_check_mr(mr, &check);

	if (err)
		return err;
	if (block)
		*block = check.block_size;
	if (check.pages == pages)
		return 0;
	ktap_diag("%llu pages of %llu", (unsigned long long)check.pages,
		  (unsigned long long)pages);
	return -ERANGE;
}

int edu_check_some(struct ibv_mr *mr, u64 at_least)
{
	struct edudv_check check;
	int err = -edudv_check_mr(mr, &check);

	if (!err && check.pages < at_least) {
		ktap_diag("%llu pages", (unsigned long long)check.pages);
		err = -ERANGE;
	}
	return err;
}

int edu_main(int argc, char **argv)
{
	int err = edu_open(&edu), status;

	if (err) {
		fprintf(stderr, "edu: %s. Run this as ./lab exec --edu -- PROGRAM\n",
			strerror(-err));
		return 1;
	}
	status = ktap_main(argc, argv);
	edu_close(&edu);
	return status;
}
