/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KTAP output for a program of many subtests.
 *
 * A program first adds its subtests, then calls ktap_main(), which runs those
 * whose name holds the string given on the command line (all, if none), and
 * returns the exit status. A subtest is a function that returns one of
 * KTAP_PASS, ktap_fail() or ktap_skip(); each of the last two says why.
 *
 * The kernel's log tells when each subtest begins and ends ("lab-test: begin
 * PROGRAM NAME"), so that a complaint of the kernel fails the subtest that it
 * belongs to.
 */
#ifndef KTAP_H
#define KTAP_H

#include <stdbool.h>

#include "util.h"

enum ktap_result {
	KTAP_PASS,
	KTAP_FAIL,
	KTAP_SKIP,
};

typedef enum ktap_result (*ktap_fn)(const void *arg);

void ktap_add(ktap_fn fn, const void *arg, const char *name, ...)
	__printf(3, 4);
int ktap_main(int argc, char **argv);

/* Both keep the reason of the subtest that runs now, and return their result. */
enum ktap_result ktap_fail(const char *why, ...)
	__printf(1, 2);
enum ktap_result ktap_skip(const char *why, ...)
	__printf(1, 2);

/* The kernel that runs is the one without this project's work. */
bool stock_kernel(void);

/* A line of detail for a human reader. */
void ktap_diag(const char *fmt, ...) __printf(1, 2);

#endif
