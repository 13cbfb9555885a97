// SPDX-License-Identifier: GPL-2.0
/*
 * Regions with on-demand paging while the memory under them comes, changes and
 * goes: an operation sees what the process sees at the address, or fails with
 * an access error, and then all can be used again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "ktap.h"

#define PAGE	4096UL
#define MIB	(1024UL * 1024)
#define GIB	(1024UL * MIB)
#define TIB	(1024UL * GIB)

#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define ODP	(ACCESS_ALL | IBV_ACCESS_ON_DEMAND)

static const struct path rc = { "rc", IBV_QPT_RC, false, false };

/* A connection, pinned memory at its end a, and ODP memory at its end b. */
struct change {
	struct rdma_conn conn;
	unsigned char *buf;
	struct ibv_mr *buf_mr;
	unsigned char *p;
	size_t len;
	struct ibv_mr *mr;
};

#define BUF_LEN	(64 * 1024UL)

static void change_end(struct change *c)
{
	conn_close(&c->conn);
	if (c->mr)
		ibv_dereg_mr(c->mr);
	if (c->buf_mr)
		ibv_dereg_mr(c->buf_mr);
	if (c->p)
		munmap(c->p, c->len);
	if (c->buf)
		munmap(c->buf, BUF_LEN);
}

/* From this device to rxe1. With len 0 the region is all memory of the process. */
static int change_start_from(struct change *c, struct rdma_dev *from, size_t len,
			     int map, int access)
{
	int err;

	memset(c, 0, sizeof(*c));
	err = conn_open(&c->conn, from, &rxe[1], rc.type, rc.srq);
	if (err)
		return err;
	c->buf = mmap(NULL, BUF_LEN, RW, ANON, -1, 0);
	c->buf_mr = ibv_reg_mr(from->pd, c->buf, BUF_LEN, ACCESS_ALL);
	if (!c->buf_mr)
		return -errno;
	if (len) {
		c->p = mmap(NULL, len, RW, ANON | map, -1, 0);
		if (c->p == MAP_FAILED) {
			c->p = NULL;
			return -errno;
		}
		c->len = len;
	}
	c->mr = ibv_reg_mr(rxe[1].pd, c->p, len ? len : SIZE_MAX, access);
	return c->mr ? 0 : -errno;
}

static int change_start(struct change *c, size_t len, int map, int access)
{
	return change_start_from(c, &rxe[0], len, map, access);
}

/* Post one request between the buffer and an address; a status, or negative. */
static int request_flags(struct change *c, enum ibv_wr_opcode opcode,
			 const void *addr, u32 len, unsigned int flags)
{
	struct ibv_sge sge = {
		(uintptr_t)c->buf, len, c->buf_mr->lkey,
	};
	struct ibv_send_wr wr = {
		.opcode = opcode, .send_flags = IBV_SEND_SIGNALED | flags,
		.sg_list = &sge, .num_sge = 1,
		.wr.rdma = { (uintptr_t)addr, c->mr->rkey },
	};

	return end_post_send(&c->conn.a, &wr);
}

static int request(struct change *c, enum ibv_wr_opcode opcode,
		   const void *addr, u32 len)
{
	return request_flags(c, opcode, addr, len, 0);
}

static int transfer(struct change *c, enum ibv_wr_opcode opcode,
		    const void *addr, u32 len)
{
	struct ibv_wc wc = { 0 };
	int err = request(c, opcode, addr, len);

	if (!err)
		err = end_wait(&c->conn.a, &wc);
	return err ? err : (int)wc.status;
}

/* Write a pattern to memory and read it back, by RDMA, and by eye. */
static int check_at(struct change *c, unsigned char *addr, u32 len, u64 seed)
{
	int err;

	fill_pattern(c->buf, len, seed);
	err = transfer(c, IBV_WR_RDMA_WRITE, addr, len);
	if (err)
		return err;
	if (memcmp(addr, c->buf, len))
		return -EBADMSG;
	fill_pattern(addr, len, seed + 1);
	err = transfer(c, IBV_WR_RDMA_READ, addr, len);
	if (err)
		return err;
	return memcmp(addr, c->buf, len) ? -EBADMSG : 0;
}

static const char *why(int err)
{
	return err < 0 ? strerror(-err) : ibv_wc_status_str(err);
}

#define FAIL(c, ...) ({				\
	change_end(c);				\
	ktap_fail(__VA_ARGS__);			\
})

struct size_test {
	size_t len;
	size_t step;
	int map, access;
};

/* Far apart in one region, over page boundaries, and in its last bytes. */
static enum ktap_result run_size(const void *arg)
{
	const struct size_test *t = arg;
	struct change c;
	size_t off;
	int err;

	if (t->map & MAP_HUGETLB)
		memory_reserve_huge_pages(t->len / (2 * MIB));
	err = change_start(&c, t->len, t->map, t->access);
	if (err)
		return FAIL(&c, "set-up: %s", why(err));
	for (off = 1234; off < t->len - 9000; off += t->step) {
		err = check_at(&c, c.p + off, 9000, off);
		if (err)
			return FAIL(&c, "offset %zu: %s", off, why(err));
	}
	err = check_at(&c, c.p + t->len - 9000, 9000, 7);
	if (err)
		return FAIL(&c, "the end: %s", why(err));
	if (transfer(&c, IBV_WR_RDMA_READ, c.p + t->len - 10, 11) !=
	    IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "a byte beyond the end");
	change_end(&c);
	return KTAP_PASS;
}

/* All memory is in it, that of later mappings too. */
static enum ktap_result run_implicit(const void *arg)
{
	struct change c;
	unsigned char *p;
	int err, i;

	(void)arg;
	err = change_start(&c, 0, 0, ODP);
	if (err)
		return FAIL(&c, "set-up: %s", why(err));
	for (i = 0; i < 20; i++) {
		p = mmap(NULL, 4 * MIB, RW, ANON, -1, 0);
		err = check_at(&c, p + 2 * MIB - 4321, 9000, i);
		if (!err && check_at(&c, p + 11, 9000, i))
			err = -EBADMSG;
		munmap(p, 4 * MIB);
		if (err)
			return FAIL(&c, "mapping %d: %s", i, why(err));
	}
	if (transfer(&c, IBV_WR_RDMA_READ, p, 1) != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "read what is not mapped");
	err = conn_reset(&c.conn);
	if (!err && transfer(&c, IBV_WR_RDMA_READ, (void *)-PAGE, 1) !=
	    IBV_WC_REM_ACCESS_ERR)
		err = -EBADMSG;
	if (err)
		return FAIL(&c, "read kernel memory");
	change_end(&c);
	return KTAP_PASS;
}

static enum ktap_result run_implicit_bad(const void *arg)
{
	struct ibv_mr *mr;

	(void)arg;
	mr = ibv_reg_mr_iova(rxe[0].pd, NULL, SIZE_MAX, PAGE, ODP);
	if (mr)
		return ktap_fail("an iova of its own");
	mr = ibv_reg_mr(rxe[0].pd, NULL, SIZE_MAX, ODP | IBV_ACCESS_HUGETLB);
	if (mr)
		return ktap_fail("huge pages");
	mr = ibv_reg_mr(rxe[0].pd, NULL, SIZE_MAX, ACCESS_ALL);
	return mr ? ktap_fail("without on-demand paging") : KTAP_PASS;
}

static enum ktap_result run_munmap(const void *arg)
{
	struct change c;
	int err;

	(void)arg;
	err = change_start(&c, 8 * PAGE, 0, ODP);
	if (!err)
		err = check_at(&c, c.p + 123, 7 * PAGE, 1);
	if (err)
		return FAIL(&c, "before: %s", why(err));
	munmap(c.p + 2 * PAGE, PAGE);
	err = transfer(&c, IBV_WR_RDMA_WRITE, c.p + PAGE, 2 * PAGE);
	if (err != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "write to a hole: %s", why(err));
	err = conn_reset(&c.conn);
	if (!err)
		err = transfer(&c, IBV_WR_RDMA_READ, c.p + 3 * PAGE - 1, 1);
	if (err != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "read of a hole: %s", why(err));
	mmap(c.p + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	err = conn_reset(&c.conn);
	if (!err)
		err = check_at(&c, c.p + 321, 7 * PAGE, 2);
	if (err)
		return FAIL(&c, "mapped again: %s", why(err));
	change_end(&c);
	return KTAP_PASS;
}

static enum ktap_result run_mprotect(const void *arg)
{
	struct change c;
	int err;

	(void)arg;
	err = change_start(&c, 8 * PAGE, 0, ODP);
	if (!err)
		err = check_at(&c, c.p + 123, 7 * PAGE, 1);
	if (err)
		return FAIL(&c, "before: %s", why(err));
	mprotect(c.p, c.len, PROT_READ);
	err = transfer(&c, IBV_WR_RDMA_READ, c.p + 55, 7 * PAGE);
	if (err)
		return FAIL(&c, "read: %s", why(err));
	if (memcmp(c.buf, c.p + 55, 7 * PAGE))
		return FAIL(&c, "read the wrong bytes");
	memset(c.buf, 0xee, 100);
	err = transfer(&c, IBV_WR_RDMA_WRITE, c.p + 55, 100);
	if (err != IBV_WC_REM_ACCESS_ERR || c.p[55] == 0xee)
		return FAIL(&c, "write to read-only: %s", why(err));
	mprotect(c.p, c.len, PROT_NONE);
	err = conn_reset(&c.conn);
	if (!err)
		err = transfer(&c, IBV_WR_RDMA_READ, c.p + 55, 100);
	if (err != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "read without access: %s", why(err));
	mprotect(c.p, c.len, RW);
	err = conn_reset(&c.conn);
	if (!err)
		err = check_at(&c, c.p + 321, 7 * PAGE, 2);
	if (err)
		return FAIL(&c, "writable again: %s", why(err));
	change_end(&c);
	return KTAP_PASS;
}

/* The old page is not used after the process has another one. */
static enum ktap_result run_dontneed(const void *arg)
{
	static const unsigned char zeroes[4 * PAGE];
	struct change c;
	int err, i;

	(void)arg;
	err = change_start(&c, 4 * MIB, 0, ODP);
	for (i = 0; i < 50 && !err; i++) {
		unsigned char *p = c.p + 2 * MIB - 2 * PAGE + i;

		err = check_at(&c, p, 3 * PAGE, i);
		madvise(c.p, c.len, MADV_DONTNEED);
		if (!err)
			err = transfer(&c, IBV_WR_RDMA_READ, p, 3 * PAGE);
		if (!err && memcmp(c.buf, zeroes, 3 * PAGE))
			return FAIL(&c, "round %d: old bytes", i);
		/* From the zero page to one of its own, by the CPU. */
		memset(p, i + 1, 3 * PAGE);
		if (!err)
			err = transfer(&c, IBV_WR_RDMA_READ, p, 3 * PAGE);
		if (!err && memcmp(c.buf, p, 3 * PAGE))
			return FAIL(&c, "round %d: bytes from before", i);
	}
	if (err)
		return FAIL(&c, "round %d: %s", i, why(err));
	change_end(&c);
	return KTAP_PASS;
}

/* Pages move to an address that is in the region, and away from one. */
static enum ktap_result run_mremap(const void *arg)
{
	struct change c;
	int err;

	(void)arg;
	err = change_start(&c, 64 * PAGE, 0, ODP);
	if (!err)
		err = check_at(&c, c.p + 17, 7 * PAGE, 1);
	if (err)
		return FAIL(&c, "before: %s", why(err));
	fill_pattern(c.p, 8 * PAGE, 5);
	if (mremap(c.p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   c.p + 32 * PAGE) == MAP_FAILED)
		return FAIL(&c, "mremap: %s", strerror(errno));
	err = transfer(&c, IBV_WR_RDMA_READ, c.p + 32 * PAGE + 5, 7 * PAGE);
	if (err || memcmp(c.buf, c.p + 32 * PAGE + 5, 7 * PAGE))
		return FAIL(&c, "the new address: %s", why(err));
	err = check_at(&c, c.p + 32 * PAGE + 5, 7 * PAGE, 2);
	if (err)
		return FAIL(&c, "the new address: %s", why(err));
	err = transfer(&c, IBV_WR_RDMA_READ, c.p + 17, 100);
	if (err != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "the old address: %s", why(err));
	change_end(&c);
	return KTAP_PASS;
}

/* Each side of a fork has its own memory; the region is the parent's. */
static enum ktap_result run_fork(const void *arg)
{
	int go[2], status, err;
	struct change c;
	pid_t pid;
	char ch;

	(void)arg;
	err = change_start(&c, 16 * PAGE, 0, ODP);
	if (!err)
		err = check_at(&c, c.p + 17, 7 * PAGE, 1);
	if (err || pipe(go))
		return FAIL(&c, "before: %s", why(err));
	memset(c.p, 1, c.len);
	pid = fork();
	if (!pid) {
		size_t i;

		close(go[1]);
		if (read(go[0], &ch, 1) < 0)
			_exit(1);
		for (i = 0; i < c.len; i++)
			if (c.p[i] != 1)
				_exit(2);
		_exit(0);
	}
	close(go[0]);
	err = check_at(&c, c.p + 100, 10 * PAGE, 2);
	close(go[1]);
	waitpid(pid, &status, 0);
	if (err)
		return FAIL(&c, "parent: %s", why(err));
	if (status)
		return FAIL(&c, "child sees the parent's memory");
	err = check_at(&c, c.p + 200, 10 * PAGE, 3);
	if (err)
		return FAIL(&c, "after the child: %s", why(err));
	change_end(&c);
	return KTAP_PASS;
}

static int advise(struct ibv_mr *mr, struct ibv_pd *pd, int advice, u64 addr,
		  u32 len)
{
	struct ibv_sge sge = { addr, len, mr->lkey };

	return ibv_advise_mr(pd, advice, IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
}

/* How many pages of [p, p + len) the CPU has mapped. */
static int pages_mapped(unsigned char *p, size_t len)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), nr = 0;
	u64 entry;

	for (; len; p += PAGE, len -= PAGE)
		if (pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) == 8)
			nr += entry >> 63;
	close(fd);
	return nr;
}

static enum ktap_result run_advise(const void *arg)
{
	struct ibv_mr *ro = NULL, *gone;
	struct ibv_mr fake = { 0 };
	const char *what = NULL;
	struct ibv_pd *pd = rxe[1].pd;
	struct change c;
	u64 addr;
	int err;

	(void)arg;
	err = change_start(&c, 16 * PAGE, 0, ODP);
	if (err)
		return FAIL(&c, "set-up: %s", why(err));
	addr = (uintptr_t)c.p;
	ro = ibv_reg_mr(pd, c.p, c.len, IBV_ACCESS_ON_DEMAND);
	gone = ibv_reg_mr(pd, c.p, c.len, ODP);
	fake.lkey = gone->lkey;
	ibv_dereg_mr(gone);

	if (advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, addr,
		   c.len) || pages_mapped(c.p, c.len))
		what = "prefetch of nothing";
	else if (advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			addr + PAGE - 1, 2) || pages_mapped(c.p, c.len) != 2)
		what = "prefetch of two pages";
	else if (advise(ro, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr, c.len) ||
		 pages_mapped(c.p, c.len) != 16)
		what = "prefetch for reading";
	else if (advise(ro, pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, addr, 1) !=
		 EPERM)
		what = "prefetch for writing what is read-only";
	else if (advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr,
			c.len + 1) != EFAULT)
		what = "a byte beyond the end";
	else if (advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr - 1,
			1) != EFAULT)
		what = "a byte before the start";
	else if (advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, -PAGE,
			2 * PAGE) != EFAULT)
		what = "a range that wraps";
	else if (!advise(&fake, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr, 1))
		what = "a region that is gone";
	else if (!advise(c.mr, rxe[0].pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr,
			 1))
		what = "a protection domain of another device";
	else if (advise(c.buf_mr, rxe[0].pd, IBV_ADVISE_MR_ADVICE_PREFETCH,
			(uintptr_t)c.buf, 1) != EINVAL)
		what = "pinned memory";
	munmap(c.p, PAGE);
	if (!what && advise(c.mr, pd, IBV_ADVISE_MR_ADVICE_PREFETCH, addr,
			    c.len) != EFAULT)
		what = "memory that is not there";
	ibv_dereg_mr(ro);
	change_end(&c);
	return what ? ktap_fail("%s", what) : KTAP_PASS;
}

/* Pages that nobody ever brings, from now on. */
static int hang_faults(void *p, size_t len)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

/* Wait until a fault is in that hands: its message comes on the descriptor. */
static int wait_fault(int fd)
{
	struct uffd_msg msg;

	return read(fd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT ? 0 : -EIO;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A region goes while an access of it hangs; then the access fails. */
static enum ktap_result run_hung_dereg(const void *arg)
{
	enum ibv_wr_opcode opcode = *(const enum ibv_wr_opcode *)arg;
	struct ibv_wc wc;
	struct change c;
	double start;
	int err, fd;

	err = change_start(&c, 16 * PAGE, 0, ODP);
	fd = hang_faults(c.p, c.len);
	if (err || fd < 0)
		return FAIL(&c, "set-up: %s", why(err ? err : fd));
	err = request(&c, opcode, c.p + 100, 8);
	if (!err)
		err = wait_fault(fd);
	if (err)
		return FAIL(&c, "request: %s", why(err));
	start = now();
	ibv_dereg_mr(c.mr);
	c.mr = NULL;
	if (now() - start > 5)
		return FAIL(&c, "dereg took %.0f s", now() - start);
	err = end_wait(&c.conn.a, &wc);
	if (err || wc.status != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "completion: %s",
			    why(err ? err : (int)wc.status));
	change_end(&c);
	close(fd);
	return KTAP_PASS;
}

/*
 * A queue pair goes while it hangs, in the request and in the answer. Where a
 * device talks to itself, what hangs is the very packet that the other one sent.
 */
static enum ktap_result run_hung_destroy(const void *arg)
{
	struct rdma_dev *from = *(const bool *)arg ? &rxe[1] : &rxe[0];
	struct change c;
	double start;
	int err, fd;

	err = change_start_from(&c, from, 16 * PAGE, 0, ODP);
	fd = hang_faults(c.p, c.len);
	if (err || fd < 0)
		return FAIL(&c, "set-up: %s", why(err ? err : fd));
	err = request(&c, IBV_WR_RDMA_READ, c.p + 100, 8);
	if (!err)
		err = wait_fault(fd);
	if (err)
		return FAIL(&c, "request: %s", why(err));
	start = now();
	conn_close(&c.conn);
	if (now() - start > 5)
		return FAIL(&c, "took %.0f s", now() - start);
	change_end(&c);
	close(fd);
	return KTAP_PASS;
}

/*
 * A write with a fence waits for a page for so long that it is sent again, and
 * with it the read behind it: neither must wait for the other then.
 */
static enum ktap_result run_hung_fence(const void *arg)
{
	struct uffdio_zeropage zero = { .range.len = PAGE };
	struct ibv_wc wc[2] = { 0 };
	struct change c;
	int err, fd;

	(void)arg;
	err = change_start(&c, 16 * PAGE, 0, ODP);
	fd = hang_faults(c.p, c.len);
	if (err || fd < 0)
		return FAIL(&c, "set-up: %s", why(err ? err : fd));
	err = request_flags(&c, IBV_WR_RDMA_WRITE, c.p, 8, IBV_SEND_FENCE);
	if (!err)
		err = request(&c, IBV_WR_RDMA_READ, c.p, 8);
	if (!err)
		err = wait_fault(fd);
	if (err)
		return FAIL(&c, "request: %s", why(err));
	usleep(1500000);
	zero.range.start = (uintptr_t)c.p;
	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		return FAIL(&c, "page: %s", strerror(errno));
	err = end_wait(&c.conn.a, &wc[0]);
	if (!err)
		err = end_wait(&c.conn.a, &wc[1]);
	if (err || wc[0].status || wc[1].status)
		return FAIL(&c, "completions: %s",
			    why(err ? err : (int)(wc[0].status ?: wc[1].status)));
	change_end(&c);
	close(fd);
	return KTAP_PASS;
}

/* The access goes on when the page comes, and what waits behind it too. */
static enum ktap_result run_hung_resolve(const void *arg)
{
	enum ibv_wr_opcode opcode = *(const enum ibv_wr_opcode *)arg;
	struct uffdio_copy copy = { 0 };
	struct ibv_wc wc = { 0 };
	unsigned char *page;
	struct change c;
	int err, fd;

	err = change_start(&c, 16 * PAGE, 0, ODP);
	fd = hang_faults(c.p, c.len);
	page = aligned_alloc(PAGE, PAGE);
	if (err || fd < 0 || !page)
		return FAIL(&c, "set-up: %s", why(err ? err : fd));
	fill_pattern(page, PAGE, 3);
	memset(c.buf, 0x77, 100);
	err = request(&c, opcode, c.p + 100, 50);
	if (!err)
		err = wait_fault(fd);
	if (err)
		return FAIL(&c, "request: %s", why(err));
	usleep(300000);
	copy.dst = (uintptr_t)c.p;
	copy.src = (uintptr_t)page;
	copy.len = PAGE;
	if (ioctl(fd, UFFDIO_COPY, &copy))
		return FAIL(&c, "copy: %s", strerror(errno));
	err = end_wait(&c.conn.a, &wc);
	if (err || wc.status)
		return FAIL(&c, "completion: %s",
			    why(err ? err : (int)wc.status));
	if (opcode == IBV_WR_RDMA_WRITE)
		memset(page + 100, 0x77, 50);
	if (memcmp(c.p, page, PAGE) || memcmp(c.buf, page + 100, 50))
		return FAIL(&c, "wrong bytes");
	err = check_at(&c, c.p + 50, 1000, 5);
	if (err)
		return FAIL(&c, "afterwards: %s", why(err));
	change_end(&c);
	close(fd);
	free(page);
	return KTAP_PASS;
}

static void child_hangs(int ready)
{
	struct change c;
	int err, fd;

	memset(rxe, 0, sizeof(rxe));
	err = rdma_pair_open(rxe);
	if (!err)
		err = change_start(&c, 16 * PAGE, 0, ODP);
	fd = err ? -1 : hang_faults(c.p, c.len);
	if (fd >= 0 && !request(&c, IBV_WR_RDMA_WRITE, c.p + 100, 8) &&
	    !wait_fault(fd) && write(ready, "", 1) == 1)
		pause();
	_exit(1);
}

/* A process is killed while an access of its memory hangs. */
static enum ktap_result run_hung_exit(const void *arg)
{
	int ready[2], status;
	double start;
	pid_t pid;
	char ch;

	(void)arg;
	if (pipe(ready))
		return ktap_fail("pipe");
	pid = fork();
	if (!pid) {
		close(ready[0]);
		child_hangs(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &ch, 1) != 1) {
		waitpid(pid, &status, 0);
		return ktap_fail("the child did not get there");
	}
	close(ready[0]);
	start = now();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return now() - start > 10 ? ktap_fail("exit took %.0f s",
					      now() - start) : KTAP_PASS;
}

/* Of a message, each packet gets as far as its own pages do. */
static enum ktap_result run_ahead_hole(const void *arg)
{
	const int *prot = arg;
	struct change c;
	size_t hole = 10 * PAGE;
	int err;

	err = change_start(&c, BUF_LEN, 0, ODP);
	if (err)
		return FAIL(&c, "set-up: %s", why(err));
	if (mprotect(c.p + hole, PAGE, *prot))
		return FAIL(&c, "mprotect");
	fill_pattern(c.buf, BUF_LEN, 3);
	err = transfer(&c, IBV_WR_RDMA_WRITE, c.p, BUF_LEN);
	if (err != IBV_WC_REM_ACCESS_ERR)
		return FAIL(&c, "write to a hole: %s", why(err));
	if (memcmp(c.p, c.buf, hole))
		return FAIL(&c, "what is before the hole was not written");
	mprotect(c.p, c.len, RW);
	err = conn_reset(&c.conn);
	if (!err)
		err = check_at(&c, c.p, BUF_LEN, 4);
	if (err)
		return FAIL(&c, "without the hole: %s", why(err));
	change_end(&c);
	return KTAP_PASS;
}

/* A page that hangs holds up no packet for another, as long as it may take. */
static enum ktap_result run_ahead_hung(const void *arg)
{
	struct uffdio_zeropage zero = { .range.len = PAGE };
	size_t hole = 10 * PAGE;
	struct ibv_wc wc = { 0 };
	struct change c;
	int err, fd, i;

	(void)arg;
	err = change_start(&c, BUF_LEN, 0, ODP);
	fd = err ? -1 : hang_faults(c.p + hole, PAGE);
	if (err || fd < 0)
		return FAIL(&c, "set-up: %s", why(err ? err : fd));
	memset(c.buf, 0xa5, BUF_LEN);
	err = request(&c, IBV_WR_RDMA_WRITE, c.p, BUF_LEN);
	if (!err)
		err = wait_fault(fd);
	if (err)
		return FAIL(&c, "request: %s", why(err));
	for (i = 0; i < 10000 && memcmp(c.p, c.buf, hole); i++)
		usleep(1000);
	if (i == 10000)
		return FAIL(&c, "what is before the page was not written");
	zero.range.start = (uintptr_t)c.p + hole;
	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		return FAIL(&c, "zeropage: %s", strerror(errno));
	err = end_wait(&c.conn.a, &wc);
	if (err || wc.status)
		return FAIL(&c, "completion: %s", why(err ?: (int)wc.status));
	if (memcmp(c.p, c.buf, BUF_LEN))
		return FAIL(&c, "wrong bytes");
	change_end(&c);
	close(fd);
	return KTAP_PASS;
}

/* A page of good bytes, and then a region that there is not */
static int post_write_that_breaks_off(struct change *c)
{
	struct ibv_sge sge[] = {
		{ (uintptr_t)c->buf, PAGE, c->buf_mr->lkey },
		{ (uintptr_t)c->buf, BUF_LEN - PAGE, ~c->buf_mr->lkey },
	};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED,
		.sg_list = sge, .num_sge = ARRAY_SIZE(sge),
		.wr.rdma = { (uintptr_t)c->p, c->mr->rkey },
	};

	return end_post_send(&c->conn.a, &wr);
}

/*
 * A message's first packet brings in the pages of all of it. Those that come
 * later are held back, to see it.
 */
static enum ktap_result run_ahead_at_once(const void *arg)
{
	unsigned char in[BUF_LEN / PAGE];
	struct ibv_wc wc = { 0 };
	struct change c;
	size_t i;
	int err;

	(void)arg;
	err = change_start(&c, BUF_LEN, 0, ODP);
	if (err)
		return FAIL(&c, "set-up: %s", why(err));
	memset(c.buf, 0xa5, BUF_LEN);
	err = post_write_that_breaks_off(&c);
	if (!err)
		err = end_wait(&c.conn.a, &wc);
	if (err || wc.status == IBV_WC_SUCCESS)
		return FAIL(&c, "the write: %s", why(err));

	/* Looking at it brings the first page in, but no other. */
	for (i = 0; i < 10000 && memcmp(c.p, c.buf, PAGE); i++)
		usleep(1000);
	if (i == 10000)
		return FAIL(&c, "the first page was not written");
	if (mincore(c.p, BUF_LEN, in))
		return FAIL(&c, "mincore");
	for (i = 0; i < ARRAY_SIZE(in); i++)
		if (!(in[i] & 1))
			return FAIL(&c, "page %zu is not in", i);
	change_end(&c);
	return KTAP_PASS;
}

static void add_tests(void)
{
	static const int none = PROT_NONE, read_only = PROT_READ;
	static const bool loopback[] = { false, true };
	static const struct size_test gib3 = {
		3 * GIB, 100 * MIB + PAGE + 1, 0, ODP,
	}, tib = {
		TIB, 10 * GIB + 3 * PAGE + 5, 0, ODP,
	}, huge = {
		8 * MIB, MIB + 77, MAP_HUGETLB, ODP | IBV_ACCESS_HUGETLB,
	};
	static const enum ibv_wr_opcode read = IBV_WR_RDMA_READ,
					write = IBV_WR_RDMA_WRITE;

	ktap_add(run_size, &gib3, "size/3gib");
	ktap_add(run_size, &tib, "size/1tib");
	ktap_add(run_size, &huge, "size/huge_pages");
	ktap_add(run_implicit, NULL, "implicit/data");
	ktap_add(run_implicit_bad, NULL, "implicit/bad");
	ktap_add(run_munmap, NULL, "change/munmap");
	ktap_add(run_mprotect, NULL, "change/mprotect");
	ktap_add(run_dontneed, NULL, "change/dontneed");
	ktap_add(run_mremap, NULL, "change/mremap");
	ktap_add(run_fork, NULL, "change/fork");
	ktap_add(run_advise, NULL, "advise");
	ktap_add(run_ahead_at_once, NULL, "ahead/at_once");
	ktap_add(run_ahead_hole, &none, "ahead/no_access");
	ktap_add(run_ahead_hole, &read_only, "ahead/read_only");
	ktap_add(run_ahead_hung, NULL, "ahead/hung");
	ktap_add(run_hung_dereg, &write, "hung/dereg_write");
	ktap_add(run_hung_dereg, &read, "hung/dereg_read");
	ktap_add(run_hung_destroy, &loopback[0], "hung/destroy");
	ktap_add(run_hung_destroy, &loopback[1], "hung/destroy/loopback");
	ktap_add(run_hung_fence, NULL, "hung/fence");
	ktap_add(run_hung_resolve, &write, "hung/resolve_write");
	ktap_add(run_hung_resolve, &read, "hung/resolve_read");
	ktap_add(run_hung_exit, NULL, "hung/exit");
}

int main(int argc, char **argv)
{
	add_tests();
	return fixture_main(argc, argv);
}
