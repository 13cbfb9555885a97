// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel modules. The lab sorted them by dependency, so all that is left is
 * to load them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"

void modules_load(const struct job *job)
{
	const char *path, *parameters;
	size_t i;
	int fd;

	for (i = 0; i < job->nr_modules; i++) {
		path = job->modules[i];
		parameters = path + strlen(path) + 1;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("cannot open %s: %s", path, strerror(errno));
		if (syscall(SYS_finit_module, fd, parameters, 0) && errno != EEXIST)
			die("cannot load %s: %s", path, strerror(errno));
		close(fd);
	}
}
