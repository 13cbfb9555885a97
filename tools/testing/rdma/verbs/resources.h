/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a registration holds, as the kernel tells it: pinned pages of the
 * process, references on the pages of a file, dma-bufs, slab memory.
 */
#ifndef RESOURCES_H
#define RESOURCES_H

#include <stdbool.h>
#include <stddef.h>

/* VmPin of this process, in pages. */
long pinned_pages(void);

/* References of this kind on pages, of the whole machine. */
long pinned_references(void);

/*
 * True if something besides the page cache and page tables refers to a page of
 * this memfd. It must not be mapped writable, and cannot be written afterwards.
 */
bool memfd_is_pinned(int fd);

/*
 * How many of the pages of this memory must be written back before they are
 * reused: the kernel's flag, which knows nothing of page tables. Negative
 * errno where it cannot be told.
 */
long dirty_pages(const void *addr, size_t len);

/* All that registrations hold, of this process and of the whole machine. */
struct holdings {
	long pinned, references;
	long dmabufs, attached;	/* dma-bufs, and importers attached to them */
};

void holdings_now(struct holdings *h);
/* Whether there is as much now as there was; what is not is a ktap_diag(). */
bool holdings_same(const struct holdings *was);

/* What the kernel has set aside for contiguous allocations, in bytes. */
long cma_bytes(void);

/* Unreclaimable slab of the whole machine, in bytes. */
long slab_bytes(void);
/* Freed memory comes back late on a kernel that looks for use after free. */
bool slab_is_exact(void);

/* Memory whose references can be checked, once, when it is unmapped. */
struct sealed {
	unsigned char *map;
	size_t len;
	int fd;
};

int sealed_map(struct sealed *s, size_t len);
void sealed_unmap(struct sealed *s);
bool sealed_is_pinned(struct sealed *s);
void sealed_destroy(struct sealed *s);

#endif
