// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio-serial ports. They turn up some time after the driver does, and are
 * told apart by the name that QEMU gives them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

#define PORTS "/sys/class/virtio-ports"

static const char *const names[NR_PORTS] = {
	[PORT_CONTROL] = "lab.control",
	[PORT_STDIN] = "lab.stdin",
	[PORT_STDOUT] = "lab.stdout",
	[PORT_STDERR] = "lab.stderr",
	[PORT_TTY] = "lab.tty",
};

static bool has_name(const char *device, const char *name)
{
	char path[512], text[64] = "";
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), PORTS "/%s/name", device);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len > 0)
		text[strcspn(text, "\n")] = '\0';
	return !strcmp(text, name);
}

static int find(const char *name)
{
	struct dirent *entry;
	char path[512];
	int fd = -1;
	DIR *dir;

	dir = opendir(PORTS);
	if (!dir)
		return -1;
	while (fd < 0 && (entry = readdir(dir))) {
		if (!has_name(entry->d_name, name))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	closedir(dir);
	return fd;
}

/* QEMU tells us that the host is there with a message of its own. */
static bool host_is_there(int fd)
{
	struct pollfd pfd = { .fd = fd };

	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

int port_open(enum port port)
{
	int tries, fd = -1;

	for (tries = 0; tries < 10000; tries++) {
		if (fd < 0)
			fd = find(names[port]);
		if (fd >= 0 && host_is_there(fd))
			return fd;
		usleep(1000);
	}
	die("there is no virtio port %s", names[port]);
}
