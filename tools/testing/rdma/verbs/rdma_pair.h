/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two RDMA devices, and connected queue pairs between them.
 *
 * All functions that return int return 0 or a negative errno value.
 */
#ifndef RDMA_PAIR_H
#define RDMA_PAIR_H

#include <infiniband/verbs.h>
#include <stdbool.h>

#include "util.h"

/* Where ./lab puts the IPv4 address of each device. */
#define PAIR_GID_INDEX	1
#define PAIR_PORT	1
#define PAIR_INLINE	256
#define PAIR_QKEY	0x11111111

/* What a memory region gets unless a test says otherwise. */
#define ACCESS_ALL	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | \
			 IBV_ACCESS_MW_BIND | IBV_ACCESS_FLUSH_GLOBAL)

struct rdma_dev {
	const char *name;
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	union ibv_gid gid;
	enum ibv_mtu mtu;
};

/* Open a device by name, with one protection domain. */
int rdma_dev_open(struct rdma_dev *dev, const char *name);
void rdma_dev_close(struct rdma_dev *dev);

/* Open rxe0 and rxe1, or say on stderr why not. */
int rdma_pair_open(struct rdma_dev dev[2]);
void rdma_pair_close(struct rdma_dev dev[2]);

static inline unsigned int rdma_dev_mtu(const struct rdma_dev *dev)
{
	return 128U << dev->mtu;
}

/* One end of a connection: a queue pair with a completion queue of its own. */
struct rdma_end {
	struct rdma_dev *dev;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_qp *qp;
	struct ibv_qp_ex *qpx;
	u32 psn;
	enum ibv_mtu mtu;	/* of its path; 0: the largest that both have */
	/* Datagrams only: the peer's address, and room for a routing header. */
	struct ibv_ah *ah;
	struct ibv_mr *grh_mr;
	unsigned char grh[40];
};

/* Requests are posted at a; b answers, and posts receives. */
struct rdma_conn {
	struct rdma_end a, b;
	enum ibv_qp_type type;
	bool srq;
	/* How often a request without an answer is sent again; 0: with no end */
	unsigned char retries;
	/* Where the peer has no receive, a request fails at once */
	bool rnr_fails;
	/* A request is complete when it left, not when it arrived. */
	bool unacknowledged;
	/* Empty answers to reads, and short ones over a page end, are wrong. */
	bool short_reads_wrong;
};

int conn_open(struct rdma_conn *c, struct rdma_dev *a, struct rdma_dev *b,
	      enum ibv_qp_type type, bool srq);
/* Take both ends through RESET, which is how to go on after an error. */
int conn_reset(struct rdma_conn *c);
/*
 * Take the requester alone through RESET, and have it go on with this packet
 * number: one that it has used already makes copies of old packets.
 */
int conn_restart(struct rdma_conn *c, u32 psn);
void conn_close(struct rdma_conn *c);

/* Post, with the receive going to the shared queue where there is one. */
int end_post_recv(struct rdma_end *end, struct ibv_sge *sge, int num_sge);
int end_post_send(struct rdma_end *end, struct ibv_send_wr *wr);
/* Wait for one completion, good or bad. */
int end_wait(struct rdma_end *end, struct ibv_wc *wc);

#endif
