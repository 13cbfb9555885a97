// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inject.h"
#include "textfile.h"

#define FAIL_NTH "/proc/thread-self/fail-nth"

bool inject_possible(void)
{
	return !faccessat(AT_FDCWD, FAIL_NTH, F_OK, 0);
}

int inject_any(void)
{
	int err = write_text("N", "/sys/kernel/debug/failslab/ignore-gfp-wait");

	if (!err)
		err = write_text("N", "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait");
	if (!err)
		err = write_text("0", "/sys/kernel/debug/fail_page_alloc/min-order");
	return err;
}

int inject_nth(int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	return write_text(text, FAIL_NTH);
}

bool inject_done(void)
{
	int fd = open(FAIL_NTH, O_RDONLY), left = -1;
	char text[16] = "";

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		left = atoi(text);
	if (fd >= 0)
		close(fd);
	return !left;
}
