/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a registration holds, as the kernel tells it: pinned pages of the
 * process, references on the pages of a file, slab memory.
 */
#ifndef RESOURCES_H
#define RESOURCES_H

#include <stdbool.h>
#include <stddef.h>

/* VmPin of this process, in pages. */
long pinned_pages(void);

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
