#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM: selftests of the kernel, one after the other. Each TEST is a
# name and a command; "=== program NAME STATUS" follows what the command prints.
# SETUP is rdma, vfio or dmabuf: what a usual machine has, or a person does,
# before the tests of that kind.
#
# usage: run.sh SETUP FOLDER-OF-THE-SOURCE TEST...

setup=$1
source=$2
shift 2

# function VENDOR DEVICE: where the PCI function is
function_at() {
	for at in /sys/bus/pci/devices/*; do
		if [ "$(cat "$at/vendor" "$at/device")" = "$1
$2" ]; then
			basename "$at"
			return
		fi
	done
	echo "no PCI function $1 $2" >&2
	return 1
}

# A usual machine's udev loads the modules of programs. Nothing is in memory yet:
# tests start a server and give it a second, so bring its files in first.
setup_rdma() {
	ip link set lo up &&
	modprobe -a ib_uverbs rdma_ucm || return
	rping -h >/dev/null 2>&1
	ping -c 1 -W 1 127.0.0.1 >/dev/null
}

# The tests are told of the functions by their names in the environment.
setup_vfio() {
	edu=$(function_at 0x1234 0x11e8) &&
	ivshmem=$(function_at 0x1af4 0x1110) &&
	nvme=$(function_at 0x1b36 0x0010) || return
	export edu ivshmem nvme
	echo 32 >/proc/sys/vm/nr_hugepages
	bash "$source/vfio/scripts/setup.sh" "$edu" "$ivshmem" "$nvme" >/dev/null
}

# udmabuf asks for 1024 huge pages without looking whether there are any.
setup_dmabuf() {
	echo 1024 >/proc/sys/vm/nr_hugepages
	modprobe vgem 2>/dev/null || true
}

setup_iommu() {
	echo 128 >/proc/sys/vm/nr_hugepages
}

if ! "setup_$setup"; then
	echo "Bail out! the set-up of $setup failed"
	exit 1
fi
for test; do
	name=${test%% *}
	echo "selftest $name" >/dev/kmsg
	# The names of functions are put in here.
	eval "${test#* }" </dev/null 2>&1
	echo "=== program $name $?"
done
