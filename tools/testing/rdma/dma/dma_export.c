// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of an RDMA device as a dma-buf, which uverbs makes of it: the page of
 * the edu device's BAR, in the hands of rxe, of another edu device, of itself.
 * It is the memory of the context that exports it, and ends with that.
 *
 * rxe has to be there, too. Where there is another edu device, DMA_P2P in the
 * environment is 1 or 0: whether PCI lets it at the BAR of the first. Run by the
 * suite dma.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edu.h"
#include "fixture.h"
#include "inject.h"
#include "ioas.h"
#include "ktap.h"
#include "page.h"
#include "resources.h"
#include "trace.h"
#include "vfio.h"

#define ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		 IBV_ACCESS_REMOTE_WRITE)

/* A page that is exported, an MR of it, and who reaches it by that. */
struct user {
	struct page page;
	struct rdma_dev edu;	/* none: rxe does */
	struct region remote;	/* the page: an MR, without memory of ours */
	struct region local;
	struct rdma_conn conn;	/* of rxe */
};

static struct ibv_mr *page_mr(struct ibv_pd *pd, int fd)
{
	return ibv_reg_dmabuf_mr(pd, 0, PAGE, 0, fd, ACCESS);
}

/* The parts that those by rxe and those by edu have in common. */
static int user_create(struct user *u, struct rdma_dev *dev)
{
	struct region_attr local = {
		.kind = memory_kind("anon"), .iova = &iova_same, .len = PAGE,
		.access = ACCESS,
	};
	int err = page_export(&u->page);

	if (err)
		return err;
	u->remote = (struct region) {
		.len = PAGE, .mr = page_mr(dev->pd, u->page.fd), .mem.fd = -1,
	};
	if (!u->remote.mr)
		return -errno;
	return region_create(&u->local, dev, &local);
}

static void user_destroy(struct user *u)
{
	conn_close(&u->conn);
	region_destroy(&u->remote);
	region_destroy(&u->local);
	edu_close(&u->edu);
	page_close(&u->page);
}

/* By rxe, which talks to itself. */
static int user_rxe(struct user *u)
{
	int err = user_create(u, &rxe[0]);

	return err ? err : conn_open(&u->conn, &rxe[0], &rxe[0], IBV_QPT_RC,
				     false);
}

/* By the nth edu device. */
static int user_edu(struct user *u, int nth)
{
	int err = edu_open_nth(&u->edu, nth);

	return err ? err : user_create(u, &u->edu);
}

/* Bytes between the page and the same place in our memory; -ENODEV: no access. */
static int move_rxe(struct user *u, bool write, u64 off, u32 len)
{
	const struct transfer t = {
		.op = operation(write ? "write" : "read"), .local = &u->local,
		.remote = &u->remote, .local_off = off, .remote_off = off,
		.len = len,
	};
	struct transfer_status s = { 0 };
	int err = transfer_run(&u->conn, &t, &s);

	if (err || !s.a)
		return err;
	err = conn_reset(&u->conn);
	if (!err)
		err = s.a == IBV_WC_REM_ACCESS_ERR ? -ENODEV : -EREMOTEIO;
	return err;
}

static int move_edu(struct user *u, bool write, u64 off, u32 len)
{
	struct edudv_place page = { u->remote.mr, off };
	struct edudv_place ram = { u->local.mr, off };

	return -edudv_copy(u->edu.pd, write ? page : ram, write ? ram : page,
			   len);
}

/* It ends as it should, and no byte of ours has changed but those it reads. */
static int move(struct user *u, bool write, u64 off, u32 len, int want)
{
	int err = u->edu.ctx ? move_edu(u, write, off, len) :
			       move_rxe(u, write, off, len);

	if (err != want) {
		ktap_diag("%s of %u bytes at %llu: %s", write ? "write" : "read",
			  len, (unsigned long long)off, strerror(-err));
		return err ? err : -EBADMSG;
	}
	if (!err && !write)
		memset(region_model(&u->local, off), 0xff, len);
	return region_check_all(&u->local);
}

static int ends(struct user *u)
{
	int err = move(u, false, 0, 64, -ENODEV);

	return err ? err : move(u, true, 0, 64, -ENODEV);
}

/* It reads as all ones, and still does when it was written. */
static int works(struct user *u)
{
	static const struct {
		u64 off;
		u32 len;
	} spans[] = {
		{ 0, 8 }, { PAGE - 8, 8 }, { 8, 1024 }, { 1016, 2048 }, { 0, PAGE },
	};
	int err = 0;
	size_t i;

	for (i = 0; !err && i < ARRAY_SIZE(spans); i++) {
		if (u->edu.ctx && spans[i].len > EDU_CHUNK)
			continue;	/* slow, and nothing else */
		region_fill(&u->local, i);
		err = move(u, false, spans[i].off, spans[i].len, 0);
		region_fill(&u->local, i + 100);
		if (!err)
			err = move(u, true, spans[i].off, spans[i].len, 0);
		if (!err)
			err = move(u, false, spans[i].off, spans[i].len, 0);
	}
	return err;
}

static int try_rxe(struct user *u)
{
	int err = user_rxe(u);

	return err ? err : works(u);
}

/* The closed fd ends nothing: the MR has the dma-buf, that the context's page. */
static int try_closed_fd(struct user *u)
{
	int err = user_rxe(u);

	page_close_fd(&u->page);
	return err ? err : works(u);
}

/* Nobody can map it any more, new MRs included. */
static int check_over(struct user *u, struct rdma_dev *dev)
{
	struct ibv_mr *mr;
	int err = ends(u);

	if (err || u->page.fd < 0)
		return err;
	errno = 0;
	mr = page_mr(dev->pd, u->page.fd);
	if (mr)
		ibv_dereg_mr(mr);
	if (!mr && errno == ENODEV)
		return 0;
	ktap_diag("a new MR: %s", mr ? "made" : strerror(errno));
	return -EBADMSG;
}

static int try_close(struct user *u)
{
	int err = user_rxe(u);

	if (!err)
		err = move(u, false, 0, PAGE, 0);
	edu_close(&u->page.owner);
	return err ? err : check_over(u, &rxe[0]);
}

/* There is nothing but the MR that keeps the dma-buf. */
static int try_close_closed_fd(struct user *u)
{
	int err = try_closed_fd(u);

	edu_close(&u->page.owner);
	return err ? err : ends(u);
}

/* A mapping keeps the context, as it keeps the file. */
static int try_close_mapped(struct user *u)
{
	u64 *map = page_map(&u->page);
	int err = map ? user_rxe(u) : -errno;

	edu_close(&u->page.owner);
	if (!err)
		err = move(u, false, 0, PAGE, 0);
	page_unmap(map);
	return err ? err : check_over(u, &rxe[0]);
}

/* So does a process that has the file, until it is killed. */
static int try_killed(struct user *u)
{
	int err = user_rxe(u);
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		pause();
		_exit(1);
	}
	edu_close(&u->page.owner);
	if (!err)
		err = move(u, false, 0, PAGE, 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err ? err : check_over(u, &rxe[0]);
}

/* Reads, until one fails; how many did not. */
struct reader {
	struct user *u;
	int reads, err;
};

static void *read_on(void *arg)
{
	struct reader *r = arg;

	do
		r->err = move_rxe(r->u, false, 0, PAGE);
	while (!r->err && ++r->reads);
	return NULL;
}

/* While rxe reads, all the time. */
static int try_close_busy(struct user *u)
{
	struct reader r = { .u = u };
	pthread_t thread;
	int err = user_rxe(u);

	if (!err)
		err = -pthread_create(&thread, NULL, read_on, &r);
	if (err)
		return err;
	usleep(300 * 1000);
	edu_close(&u->page.owner);
	pthread_join(thread, NULL);
	ktap_diag("%d reads, then %s", r.reads, strerror(-r.err));
	if (r.err != -ENODEV || !r.reads)
		return r.err ? r.err : -EBADMSG;
	memset(region_model(&u->local, 0), 0xff, PAGE);
	return ends(u);
}

#define MANY	50

static int make_many(const struct page *page, struct ibv_mr **mrs)
{
	int i, err = 0;

	for (i = 0; !err && i < MANY; i++) {
		struct page p = *page;

		err = page_export(&p);
		if (err)
			break;
		mrs[i] = page_mr(rxe[0].pd, p.fd);
		err = mrs[i] ? 0 : -errno;
		page_close_fd(&p);
	}
	return err;
}

static int all_end(struct user *u, struct ibv_mr **mrs)
{
	struct ibv_mr *mr = u->remote.mr;
	int i, err = ends(u);

	for (i = 0; !err && i < MANY; i++) {
		u->remote.mr = mrs[i];
		err = ends(u);
	}
	u->remote.mr = mr;
	return err;
}

/* Many dma-bufs of the one page, an MR of each, end together. */
static int try_many(struct user *u)
{
	struct ibv_mr *mrs[MANY] = {};
	int i, err = user_rxe(u);

	if (!err)
		err = make_many(&u->page, mrs);
	edu_close(&u->page.owner);
	if (!err)
		err = all_end(u, mrs);
	for (i = 0; i < MANY; i++)
		if (mrs[i])
			ibv_dereg_mr(mrs[i]);
	return err;
}

/*
 * The driver has to let go of the device, and gets it again. The process has a
 * zero page where the page was; the old context is of no more use.
 */
static int lose(struct user *u, int (*take)(const char *function),
		int (*back)(const char *function))
{
	u64 *map = page_map(&u->page);
	char function[16] = "";
	int err = map ? user_rxe(u) : -errno, on_err;

	if (!err)
		err = page_function(&u->page, function);
	if (!err && page_get(map) != PAGE_ONES)
		err = -EBADMSG;
	if (!err)
		err = move(u, false, 0, PAGE, 0);
	if (!err)
		err = take(function);
	if (!err && page_get(map))
		err = -EBADMSG;
	if (!err)
		err = check_over(u, &rxe[0]);
	page_unmap(map);
	on_err = *function ? back(function) : 0;
	return err ? err : on_err;
}

static int try_unbind(struct user *u)
{
	return lose(u, page_unbind, page_bind);
}

static int rescan(const char *function)
{
	(void)function;
	return vfio_rescan();
}

static int try_remove(struct user *u)
{
	return lose(u, vfio_remove, rescan);
}

static int refuse_map(const struct page *p, size_t len, int flags, u64 offset)
{
	void *map = mmap(NULL, len, PROT_READ, flags, p->owner.ctx->cmd_fd,
			 offset);

	if (map == MAP_FAILED && errno == EINVAL)
		return 0;
	if (map != MAP_FAILED)
		munmap(map, len);
	ktap_diag("%zu bytes at %#llx: %s", len, (unsigned long long)offset,
		  map == MAP_FAILED ? strerror(errno) : "mapped");
	return -EBADMSG;
}

static int check_mapping(u64 *map)
{
	if (page_get(map) != PAGE_ONES ||
	    page_get(map + PAGE / 8 - 1) != PAGE_ONES)
		return -EBADMSG;
	page_set(map, 1);
	return page_get(map) == PAGE_ONES ? 0 : -EBADMSG;
}

/* All of the page and nothing else, shared. */
static int try_map(struct user *u)
{
	const struct page *p = &u->page;
	u64 *map = page_map(p);
	int err;

	if (!map)
		return -errno;
	err = check_mapping(map);
	page_unmap(map);
	if (!err)
		err = refuse_map(p, PAGE, MAP_PRIVATE, p->offset);
	if (!err)
		err = refuse_map(p, 2 * PAGE, MAP_SHARED, p->offset);
	if (!err)
		err = refuse_map(p, PAGE, MAP_SHARED, p->offset + PAGE);
	return err;
}

static int try_bad_offsets(struct user *u)
{
	const u64 offsets[] = {
		PAGE, 1, 8, PAGE - 1, -PAGE, 1ULL << 32, 1ULL << 44, 1ULL << 63,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		struct page bad = u->page;
		int err;

		bad.offset += offsets[i];
		err = page_export(&bad);
		page_close_fd(&bad);
		if (err != -EINVAL) {
			ktap_diag("at %#llx: %s", (unsigned long long)bad.offset,
				  strerror(-err));
			return -EBADMSG;
		}
	}
	return 0;
}

/* No more than the page. */
static int try_bad_ranges(struct user *u)
{
	static const struct {
		u64 offset, len;
	} bad[] = {
		{ 0, PAGE + 1 }, { 8, PAGE }, { PAGE, 8 }, { -8ULL, 16 }, { 0, 0 },
	};
	int err = page_export(&u->page);
	struct ibv_mr *mr;
	size_t i;

	for (i = 0; !err && i < ARRAY_SIZE(bad); i++) {
		errno = 0;
		mr = ibv_reg_dmabuf_mr(rxe[0].pd, bad[i].offset, bad[i].len,
				       bad[i].offset, u->page.fd, ACCESS);
		err = mr ? -EBADMSG : errno == EINVAL ? 0 : -errno;
		if (mr)
			ibv_dereg_mr(mr);
		if (err)
			ktap_diag("%llu bytes at %llu",
				  (unsigned long long)bad[i].len,
				  (unsigned long long)bad[i].offset);
	}
	return err;
}

/* Who cannot let go when told to, as iommufd, does not get it. */
static int try_pinned(struct user *u)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC), err;
	u64 iova;
	u32 ioas;

	if (iommufd < 0)
		return -errno;
	err = page_export(&u->page);
	if (!err)
		err = ioas_alloc(iommufd, &ioas);
	if (!err) {
		err = ioas_map_file(iommufd, ioas, u->page.fd, 0, PAGE, &iova);
		err = err == -EOPNOTSUPP ? 0 : err ? err : -EBADMSG;
	}
	close(iommufd);
	return err;
}

/*
 * PCI says that a function reaches itself, by the BAR's own address. An IOMMU
 * that translates, QEMU has in between.
 */
static int try_itself(struct user *u)
{
	int err = user_edu(u, 0);

	if (!err && !edu_is_translated())
		err = works(u);
	return err;
}

/* The IOMMU, where it translates, was told of the page first. */
static int check_mapped(struct user *u)
{
	struct mapped m = trace_take();
	u64 addr;
	int err = page_address(&u->page, &addr);

	if (err || !edu_is_translated() || m.memory == addr)
		return err;
	ktap_diag("%#llx is mapped and not %#llx", m.memory,
		  (unsigned long long)addr);
	return -EBADMSG;
}

/* And it has the page no longer, though the MR is there. */
static int check_unmapped(void)
{
	struct mapped m = trace_take();

	if (!edu_is_translated() || m.unmapped == PAGE)
		return 0;
	ktap_diag("%llu bytes unmapped", m.unmapped);
	return -EBADMSG;
}

/* By another function of the kind, which loses it when the context ends. */
static int try_peer(struct user *u)
{
	int err = trace_start();

	if (!err)
		err = user_edu(u, 1);
	if (!err)
		err = check_mapped(u);
	if (!err)
		err = works(u);
	if (err)
		return err;
	trace_take();
	edu_close(&u->page.owner);
	err = check_unmapped();
	return err ? err : check_over(u, &u->edu);
}

/* Another function, which PCI does not let at the BAR: there is no MR. */
static int try_forbidden(struct user *u)
{
	int err = user_edu(u, 1);

	return err == -EREMOTEIO ? 0 : err ? err : -EBADMSG;
}

struct test {
	const char *name;
	int (*try)(struct user *u);
};

static enum ktap_result run(const void *arg)
{
	struct user u = { .remote.mem.fd = -1, .local.mem.fd = -1 };
	const struct test *t = arg;
	struct holdings before;
	int err;

	holdings_now(&before);
	err = page_open(&u.page, 0);
	if (!err)
		err = t->try(&u);
	user_destroy(&u);
	if (err == -EOPNOTSUPP && stock_kernel())
		return ktap_skip("this kernel's rxe has no MRs of dma-bufs");
	if (err)
		return ktap_fail("%s", strerror(-err));
	return holdings_same(&before) ? KTAP_PASS : ktap_fail("something is left");
}

/* The device that all programs here have open has to be opened again. */
static enum ktap_result run_loss(const void *arg)
{
	enum ktap_result result;
	int err;

	edu_close(&edu);
	result = run(arg);
	err = edu_open(&edu);
	return err ? ktap_fail("afterwards: %s", strerror(-err)) : result;
}

struct tries {
	struct page page;
	struct holdings held;
};

/* One dma-buf and one MR, the nth allocation for which fails. */
static enum ktap_result fail_one(struct injection *inj, void *arg)
{
	struct tries *t = arg;
	struct ibv_mr *mr = NULL;
	int err;

	inject_begin(inj);
	err = page_export(&t->page);
	if (!err) {
		mr = page_mr(rxe[0].pd, t->page.fd);
		err = mr ? 0 : -errno;
	}
	inject_end(inj);
	inj->refused = err;
	if (mr)
		ibv_dereg_mr(mr);
	page_close_fd(&t->page);
	if (err && err != -ENOMEM)
		return ktap_fail("%s instead of ENOMEM", strerrorname_np(-err));
	return holdings_same(&t->held) ? KTAP_PASS : ktap_fail("something is left");
}

/* Debugging does not allocate the same each time. */
#define ROUNDS	2

static enum ktap_result run_failures(const void *arg)
{
	enum ktap_result result = inject_prepare();
	struct tries t;
	int err;

	(void)arg;
	if (result != KTAP_PASS)
		return result;
	err = page_open(&t.page, 0);
	if (err) {
		page_close(&t.page);
		return ktap_fail("set-up: %s", strerror(-err));
	}
	holdings_now(&t.held);
	result = inject_each(ROUNDS, &t, fail_one);
	page_close(&t.page);
	return result;
}

static const struct test tests[] = {
	{ "map", try_map },
	{ "bad_offsets", try_bad_offsets },
	{ "bad_ranges", try_bad_ranges },
	{ "rxe", try_rxe },
	{ "closed_fd", try_closed_fd },
	{ "close", try_close },
	{ "close/closed_fd", try_close_closed_fd },
	{ "close/mapped", try_close_mapped },
	{ "close/killed", try_killed },
	{ "close/busy", try_close_busy },
	{ "close/many", try_many },
	{ "pinned", try_pinned },
	{ "itself", try_itself },
};

static const struct test losses[] = {
	{ "unbind", try_unbind },
	{ "remove", try_remove },
};

static const struct test peer = { "peer", try_peer };
static const struct test forbidden = { "forbidden", try_forbidden };

static void add(ktap_fn fn, const struct test *t)
{
	ktap_add(fn, t, "export/%s", t->name);
}

int main(int argc, char **argv)
{
	const char *p2p = getenv("DMA_P2P");
	int status;
	size_t i;

	if (rdma_pair_open(rxe))
		return 1;
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		add(run, &tests[i]);
	for (i = 0; i < ARRAY_SIZE(losses); i++)
		add(run_loss, &losses[i]);
	ktap_add(run_failures, NULL, "export/fail");
	if (p2p)
		add(run, atoi(p2p) ? &peer : &forbidden);
	status = edu_main(argc, argv);
	rdma_pair_close(rxe);
	return status;
}
