// SPDX-License-Identifier: GPL-2.0
/*
 * The job: all that the host says before "go". It comes in messages and not
 * on the kernel command line, since arguments and environment can be megabytes
 * of any bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "agent.h"

/* Append to a NULL-terminated array. */
static void append(char ***array, size_t *count, char *text)
{
	/* It doubles whenever the count is a power of two. */
	if (!(*count & (*count - 1))) {
		size_t room = 2 * *count + 2;

		*array = realloc(*array, (room + 1) * sizeof(char *));
		if (!*array)
			die("no memory for the job");
	}
	(*array)[(*count)++] = text;
	(*array)[*count] = NULL;
}

static bool take(struct job *job, struct message *msg)
{
	char *text = msg->data;

	switch (msg->type) {
	case 'a':
		append(&job->argv, &job->argc, text);
		break;
	case 'e':
		append(&job->envp, &job->envc, text);
		break;
	case 'm':
		append(&job->modules, &job->nr_modules, text);
		break;
	case 'c':
		append(&job->limits, &job->nr_limits, text);
		break;
	case 'w':
		append(&job->shares, &job->nr_shares, text);
		break;
	case 'd':
		job->cwd = text;
		break;
	case 'h':
		job->hostname = text;
		break;
	case 'l':
		job->module_dir = text;
		break;
	case 'u':
		job->umask = strtoul(text, NULL, 10);
		break;
	case 'n':
		job->link = text;
		break;
	case 's':
		memcpy(job->streams, text, sizeof(job->streams));
		break;
	case 't':
		job->termios = text;
		break;
	case 'z':
		job->winsize = text;
		break;
	case 'g':
		return true;
	case 'x':
		power_off();
	default:
		die("unknown message '%c'", msg->type);
	}
	return false;
}

void job_receive(struct job *job)
{
	struct message msg;

	job->envp = calloc(1, sizeof(char *));
	do {
		wire_read(&msg);
	} while (!take(job, &msg));

	if (!job->argc || !job->cwd || !job->hostname)
		die("the job lacks a command, a directory or a host name");
}
