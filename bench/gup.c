// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gup.h"

#define GUP_FILE	"/sys/kernel/debug/gup_test"
#define FOLL_WRITE	1
/* As many as fit in a page of pointers, as a registration does it. */
#define PAGES_PER_CALL	512

/* The file's interface, which no header of the kernel's offers. */
struct gup_request {
	u64 pin_us;
	u64 unpin_us;
	u64 addr;
	u64 size;
	u32 pages_per_call;
	u32 flags;
	u32 unused[9];
};

#define PIN_FAST	_IOWR('g', 2, struct gup_request)

void gup_measure(const struct memory *mem, u64 *pin_ns, u64 *unpin_ns)
{
	struct gup_request req = {
		.addr = (uintptr_t)mem->base,
		.size = mem->size,
		.pages_per_call = PAGES_PER_CALL,
		.flags = FOLL_WRITE,
	};
	int fd = open(GUP_FILE, O_RDWR);

	if (fd < 0)
		err(1, GUP_FILE " (the kernel needs CONFIG_GUP_TEST)");
	if (ioctl(fd, PIN_FAST, &req))
		err(1, GUP_FILE);
	close(fd);
	errno = EFAULT;
	if (req.size != mem->size)
		err(1, GUP_FILE ": pinned %zu of %zu bytes", (size_t)req.size, mem->size);
	*pin_ns = req.pin_us * 1000;
	*unpin_ns = req.unpin_us * 1000;
}
