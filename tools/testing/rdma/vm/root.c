// SPDX-License-Identifier: GPL-2.0
/*
 * The root of the VM: the host's files, read-only over 9p, under a throw-away
 * layer in memory; and over that, writable, the directories that the caller
 * wants to share.
 *
 * 9p carries no sockets, fifos or unnamed files, the layer does: they work
 * everywhere but in the shared directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent.h"

/* The kernel allocates a reply's buffer in one piece: not too large a piece. */
#define P9 "trans=virtio,version=9p2000.L,msize=131072,"

struct mount {
	const char *type, *path, *options;
	bool optional;		/* not every kernel config has it */
};

static const struct mount kernel_mounts[] = {
	{ "devtmpfs", "/dev", "mode=755", false },
	{ "devpts", "/dev/pts", "newinstance,mode=620,gid=5,ptmxmode=666", false },
	{ "tmpfs", "/dev/shm", "mode=1777", false },
	{ "mqueue", "/dev/mqueue", "", true },
	{ "hugetlbfs", "/dev/hugepages", "mode=1770", true },
	{ "proc", "/proc", "", false },
	{ "sysfs", "/sys", "", false },
	{ "debugfs", "/sys/kernel/debug", "", true },
	{ "tracefs", "/sys/kernel/tracing", "", true },
	{ "configfs", "/sys/kernel/config", "", true },
	{ "securityfs", "/sys/kernel/security", "", true },
	{ "bpf", "/sys/fs/bpf", "mode=700", true },
	{ "cgroup2", "/sys/fs/cgroup", "", true },
};

static const char *const dev_links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
	{ "pts/ptmx", "/dev/ptmx" },
};

static void do_mount(const char *source, const char *path, const char *type,
		     unsigned long flags, const char *options)
{
	if (mount(source, path, type, flags, options))
		die("cannot mount %s (%s) on %s: %s", source, type, path,
		    strerror(errno));
}

/* As much as it takes to find the ports. */
void root_early(void)
{
	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	/* The kernel may have mounted this one before it started us. */
	if (mount("dev", "/dev", "devtmpfs", 0, "") && errno != EBUSY)
		die("cannot mount devtmpfs: %s", strerror(errno));
	do_mount("sys", "/sys", "sysfs", 0, "");
}

/* Some mount points, /sys/kernel/debug say, are made by the file system. */
static void mount_kernel(const struct mount *m)
{
	mkdir(m->path, 0755);
	if (!mount(m->type, m->path, m->type, 0, m->options) || m->optional)
		return;
	die("cannot mount %s on %s: %s", m->type, m->path, strerror(errno));
}

static void mount_root(void)
{
	mkdir("/host", 0755);
	mkdir("/layer", 0755);
	mkdir("/new", 0755);
	do_mount("lab.root", "/host", "9p", MS_RDONLY, P9 "cache=loose");
	do_mount("layer", "/layer", "tmpfs", 0, "mode=755,size=80%");
	mkdir("/layer/upper", 0755);
	mkdir("/layer/work", 0755);
	do_mount("lab", "/new", "overlay", 0,
		 "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work");

	if (chdir("/new") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("cannot enter the root: %s", strerror(errno));
}

/*
 * A share is written from both sides: what is cached of a file is checked
 * when the file is opened, and mmap() works.
 */
static void mount_shares(const struct job *job)
{
	size_t i;

	for (i = 0; i + 1 < job->nr_shares; i += 2)
		do_mount(job->shares[i], job->shares[i + 1], "9p", 0,
			 P9 "cache=mmap");
}

/* Where modprobe and the kernel look for modules. */
static void mount_modules(const struct job *job)
{
	struct utsname kernel;
	char path[256];

	if (!job->module_dir || uname(&kernel))
		return;
	snprintf(path, sizeof(path), "/lib/modules/%s", kernel.release);
	make_dirs(path);
	do_mount(job->module_dir, path, NULL, MS_BIND, NULL);
}

void root_enter(const struct job *job)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	const struct rlimit files = { 1024, 1048576 };	/* as distributions have it */
	size_t i;

	mount_root();
	for (i = 0; i < ARRAY_SIZE(kernel_mounts); i++)
		mount_kernel(&kernel_mounts[i]);
	for (i = 0; i < ARRAY_SIZE(dev_links); i++) {
		unlink(dev_links[i][1]);
		if (symlink(dev_links[i][0], dev_links[i][1]))
			die("cannot make %s: %s", dev_links[i][1], strerror(errno));
	}
	mount_shares(job);
	mount_modules(job);

	if (sethostname(job->hostname, strlen(job->hostname)))
		die("cannot set the host name: %s", strerror(errno));
	if (setrlimit(RLIMIT_MEMLOCK, &unlimited) || setrlimit(RLIMIT_NOFILE, &files))
		die("cannot lift the limits: %s", strerror(errno));
}

/* All that was written must be with the host before it ends the VM. */
void root_leave(const struct job *job)
{
	size_t i;

	sync();
	for (i = job->nr_shares; i >= 2; i -= 2)
		umount2(job->shares[i - 1], MNT_DETACH);
}
