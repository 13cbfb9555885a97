/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dma-bufs of memory of this machine. All functions return the fd of one, or a
 * negative errno value.
 */
#ifndef EXPORTER_H
#define EXPORTER_H

#include <stddef.h>

#include "util.h"

/* Of pages of a memfd that cannot shrink. */
int udmabuf_create(int memfd, u64 offset, u64 size);
/* Of a memfd of its own, made with these flags; pages of 4 KiB scattered. */
int udmabuf_alloc(size_t size, unsigned int flags);
/* Of the system heap. */
int heap_alloc(size_t size);
/* Of the CMA heap, which is there if the kernel was booted with cma=SIZE. */
int cma_alloc(size_t size);

#endif
