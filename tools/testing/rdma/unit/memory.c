// SPDX-License-Identifier: GPL-2.0
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include <linux/mm.h>
#include <linux/slab.h>

#include "check.h"
#include "memory.h"

/* What lies before each block. Poisoned, so that an underrun is seen too. */
struct header {
	size_t size;
	size_t pad;
};

struct memory memory;

void *kmalloc(size_t size, gfp_t gfp)
{
	struct header *header;

	check(size && size <= PAGE_SIZE, "allocation of %zu bytes", size);
	check(!memory.gfp || gfp == memory.gfp, "allocation with gfp %#x, expected %#x",
	      gfp, memory.gfp);
	memory.calls++;
	if (memory.fail_in && !--memory.fail_in) {
		memory.failed++;
		return NULL;
	}

	header = malloc(sizeof(*header) + size);
	check(header, "the host has no memory left");
	memset(header, 0xa5, sizeof(*header) + size);
	header->size = size;
	ASAN_POISON_MEMORY_REGION(header, sizeof(*header));
	memory.live += size;
	memory.blocks++;
	return header + 1;
}

void kfree(void *p)
{
	struct header *header = (struct header *)p - 1;

	if (!p)
		return;
	ASAN_UNPOISON_MEMORY_REGION(header, sizeof(*header));
	memory.live -= header->size;
	memory.blocks--;
	free(header);
}

/* A leak fails its test by the counts above, on machines without LSan too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
