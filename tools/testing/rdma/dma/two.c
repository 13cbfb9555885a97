// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "ktap.h"
#include "two.h"

#define RAM	(64 * 1024)

void two_destroy(struct two *t)
{
	region_destroy(&t->peer);
	region_destroy(&t->ram);
}

int two_create(struct two *t, const struct region_attr *peer)
{
	int err;

	memset(t, 0, sizeof(*t));
	t->peer.mem.fd = -1;
	t->ram.mem.fd = -1;
	err = region_create(&t->peer, &edu, peer);
	if (!err)
		err = edu_region(&t->ram, memory_kind("scattered"), &iova_same, 17, RAM);
	if (err) {
		two_destroy(t);
		return err;
	}
	region_fill(&t->peer, 1);
	region_fill(&t->ram, 2);
	return 0;
}

static int tell(int err, const char *where, u64 at, u64 len)
{
	if (err)
		ktap_diag("%llu bytes %s %llu", (unsigned long long)len, where,
			  (unsigned long long)at);
	return err;
}

int two_to_peer(struct two *t, u64 at, u64 len)
{
	return tell(edu_copy_verify(&t->peer, at, &t->ram, 5, len), "to", at, len);
}

int two_from_peer(struct two *t, u64 at, u64 len)
{
	return tell(edu_copy_verify(&t->ram, 9000, &t->peer, at, len), "from", at, len);
}
