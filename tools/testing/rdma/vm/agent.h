/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The agent: process 1 of the lab's VM. It builds a root from the host's
 * files, brings up the RDMA devices, runs one program for the lab on the host
 * and carries its data.
 *
 * Each concept has a file of its own; this header is what they share.
 */
#ifndef LAB_AGENT_H
#define LAB_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))
#define __noreturn __attribute__((noreturn))

typedef uint32_t u32;
typedef uint64_t u64;

/* port.c: the virtio-serial ports, one per stream, found by name */
enum port {
	PORT_CONTROL,
	PORT_STDIN,
	PORT_STDOUT,
	PORT_STDERR,
	PORT_TTY,
	NR_PORTS,
};

int port_open(enum port port);

/* wire.c: messages on the control port, { type, le32 length, bytes } */
struct message {
	char type;
	size_t len;
	char *data;		/* NUL-terminated, the reader frees it */
};

void wire_init(int fd);
int wire_fd(void);
void wire_read(struct message *msg);
__printf(2, 3) void wire_send(char type, const char *fmt, ...);

/* job.c: what to run, and how, as the host describes it */
struct job {
	char **argv;
	size_t argc;
	char **envp;
	size_t envc;
	char **modules;		/* path, NUL, parameters */
	size_t nr_modules;
	char **shares;		/* tag, path, tag, path, ... */
	size_t nr_shares;
	char **limits;		/* "number soft hard" of setrlimit() */
	size_t nr_limits;
	char *module_dir;
	char *cwd;
	char *hostname;
	mode_t umask;
	char *link;		/* to bring up: see net_up(); NULL for none */
	char streams[3];	/* 'p'ipe, 't'erminal, 'c'losed, 's'ame as stdout */
	char *termios;		/* the caller's struct termios as the kernel has it */
	char *winsize;		/* and its struct winsize */
};

void job_receive(struct job *job);

/* root.c */
void root_early(void);
void root_enter(const struct job *job);
void root_leave(const struct job *job);

/* module.c */
void modules_load(const struct job *job);

/* net.c: @link is "MAC-address IPv4-address" of the link to another VM, or "" */
void net_up(const char *link);

/* pump.c: bytes from one descriptor to another, with a bounded buffer */
struct pump {
	int from, to;		/* -1: closed */
	bool pipe_to;		/* @to is a pipe: notice when its reader is gone */
	bool keep_to;		/* @to outlives the pump */
	bool broken;		/* the reader of @to went away */
	bool last;		/* nothing will come but what is there */
	u64 taken;		/* bytes read so far */
	u64 limit;		/* the bytes there are, once that is known */
	u64 given;		/* bytes written so far */
	size_t start, fill;
	char buf[65536];
};

struct pollfd;
void pump_init(struct pump *pump, int from, int to);
size_t pump_poll(struct pump *pump, struct pollfd *fds);
void pump_run(struct pump *pump);
void pump_break(struct pump *pump);
bool pump_done(const struct pump *pump);

/* spawn.c: the program and its ends of the streams */
struct program {
	pid_t pid;
	int fds[3];		/* our ends of its pipes, -1 where there is none */
	int master, slave;	/* its terminal, -1 where it has none */
	int error;		/* errno of a failed exec */
};

void spawn(const struct job *job, struct program *program);

/* limit.c: the caller's resource limits, and what they say of core dumps */
void limits_set(const struct job *job);
void core_enable(void);
int core_dump(const char *pid, const char *limit);

/* state.c: what explains a stream that stalls, for the lab's record */
void state_send(const struct pump *pumps, size_t nr_pumps);

/* serve.c: the life of the program */
void serve(const struct job *job, struct program *program);

/* init.c */
__printf(1, 2) __noreturn void die(const char *fmt, ...);
__noreturn void power_off(void);
void note(const char *text);
void write_file(const char *path, const char *text);
void make_dirs(const char *path);
int run_tool(const char *input, const char *const argv[]);

#endif
