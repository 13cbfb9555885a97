// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "fixture.h"
#include "ktap.h"

struct rdma_dev rxe[2];

int fixture_create(struct fixture *f, const struct path *path,
		   const struct region_attr *local,
		   const struct region_attr *remote)
{
	struct rdma_dev *peer = &rxe[!path->loopback];
	int err;

	memset(f, 0, sizeof(*f));
	err = conn_open(&f->conn, &rxe[0], peer, path->type, path->srq);
	if (!err)
		err = region_create(&f->local, &rxe[0], local);
	if (!err)
		err = region_create(&f->remote, peer, remote);
	if (err) {
		fixture_destroy(f);
		return err;
	}
	region_fill(&f->local, 1);
	region_fill(&f->remote, 2);
	return 0;
}

void fixture_destroy(struct fixture *f)
{
	conn_close(&f->conn);
	region_destroy(&f->local);
	region_destroy(&f->remote);
}

int fixture_main(int argc, char **argv)
{
	int status;

	if (rdma_pair_open(rxe))
		return 1;
	status = ktap_main(argc, argv);
	rdma_pair_close(rxe);
	return status;
}
