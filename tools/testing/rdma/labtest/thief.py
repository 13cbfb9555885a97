# SPDX-License-Identifier: GPL-2.0
"""Runs in the VM: input that the agent never gets.

It reads from the agent's own port of stdin, faster than the agent does, until it
took something, and then reads its stdin to the end: which does not come, as the
agent waits for what was taken.
"""

import ctypes
import os

PORTS = "/sys/class/virtio-ports"
PIDFD_GETFD = 438


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def agents_port(name):
    """A descriptor for the port NAME that process 1 has open."""
    wanted = next(read(f"{PORTS}/{port}/dev") for port in os.listdir(PORTS)
                  if read(f"{PORTS}/{port}/name") == name)
    for fd in map(int, os.listdir("/proc/1/fd")):
        device = os.stat(f"/proc/1/fd/{fd}").st_rdev
        if f"{os.major(device)}:{os.minor(device)}" == wanted:
            return ctypes.CDLL(None).syscall(PIDFD_GETFD, os.pidfd_open(1), fd, 0)
    raise SystemExit(f"process 1 has no {name}")


def take(fd):
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            continue
        if data:
            return len(data)


port = agents_port("lab.stdin")
print("READY", flush=True)
print("TOOK", take(port), flush=True)
while os.read(0, 65536):
    pass
print("END", flush=True)
