// SPDX-License-Identifier: GPL-2.0
/*
 * block_data HOST-SIDE BACKING NAME: what is written to a block device that a
 * network carries is in the disk behind it, byte for byte, and what is in that
 * disk is read. The disk must be all zeros at the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ktap.h"

#define SECTOR		512UL
#define PAGE		4096UL
#define MOST_BYTES	(4UL * 1024 * 1024)
#define MOST_REQUESTS	64
#define NR_THREADS	4

static int host, backing;
static size_t size;
static unsigned char *model, *whole;

static const size_t blocks[] = {
	512, 1024, 1536, 4096, 4608, 8192, 16384, 16896, 65536, 131072, 1048576,
};

static void fill(unsigned char *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = seed >> 16;
	}
}

/* A buffer that starts inside a page, so that its pages are cut into pieces. */
static unsigned char *buffer(size_t len)
{
	void *p;

	if (posix_memalign(&p, PAGE, len + PAGE))
		exit(1);
	return (unsigned char *)p + SECTOR;
}

static void buffer_free(unsigned char *p)
{
	free(p - SECTOR);
}

static off_t any_place(size_t len, unsigned int *seed)
{
	return rand_r(seed) % ((size - len) / SECTOR + 1) * SECTOR;
}

static size_t requests(size_t len)
{
	size_t n = MOST_BYTES / len;

	return n < MOST_REQUESTS ? n : MOST_REQUESTS;
}

/* Compare all of the disk with the model. */
static int check_backing(void)
{
	size_t i, done;
	ssize_t n;

	for (done = 0; done < size; done += n) {
		n = pread(backing, whole + done, size - done, done);
		if (n <= 0)
			return n ? -errno : -EIO;
	}
	if (!memcmp(whole, model, size))
		return 0;
	for (i = 0; whole[i] == model[i]; i++)
		;
	ktap_diag("byte %zu: %#x instead of %#x", i, whole[i], model[i]);
	return -EBADMSG;
}

static enum ktap_result verdict(int err)
{
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* Write bytes made from @nr anywhere on a disk, and into the model. */
static int write_any_place(int fd, unsigned char *p, size_t len,
			   unsigned int *seed, size_t nr)
{
	off_t at = any_place(len, seed);

	fill(p, len, *seed + nr);
	memcpy(model + at, p, len);
	if (pwrite(fd, p, len, at) != (ssize_t)len)
		return errno ? -errno : -EIO;
	return 0;
}

/* Read any place of the host's disk, and compare it with the model. */
static int read_any_place(unsigned char *p, size_t len, unsigned int *seed)
{
	off_t at = any_place(len, seed);

	memset(p, 0, len);
	if (pread(host, p, len, at) != (ssize_t)len)
		return errno ? -errno : -EIO;
	return memcmp(p, model + at, len) ? -EBADMSG : 0;
}

static enum ktap_result run_write(const void *arg)
{
	size_t i, len = *(const size_t *)arg;
	unsigned char *p = buffer(len);
	unsigned int seed = len;
	int err = 0;

	for (i = 0; !err && i < requests(len); i++)
		err = write_any_place(host, p, len, &seed, i);
	buffer_free(p);
	return verdict(err ? err : check_backing());
}

static enum ktap_result run_read(const void *arg)
{
	size_t i, len = *(const size_t *)arg;
	unsigned char *p = buffer(len);
	unsigned int seed = len;
	int err = 0;

	for (i = 0; !err && i < requests(len); i++) {
		err = write_any_place(backing, p, len, &seed, i);
		if (!err)
			err = read_any_place(p, len, &seed);
	}
	buffer_free(p);
	return verdict(err);
}

/* Write and read back a part of the device of this thread's own. */
static void *use_part(void *arg)
{
	size_t nr = (intptr_t)arg, part = size / NR_THREADS, len = 24 * PAGE;
	unsigned char *p = buffer(len), *q = buffer(len);
	intptr_t err = 0;
	size_t off;

	for (off = 0; !err && off + len <= part; off += 3 * len) {
		off_t at = nr * part + off;

		fill(p, len, nr * 1000 + off);
		if (pwrite(host, p, len, at) != (ssize_t)len ||
		    pread(host, q, len, at) != (ssize_t)len)
			err = errno ? -errno : -EIO;
		else if (memcmp(p, q, len))
			err = -EBADMSG;
		memcpy(model + at, p, len);
	}
	buffer_free(p);
	buffer_free(q);
	return (void *)err;
}

static enum ktap_result run_threads(const void *arg)
{
	pthread_t thread[NR_THREADS];
	intptr_t i, err = 0;
	void *res;

	(void)arg;
	for (i = 0; i < NR_THREADS; i++)
		pthread_create(&thread[i], NULL, use_part, (void *)i);
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(thread[i], &res);
		err = err ? err : (intptr_t)res;
	}
	return verdict(err ? err : check_backing());
}

static int open_device(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT);

	if (fd < 0) {
		fprintf(stderr, "block_data: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	size_t i, host_size;

	if (argc != 4) {
		fprintf(stderr, "usage: block_data HOST-SIDE BACKING NAME\n");
		return 2;
	}
	host = open_device(argv[1]);
	backing = open_device(argv[2]);
	if (ioctl(host, BLKGETSIZE64, &host_size) ||
	    ioctl(backing, BLKGETSIZE64, &size) || size != host_size) {
		fprintf(stderr, "block_data: the devices differ in size\n");
		return 1;
	}
	model = calloc(1, size);
	if (!model || posix_memalign((void **)&whole, PAGE, size))
		return 1;
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		ktap_add(run_write, &blocks[i], "%s/write/%zu", argv[3],
			 blocks[i]);
		ktap_add(run_read, &blocks[i], "%s/read/%zu", argv[3],
			 blocks[i]);
	}
	ktap_add(run_threads, NULL, "%s/threads", argv[3]);
	return ktap_main(1, argv);
}
