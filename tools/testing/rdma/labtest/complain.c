// SPDX-License-Identifier: GPL-2.0
/*
 * A program of three tests, for the lab's own tests. In the second one the kernel's
 * log gets a warning if the program's name is `loud`, and the kernel panics if it is
 * `fatal`. What a program writes to /dev/kmsg goes where the kernel's own words go.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ktap.h"
#include "textfile.h"

static enum ktap_result run_calm(const void *arg)
{
	(void)arg;
	return KTAP_PASS;
}

static enum ktap_result run_warning(const void *arg)
{
	(void)arg;
	if (write_text("WARNING: CPU: 0 PID: 1 at complain.c\n", "/dev/kmsg") ||
	    write_text("---[ end trace 0 ]---\n", "/dev/kmsg"))
		return ktap_fail("no log");
	return KTAP_PASS;
}

static enum ktap_result run_panic(const void *arg)
{
	(void)arg;
	sleep(1);	/* for what was said so far to be passed on */
	write_text("c", "/proc/sysrq-trigger");
	return KTAP_PASS;
}

int main(int argc, char **argv)
{
	const char *name = program_invocation_short_name;
	ktap_fn fn = run_calm;

	if (!strcmp(name, "loud"))
		fn = run_warning;
	if (!strcmp(name, "fatal"))
		fn = run_panic;
	ktap_add(run_calm, NULL, "before");
	ktap_add(fn, NULL, "at");
	ktap_add(run_calm, NULL, "after");
	return ktap_main(argc, argv);
}
