// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inject.h"
#include "textfile.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"

/* More than anything here makes */
#define MANY		1000

enum ktap_result inject_prepare(void)
{
	int err;

	if (faccessat(AT_FDCWD, FAIL_NTH, F_OK, 0))
		return ktap_skip("this kernel cannot inject failures; the debug kernel can");
	err = write_text("N", DEBUGFS "failslab/ignore-gfp-wait");
	if (!err)
		err = write_text("N", DEBUGFS "fail_page_alloc/ignore-gfp-wait");
	if (!err)
		err = write_text("0", DEBUGFS "fail_page_alloc/min-order");
	return err ? ktap_fail("set-up: %s", strerror(-err)) : KTAP_PASS;
}

static void fail_nth(int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	write_text(text, FAIL_NTH);
}

/* How many allocations it is until the one that fails; 0: it has. */
static int left(void)
{
	int fd = open(FAIL_NTH, O_RDONLY), nr = -1;
	char text[16] = "";

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		nr = atoi(text);
	if (fd >= 0)
		close(fd);
	return nr;
}

void inject_begin(const struct injection *inj)
{
	fail_nth(inj->nth);
}

void inject_end(struct injection *inj)
{
	int err = errno;

	inj->failed = !left();
	fail_nth(0);
	errno = err;
}

static enum ktap_result one_round(void *arg,
				  enum ktap_result (*try)(struct injection *inj,
							  void *arg),
				  int *failed, int *refused)
{
	enum ktap_result result;
	struct injection inj;
	int nth = 0;

	do {
		inj = (struct injection) { .nth = ++nth };
		result = try(&inj, arg);
		if (result == KTAP_PASS && inj.refused && !inj.failed)
			result = ktap_fail("refused, and no allocation failed");
		*failed += inj.failed;
		*refused += inj.refused;
	} while (result == KTAP_PASS && inj.failed && nth < MANY);
	if (result != KTAP_PASS)
		ktap_diag("allocation %d", nth);
	else if (inj.failed)
		result = ktap_fail("there is no end of allocations");
	return result;
}

enum ktap_result inject_each(int rounds, void *arg,
			     enum ktap_result (*try)(struct injection *inj,
						     void *arg))
{
	enum ktap_result result = KTAP_PASS;
	int failed = 0, refused = 0;

	while (rounds-- && result == KTAP_PASS)
		result = one_round(arg, try, &failed, &refused);
	ktap_diag("%d allocations failed, %d of them refused it", failed,
		  refused);
	if (result == KTAP_PASS && !refused)
		result = ktap_fail("no failure refused it");
	return result;
}
