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
	# -c: check the data
	for kind in "verbs msg" "verbs;ofi_rxm rdm" "verbs;ofi_rxd rdm"; do
		provider=${kind% *}
		endpoint=${kind#* }
		run="fi_pingpong -p $provider -e $endpoint -c -I 20"
		pair "fi_pingpong, $provider" "$run -s $to" "$run $to"
	done
	;;
fio)
	for verb in write read send; do
		# A server's verb is its client's
		pair "fio, $verb" "fio --name=s --ioengine=rdma --bindname=$to --port=7100
			--rw=read --bs=64k --size=4m --iodepth=8" \
			"fio --name=c --ioengine=rdma --hostname=$to --port=7100 --verb=$verb
			--rw=write --bs=64k --size=4m --iodepth=8"
	done
	;;
*)
	echo "no such program: $2" >&2
	exit 2
	;;
esac
