#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in both VMs of a pair: traffic from the first to the second, and what
# crossed the link.

count() {
	cat "/sys/class/net/net0/statistics/$1_packets"
}

# The server may not listen yet.
try() {
	tries=0
	until "$@" >/tmp/client.out 2>&1; do
		tries=$((tries + 1))
		if [ $tries -eq 100 ]; then
			cat /tmp/client.out >&2
			return 1
		fi
		sleep 0.2
	done
}

cd /sys/class/infiniband || exit
echo "node $LAB_NODE" -- *
cat rxe0/ports/1/state rxe0/ports/1/gids/1

if [ "$LAB_NODE" -eq 1 ]; then
	ibv_rc_pingpong -d rxe0 -g 1 -n 100 >/dev/null || exit
	rping -s -a "$LAB_ADDRESS" -C 50 -V >/dev/null || exit
	echo "received $(count rx)"
	exit
fi

for client in "ibv_rc_pingpong -d rxe0 -g 1 -n 100 $LAB_PEER" \
	      "rping -c -a $LAB_PEER -C 50 -V"; do
	before=$(count tx)
	# shellcheck disable=SC2086 # words
	try $client || exit
	echo "${client%% *} $(($(count tx) - before))"
done
