#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM: traffic between rxe0 and rxe1, both ways, by GID and by
# rdma_cm, and what crossed the link.

# shellcheck source=tools/testing/rdma/labtest/pair.sh
. "$1/pair.sh"

for device in rxe0 rxe1; do
	cd "/sys/class/infiniband/$device/ports/1" || exit
	cat state gids/0 gids/1
done

rc="ibv_rc_pingpong -n 100"
ud="ibv_ud_pingpong -n 100"
pair gid-0-1 "$rc -d rxe1 -g 1" "$rc -d rxe0 -g 1 127.0.0.1"
pair gid-1-0 "$rc -d rxe0 -g 1" "$rc -d rxe1 -g 1 127.0.0.1"
pair gid-ipv6 "$rc -d rxe1 -g 0" "$rc -d rxe0 -g 0 127.0.0.1"
pair ud-0-1 "$ud -d rxe1 -g 1" "$ud -d rxe0 -g 1 127.0.0.1"
pair cm-0-1 "rping -s -a 10.0.0.2 -C 20 -V" "rping -c -a 10.0.0.2 -C 20 -V"
pair cm-1-0 "rping -s -a 10.0.0.1 -C 20 -V" "rping -c -I 10.0.0.2 -a 10.0.0.1 -C 20 -V"
pair cm-bound "rping -s -a 10.0.0.2 -C 20 -V" "rping -c -I 10.0.0.1 -a 10.0.0.2 -C 20 -V"
