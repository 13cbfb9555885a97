/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of dma-bufs that no device registers, with which errno, and whether it
 * left anything behind; and how long a region keeps its memory.
 */
#ifndef BAD_DMABUF_H
#define BAD_DMABUF_H

#include "rdma_pair.h"

/* Add these tests of a device that is open when they run. @access: all it has */
void bad_dmabuf_add(const struct rdma_dev *dev, int access);

#endif
