// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "textfile.h"
#include "vfio.h"

/* Newer than the C library's headers may be */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};

#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

#ifndef VFIO_DEVICE_ATTACH_IOMMUFD_PT
struct vfio_device_attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};

struct vfio_device_detach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
};

#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)
#endif

#ifndef VFIO_DEVICE_FEATURE_DMA_BUF
#define VFIO_DEVICE_FEATURE_DMA_BUF 11

struct vfio_region_dma_range {
	__u64 offset;
	__u64 length;
};

struct vfio_device_feature_dma_buf {
	__u32 region_index;
	__u32 open_flags;
	__u32 flags;
	__u32 nr_ranges;
	struct vfio_region_dma_range dma_ranges[];
};
#endif

static u32 read_id(const char *folder, const char *name)
{
	char path[300];
	u32 id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%x", &id) != 1)
		id = 0;
	fclose(f);
	return id;
}

/* The function's folder in sysfs. */
static int find(u32 vendor, u32 device, char folder[256])
{
	int err = -ENODEV;
	glob_t g;
	size_t i;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &g))
		return -ENODEV;
	for (i = 0; i < g.gl_pathc && err; i++) {
		if (read_id(g.gl_pathv[i], "vendor") != vendor ||
		    read_id(g.gl_pathv[i], "device") != device)
			continue;
		snprintf(folder, 256, "%s", g.gl_pathv[i]);
		err = 0;
	}
	globfree(&g);
	return err;
}

/* Have vfio-pci drive the function, and open its character device. */
static int open_cdev(const char *folder)
{
	const char *name = strrchr(folder, '/') + 1;
	char pattern[300], path[300];
	glob_t g;
	int fd, err = write_text("vfio-pci", "%s/driver_override", folder);

	if (err)
		return err;
	write_text(name, "%s/driver/unbind", folder);	/* if it has one */
	err = write_text(name, "/sys/bus/pci/drivers_probe");
	if (err)
		return err;
	snprintf(pattern, sizeof(pattern), "%s/vfio-dev/*vfio*", folder);
	if (glob(pattern, 0, NULL, &g))
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
		 strrchr(g.gl_pathv[0], '/') + 1);
	globfree(&g);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int region_info(struct vfio *v, u32 index, u64 *offset, size_t *size)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(v->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	*offset = info.offset;
	*size = info.size;
	return 0;
}

int vfio_open(struct vfio *v, u32 vendor, u32 device, unsigned int bar)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	char folder[256];
	size_t size;
	int err = find(vendor, device, folder);

	*v = (struct vfio) { .iommufd = -1, .fd = -1 };
	if (err)
		return err;
	snprintf(v->name, sizeof(v->name), "%s", strrchr(folder, '/') + 1);
	v->fd = open_cdev(folder);
	if (v->fd < 0)
		return v->fd;
	v->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	bind.iommufd = v->iommufd;
	if (v->iommufd < 0 || ioctl(v->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		err = -errno;
	if (!err)
		err = region_info(v, VFIO_PCI_CONFIG_REGION_INDEX, &v->config,
				  &size);
	if (!err)
		err = region_info(v, bar, &v->bar, &v->bar_size);
	if (!err)
		err = vfio_enable_memory(v, 1);
	if (err)
		vfio_close(v);
	return err;
}

void vfio_close(struct vfio *v)
{
	if (v->fd >= 0)
		close(v->fd);
	if (v->iommufd >= 0)
		close(v->iommufd);
	*v = (struct vfio) { .iommufd = -1, .fd = -1 };
}

int vfio_dmabuf(const struct vfio *v, unsigned int bar,
		const struct vfio_range *ranges, u32 nr)
{
	struct vfio_device_feature_dma_buf *get;
	struct vfio_device_feature *feature;
	size_t size = sizeof(*feature) + sizeof(*get) +
		      nr * sizeof(get->dma_ranges[0]);
	int fd;
	u32 i;

	feature = calloc(1, size);
	if (!feature)
		return -ENOMEM;
	feature->argsz = size;
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	get = (void *)feature->data;
	get->region_index = bar;
	get->open_flags = O_RDWR | O_CLOEXEC;
	get->nr_ranges = nr;
	for (i = 0; i < nr; i++) {
		get->dma_ranges[i].offset = ranges[i].offset;
		get->dma_ranges[i].length = ranges[i].len;
	}
	fd = ioctl(v->fd, VFIO_DEVICE_FEATURE, feature);
	if (fd < 0)
		fd = -errno;
	free(feature);
	return fd;
}

int vfio_memory(const struct vfio *v, unsigned int bar,
		const struct vfio_range *ranges, u32 nr, struct memory *mem)
{
	unsigned char *p;
	u64 at = 0;
	u32 i;

	mem->fd = vfio_dmabuf(v, bar, ranges, nr);
	if (mem->fd < 0)
		return mem->fd;
	/* vfio has no mmap() of dma-bufs: the same ranges by its own fd */
	p = mmap(NULL, mem->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	mem->base = p;
	for (i = 0; i < nr; at += ranges[i++].len)
		if (mmap(p + at, ranges[i].len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, v->fd,
			 v->bar + ranges[i].offset) == MAP_FAILED)
			return -errno;
	return 0;
}

int vfio_attach(const struct vfio *v, u32 ioas)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach), .pt_id = ioas,
	};

	return ioctl(v->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) ? -errno : 0;
}

int vfio_detach(const struct vfio *v)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return ioctl(v->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) ? -errno : 0;
}

static int set_command(const struct vfio *v, __u16 bit, int on)
{
	__u16 command;
	off_t at = v->config + PCI_COMMAND;

	if (pread(v->fd, &command, sizeof(command), at) != sizeof(command))
		return -EIO;
	command &= ~bit;
	if (on)
		command |= bit;
	if (pwrite(v->fd, &command, sizeof(command), at) != sizeof(command))
		return -EIO;
	return 0;
}

int vfio_enable_memory(const struct vfio *v, int on)
{
	return set_command(v, PCI_COMMAND_MEMORY, on);
}

int vfio_enable_dma(const struct vfio *v, int on)
{
	return set_command(v, PCI_COMMAND_MASTER, on);
}

bool vfio_can_reset(const struct vfio *v)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return !ioctl(v->fd, VFIO_DEVICE_GET_INFO, &info) &&
	       info.flags & VFIO_DEVICE_FLAGS_RESET;
}

int vfio_reset(const struct vfio *v)
{
	return ioctl(v->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

/* All of the bus is ours, by our iommufd: there is no group to name. */
int vfio_reset_bus(const struct vfio *v)
{
	struct vfio_pci_hot_reset reset = { .argsz = sizeof(reset) };

	return ioctl(v->fd, VFIO_DEVICE_PCI_HOT_RESET, &reset) ? -errno : 0;
}

int vfio_wanted(const struct vfio *v)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq), .count = 1,
			.index = VFIO_PCI_REQ_IRQ_INDEX,
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
		},
		.fd = eventfd(0, EFD_CLOEXEC),
	};
	int err;

	if (irq.fd < 0 || !ioctl(v->fd, VFIO_DEVICE_SET_IRQS, &irq))
		return irq.fd < 0 ? -errno : irq.fd;
	err = -errno;
	close(irq.fd);
	return err;
}

int vfio_unbind(const char *name)
{
	return write_text(name, "/sys/bus/pci/drivers/vfio-pci/unbind");
}

int vfio_remove(const char *name)
{
	return write_text("1", "/sys/bus/pci/devices/%s/remove", name);
}

int vfio_rescan(void)
{
	return write_text("1", "/sys/bus/pci/rescan");
}
