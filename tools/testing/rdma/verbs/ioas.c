// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "ioas.h"

/* The C library's <linux/iommufd.h> may be too old, or not there: our own names */
#define IOAS_ALLOC	_IO(';', 0x81)
#define IOAS_MAP	_IO(';', 0x85)
#define IOAS_UNMAP	_IO(';', 0x86)
#define IOAS_MAP_FILE	_IO(';', 0x8f)

#define IOAS_READ_WRITE	6

struct ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 ioas;
};

struct ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas;
	__s32 fd;		/* reserved in IOAS_MAP */
	__u64 start;
	__u64 len;
	__u64 iova;
};

struct ioas_unmap {
	__u32 size;
	__u32 ioas;
	__u64 iova;
	__u64 len;
};

int ioas_alloc(int iommufd, u32 *ioas)
{
	struct ioas_alloc cmd = { .size = sizeof(cmd) };

	if (ioctl(iommufd, IOAS_ALLOC, &cmd))
		return -errno;
	*ioas = cmd.ioas;
	return 0;
}

static int map(int iommufd, unsigned long op, struct ioas_map *cmd, u64 *iova)
{
	cmd->size = sizeof(*cmd);
	cmd->flags = IOAS_READ_WRITE;
	if (ioctl(iommufd, op, cmd))
		return -errno;
	*iova = cmd->iova;
	return 0;
}

int ioas_map(int iommufd, u32 ioas, void *addr, size_t len, u64 *iova)
{
	struct ioas_map cmd = {
		.ioas = ioas, .start = (uintptr_t)addr, .len = len,
	};

	return map(iommufd, IOAS_MAP, &cmd, iova);
}

int ioas_map_file(int iommufd, u32 ioas, int fd, u64 start, u64 len, u64 *iova)
{
	struct ioas_map cmd = {
		.ioas = ioas, .fd = fd, .start = start, .len = len,
	};

	return map(iommufd, IOAS_MAP_FILE, &cmd, iova);
}

int ioas_unmap(int iommufd, u32 ioas, u64 iova, u64 len)
{
	struct ioas_unmap cmd = {
		.size = sizeof(cmd), .ioas = ioas, .iova = iova, .len = len,
	};

	return ioctl(iommufd, IOAS_UNMAP, &cmd) ? -errno : 0;
}
