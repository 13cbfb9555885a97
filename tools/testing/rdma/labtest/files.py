# SPDX-License-Identifier: GPL-2.0
"""Runs in the VM: what the file system there can do. Says "ok NAME" or why not.

usage: files.py SHARED-DIR OUTSIDE-DIR
"""

import mmap
import os
import socket
import sys

SHARED, OUTSIDE = sys.argv[1:]


def unix_socket():
    path = "/tmp/labtest.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"x")
    assert server.accept()[0].recv(1) == b"x"


def fifo():
    os.mkfifo("/tmp/labtest.fifo")
    reader = os.open("/tmp/labtest.fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open("/tmp/labtest.fifo", os.O_WRONLY)
    os.write(writer, b"y")
    assert os.read(reader, 1) == b"y"


def unnamed_file():
    for folder in ("/tmp", "/var/tmp"):
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(fd, b"z")
        assert os.pread(fd, 1, 0) == b"z"


def use_after_unlink():
    with open("/tmp/labtest.gone", "w+b") as f:
        os.unlink(f.name)
        f.write(b"still")
        f.seek(0)
        assert f.read() == b"still"


def write_anywhere():
    for path in ("/tmp/labtest.made", "/etc/labtest.made", "/usr/labtest.made",
                 OUTSIDE + "/made"):
        with open(path, "w", encoding="ascii") as f:
            f.write("made")
    with open(OUTSIDE + "/there", "a", encoding="ascii") as f:
        f.write("changed")
    os.unlink(OUTSIDE + "/doomed")
    assert not os.path.exists(OUTSIDE + "/doomed")
    os.mkdir(OUTSIDE + "/doomed")
    os.rename(OUTSIDE + "/made", OUTSIDE + "/doomed/moved")


def write_shared():
    for folder in (".", SHARED):
        with open(folder + "/made", "wb") as f:
            f.write(b"0123456789abcdef" * 65536)
        os.mkdir(folder + "/sub")
        os.rename(folder + "/made", folder + "/sub/moved")
        os.chmod(folder + "/sub/moved", 0o604)
        os.symlink("sub/moved", folder + "/link")


def map_shared():
    with open("mapped", "w+b") as f:
        f.truncate(10000)
        with mmap.mmap(f.fileno(), 10000) as memory:
            memory[4094:4100] = b"mapped"


def left_open():
    """Written, not closed, not flushed to disk when the program ends."""
    fd = os.open("left-open", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"x" * 3000000)


def mounted(path, kind):
    with open("/proc/self/mounts", encoding="ascii", errors="replace") as f:
        last = [line.split()[2] for line in f if line.split()[1] == path][-1:]
    assert last == [kind], f"{path} is {last}"


def mounts():
    for path, kind in (("/dev", "devtmpfs"), ("/dev/shm", "tmpfs"), ("/dev/pts", "devpts"),
                       ("/dev/hugepages", "hugetlbfs"), ("/proc", "proc"), ("/sys", "sysfs"),
                       ("/sys/kernel/debug", "debugfs"), ("/sys/kernel/tracing", "tracefs"),
                       ("/sys/fs/cgroup", "cgroup2"), ("/sys/kernel/config", "configfs")):
        mounted(path, kind)
    os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))


for test in (unix_socket, fifo, unnamed_file, use_after_unlink, write_anywhere,
             write_shared, map_shared, left_open, mounts):
    try:
        test()
        print("ok", test.__name__)
    except Exception as e:      # pylint: disable=broad-except # each is a result
        print("not", test.__name__, repr(e))
sys.stdout.flush()
os._exit(0)
