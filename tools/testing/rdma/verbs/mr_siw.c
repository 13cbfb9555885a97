// SPDX-License-Identifier: GPL-2.0
/*
 * siw, the other software device that reads the pages of a registered region
 * itself: the same bytes must move. It sends from softirq and from a thread,
 * over TCP, and is reached by rdma_cm only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ktap.h"
#include "sweep.h"

#define ADDRESS	"10.9.9.1"
#define PORT	18600
#define HEAD	1234
#define LEN	(5UL * 1024 * 1024 + 777)
#define TAIL	321
#define ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
		 IBV_ACCESS_REMOTE_READ)

struct siw_conn {
	struct rdma_conn conn;
	struct rdma_cm_id *listener, *a, *b;
	struct rdma_dev dev;
	struct region local, remote;
	int err;	/* of the accepting side */
};

static struct sockaddr_in address(void)
{
	return (struct sockaddr_in) {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = inet_addr(ADDRESS),
	};
}

static int make_end(struct siw_conn *s, struct rdma_end *end,
		    struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = 16, .max_recv_wr = 16,
			.max_send_sge = 2, .max_recv_sge = 2,
		},
	};

	end->dev = &s->dev;
	end->cq = ibv_create_cq(id->verbs, 64, NULL, NULL, 0);
	attr.send_cq = end->cq;
	attr.recv_cq = end->cq;
	if (!end->cq || rdma_create_qp(id, s->dev.pd, &attr))
		return -errno;
	end->qp = id->qp;
	return 0;
}

static struct rdma_conn_param param = {
	.initiator_depth = 16, .responder_resources = 16,
};

static void *accept_one(void *arg)
{
	struct siw_conn *s = arg;

	s->err = rdma_get_request(s->listener, &s->b) ? -errno : 0;
	if (!s->err)
		s->err = make_end(s, &s->conn.b, s->b);
	if (!s->err)
		s->err = rdma_accept(s->b, &param) ? -errno : 0;
	return NULL;
}

static int resolve(struct siw_conn *s)
{
	struct sockaddr_in to = address();

	if (rdma_create_id(NULL, &s->a, NULL, RDMA_PS_TCP) ||
	    rdma_resolve_addr(s->a, NULL, (struct sockaddr *)&to, 10000) ||
	    rdma_resolve_route(s->a, 10000))
		return -errno;
	if (strncmp(ibv_get_device_name(s->a->verbs->device), "siw", 3))
		return -ENODEV;
	s->dev.ctx = s->a->verbs;
	s->dev.pd = ibv_alloc_pd(s->a->verbs);
	return s->dev.pd ? 0 : -errno;
}

static int listen_on(struct siw_conn *s)
{
	struct sockaddr_in at = address();

	if (rdma_create_id(NULL, &s->listener, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(s->listener, (struct sockaddr *)&at) ||
	    rdma_listen(s->listener, 1))
		return -errno;
	return 0;
}

static int siw_connect(struct siw_conn *s)
{
	pthread_t thread;
	int err;

	s->conn.type = IBV_QPT_RC;
	s->conn.unacknowledged = true;
	err = listen_on(s);
	if (!err)
		err = resolve(s);
	if (!err)
		err = make_end(s, &s->conn.a, s->a);
	if (err)
		return err;
	pthread_create(&thread, NULL, accept_one, s);
	if (rdma_connect(s->a, &param))
		err = -errno;
	pthread_join(thread, NULL);
	return err ? err : s->err;
}

static void id_destroy(struct rdma_cm_id *id, struct rdma_end *end)
{
	if (!id)
		return;
	if (id->qp)
		rdma_destroy_qp(id);
	if (end->cq)
		ibv_destroy_cq(end->cq);
	rdma_destroy_id(id);
}

static void siw_destroy(struct siw_conn *s)
{
	if (s->a && s->b)
		rdma_disconnect(s->a);
	region_destroy(&s->local);
	region_destroy(&s->remote);
	id_destroy(s->b, &s->conn.b);
	/* The domain goes before the identifier that holds the device open. */
	if (s->a && s->a->qp)
		rdma_destroy_qp(s->a);
	if (s->conn.a.cq)
		ibv_destroy_cq(s->conn.a.cq);
	s->conn.a.cq = NULL;
	if (s->dev.pd)
		ibv_dealloc_pd(s->dev.pd);
	id_destroy(s->a, &s->conn.a);
	if (s->listener)
		rdma_destroy_id(s->listener);
}

static int siw_create(struct siw_conn *s, const struct memory_kind *memory)
{
	struct region_attr attr = {
		.kind = memory, .iova = &iova_same, .head = HEAD, .len = LEN,
		.tail = TAIL, .access = ACCESS,
	};
	int err;

	memset(s, 0, sizeof(*s));
	err = siw_connect(s);
	if (!err)
		err = region_create(&s->local, &s->dev, &attr);
	if (!err)
		err = region_create(&s->remote, &s->dev, &attr);
	if (err)
		return err;
	region_fill(&s->local, 1);
	region_fill(&s->remote, 2);
	return 0;
}

struct siw_test {
	const struct memory_kind *memory;
	const struct operation *op;
};

static enum ktap_result run_data(const void *arg)
{
	const struct siw_test *t = arg;
	struct siw_conn s;
	int err = siw_create(&s, t->memory);

	s.conn.short_reads_wrong = stock_kernel();
	if (!err)
		err = sweep(&s.conn, t->op, &s.local, &s.remote);
	siw_destroy(&s);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* siw copies a short answer before it sends it, over a page end in two steps. */
static enum ktap_result run_short_read(const void *arg)
{
	struct transfer t = { .op = operation("read") };
	struct siw_conn s;
	u64 end;
	int err;

	(void)arg;
	if (stock_kernel())
		return ktap_skip("stock siw copies the wrong bytes");
	err = siw_create(&s, memory_kind("scattered"));
	t.local = &s.local;
	t.remote = &s.remote;
	end = -s.remote.iova % 4096;
	for (t.len = 2; !err && t.len < 64; t.len++) {
		for (t.remote_off = end - t.len + 1;
		     !err && t.remote_off < end; t.remote_off++)
			err = transfer_verify(&s.conn, &t);
	}
	siw_destroy(&s);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

static int post_read(struct siw_conn *s, u32 len)
{
	struct ibv_sge sge = region_sge(&s->local, 0, len);
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma.remote_addr = s->remote.iova,
		.wr.rdma.rkey = s->remote.mr->rkey,
	};

	return end_post_send(&s->conn.a, &wr);
}

static int expect_read(struct siw_conn *s, u32 len)
{
	struct ibv_wc wc;
	int err = end_wait(&s->conn.a, &wc);

	if (!err && wc.status) {
		ktap_diag("read of %u bytes: %s", len,
			  ibv_wc_status_str(wc.status));
		err = -EREMOTEIO;
	}
	return err;
}

/*
 * A read of nothing whose answer has to wait for that of another read, which is
 * still being sent: the answer must be empty, not as long as the one before.
 */
static enum ktap_result run_empty_read_waits(const void *arg)
{
	static const u32 lens[] = { LEN, 0, 1, 0 };
	struct siw_conn s;
	size_t i;
	int err;

	(void)arg;
	if (stock_kernel())
		return ktap_skip("stock siw gives it the length of the one before");
	err = siw_create(&s, memory_kind("anon"));
	for (i = 0; !err && i < ARRAY_SIZE(lens); i++)
		err = post_read(&s, lens[i]);
	for (i = 0; !err && i < ARRAY_SIZE(lens); i++)
		err = expect_read(&s, lens[i]);
	if (!err) {
		memcpy(region_model(&s.local, 0), region_model(&s.remote, 0),
		       LEN);
		err = region_check_all(&s.local);
	}
	siw_destroy(&s);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* What an SGE without bytes says of memory does not count; the next one's does. */
static int send_empty_sge(struct siw_conn *s, u32 len)
{
	struct ibv_sge sge[2] = {
		region_sge(&s->local, 0, 0), region_sge(&s->local, 0, len),
	};
	struct ibv_sge to = region_sge(&s->remote, 0, len);
	struct ibv_send_wr wr = {
		.sg_list = sge, .num_sge = 2,
		.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;
	int err = end_post_recv(&s->conn.b, &to, 1);

	if (!err)
		err = end_post_send(&s->conn.a, &wr);
	if (!err)
		err = end_wait(&s->conn.a, &wc);
	if (!err && !wc.status)
		err = end_wait(&s->conn.b, &wc);
	return err || !wc.status ? err : -EREMOTEIO;
}

static enum ktap_result run_empty_sge(const void *arg)
{
	const u32 len = 100000;
	struct siw_conn s;
	int err;

	(void)arg;
	if (stock_kernel())
		return ktap_skip("stock siw takes the kernel down");
	err = siw_create(&s, memory_kind("anon"));
	if (!err)
		err = send_empty_sge(&s, len);
	if (!err) {
		memcpy(region_model(&s.remote, 0), region_model(&s.local, 0),
		       len);
		err = region_check_all(&s.remote);
	}
	siw_destroy(&s);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A read one byte past the end of either side fails and changes nothing. */
static int read_past(struct siw_conn *s, u64 local_off, u64 remote_off)
{
	struct transfer t = {
		.op = operation("read"), .local = &s->local,
		.remote = &s->remote, .local_off = local_off,
		.remote_off = remote_off, .len = 100,
	};
	struct transfer_status status;
	int err = transfer_run(&s->conn, &t, &status);

	if (!err && !status.a)
		err = -ENOTRECOVERABLE;
	if (!err)
		err = region_check_all(&s->local);
	return err ? err : region_check_all(&s->remote);
}

static enum ktap_result run_bounds(const void *arg)
{
	const u64 off[2] = { LEN - 99, 7 };
	bool at_remote = *(const bool *)arg;
	struct siw_conn s;
	int err = siw_create(&s, memory_kind("scattered"));

	if (!err)
		err = read_past(&s, off[at_remote], off[!at_remote]);
	siw_destroy(&s);
	return err ? ktap_fail("%s", strerror(-err)) : KTAP_PASS;
}

/* A device on an interface of its own, where no other RDMA device is. */
static int add_device(void)
{
	static const char * const commands[] = {
		"modprobe siw",
		"ip link add siwnet type dummy",
		"ip addr add " ADDRESS "/24 dev siwnet",
		"ip link set siwnet up",
		"rdma link add siw0 type siw netdev siwnet",
	};
	size_t i;

	if (!access("/sys/class/infiniband/siw0", F_OK))
		return 0;
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (system(commands[i]))
			return -ENODEV;
	return 0;
}

int main(int argc, char **argv)
{
	static const char * const ops[] = { "send", "write", "read" };
	static const bool sides[2] = { false, true };
	size_t i, j;

	if (add_device()) {
		fputs("mr_siw: cannot add a siw device. Run this as ./lab exec -- PROGRAM\n",
		      stderr);
		return 1;
	}
	srand(1);
	for (i = 0; i < nr_memory_kinds; i++) {
		for (j = 0; j < ARRAY_SIZE(ops); j++) {
			struct siw_test *t = calloc(1, sizeof(*t));

			if (memory_kinds[i].read_only)
				break;
			t->memory = &memory_kinds[i];
			t->op = operation(ops[j]);
			ktap_add(run_data, t, "siw/%s/%s", t->memory->name,
				 t->op->name);
		}
	}
	ktap_add(run_short_read, NULL, "siw/short_read_over_page_end");
	ktap_add(run_empty_read_waits, NULL, "siw/empty_read_waits");
	ktap_add(run_empty_sge, NULL, "siw/empty_sge");
	ktap_add(run_bounds, &sides[0], "siw/bounds/local");
	ktap_add(run_bounds, &sides[1], "siw/bounds/remote");
	return ktap_main(argc, argv);
}
