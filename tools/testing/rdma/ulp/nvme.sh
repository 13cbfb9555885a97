#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# NVMe-oF in one VM. The target, at rxe1's address, serves a RAM disk; the host
# connects from rxe0's. The folder named holds block_data. Output is KTAP: what
# this script did, and what block_data found.

set -u

folder=$1
nqn=lab
disk=/dev/ram0
disk_kib=32768
target=10.0.0.2
initiator=10.0.0.1
port=4420
config=/sys/kernel/config/nvmet
subsystem=$config/subsystems/$nqn

# In capsules of inline data go small writes; without them, all go by key.
inline_sizes="0 16384"

tests=0
failed=0

# The kernel's log tells which test runs: a complaint of the kernel is the test's.
mark() {
	echo "lab-test: $1 nvme $2" >/dev/kmsg
}

# result STATUS NAME: one KTAP line
result() {
	mark end "$2"
	tests=$((tests + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tests $2"
	else
		echo "not ok $tests $2"
		failed=1
	fi
	return "$1"
}

load() {
	mountpoint -q /sys/kernel/config ||
		mount -t configfs none /sys/kernel/config
	modprobe -a nvmet_rdma nvme_rdma && modprobe brd rd_nr=1 rd_size="$disk_kib"
}

unload() {
	modprobe -r brd && modprobe -r nvme_rdma && modprobe -r nvmet_rdma
}

target_up() {
	mkdir "$subsystem" &&
	echo 1 >"$subsystem/attr_allow_any_host" &&
	mkdir "$subsystem/namespaces/1" &&
	echo "$disk" >"$subsystem/namespaces/1/device_path" &&
	echo 1 >"$subsystem/namespaces/1/enable" &&
	mkdir "$config/ports/1" &&
	echo rdma >"$config/ports/1/addr_trtype" &&
	echo ipv4 >"$config/ports/1/addr_adrfam" &&
	echo "$target" >"$config/ports/1/addr_traddr" &&
	echo "$port" >"$config/ports/1/addr_trsvcid" &&
	echo "$1" >"$config/ports/1/param_inline_data_size" &&
	ln -s "$subsystem" "$config/ports/1/subsystems/$nqn"
}

target_down() {
	rm "$config/ports/1/subsystems/$nqn" &&
	rmdir "$config/ports/1" "$subsystem/namespaces/1" "$subsystem"
}

connect() {
	to=traddr=$target,trsvcid=$port,host_traddr=$initiator
	echo "transport=rdma,$to,nqn=$nqn,nr_io_queues=2" >/dev/nvme-fabrics
}

# The block device appears, and goes, a little later.
present() {
	for try in $(seq 500); do
		[ -b /dev/nvme0n1 ] && return 0
		sleep 0.02
	done
	echo "# no block device after $try looks"
	return 1
}

disconnect() {
	echo 1 >/sys/class/nvme/nvme0/delete_controller &&
	[ ! -e /sys/class/nvme/nvme0 ] && [ ! -b /dev/nvme0n1 ]
}

one_round() {
	name=inline_$1
	mark begin "$name/load"
	load
	result $? "$name/load" || return
	mark begin "$name/target"
	target_up "$1"
	result $? "$name/target" || return
	mark begin "$name/connect"
	connect && present
	result $? "$name/connect" &&
		"$folder/block_data" /dev/nvme0n1 "$disk" "$name" || failed=1
	mark begin "$name/disconnect"
	disconnect
	result $? "$name/disconnect"
	mark begin "$name/target_down"
	target_down
	result $? "$name/target_down"
	mark begin "$name/unload"
	unload
	result $? "$name/unload"
}

echo "KTAP version 1"
for inline in $inline_sizes; do
	one_round "$inline"
done
echo "1..$tests"
exit $failed
