// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ktap.h"

struct subtest {
	char name[96];
	ktap_fn fn;
	const void *arg;
};

static struct subtest *tests;
static size_t nr_tests;
static char reason[512];

void ktap_add(ktap_fn fn, const void *arg, const char *name, ...)
{
	struct subtest *t;
	va_list ap;

	tests = reallocarray(tests, nr_tests + 1, sizeof(*tests));
	if (!tests) {
		perror("ktap_add");
		exit(1);
	}
	t = &tests[nr_tests++];
	t->fn = fn;
	t->arg = arg;
	va_start(ap, name);
	vsnprintf(t->name, sizeof(t->name), name, ap);
	va_end(ap);
}

static void set_reason(const char *fmt, va_list ap)
{
	vsnprintf(reason, sizeof(reason), fmt, ap);
}

enum ktap_result ktap_fail(const char *why, ...)
{
	va_list ap;

	va_start(ap, why);
	set_reason(why, ap);
	va_end(ap);
	return KTAP_FAIL;
}

enum ktap_result ktap_skip(const char *why, ...)
{
	va_list ap;

	va_start(ap, why);
	set_reason(why, ap);
	va_end(ap);
	return KTAP_SKIP;
}

void ktap_diag(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static bool selected(const struct subtest *t, const char *filter)
{
	return !filter || strstr(t->name, filter);
}

/*
 * Write into the kernel's log that a subtest begins or ends. Whoever reads a
 * complaint of the kernel between two such lines knows the test that caused it.
 * Without the right to write there, the subtest runs all the same.
 */
static void mark(const char *what, const struct subtest *t)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[256];
	int len;

	if (fd < 0)
		return;
	len = snprintf(line, sizeof(line), "lab-test: %s %s %s\n", what,
		       program_invocation_short_name, t->name);
	/* One write is one line of the log. */
	if (write(fd, line, len) != len)
		perror("/dev/kmsg");
	close(fd);
}

static enum ktap_result run_one(const struct subtest *t, size_t nr)
{
	enum ktap_result res;

	reason[0] = 0;
	mark("begin", t);
	res = t->fn(t->arg);
	mark("end", t);
	if (res == KTAP_PASS)
		printf("ok %zu %s\n", nr, t->name);
	else if (res == KTAP_SKIP)
		printf("ok %zu %s # SKIP %s\n", nr, t->name, reason);
	else
		printf("# %s\nnot ok %zu %s # %s\n", reason, nr, t->name,
		       reason);
	return res;
}

int ktap_main(int argc, char **argv)
{
	const char *filter = argc > 1 ? argv[1] : NULL;
	size_t i, nr = 0, count[3] = { 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < nr_tests; i++)
		nr += selected(&tests[i], filter);
	if (!nr) {
		fprintf(stderr, "%s: no test matches \"%s\"\n", argv[0], filter);
		return 2;
	}

	printf("KTAP version 1\n1..%zu\n", nr);
	for (i = 0, nr = 0; i < nr_tests; i++)
		if (selected(&tests[i], filter))
			count[run_one(&tests[i], ++nr)]++;

	printf("# Totals: pass:%zu fail:%zu skip:%zu\n", count[KTAP_PASS],
	       count[KTAP_FAIL], count[KTAP_SKIP]);
	free(tests);
	return count[KTAP_FAIL] != 0;
}

bool stock_kernel(void)
{
	const char *flavour = getenv("RDMA_LAB_KERNEL");

	return flavour && !strcmp(flavour, "stock");
}
