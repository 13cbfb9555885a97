// SPDX-License-Identifier: GPL-2.0
/*
 * Process 1: the order of things, and how they end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

static bool connected;

/* With QEMU's -no-reboot, a reboot is the quickest way to end the VM. */
void power_off(void)
{
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

void die(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	dprintf(STDERR_FILENO, "agent: %s\n", text);
	if (connected) {
		wire_send('F', "%s", text);
		/* The host ends the VM, once it has read this. */
		for (;;)
			pause();
	}
	power_off();
}

/* A line in the kernel's log, so that it shows how far the agent came. */
void note(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[128];

	snprintf(line, sizeof(line), "agent: %s\n", text);
	if (fd >= 0 && write(fd, line, strlen(line)) < 0)
		dprintf(STDERR_FILENO, "%s", line);
	close(fd);
}

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("cannot write '%s' to %s: %s", text, path, strerror(errno));
	close(fd);
}

void make_dirs(const char *path)
{
	char *copy = strdup(path);
	char *slash;

	for (slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(copy, 0755);
		*slash = '/';
	}
	if (mkdir(copy, 0755) && errno != EEXIST)
		die("cannot make %s: %s", path, strerror(errno));
	free(copy);
}

/* Run a tool of the host's with @input as its stdin; its status. */
int run_tool(const char *input, const char *const argv[])
{
	int status, in[2];
	pid_t pid;

	if (pipe2(in, O_CLOEXEC))
		die("no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("no process: %s", strerror(errno));
	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		execvp(argv[0], (char *const *)argv);
		dprintf(STDERR_FILENO, "agent: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(in[0]);
	/* At most a pipe's worth: this cannot block. */
	if (input && write(in[1], input, strlen(input)) < 0)
		dprintf(STDERR_FILENO, "agent: %s took no input\n", argv[0]);
	close(in[1]);
	if (waitpid(pid, &status, 0) != pid)
		die("lost %s: %s", argv[0], strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The lab may have to wait for another VM to be up, too. */
static void wait_for_run(void)
{
	struct message msg;

	wire_read(&msg);
	if (msg.type == 'x')
		power_off();
	if (msg.type != 'r')
		die("message '%c' before the program runs", msg.type);
	free(msg.data);
}

int main(int argc, char **argv)
{
	static struct program program;
	static struct job job;

	/* The kernel runs us again for a core dump, see core_enable(). */
	if (argc == 4 && !strcmp(argv[1], "core"))
		return core_dump(argv[2], argv[3]);

	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	signal(SIGPIPE, SIG_IGN);

	root_early();
	wire_init(port_open(PORT_CONTROL));
	connected = true;
	wire_send('B', "booted");

	job_receive(&job);
	note("job received");
	root_enter(&job);
	core_enable();
	note("root is ready");
	modules_load(&job);
	if (job.link) {
		net_up(job.link);
		note("RDMA devices are up");
	}
	wire_send('U', "up");
	wait_for_run();

	spawn(&job, &program);
	if (program.error)
		wire_send('N', "%d", program.error);
	else
		serve(&job, &program);
	for (;;)
		pause();
}
