// SPDX-License-Identifier: GPL-2.0
/*
 * What explains a stream that stalls: the agent's pumps, and what the kernel
 * counted for the ports and their interrupts. It goes to the lab line by line.
 */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"

#define PORTS "/sys/kernel/debug/virtio-ports"

static void send_pump(const struct pump *pump, size_t number)
{
	struct pollfd fds[] = {
		{ .fd = pump->from, .events = POLLIN },
		{ .fd = pump->to, .events = POLLOUT },
	};

	poll(fds, ARRAY_SIZE(fds), 0);
	wire_send('D', "pump %zu: from %d (%#x) to %d (%#x)%s%s",
		  number, pump->from, fds[0].revents, pump->to, fds[1].revents,
		  pump->broken ? ", broken" : "", pump->last ? ", last" : "");
	wire_send('D', "  taken %llu of %lld, given %llu, fill %zu",
		  (unsigned long long)pump->taken, (long long)pump->limit,
		  (unsigned long long)pump->given, pump->fill);
}

/* The lines of a file with @word in them. */
static void send_lines(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	if (!file) {
		wire_send('D', "%s: not there", path);
		return;
	}
	while (fgets(line, sizeof(line), file))
		if (strstr(line, word))
			wire_send('D', "%s", line);
	fclose(file);
}

static void send_ports(void)
{
	struct dirent *entry;
	char path[512];
	DIR *dir = opendir(PORTS);

	if (!dir) {
		wire_send('D', PORTS ": not there");
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		wire_send('D', "port %s:", entry->d_name);
		snprintf(path, sizeof(path), PORTS "/%s", entry->d_name);
		send_lines(path, "");
	}
	closedir(dir);
}

void state_send(const struct pump *pumps, size_t nr_pumps)
{
	size_t i;

	/* First what needs no look at a port: a look may wake it up. */
	send_lines("/proc/interrupts", "CPU");
	send_lines("/proc/interrupts", "virtio");
	send_ports();
	for (i = 0; i < nr_pumps; i++)
		if (pumps[i].taken || pumps[i].from >= 0)
			send_pump(&pumps[i], i);
	send_ports();
}
