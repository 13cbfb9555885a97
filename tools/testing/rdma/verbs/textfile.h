/* SPDX-License-Identifier: GPL-2.0 */
/* Files of the kernel's that take a word: in sysfs, debugfs, proc, tracefs. */
#ifndef TEXTFILE_H
#define TEXTFILE_H

#include "util.h"

/*
 * Write this in one go to the file that the rest is the path of, as a shell does
 * by >. 0 or -errno.
 */
int write_text(const char *text, const char *path, ...) __printf(2, 3);

#endif
