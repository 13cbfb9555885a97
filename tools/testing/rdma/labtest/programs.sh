#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM: PROGRAM, which is no part of this project, as its own
# server and client, from 10.0.0.1 (rxe0) to 10.0.0.2 (rxe1). "own" runs several
# programs from a device to that device's own address.
#
# usage: programs.sh DIR-OF-THIS PROGRAM [PROGRAM-OF-OURS]

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

# ofi_rxm makes one CQ for 256 times FI_UNIVERSE_SIZE entries. Its default, 256
# peers, is more than the 32,767 that a CQ of rxe has.
rxm_in_rxe() {
	export FI_UNIVERSE_SIZE=16
}

# UCX would take shared memory between two programs in one VM.
ucx_in_rxe() {
	export UCX_TLS="$1"
	export UCX_UD_VERBS_ETH_DGID_CHECK=n
}

# UCX before 1.19 takes the RoCE version from a field that only mlx5 fills in,
# so it looks for the GID in the wrong header and drops all UD datagrams. It must
# end with the message that says so, and a newer one must work.
ucx_without_check() {
	name="ucx without UCX_UD_VERBS_ETH_DGID_CHECK=n"
	unset UCX_UD_VERBS_ETH_DGID_CHECK
	version=$(ucx_info -v |
		  sed -n 's/^# .*[Vv]ersion[ =:]*\([0-9]*\)\.\([0-9]*\).*/\1 \2/p;T;q')
	if [ "$((${version% *} * 1000 + ${version#* }))" -ge 1019 ]; then
		pair "$name" "$1" "$2"
		return
	fi
	export UCX_UD_TIMEOUT=3s
	pair "$name" "$1" "$2" >/tmp/line 2>/tmp/stderr
	unset UCX_UD_TIMEOUT
	if grep -q "UD endpoint.*unhandled timeout error" /tmp/stderr; then
		sed 's/ failed / known /' /tmp/line
	else
		cat /tmp/line
		cat /tmp/stderr >&2
	fi
}

# two_ranks PROGRAM OPTION...: by mpirun, each rank on a device of its own
two_ranks() {
	program=$1
	shift
	# shellcheck disable=SC2016 # the inner shell knows its rank
	mpirun --allow-run-as-root -np 2 "$@" sh -c '
		device=rxe$OMPI_COMM_WORLD_RANK
		export UCX_NET_DEVICES=$device:1 FI_VERBS_DEVICE_NAME=$device
		exec "$0"' "$program" >/tmp/ranks.out 2>&1
	status=$?
	cat /tmp/ranks.out
	grep -q "^data: 30 messages right$" /tmp/ranks.out && return $status
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
	# -c: check the data
	run="fi_pingpong -p verbs -c -I 20"
	pair "fi_pingpong, msg" "$run -e msg -d rxe1" "$run -e msg -d rxe0 $to"
	pair "fi_pingpong, dgram" "$run -e dgram -d rxe1-dgram" "$run -e dgram -d rxe0-dgram $to"
	rxm_in_rxe
	run="fi_pingpong -p verbs;ofi_rxm -e rdm -c -I 20"
	pair "fi_pingpong, rdm" "$run -d rxe1" "$run -d rxe0 $to"
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
ucx)
	# ucx_perftest checks no data: the program for MPI does, over UCX as well.
	on0="env UCX_NET_DEVICES=rxe0:1" on1="env UCX_NET_DEVICES=rxe1:1"
	run="ucx_perftest -t tag_bw -s 65536 -n 50 -w 5"
	for transport in rc_verbs,ud_verbs ud_verbs; do
		ucx_in_rxe $transport,self
		pair "ucx_perftest, $transport" "$on1 $run" "$on0 $run $to"
	done
	ucx_without_check "$on1 $run" "$on0 $run $to"
	;;
mpi)
	ucx_in_rxe rc_verbs,ud_verbs,self
	alone "mpi, UCX, rc" two_ranks "$3" --mca pml ucx
	ucx_in_rxe ud_verbs,self
	alone "mpi, UCX, ud" two_ranks "$3" --mca pml ucx
	rxm_in_rxe
	alone "mpi, libfabric" two_ranks "$3" --mca pml cm --mca mtl ofi \
		--mca mtl_ofi_provider_include "verbs;ofi_rxm"
	;;
own)
	own0=10.0.0.1
	own1=10.0.0.2
	# A client that binds no source address leaves by rxe0
	pair "rping, rxe0" "rping -s -a $own0 -C 20 -V" "rping -c -a $own0 -C 20 -V"
	pair "rping, rxe0, bound" "rping -s -a $own0 -C 20 -V" \
		"rping -c -I $own0 -a $own0 -C 20 -V"
	pair "rping, rxe1, bound" "rping -s -a $own1 -C 20 -V" \
		"rping -c -I $own1 -a $own1 -C 20 -V"
	pair "rstream, rxe0" "rstream -b $own0 -T v -S 4095 -C 50" \
		"rstream -s $own0 -T v -S 4095 -C 50"
	for end in msg:rxe0 dgram:rxe0-dgram; do
		run="fi_pingpong -p verbs -c -I 20 -e ${end%:*} -d ${end#*:}"
		pair "fi_pingpong, ${end%:*}, rxe0" "$run" "$run $own0"
	done
	for device in 0 1; do
		run="ib_write_bw -F -d rxe$device -x 1 -s 65536 -n 20"
		pair "ib_write_bw, rxe$device" "$run" "$run 10.0.0.$((device + 1))"
	done
	;;
*)
	echo "no such program: $2" >&2
	exit 2
	;;
esac
