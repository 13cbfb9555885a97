#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command where there is neither a network nor /dev/kvm. Call it in
# mount and network namespaces of its own (unshare -rmn).

set -e
dev=$1
shift
mount -t tmpfs none "$dev"
for node in null zero full random urandom tty; do
	: >"$dev/$node"
	mount --bind "/dev/$node" "$dev/$node"
done
mkdir "$dev/shm" "$dev/pts"
ln -s /proc/self/fd "$dev/fd"
mount --bind /dev/pts "$dev/pts"
mount --move "$dev" /dev
[ ! -e /dev/kvm ]
exec "$@"
