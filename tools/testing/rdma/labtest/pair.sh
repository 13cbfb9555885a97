# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced in the VM: a server and a client, or a program that starts both, with
# what crossed the link.

count() {
	cat "/sys/class/net/$1/statistics/tx_packets"
}

# pair NAME SERVER-COMMAND CLIENT-COMMAND: run both and print
#   NAME ok|failed PACKETS-FROM-NET0 PACKETS-FROM-NET1
# where ok means that both ended with status 0. What they said is in
# /tmp/server.out and /tmp/client.out, and on stderr after a failure.
pair() {
	before0=$(count net0) before1=$(count net1)
	$2 >/tmp/server.out 2>&1 &
	server=$!
	client=1 tries=0
	# The server may not listen yet
	while [ $client -ne 0 ] && [ $tries -lt 20 ] && kill -0 $server 2>/dev/null; do
		[ $tries -eq 0 ] || sleep 0.2
		tries=$((tries + 1))
		$3 >/tmp/client.out 2>&1
		client=$?
	done
	if [ $client -ne 0 ]; then
		kill $server 2>/dev/null
	fi
	if wait $server && [ $client -eq 0 ]; then
		outcome=ok
	else
		outcome=failed
		cat /tmp/server.out /tmp/client.out >&2
	fi
	echo "$1 $outcome $(($(count net0) - before0)) $(($(count net1) - before1))"
}

# alone NAME COMMAND...: run what is its own server and client, and print the same.
alone() {
	name=$1
	shift
	before0=$(count net0) before1=$(count net1)
	if "$@" >/tmp/client.out 2>&1; then
		outcome=ok
	else
		outcome=failed
		cat /tmp/client.out >&2
	fi
	echo "$name $outcome $(($(count net0) - before0)) $(($(count net1) - before1))"
}
