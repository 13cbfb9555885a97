/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What most tests start from: a connection, and a region at each end of it.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "memory.h"
#include "operation.h"
#include "rdma_pair.h"

struct path {
	const char *name;
	enum ibv_qp_type type;
	bool srq, loopback;
};

struct fixture {
	struct rdma_conn conn;
	struct region local, remote;
};

/* rxe0 and rxe1, open while the tests run. */
extern struct rdma_dev rxe[2];

int fixture_create(struct fixture *f, const struct path *path,
		   const struct region_attr *local,
		   const struct region_attr *remote);
void fixture_destroy(struct fixture *f);

/* Open the devices, run all tests added, close them: the rest of main(). */
int fixture_main(int argc, char **argv);

#endif
