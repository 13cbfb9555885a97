// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of dma-bufs that the device refuses, and how long it keeps what it took.
 * The bytes are in dma_copy, a peer's memory in dma_p2p.
 */
#include "bad_dmabuf.h"
#include "edu.h"

int main(int argc, char **argv)
{
	bad_dmabuf_add(&edu, EDU_ACCESS);
	return edu_main(argc, argv);
}
