// SPDX-License-Identifier: GPL-2.0
/*
 * While the program runs: carry its data, obey the lab, wait for its end.
 * After it: end what it left behind, pass on what is still in the pipes, and
 * only then report, with byte counts that tell the lab when it has all.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

/* Milliseconds */
#define LOOK_AGAIN	1000

enum { IN, OUT, ERR, TTY_IN, TTY_OUT, NR_PUMPS };

static struct pump pumps[NR_PUMPS];

static void start_pumps(struct program *program)
{
	int i;

	for (i = 0; i < NR_PUMPS; i++)
		pump_init(&pumps[i], -1, -1);
	if (program->fds[0] >= 0) {
		pump_init(&pumps[IN], port_open(PORT_STDIN), program->fds[0]);
		pumps[IN].pipe_to = true;
	}
	if (program->fds[1] >= 0)
		pump_init(&pumps[OUT], program->fds[1], port_open(PORT_STDOUT));
	if (program->fds[2] >= 0)
		pump_init(&pumps[ERR], program->fds[2], port_open(PORT_STDERR));
	if (program->master >= 0) {
		int port = port_open(PORT_TTY);

		pump_init(&pumps[TTY_IN], port, program->master);
		pump_init(&pumps[TTY_OUT], program->master, port);
	}
	/* The host counts what arrives: a port stays open to the end. */
	for (i = 0; i < NR_PUMPS; i++)
		pumps[i].keep_to = i != IN;
}

static pid_t foreground(const struct program *program)
{
	pid_t pgrp = -1;

	if (program->master >= 0)
		pgrp = tcgetpgrp(program->master);
	return pgrp > 0 ? pgrp : program->pid;
}

/*
 * Ctrl-C is the program's affair while it has given the terminal to a child,
 * or reads keys itself: a shell or an editor is not to be ended by it.
 */
static bool interrupts_program(const struct program *program)
{
	struct termios termios;

	if (program->master < 0 || tcgetattr(program->master, &termios))
		return true;
	return (termios.c_lflag & ISIG) && (termios.c_lflag & ICANON) &&
	       foreground(program) == program->pid;
}

/* Nobody reads this output of the program any more: it shall know. */
static void close_output(struct pump *pump)
{
	if (pump->from >= 0)
		close(pump->from);
	pump_break(pump);
}

/*
 * What a key does goes to the program that has the terminal. Signals that ask
 * to end go to all of it, as a hangup would; others mean the program alone.
 */
static void send_signal(const struct program *program, int signum)
{
	pid_t front = foreground(program);

	switch (signum) {
	case SIGINT:
		kill(-front, signum);
		break;
	case SIGUSR1:
	case SIGUSR2:
		kill(program->pid, signum);
		break;
	default:
		kill(-program->pid, signum);
		if (front != program->pid)
			kill(-front, signum);
	}
}

/* How far the input came: see stall.py of the lab. */
static void send_progress(void)
{
	const struct pump *in = &pumps[IN];
	int unread = 0;

	if (in->to >= 0)
		ioctl(in->to, FIONREAD, &unread);
	wire_send('P', "%llu %llu %d", (unsigned long long)in->taken,
		  (unsigned long long)in->given, unread);
}

static void obey(const struct program *program)
{
	struct message msg;

	wire_read(&msg);
	switch (msg.type) {
	case 'k':
		send_signal(program, atoi(msg.data));
		break;
	case 'p':
		send_progress();
		break;
	case 'd':
		state_send(pumps, NR_PUMPS);
		break;
	case 'z':
		if (program->master >= 0)
			ioctl(program->master, TIOCSWINSZ, msg.data);
		break;
	case 'i':
		pumps[IN].limit = strtoull(msg.data, NULL, 10);
		break;
	case 'o':
		close_output(&pumps[atoi(msg.data)]);
		break;
	case 'q':
		wire_send('Q', "%d", interrupts_program(program));
		break;
	case 'x':
		kill(-1, SIGKILL);
		break;
	}
	free(msg.data);
}

static int child_events(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Reap whoever ended; true once the program is among them. */
static bool reap(const struct program *program, int *status)
{
	bool ended = false;
	int any;
	pid_t pid;

	while ((pid = waitpid(-1, &any, WNOHANG)) > 0) {
		if (pid == program->pid) {
			*status = any;
			ended = true;
		}
	}
	return ended;
}

/*
 * Emulation was seen to lose the interrupt of a port, on some days: input lay
 * there, and the VM slept. A port that is polled finds what it has without one.
 */
static int patience(int timeout)
{
	bool input = !pump_done(&pumps[IN]) || !pump_done(&pumps[TTY_IN]);

	return timeout < 0 && input ? LOOK_AGAIN : timeout;
}

static long long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Wait for something to do, for @timeout ms at most (-1: ever), and do it. */
static void turn(const struct program *program, int children, int timeout)
{
	struct pollfd fds[2 + 2 * NR_PUMPS] = {
		{ .fd = wire_fd(), .events = POLLIN },
		{ .fd = children, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	bool in_broken = pumps[IN].broken;
	long long began = milliseconds();
	u64 taken = pumps[IN].taken;
	size_t i, n = 2;

	for (i = 0; i < NR_PUMPS; i++)
		n += pump_poll(&pumps[i], fds + n);
	if (poll(fds, n, patience(timeout)) < 0)
		return;
	began -= milliseconds();
	if (fds[0].revents)
		obey(program);
	if (fds[1].revents)
		while (read(children, &info, sizeof(info)) > 0)
			;
	for (i = 0; i < NR_PUMPS; i++)
		if (!pump_done(&pumps[i]))
			pump_run(&pumps[i]);
	if (pumps[IN].broken && !in_broken)
		wire_send('I', "closed");
	/* There when the time was up, but nothing said so. */
	if (pumps[IN].taken > taken && began <= -LOOK_AGAIN)
		wire_send('L', "late");
}

static bool drained(void)
{
	return pump_done(&pumps[OUT]) && pump_done(&pumps[ERR]) &&
	       pump_done(&pumps[TTY_OUT]);
}

/*
 * End what the program left behind. A process that cannot die is the kernel's
 * fault, and no reason to keep the caller waiting: false.
 */
static bool end_all(void)
{
	int tries;
	pid_t pid;

	kill(-1, SIGKILL);
	for (tries = 0; tries < 10000; tries++) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0)
			return true;
		if (!pid)
			usleep(1000);
	}
	return false;
}

void serve(const struct job *job, struct program *program)
{
	int i, status = 0, timeout = -1, children = child_events();

	start_pumps(program);
	wire_send('R', "%d", program->pid);
	while (!reap(program, &status))
		turn(program, children, -1);

	if (!end_all()) {
		/* It may keep a pipe open, so the end of it never comes. */
		timeout = 0;
		for (i = 0; i < NR_PUMPS; i++)
			pumps[i].last = true;
	}
	if (program->slave >= 0)
		close(program->slave);
	while (!drained())
		turn(program, children, timeout);
	root_leave(job);
	wire_send('X', "%d %llu %llu %llu", status,
		  (unsigned long long)pumps[OUT].given,
		  (unsigned long long)pumps[ERR].given,
		  (unsigned long long)pumps[TTY_OUT].given);
}
