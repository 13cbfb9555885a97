#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM: PROGRAM, which is no part of this project, as its own
# server and client, from 10.0.0.1 (rxe0) to 10.0.0.2 (rxe1).
#
# usage: programs.sh DIR-OF-THIS PROGRAM

# shellcheck source=tools/testing/rdma/labtest/pair.sh
. "$1/pair.sh"

to=10.0.0.2

# fio's --bindname does not work, so it listens on all addresses. Its verb is
# the client's. A client that fails leaves its server waiting for ever.
fio_server() {
	exec timeout 60 fio --name=server --ioengine=rdma --port="$port" --rw=read \
		--bs=64k --size=4m --iodepth=8
}

# It gives status 0 after an error, too, so ask it how much it moved.
fio_client() {
	timeout 60 fio --name=client --ioengine=rdma --hostname=$to --port="$port" \
		--verb="$verb" --rw=write --bs=64k --size=4m --iodepth=8 >/tmp/fio.out 2>&1
	cat /tmp/fio.out
	grep -q "io=4096KiB" /tmp/fio.out
}

case $2 in
rping)
	# -V compares the data with what was sent
	pair "rping, 64 bytes" "rping -s -a $to -C 50 -V" "rping -c -a $to -C 50 -V"
	pair "rping, 60000 bytes" "rping -s -a $to -C 50 -V -S 60000" \
		"rping -c -a $to -C 50 -V -S 60000"
	;;
rstream)
	# -T v: verify the data
	for test in "-S 1" "-S 4095" "-S 65536 -B 131072" "-S 1000000"; do
		pair "rstream, $test" "rstream -b $to -T v $test -C 20" \
			"rstream -s $to -T v $test -C 20"
	done
	;;
fi_pingpong)
	# -c: check the data. ofi_rxm wants a larger CQ than rxe has.
	run="fi_pingpong -p verbs -c -I 20"
	pair "fi_pingpong, msg" "$run -e msg -d rxe1" "$run -e msg -d rxe0 $to"
	pair "fi_pingpong, dgram" "$run -e dgram -d rxe1-dgram" "$run -e dgram -d rxe0-dgram $to"
	;;
fio)
	# No send: fio connects without RNR retries and sends at once, so a server
	# that is slow to post its receives makes it fail, on any hardware.
	port=7100
	for verb in write read; do
		port=$((port + 1))
		pair "fio, $verb" fio_server fio_client
	done
	;;
*)
	echo "no such program: $2" >&2
	exit 2
	;;
esac
