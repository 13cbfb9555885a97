/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What umem.c needs to make and release a pinned umem, see umem_phyr.c.
 */
#ifndef UMEM_PHYR_H
#define UMEM_PHYR_H

struct ib_umem;

int ib_umem_pin(struct ib_umem *umem, unsigned long nr_pages,
		unsigned int gup_flags, unsigned long dma_attrs);
void ib_umem_unpin(struct ib_umem *umem, bool dirty);

#endif /* UMEM_PHYR_H */
