// SPDX-License-Identifier: GPL-2.0
/*
 * Regions and processes and the device itself end while a copy runs: it stops,
 * what it used is given back, and others go on.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "edu.h"
#include "ktap.h"
#include "resources.h"
#include "textfile.h"

#define KIB	1024UL
#define LONG	(64 * KIB)	/* 32 chunks: 6.4 s and more */
#define SOON	700000		/* us: a few chunks are copied by then */
#define HANGS	120		/* seconds after which a child does not end */

struct copier {
	struct region src, dst;
	struct ibv_mr dst_mr, src_mr;	/* to name regions that are gone */
	pthread_t thread;
	int err;
};

static void *copy_thread(void *arg)
{
	struct copier *c = arg;

	c->err = edu_copy(&c->dst_mr, 0, &c->src_mr, 0, LONG);
	return NULL;
}

static int copier_create(struct copier *c)
{
	int err;

	memset(c, 0, sizeof(*c));
	err = edu_region(&c->src, memory_kind("scattered"), &iova_same, 0,
			 LONG);
	if (!err)
		err = edu_region(&c->dst, memory_kind("scattered"), &iova_same,
				 0, LONG);
	if (err)
		return err;
	region_fill(&c->src, 1);
	region_fill(&c->dst, 2);
	c->src_mr = *c->src.mr;
	c->dst_mr = *c->dst.mr;
	return 0;
}

static void copier_destroy(struct copier *c)
{
	region_destroy(&c->src);
	region_destroy(&c->dst);
}

/* Whole chunks from the start on, and not one byte besides. */
static int check_partial(struct copier *c)
{
	size_t done = 0;

	while (done < LONG && !memcmp(c->dst.addr + done, c->src.addr + done,
				      EDU_CHUNK))
		done += EDU_CHUNK;
	memcpy(region_model(&c->dst, 0), region_model(&c->src, 0), done);
	ktap_diag("%zu of %zu bytes were copied", done, LONG);
	if (!done || done == LONG)
		return -ERANGE;
	return region_check_all(&c->dst);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int copier_start(struct copier *c)
{
	int err = -pthread_create(&c->thread, NULL, copy_thread, c);

	if (!err)
		usleep(SOON);
	return err;
}

static enum ktap_result run_dereg(bool source)
{
	struct copier c;
	int err = copier_create(&c), dereg;
	struct region *r = source ? &c.src : &c.dst;

	if (!err)
		err = copier_start(&c);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	dereg = ibv_dereg_mr(r->mr);
	if (!dereg)
		r->mr = NULL;
	pthread_join(c.thread, NULL);
	err = check_partial(&c);
	copier_destroy(&c);
	if (dereg)
		return ktap_fail("ibv_dereg_mr: %s", strerror(dereg));
	if (c.err != -ENOENT)
		return ktap_fail("the copy: %s", strerror(-c.err));
	return err ? ktap_fail("the bytes: %s", strerror(-err)) : KTAP_PASS;
}

static enum ktap_result run_dereg_source(const void *arg)
{
	(void)arg;
	return run_dereg(true);
}

static enum ktap_result run_dereg_destination(const void *arg)
{
	(void)arg;
	return run_dereg(false);
}

static void on_signal(int nr)
{
	(void)nr;
}

static enum ktap_result run_signal(const void *arg)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct copier c;
	int err = copier_create(&c);

	(void)arg;
	sigaction(SIGUSR1, &act, NULL);
	if (!err)
		err = copier_start(&c);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	pthread_kill(c.thread, SIGUSR1);
	pthread_join(c.thread, NULL);
	err = check_partial(&c);
	copier_destroy(&c);
	if (c.err != -EINTR)
		return ktap_fail("the copy: %s", strerror(-c.err));
	return err ? ktap_fail("the bytes: %s", strerror(-err)) : KTAP_PASS;
}

/* The child's own device and regions, on memory that the parent looks at. */
static void child_copies(const struct sealed *src, const struct sealed *dst,
			 int ready)
{
	struct ibv_mr *from, *to;
	int err = edu_open(&edu);

	if (err)
		_exit(1);
	from = ibv_reg_mr(edu.pd, src->map, LONG, EDU_ACCESS);
	to = ibv_reg_mr(edu.pd, dst->map, LONG, EDU_ACCESS);
	if (!from || !to || write(ready, "", 1) != 1)
		_exit(2);
	_exit(-edu_copy(to, 0, from, 0, LONG));
}

struct child {
	struct sealed src, dst;
	pid_t pid;
};

static int child_start(struct child *child)
{
	int ready[2], err;
	char byte;

	memset(child, 0, sizeof(*child));
	err = sealed_map(&child->src, LONG);
	if (!err)
		err = sealed_map(&child->dst, LONG);
	if (!err && pipe(ready))
		err = -errno;
	if (err)
		return err;
	fill_pattern(child->src.map, LONG, 7);
	child->pid = fork();
	if (!child->pid)
		child_copies(&child->src, &child->dst, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		err = -ECHILD;
	close(ready[0]);
	usleep(SOON);
	return err;
}

/* How the child ended, or -ETIMEDOUT; and whether its memory is free. */
static int child_wait(struct child *child, int *status)
{
	double end = now() + HANGS;

	while (!waitpid(child->pid, status, WNOHANG)) {
		if (now() > end) {
			kill(child->pid, SIGKILL);
			waitpid(child->pid, status, 0);
			return -ETIMEDOUT;
		}
		usleep(10000);
	}
	return 0;
}

static bool child_left_pins(struct child *child)
{
	bool pinned = sealed_is_pinned(&child->src);

	pinned |= sealed_is_pinned(&child->dst);
	sealed_destroy(&child->src);
	sealed_destroy(&child->dst);
	return pinned;
}

/* The device still works, for those who are left. */
static int works(void)
{
	struct region a = { 0 }, b = { 0 };
	int err = edu_region(&a, memory_kind("anon"), &iova_same, 0, 8 * KIB);

	if (!err)
		err = edu_region(&b, memory_kind("anon"), &iova_same, 0,
				 8 * KIB);
	if (!err) {
		region_fill(&a, 3);
		region_fill(&b, 4);
		err = edu_copy_verify(&b, 1, &a, 2, 3000);
	}
	region_destroy(&a);
	region_destroy(&b);
	return err;
}

static enum ktap_result run_kill(const void *arg)
{
	struct child child;
	int err = child_start(&child), status = 0;
	bool pinned, partial;

	(void)arg;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	kill(child.pid, SIGKILL);
	err = child_wait(&child, &status);
	partial = child.dst.map[LONG - 1] == 1;
	pinned = child_left_pins(&child);
	if (err || !WIFSIGNALED(status))
		return ktap_fail("it did not end by the signal");
	if (!partial)
		return ktap_fail("the copy was over");
	if (pinned)
		return ktap_fail("its pages are still pinned");
	err = works();
	return err ? ktap_fail("afterwards: %s", strerror(-err)) : KTAP_PASS;
}

/* Two processes share the device, and each gets its own bytes. */
static enum ktap_result run_two(const void *arg)
{
	struct copier c;
	struct child child;
	int err = copier_create(&c), status = 0;
	bool same;

	(void)arg;
	if (!err)
		err = child_start(&child);
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	err = edu_copy_verify(&c.dst, 0, &c.src, 0, 8 * EDU_CHUNK);
	waitpid(child.pid, &status, 0);
	same = !memcmp(child.dst.map, child.src.map, LONG);
	child_left_pins(&child);
	copier_destroy(&c);
	if (!WIFEXITED(status) || WEXITSTATUS(status) || !same)
		return ktap_fail("the child's copy: status %#x", status);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* The PCI function goes, as if unplugged, and comes back. */
static enum ktap_result run_unplug(const void *arg)
{
	char link[128], path[4096 + 8];
	struct child child;
	int err = child_start(&child), status = 0;
	bool pinned;

	(void)arg;
	snprintf(link, sizeof(link), "/sys/class/infiniband/%s/device",
		 edu.name);
	if (!realpath(link, path))
		err = -errno;
	if (err)
		return ktap_fail("set-up: %s", strerror(-err));
	edu_close(&edu);
	strcat(path, "/remove");
	err = write_text("1", "%s", path);
	if (!err)
		err = child_wait(&child, &status);
	pinned = child_left_pins(&child);
	if (!err)
		err = write_text("1", "/sys/bus/pci/rescan");
	if (!err)
		err = edu_open(&edu);
	if (err)
		return ktap_fail("%s", strerror(-err));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EIO)
		return ktap_fail("the child's copy: status %#x", status);
	if (pinned)
		return ktap_fail("its pages are still pinned");
	err = works();
	return err ? ktap_fail("afterwards: %s", strerror(-err)) : KTAP_PASS;
}

int main(int argc, char **argv)
{
	ktap_add(run_dereg_source, NULL, "life/dereg_source");
	ktap_add(run_dereg_destination, NULL, "life/dereg_destination");
	ktap_add(run_signal, NULL, "life/signal");
	ktap_add(run_kill, NULL, "life/kill");
	ktap_add(run_two, NULL, "life/two_processes");
	ktap_add(run_unplug, NULL, "life/unplug");
	return edu_main(argc, argv);
}
