// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <rdma/ib_user_verbs.h>
#include <unistd.h>

#include "rereg.h"

struct rereg_command {
	struct ib_uverbs_cmd_hdr hdr;
	struct ib_uverbs_rereg_mr rereg;
};

int rereg_mr(struct ibv_mr *mr, const struct rereg *to)
{
	struct ib_uverbs_rereg_mr_resp resp = { 0 };
	struct rereg_command cmd = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(cmd) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.rereg = {
			.response = (uintptr_t)&resp,
			.mr_handle = mr->handle,
			.flags = to->flags,
			.start = (uintptr_t)to->addr,
			.length = to->len,
			.hca_va = to->iova,
			.access_flags = to->access,
			.pd_handle = to->pd ? to->pd->handle : 0,
		},
	};

	if (write(mr->context->cmd_fd, &cmd, sizeof(cmd)) != sizeof(cmd))
		return -errno;
	mr->lkey = resp.lkey;
	mr->rkey = resp.rkey;
	if (to->flags & IBV_REREG_MR_CHANGE_PD)
		mr->pd = to->pd;
	return 0;
}
