# SPDX-License-Identifier: GPL-2.0
"""`./lab exec` and `./lab shell`: a program of the caller's own in the VM."""

import argparse
import collections
import contextlib
import functools
import os
import shlex
import signal
import socket
import sys

import dma
import kernel
import pair
import streams
import ui
import vm

DESCRIPTION = """\
Run COMMAND in a VM with the patched kernel, as root, with two RDMA devices:
rxe0 (10.0.0.1) and rxe1 (10.0.0.2), one virtual link between them. The host's
files are there at the same paths. All of them can be written, but only what
is written below the working directory (and --rw DIR) stays; sockets, fifos
and unnamed temporary files work everywhere else, /tmp say.
"""

PAIR = f"""
With --vms 2, COMMAND runs in two VMs at once, with a network between them.
Each has one RDMA device, rxe0: {pair.ADDRESSES[0]} in the first VM, {pair.ADDRESSES[1]} in the
second. In COMMAND's environment, LAB_NODE is 0 or 1, LAB_ADDRESS the VM's own
address and LAB_PEER the other one's. Both start when both VMs are up; a client
may still have to wait until its server listens. The working directory is the
same one in both, but files are no way to talk: what one writes, the other may
see late. The first VM has the streams, and when its COMMAND ends, the second
one's has {pair.GRACE} seconds to end, too. What that prints comes on stderr with
"{pair.MARK.decode().strip()}" before each line.
"""

STATUSES = f"""\
The exit status is COMMAND's, or 128 + N where signal N ended it, or
  {vm.PANICKED}  the kernel panicked or had an oops: its trace is on stderr
  {vm.TIMED_OUT}  --timeout was reached
  {vm.FAILED}  the lab failed: the reason is on stderr
  {vm.NOT_EXECUTABLE}  COMMAND cannot be executed
  {vm.NOT_FOUND}  COMMAND was not found
With two VMs it is the first one's; the second one's where the first one's is
0 and the second did not have to be ended, and where the second fails.

Ctrl-C reaches COMMAND; a second one ends the VM. Kernel messages are in
build/logs/vm/. To load more modules, call modprobe in the VM.
"""


def options(verb, with_command):
    usage = f"./lab {verb} [OPTION]..." + (" [--] COMMAND [ARGUMENT]..." if with_command else "")
    parser = argparse.ArgumentParser(
        prog=f"lab {verb}", usage=usage, epilog=STATUSES,
        description=DESCRIPTION + (PAIR if with_command else ""),
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kernel", choices=tuple(kernel.FLAVOURS),
        default=os.environ.get("LAB_KERNEL", "phyr"),
        help="the kernel to boot (default: $LAB_KERNEL, or phyr)")
    add("--mem", metavar="SIZE", default="2G", help="memory of the VM (default: 2G)")
    add("--cpus", metavar="N", type=int, default=2, help="processors of the VM (default: 2)")
    add("--device", metavar="QEMU-ARGS", action="append", default=[], dest="devices",
        help="more for QEMU: a -device, or any of its options; may be repeated")
    add("--append", metavar="KERNEL-ARGS", action="append", default=[],
        help="more for the kernel command line; may be repeated")
    add("--iommu", choices=dma.IOMMUS, default="none",
        help="; ".join(f"{name}: {setup.what}" for name, setup in dma.IOMMUS.items())
        + " (default: none)")
    add("--edu", action="store_true", help="add edu_0, an RDMA device that copies by DMA")
    add("--edu-bits", metavar="N", type=int, choices=range(1, 65), default=dma.BITS,
        help=f"address bits of edu_0 (default: {dma.BITS})")
    parser.set_defaults(vms=1, peer=None)
    if with_command:
        add("--vms", type=int, choices=(1, 2), default=1,
            help="run COMMAND in so many VMs (default: 1); see above")
        add("--peer", metavar="SCRIPT",
            help="two VMs: the second one runs SCRIPT, by sh, and not COMMAND")
    add("--rw", metavar="DIR", action="append", default=[],
        help="a directory that reaches the host, as the working directory does; "
             "may be repeated")
    add("--timeout", metavar="SECONDS", type=float,
        help="end COMMAND this long after its start")
    add("--icount", action="store_true",
        help="one processor, a clock that counts instructions, and no randomness: slow, "
             "but the same in each run")
    add("-v", "--verbose", action="store_true",
        help="say which kernel log and which accelerator is used")
    return parser


def split(args):
    """The lab's own options, and the command, which begins at -- or at the
    first word that is not an option."""
    with_value = {"--kernel", "--mem", "--cpus", "--device", "--append", "--edu-bits",
                  "--iommu", "--rw", "--timeout", "--vms", "--peer"}
    i = 0
    while i < len(args):
        if args[i] == "--":
            return args[:i], args[i + 1:]
        if not args[i].startswith("-") or args[i] == "-":
            break
        i += 2 if args[i] in with_value else 1
    return args[:i], args[i:]


class Signals:
    """Signals as a queue, for a loop to take from: no handler runs in between."""

    WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
               signal.SIGWINCH, signal.SIGCONT)

    def __init__(self):
        self._queue = collections.deque()
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def __enter__(self):
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        for signum in self.WATCHED:
            if signal.getsignal(signum) != signal.SIG_IGN:      # nohup, or sh's &
                signal.signal(signum, lambda n, _: self._queue.append(n))
        return self

    def __exit__(self, *_):
        signal.set_wakeup_fd(-1)

    def fileno(self):
        return self._read.fileno()

    def take(self):
        with contextlib.suppress(BlockingIOError):
            self._read.recv(4096)
        while self._queue:
            yield self._queue.popleft()


def standard_streams():
    """0, 1 and 2, or CLOSED; those are filled, so that no file of ours gets there."""
    fds = [fd if streams.is_open(fd) else vm.CLOSED for fd in range(3)]
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return fds


def environ():
    """The caller's environment; the front door hands over what a shell drops."""
    fd = os.environ.pop("LAB_ENVIRON_FD", None)
    if fd is None:
        return dict(os.environb)
    with open(int(fd), "rb") as f:
        entries = f.read().split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def report(result, argv, verbose):
    """What the lab has to say about the end of the program."""
    if result.peer:
        report_peer(result, verbose)
    if result.error:
        ui.say(f"lab: {os.fsdecode(argv[0])}: {result.error}")
    if result.panic:
        ui.say(result.panic)
        ui.say("lab: the kernel panicked, see the trace above")
    elif result.timed_out:
        ui.say("lab: the time limit was reached, the program was ended")
    elif result.stopped:
        ui.say(f"lab: stopped by {signal.Signals(result.stopped).name}")
    if verbose and result.reports:
        ui.say(f"lab: the kernel complained {len(result.reports)} times, see its log")
    if result.panic or verbose:
        ui.say(f"     VM on {result.accel}; kernel log: {vm.paths.show(result.kernel_log)}")


def report_peer(result, verbose):
    peer = result.peer
    where = "in the second VM"
    if peer.error:
        ui.say(f"lab: {where}: {peer.error}")
    if peer.panic:
        ui.say(peer.panic)
        ui.say(f"lab: the kernel panicked {where}, see the trace above")
    elif result.status and result.status == peer.status and not peer.timed_out:
        ui.say(f"lab: {where}, the program ended with status {peer.status}")
    if verbose and peer.reports:
        ui.say(f"lab: the kernel complained {len(peer.reports)} times {where}, see its log")
    if peer.panic or verbose:
        ui.say(f"     kernel log of the second VM: {vm.paths.show(peer.kernel_log)}")


def runner(opts):
    """vm.run, or the like for two VMs."""
    if opts.peer is not None:
        return functools.partial(pair.run, other=[b"sh", b"-c", os.fsencode(opts.peer)])
    return pair.run if opts.vms == 2 else vm.run


def run(opts, argv, env):
    stdin, stdout, stderr = standard_streams()
    try:
        vm.prepare(opts.kernel)
        with Signals() as signals:
            result = runner(opts)(
                argv, kernel=opts.kernel, mem=opts.mem, cpus=opts.cpus, devices=opts.devices,
                cmdline=opts.append, iommu=opts.iommu, edu=opts.edu_bits if opts.edu else None,
                timeout=opts.timeout, stdin=stdin, stdout=stdout, stderr=stderr, env=env,
                rw=opts.rw, icount=opts.icount, name="exec", signals=signals)
    except ui.LabError as e:
        e.show()
        return vm.FAILED
    except OSError as e:
        ui.say(f"lab: {e}")
        return vm.FAILED
    report(result, argv, opts.verbose)
    return result.status


def main(args):
    own, argv = split(args)
    parser = options("exec", True)
    try:
        opts = parser.parse_args(own)
    except SystemExit as e:
        return vm.FAILED if e.code else 0
    if not argv:
        parser.print_usage(sys.stderr)
        ui.say("lab: exec needs a command")
        return vm.FAILED
    if opts.icount and (opts.vms == 2 or opts.peer is not None):
        ui.say("lab: --icount is for one VM: the clocks of two would not agree")
        return vm.FAILED
    return run(opts, [os.fsencode(arg) for arg in argv], environ())


def shell(args):
    parser = options("shell", False)
    try:
        opts = parser.parse_args(args)
    except SystemExit as e:
        return vm.FAILED if e.code else 0
    env = environ()
    own = os.fsdecode(env.get(b"SHELL", b"/bin/bash"))
    argv = [own]
    if os.path.basename(own) == "bash":
        argv += ["--rcfile", str(vm.paths.TESTING / "vm" / "bashrc")]
    env[b"LAB_VM"] = opts.kernel.encode()
    env[b"PS1"] = f"[VM {opts.kernel}] $ ".encode()
    if sys.stderr.isatty():
        ui.say(f"A VM with the {opts.kernel} kernel: rxe0 is 10.0.0.1, rxe1 is 10.0.0.2. All "
               f"that is written is\nthrown away at the end, but for what is below "
               f"{os.getcwd()}.")
    return run(opts, [os.fsencode(arg) for arg in argv], env)
