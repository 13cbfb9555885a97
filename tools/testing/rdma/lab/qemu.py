# SPDX-License-Identifier: GPL-2.0
"""QEMU: its command line, its start and its end."""

import os
import shlex
import socket
import subprocess

import ui

PORTS = ("control", "stdin", "stdout", "stderr", "tty")
END_LIMIT = 5           # seconds for QEMU to close its files


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


def command(accel, fds, *, image, initrd, log, mem="2G", cpus=2, devices=(), cmdline=(),
            shares=(), link=None):
    """The command line. ACCEL says which accelerator (accel.py), FDS has a
    socket for each port, SHARES are (tag, directory) to be written, LINK is a
    network: a socket that the other VM has the other end of, and our MAC."""
    args = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35",
            "-display", "none", "-no-reboot", *accel, "-m", mem, "-smp", str(cpus)]
    # First, as an IOMMU has to come before the devices behind it
    for text in devices:
        args += _device(text)
    args += ["-chardev", f"file,id=kernel,path={_comma(log)},append=on",
             "-serial", "chardev:kernel", "-device", "virtio-serial-pci"]
    for name, fd in fds.items():
        args += ["-chardev", f"socket,id={name},fd={fd}",
                 "-device", f"virtserialport,chardev={name},name=lab.{name}"]
    args += _share("lab.root", "/", ",readonly=on")
    for tag, path in shares:
        args += _share(tag, path)
    if link:
        args += ["-netdev", f"socket,id=link,fd={link[0].fileno()}",
                 "-device", f"virtio-net-pci,netdev=link,mac={link[1]},romfile="]
    # no_timer_check: on a busy host its ticks come late, which is no broken timer
    args += ["-device", "virtio-rng-pci", "-kernel", str(image), "-initrd", str(initrd),
             "-append", " ".join(["console=ttyS0 printk.time=1 panic=-1 oops=panic",
                                  "random.trust_cpu=on tsc=reliable no_timer_check", *cmdline])]
    return args


class Qemu:
    """A running QEMU, and our end of each of its ports."""

    def __init__(self, log, **what):
        self.ports, theirs = {}, {}
        for name in PORTS:
            self.ports[name], theirs[name] = socket.socketpair()
        fds = {name: sock.fileno() for name, sock in theirs.items()}
        link = what.get("link")
        argv = command(fds=fds, log=log, **what)
        try:
            with open(log, "ab") as out:
                # setpriv, and no code of ours between fork and exec: the kernel kills
                # QEMU when the thread that started it ends, however that comes about
                self._child = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *argv], 
                    pass_fds=[*fds.values(), *([link[0].fileno()] if link else [])],
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
        for sock in self.ports.values():
            try:
                sock.shutdown(socket.SHUT_RDWR)     # wakes up who reads from it
            except OSError:
                pass
