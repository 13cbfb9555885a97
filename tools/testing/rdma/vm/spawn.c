// SPDX-License-Identifier: GPL-2.0
/*
 * Start the program, each of its streams a pipe, a terminal or closed as the
 * caller's is.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* The terminal behaves as the caller's does. */
static void open_terminal(const struct job *job, struct program *program)
{
	char path[64];

	program->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (program->master < 0 || grantpt(program->master) ||
	    unlockpt(program->master) ||
	    ptsname_r(program->master, path, sizeof(path)))
		die("no terminal: %s", strerror(errno));
	program->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (program->slave < 0)
		die("cannot open %s: %s", path, strerror(errno));
	if (job->termios)
		ioctl(program->slave, TCSETS, job->termios);
	if (job->winsize)
		ioctl(program->slave, TIOCSWINSZ, job->winsize);
}

/* Make the streams; @theirs gets the program's ends, -1 where closed. */
static void open_streams(const struct job *job, struct program *program,
			 int theirs[3])
{
	int i, fds[2], ours;

	for (i = 0; i < 3; i++) {
		program->fds[i] = -1;
		theirs[i] = -1;
		switch (job->streams[i]) {
		case 't':
			if (program->master < 0)
				open_terminal(job, program);
			theirs[i] = program->slave;
			break;
		case 's':
			theirs[i] = theirs[STDOUT_FILENO];
			break;
		case 'p':
			if (pipe2(fds, O_CLOEXEC))
				die("no pipe: %s", strerror(errno));
			theirs[i] = fds[i ? 1 : 0];
			ours = fds[i ? 0 : 1];
			fcntl(ours, F_SETFL, O_NONBLOCK);
			program->fds[i] = ours;
			break;
		}
	}
}

static void reset_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: 0, 1 and 2 may not be in the way of their own set-up. */
static void place_streams(const int theirs[3])
{
	int i, high[3];

	for (i = 0; i < 3; i++)
		high[i] = theirs[i] < 0 ? -1 :
			  fcntl(theirs[i], F_DUPFD_CLOEXEC, 10);
	for (i = 0; i < 3; i++) {
		if (high[i] < 0)
			close(i);
		else
			dup2(high[i], i);
	}
}

static void run(const struct job *job, const struct program *program,
		const int theirs[3], int report)
{
	setsid();
	if (program->slave >= 0)
		ioctl(program->slave, TIOCSCTTY, 0);
	report = fcntl(report, F_DUPFD_CLOEXEC, 10);
	place_streams(theirs);
	umask(job->umask);
	limits_set(job);
	reset_signals();
	environ = job->envp;
	if (!chdir(job->cwd))
		execvp(job->argv[0], job->argv);
	if (write(report, &errno, sizeof(errno)) < 0)
		_exit(126);
	_exit(127);
}

void spawn(const struct job *job, struct program *program)
{
	int i, report[2], theirs[3];

	program->master = -1;
	program->slave = -1;
	open_streams(job, program, theirs);
	if (pipe2(report, O_CLOEXEC))
		die("no pipe: %s", strerror(errno));
	program->pid = fork();
	if (program->pid < 0)
		die("no process: %s", strerror(errno));
	if (!program->pid)
		run(job, program, theirs, report[1]);

	close(report[1]);
	for (i = 0; i < 3; i++)
		if (job->streams[i] == 'p')
			close(theirs[i]);
	/* The write end closes with a successful exec. */
	if (read(report[0], &program->error, sizeof(program->error)) <= 0)
		program->error = 0;
	close(report[0]);
}
