#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM: traffic between rxe0 and rxe1, both ways, by GID and by
# rdma_cm. Says for each how many packets crossed the link.

count() {
	cat "/sys/class/net/$1/statistics/tx_packets"
}

# transfer NAME SERVER-COMMAND -- CLIENT-COMMAND
transfer() {
	name=$1 server=$2 client=$3
	before0=$(count net0) before1=$(count net1)
	$server >/tmp/server.out 2>&1 &
	pid=$!
	tries=0
	until $client >/tmp/client.out 2>&1; do
		# The server may not listen yet
		tries=$((tries + 1))
		[ $tries -lt 20 ] || break
		kill -0 $pid 2>/dev/null || break
		sleep 0.2
	done
	if [ $tries -lt 20 ] && wait $pid; then
		status=ok
	else
		status=failed
		kill $pid 2>/dev/null
		cat /tmp/server.out /tmp/client.out >&2
	fi
	echo "$name $status $(($(count net0) - before0)) $(($(count net1) - before1))"
}

transfer gid-0-1 "ibv_rc_pingpong -d rxe1 -g 1 -n 100" "ibv_rc_pingpong -d rxe0 -g 1 -n 100 127.0.0.1"
transfer gid-1-0 "ibv_rc_pingpong -d rxe0 -g 1 -n 100" "ibv_rc_pingpong -d rxe1 -g 1 -n 100 127.0.0.1"
transfer gid-ipv6 "ibv_rc_pingpong -d rxe1 -g 0 -n 100" "ibv_rc_pingpong -d rxe0 -g 0 -n 100 127.0.0.1"
transfer ud-0-1 "ibv_ud_pingpong -d rxe1 -g 1 -n 100" "ibv_ud_pingpong -d rxe0 -g 1 -n 100 127.0.0.1"
transfer cm-0-1 "rping -s -a 10.0.0.2 -C 20 -v -V" "rping -c -a 10.0.0.2 -C 20 -v -V"
transfer cm-1-0 "rping -s -a 10.0.0.1 -C 20 -v -V" "rping -c -a 10.0.0.1 -C 20 -v -V"
transfer cm-bound "rping -s -a 10.0.0.2 -C 20 -v -V" "rping -c -I 10.0.0.1 -a 10.0.0.2 -C 20 -v -V"
