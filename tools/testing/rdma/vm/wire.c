// SPDX-License-Identifier: GPL-2.0
/*
 * Messages between the lab and the agent: a type, a length, bytes. Numbers
 * are decimal text.
 *
 * To the agent, before the program runs:
 *   a argument         e environment      d working directory  u umask
 *   h host name        l module directory n bring up rxe (on what link)
 *   m module to load (path, NUL, parameters)
 *   w share (tag, then path)              s kinds of the streams
 *   c resource limit (number, soft, hard)
 *   t termios          z window size      g go
 * then, once it said that it is up:
 *   r run the program
 * and while that runs:
 *   k signal to send   z window size      i bytes of stdin in all
 *   o an output (1 or 2) that nobody reads any more
 *   q who has the terminal?               x stop the program
 *   p how far did stdin come?             d describe your state
 *
 * From the agent:
 *   B booted           F failed, with the reason
 *   U up: all is there for the program    R the program runs
 *   N exec failed, errno                  I the program closed its stdin
 *   L input was there when the agent looked after a second: an interrupt may
 *     have got lost, or the VM got no time
 *   P bytes of stdin taken and given to the program, and those it did not read
 *   D a line that describes a state
 *   Q 1: the program itself has the terminal, and Ctrl-C interrupts it
 *   X wait status, bytes on stdout, stderr and terminal: all is over and on
 *     the host's disk
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

#define HEADER 5

static int control = -1;

void wire_init(int fd)
{
	control = fd;
}

int wire_fd(void)
{
	return control;
}

/* The port does not block, so that the poll loop can use it: wait here. */
static void wait_for(short events)
{
	struct pollfd pfd = { .fd = control, .events = events };

	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
	/* Without a reader, a write neither works nor fails. */
	if (events == POLLOUT && (pfd.revents & POLLHUP))
		power_off();
}

/* The whole of @len bytes, or the lab is gone: then there is nothing to do. */
static void read_all(void *data, size_t len)
{
	char *pos = data;
	ssize_t n;

	while (len) {
		n = read(control, pos, len);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			wait_for(POLLIN);
			continue;
		}
		if (n <= 0)
			power_off();
		pos += n;
		len -= n;
	}
}

static void write_all(const void *data, size_t len)
{
	const char *pos = data;
	ssize_t n;

	while (len) {
		n = write(control, pos, len);
		if (!n || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
			wait_for(POLLOUT);
			continue;
		}
		if (n < 0)
			power_off();
		pos += n;
		len -= n;
	}
}

/* The next message; waits for it. */
void wire_read(struct message *msg)
{
	unsigned char head[HEADER];
	u32 len;

	read_all(head, sizeof(head));
	memcpy(&len, head + 1, sizeof(len));
	msg->type = head[0];
	msg->len = le32toh(len);
	msg->data = malloc(msg->len + 1);
	if (!msg->data)
		die("no memory for a message of %zu bytes", msg->len);
	read_all(msg->data, msg->len);
	msg->data[msg->len] = '\0';
}

void wire_send(char type, const char *fmt, ...)
{
	char frame[HEADER + 2048];
	va_list args;
	u32 len;
	int n;

	va_start(args, fmt);
	n = vsnprintf(frame + HEADER, sizeof(frame) - HEADER, fmt, args);
	va_end(args);
	if (n >= (int)(sizeof(frame) - HEADER))
		n = sizeof(frame) - HEADER - 1;
	frame[0] = type;
	len = htole32(n);
	memcpy(frame + 1, &len, sizeof(len));
	write_all(frame, HEADER + n);
}
