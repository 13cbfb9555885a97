// SPDX-License-Identifier: GPL-2.0
/*
 * A pump carries bytes from one descriptor to another. Its buffer is bounded:
 * it reads no more than it can pass on, so a slow reader slows down its writer
 * and nobody else.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

void pump_init(struct pump *pump, int from, int to)
{
	memset(pump, 0, sizeof(*pump));
	pump->from = from;
	pump->to = to;
	pump->limit = UINT64_MAX;
}

static void close_to(struct pump *pump)
{
	if (pump->to >= 0 && !pump->keep_to)
		close(pump->to);
	pump->to = -1;
}

/* The reader is gone: what is left has no way to go. */
void pump_break(struct pump *pump)
{
	close_to(pump);
	pump->from = -1;
	pump->fill = 0;
	pump->broken = true;
}

bool pump_done(const struct pump *pump)
{
	return pump->from < 0 && !pump->fill;
}

/* Fill in what to wait for; the number of descriptors. */
size_t pump_poll(struct pump *pump, struct pollfd *fds)
{
	size_t n = 0;

	if (pump->fill) {
		fds[n++] = (struct pollfd){ .fd = pump->to, .events = POLLOUT };
	} else if (pump->from >= 0) {
		fds[n++] = (struct pollfd){ .fd = pump->from, .events = POLLIN };
		/* An error is reported without asking for it. */
		if (pump->pipe_to)
			fds[n++] = (struct pollfd){ .fd = pump->to };
	}
	return n;
}

static void read_some(struct pump *pump)
{
	size_t room = sizeof(pump->buf);
	ssize_t n;

	if (room > pump->limit - pump->taken)
		room = pump->limit - pump->taken;
	if (room) {
		n = read(pump->from, pump->buf, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR) && !pump->last)
			return;
		if (n > 0) {
			pump->start = 0;
			pump->fill = n;
			pump->taken += n;
			return;
		}
	}
	/* The end; for a terminal without a user it is EIO. */
	pump->from = -1;
}

static void write_some(struct pump *pump)
{
	ssize_t n;

	n = write(pump->to, pump->buf + pump->start, pump->fill);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			pump_break(pump);
		return;
	}
	pump->given += n;
	pump->start += n;
	pump->fill -= n;
}

static bool reader_gone(const struct pump *pump)
{
	struct pollfd pfd = { .fd = pump->to };

	return pump->pipe_to && pump->to >= 0 && poll(&pfd, 1, 0) > 0 &&
	       (pfd.revents & POLLERR);
}

/* As much as works without waiting, one buffer at most. */
void pump_run(struct pump *pump)
{
	if (reader_gone(pump)) {
		pump_break(pump);
		return;
	}
	if (!pump->fill && pump->from >= 0)
		read_some(pump);
	if (pump->fill)
		write_some(pump);
	if (pump_done(pump))
		close_to(pump);
}
