// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input to ibv_reg_mr() gives the errno that it always gave, and leaves
 * nothing behind: no page accounted or referenced, no memory allocated.
 */
#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bad_input.h"
#include "fixture.h"
#include "ktap.h"
#include "resources.h"

#define PAGE		4096UL

/* Access that rxe does not offer, or that contradicts itself. */
static const struct bad_input bad_access[] = {
	{ "remote_write_only", NULL, EINVAL, IBV_ACCESS_REMOTE_WRITE },
	{ "remote_atomic_only", NULL, EINVAL, IBV_ACCESS_REMOTE_ATOMIC },
	{ "unknown_access", NULL, EINVAL, ACCESS_ALL | 1 << 18 },
	{ "zero_based", NULL, EOPNOTSUPP, ACCESS_ALL | IBV_ACCESS_ZERO_BASED },
	{ "huge_page_access", NULL, EOPNOTSUPP, ACCESS_ALL | IBV_ACCESS_HUGETLB },
	{ "persistent_ram", NULL, EINVAL,
	  ACCESS_ALL | IBV_ACCESS_FLUSH_PERSISTENT },
};

static enum ktap_result run_bad_test(const void *arg)
{
	return bad_input_run(rxe[0].pd, ACCESS_ALL, arg);
}

static enum ktap_result run_control(const void *arg)
{
	(void)arg;
	return bad_input_control(rxe[0].pd, ACCESS_ALL);
}

static enum ktap_result run_inject(const void *arg)
{
	(void)arg;
	return bad_input_inject(rxe[0].pd, ACCESS_ALL);
}

/* What an unprivileged child finds; its exit status is the line it failed at. */
static int child_over_limit(void)
{
	const size_t limit = 16 * PAGE;
	struct rlimit rl = { limit, limit };
	struct ibv_mr *a, *b;
	struct rdma_dev dev;
	unsigned char *p;

	p = mmap(NULL, 2 * limit, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED || setrlimit(RLIMIT_MEMLOCK, &rl) ||
	    setgid(65534) || setuid(65534) || rdma_dev_open(&dev, "rxe0"))
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, limit + 1, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	if (pinned_pages())
		return __LINE__;
	a = ibv_reg_mr(dev.pd, p, limit - PAGE, ACCESS_ALL);
	if (!a || pinned_pages() != 15)
		return __LINE__;
	/* Two bytes, but of two pages. */
	if (ibv_reg_mr(dev.pd, p + PAGE - 1, 2, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	b = ibv_reg_mr(dev.pd, p + PAGE - 1, 1, ACCESS_ALL);
	if (!b || pinned_pages() != 16)
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, 1, ACCESS_ALL) || errno != ENOMEM)
		return __LINE__;
	if (ibv_dereg_mr(a) || pinned_pages() != 1)
		return __LINE__;
	a = ibv_reg_mr(dev.pd, p, limit - PAGE, ACCESS_ALL);
	if (!a || ibv_dereg_mr(a) || ibv_dereg_mr(b) || pinned_pages())
		return __LINE__;
	rl.rlim_cur = 0;
	if (setrlimit(RLIMIT_MEMLOCK, &rl))
		return __LINE__;
	if (ibv_reg_mr(dev.pd, p, 1, ACCESS_ALL) || errno != EPERM)
		return __LINE__;
	return pinned_pages() ? __LINE__ : 0;
}

/* Let a user other than root open the device files. */
static void open_device_files(void)
{
	glob_t files;
	size_t i;

	if (glob("/dev/infiniband/uverbs*", 0, NULL, &files))
		return;
	for (i = 0; i < files.gl_pathc; i++)
		chmod(files.gl_pathv[i], 0666);
	globfree(&files);
}

static enum ktap_result run_over_limit(const void *arg)
{
	int result[2], line = -1;
	pid_t pid;

	(void)arg;
	open_device_files();
	if (pipe(result))
		return ktap_fail("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		line = child_over_limit();
		_exit(write(result[1], &line, sizeof(line)) != sizeof(line));
	}
	close(result[1]);
	if (read(result[0], &line, sizeof(line)) != sizeof(line))
		line = -1;
	close(result[0]);
	waitpid(pid, NULL, 0);
	return line ? ktap_fail("line %d of " __FILE__, line) : KTAP_PASS;
}

int main(int argc, char **argv)
{
	size_t i;

	ktap_add(run_control, NULL, "bad/control");
	for (i = 0; i < nr_bad_inputs; i++)
		ktap_add(run_bad_test, &bad_inputs[i], "bad/%s",
			 bad_inputs[i].name);
	for (i = 0; i < ARRAY_SIZE(bad_access); i++)
		ktap_add(run_bad_test, &bad_access[i], "bad/%s",
			 bad_access[i].name);
	ktap_add(run_over_limit, NULL, "bad/over_memlock_limit");
	ktap_add(run_inject, NULL, "bad/allocation_failures");
	return fixture_main(argc, argv);
}
