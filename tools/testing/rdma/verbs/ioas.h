/* SPDX-License-Identifier: GPL-2.0 */
/*
 * I/O address spaces of iommufd, and what is mapped in them.
 *
 * Functions that return int return 0 or a negative errno value.
 */
#ifndef IOAS_H
#define IOAS_H

#include <stddef.h>

#include "util.h"

/* A new one of an open /dev/iommu. */
int ioas_alloc(int iommufd, u32 *ioas);

/* Both map for reading and writing, where the kernel likes. */
int ioas_map(int iommufd, u32 ioas, void *addr, size_t len, u64 *iova);
int ioas_map_file(int iommufd, u32 ioas, int fd, u64 start, u64 len, u64 *iova);

int ioas_unmap(int iommufd, u32 ioas, u64 iova, u64 len);

#endif
