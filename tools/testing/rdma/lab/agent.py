# SPDX-License-Identifier: GPL-2.0
"""The agent, process 1 of the VM: building it, and talking with it.

The C source is in tools/testing/rdma/vm; wire.c there lists the messages.
"""

import hashlib
import os
import struct
import subprocess
import threading

import paths
import ui

SOURCES = paths.TESTING / "vm"
CFLAGS = ["-static", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"]


# -- the initramfs ------------------------------------------------------------

def _entry(number, name, mode, data=b"", major=0, minor=0):
    """One file of a cpio archive, format newc."""
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def archive(init):
    """An initramfs with INIT, and the console that the kernel opens for it."""
    return (_entry(1, "dev", 0o040755) +
            _entry(2, "dev/console", 0o020600, major=5, minor=1) +
            _entry(3, "init", 0o100755, init) +
            _entry(0, "TRAILER!!!", 0))


def _fingerprint(files):
    digest = hashlib.sha256(" ".join(CFLAGS).encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def initramfs():
    """The initramfs file for the agent as it is now."""
    files = sorted(SOURCES.glob("*.[ch]"))
    done = paths.BUILD / "vm" / f"initramfs-{_fingerprint(files)}.cpio"
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    # Names of our own until all is there: several calls may build at once.
    agent = done.parent / f"agent.{os.getpid()}.{threading.get_ident()}"
    fresh = agent.with_suffix(".cpio")
    try:
        ui.logged(["gcc", *CFLAGS, "-o", agent, *[f for f in files if f.suffix == ".c"]],
                  paths.log(f"{agent.name}.log"), "the VM's agent does not build")
        subprocess.run(["strip", agent], check=False)
        fresh.write_bytes(archive(agent.read_bytes()))
        fresh.replace(done)
    finally:
        agent.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)
    paths.log(f"{agent.name}.log").unlink(missing_ok=True)
    return done


# -- messages -----------------------------------------------------------------

HEAD = struct.Struct("<cI")


class Wire:
    """The control port: send messages, and take apart what arrives."""

    def __init__(self, sock):
        self.sock = sock
        self._have = b""

    def send(self, kind, data=b""):
        if isinstance(data, int):
            data = str(data)
        if isinstance(data, str):
            data = os.fsencode(data)
        try:
            self.sock.sendall(HEAD.pack(kind.encode(), len(data)) + data)
        except OSError:
            pass        # the VM is gone; whoever reads will notice

    def receive(self):
        """The messages that one read brings; None at the end."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        self._have += data
        messages = []
        while len(self._have) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._have)
            end = HEAD.size + length
            if len(self._have) < end:
                break
            messages.append((kind.decode(), self._have[HEAD.size:end]))
            self._have = self._have[end:]
        return messages


def send_job(wire, job):
    """Describe the program: JOB is a list of (kind, data)."""
    for kind, data in job:
        wire.send(kind, data)
    wire.send("g")
