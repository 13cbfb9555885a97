// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inject.h"

#define FAIL_NTH "/proc/thread-self/fail-nth"

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int err = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

bool inject_possible(void)
{
	return !faccessat(AT_FDCWD, FAIL_NTH, F_OK, 0);
}

int inject_any(void)
{
	int err = write_text("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");

	if (!err)
		err = write_text("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait",
				 "N");
	if (!err)
		err = write_text("/sys/kernel/debug/fail_page_alloc/min-order",
				 "0");
	return err;
}

int inject_nth(int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	return write_text(FAIL_NTH, text);
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
