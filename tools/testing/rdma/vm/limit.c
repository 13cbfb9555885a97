// SPDX-License-Identifier: GPL-2.0
/*
 * The caller's resource limits, for the program. Core dumps depend on one.
 *
 * The kernel refuses to write a core file where files do not belong to the one
 * who makes them, and in a shared directory they belong to the caller. So it
 * hands the dump to the agent (a second one, run for that), which writes the
 * file "core" in the directory of the program.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent.h"

#define NR_OPEN "/proc/sys/fs/nr_open"

/* Write a setting that this kernel may lack. Not on stderr: it may be the program's. */
static void try_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		note(path);
	close(fd);
}

/* No limit on open files can be above the system's own. */
static void raise_nr_open(unsigned long long wanted)
{
	unsigned long long now = 0;
	char text[32] = "";
	int fd = open(NR_OPEN, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		now = strtoull(text, NULL, 10);
	close(fd);
	if (!now || wanted <= now)
		return;
	snprintf(text, sizeof(text), "%llu", wanted);
	try_write(NR_OPEN, text);
}

/* In the child: as far as this kernel can. */
void limits_set(const struct job *job)
{
	unsigned long long soft, hard;
	struct rlimit limit;
	int number;
	size_t i;

	for (i = 0; i < job->nr_limits; i++) {
		if (sscanf(job->limits[i], "%d %llu %llu", &number, &soft, &hard) != 3)
			continue;
		if (number == RLIMIT_NOFILE)
			raise_nr_open(hard);
		limit.rlim_cur = soft;
		limit.rlim_max = hard;
		if (setrlimit(number, &limit))
			note("a resource limit cannot be the caller's");
	}
}

/* /proc/1/exe is the agent. A limit that is not 0 makes the kernel wait for it. */
void core_enable(void)
{
	try_write("/proc/sys/kernel/core_pipe_limit", "16");
	try_write("/proc/sys/kernel/core_pattern", "|/proc/1/exe core %P %c");
}

/* Write stdin, a core dump of process @pid, to a file of @limit bytes at most. */
int core_dump(const char *pid, const char *limit)
{
	unsigned long long left = strtoull(limit, NULL, 10);
	char path[64], buf[65536];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/cwd", pid);
	if (!left || chdir(path))
		return 1;
	fd = open("core", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return 1;
	while (left && (n = read(STDIN_FILENO, buf, sizeof(buf))) > 0) {
		if ((unsigned long long)n > left)
			n = left;
		if (write(fd, buf, n) != n)
			return 1;
		left -= n;
	}
	return close(fd) ? 1 : 0;
}
