# SPDX-License-Identifier: GPL-2.0
"""QEMU: its command line, its start and its end."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
from pathlib import Path

import ui

PORTS = ("control", "stdin", "stdout", "stderr", "tty")
SERIAL = "ports"        # the device that they belong to
END_LIMIT = 5           # seconds for QEMU to close its files
ANSWER_LIMIT = 5        # and for its monitor to answer


def _comma(path):
    """A path within an option list of QEMU's."""
    return os.fsdecode(path).replace(",", ",,")


def _share(tag, path, options=""):
    name = tag.replace(".", "-")
    return ["-fsdev", f"local,id={name},path={_comma(path)},security_model=none,"
                      f"multidevs=remap{options}",
            "-device", f"virtio-9p-pci,fsdev={name},mount_tag={tag}"]


def _device(text):
    """--device's words: as they are, or with the -device left out."""
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise ui.LabError(f"--device {text}: {e}") from e
    return words if not words or words[0].startswith("-") else ["-device", *words]


def command(accel, fds, monitor, *, image, initrd, log, mem="2G", cpus=2, devices=(),
            cmdline=(), shares=(), link=None, gdb=None):
    """The command line. ACCEL says which accelerator (accel.py), FDS has a
    socket for each port, MONITOR is one for QEMU's monitor, SHARES are (tag,
    directory) to be written, LINK is a network: a socket that the other VM has
    the other end of, and our MAC. GDB is the path of a socket at which the VM,
    stopped, waits for a debugger."""
    args = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35",
            "-display", "none", "-no-reboot", *accel, "-m", mem, "-smp", str(cpus)]
    # First, as an IOMMU has to come before the devices behind it
    for text in devices:
        args += _device(text)
    args += ["-chardev", f"file,id=kernel,path={_comma(log)},append=on",
             "-serial", "chardev:kernel", "-device", f"virtio-serial-pci,id={SERIAL}",
             "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "monitor,mode=control"]
    for name, fd in fds.items():
        args += ["-chardev", f"socket,id={name},fd={fd}",
                 "-device", f"virtserialport,chardev={name},name=lab.{name}"]
    args += _share("lab.root", "/", ",readonly=on")
    for tag, path in shares:
        args += _share(tag, path)
    if link:
        args += ["-netdev", f"socket,id=link,fd={link[0].fileno()}",
                 "-device", f"virtio-net-pci,netdev=link,mac={link[1]},romfile="]
    if gdb:
        args += ["-chardev", f"socket,id=gdb,path={_comma(gdb)},server=on,wait=off",
                 "-gdb", "chardev:gdb", "-S"]
    # no_timer_check: on a busy host its ticks come late, which is no broken timer
    args += ["-device", "virtio-rng-pci", "-kernel", str(image), "-initrd", str(initrd),
             "-append", " ".join(["console=ttyS0 printk.time=1 panic=-1 oops=panic",
                                  "random.trust_cpu=on tsc=reliable no_timer_check", *cmdline])]
    return args


@contextlib.contextmanager
def debugger(tell, kernel):
    """The path of a socket for a debugger; TELL(PATH, KERNEL) says so to the user.

    None where TELL is None.
    """
    if not tell:
        yield None
        return
    # Not in build/: the path of a socket has 107 bytes at most
    with tempfile.TemporaryDirectory(prefix="rdma-lab-") as folder:
        path = Path(folder) / "gdb"
        tell(path, kernel)
        yield path


class Monitor:
    """QEMU's monitor (QMP): it answers a person's commands as text."""

    def __init__(self, sock):
        self.sock = sock
        self._have = b""
        self._ready = False

    def _read(self):
        """The next answer; events are of no interest here."""
        while True:
            line, newline, rest = self._have.partition(b"\n")
            if newline:
                self._have = rest
                message = json.loads(line)
                if "event" not in message:
                    return message
                continue
            data = self.sock.recv(65536)
            if not data:
                raise OSError("QEMU closed its monitor")
            self._have += data

    def _execute(self, name, **arguments):
        self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        answer = self._read()
        return answer.get("return", answer.get("error"))

    def ask(self, command):
        """What QEMU says to COMMAND, or why it said nothing."""
        try:
            self.sock.settimeout(ANSWER_LIMIT)
            if not self._ready:
                self._read()        # its greeting
                self._execute("qmp_capabilities")
                self._ready = True
            answer = self._execute("human-monitor-command", **{"command-line": command})
        except (OSError, ValueError) as e:
            return f"(no answer: {e})"
        return str(answer).replace("\r", "")


class Qemu:
    """A running QEMU, and our end of each of its ports and of its monitor."""

    def __init__(self, log, **what):
        self.ports, theirs = {}, {}
        for name in PORTS:
            self.ports[name], theirs[name] = socket.socketpair()
        fds = {name: sock.fileno() for name, sock in theirs.items()}
        ours, theirs["monitor"] = socket.socketpair()
        self.monitor = Monitor(ours)
        link = what.get("link")
        keep = [*(sock.fileno() for sock in theirs.values()), *([link[0].fileno()] if link else [])]
        argv = command(fds=fds, monitor=theirs["monitor"].fileno(), log=log, **what)
        try:
            with open(log, "ab") as out:
                # setpriv, and no code of ours between fork and exec: the kernel kills
                # QEMU when the thread that started it ends, however that comes about
                self._child = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *argv], pass_fds=keep,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    cwd="/", start_new_session=True)
        except OSError as e:
            raise ui.LabError(f"cannot start the VM: {e}") from e
        finally:
            for sock in theirs.values():
                sock.close()

    def wait(self):
        self._child.wait()

    def end(self):
        """SIGTERM first, so that disk images that the caller attached are complete."""
        self._child.terminate()
        try:
            self._child.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self.monitor.sock.close()
        for sock in self.ports.values():
            try:
                sock.shutdown(socket.SHUT_RDWR)     # wakes up who reads from it
            except OSError:
                pass
