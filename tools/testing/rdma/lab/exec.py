# SPDX-License-Identifier: GPL-2.0
"""`./lab exec` and `./lab shell`: a program of the caller's own in the VM."""

import argparse
import collections
import contextlib
import functools
import math
import os
import re
import resource
import shlex
import signal
import socket
import sys

import dma
import kernel as kernels
import klog
import pair
import streams
import ui
import vm

COMPLAINED = 122        # the exit status, with --fail-on-warn
MIB = 1 << 20
LEAST_MEMORY = {"phyr": 192 * MIB, "stock": 192 * MIB, "symbols": 192 * MIB, "debug": 512 * MIB}
MOST_CPUS = 255         # that QEMU's machine has without more options

DESCRIPTION = """\
Run COMMAND in a VM with the patched kernel, as root, with two RDMA devices:
rxe0 (10.0.0.1) and rxe1 (10.0.0.2), one virtual link between them. The host's
files are there at the same paths. All of them can be written, but only what
is written below the working directory (and --rw DIR) stays; sockets, fifos
and unnamed temporary files work everywhere else, /tmp say.
"""

SHELL = """\
Open a shell, the caller's own, in a VM with the patched kernel, as root, with two
RDMA devices: rxe0 (10.0.0.1) and rxe1 (10.0.0.2), one virtual link between them.
The host's files are there at the same paths. All of them can be written, but
only what is written below the working directory (and --rw DIR) stays. COMMAND,
below, is the shell.
"""

PAIR = f"""
With --vms 2, COMMAND runs in two VMs at once, with a network between them.
Each has one RDMA device, rxe0: {pair.ADDRESSES[0]} in the first VM, {pair.ADDRESSES[1]} in the
second. In COMMAND's environment, LAB_NODE is 0 or 1, LAB_ADDRESS the VM's own
address and LAB_PEER the other one's. Both start when both VMs are up; a client
may still have to wait until its server listens. The working directory is the
same one in both, but files are no way to talk: what one writes, the other may
see late. The first VM has the streams, and when its COMMAND ends, the second
one's has {pair.GRACE} seconds to end, too; then the lab ends it. What that prints comes
on stderr with "{pair.MARK.decode().strip()}" before each line.
"""

SURROUNDINGS = """
Arguments, environment, working directory, umask, resource limits and streams
are the caller's own. Two variables get folders added: PATH the programs of
the lab's rdma-core and perftest, before the first folder of the system's, and
LD_LIBRARY_PATH, at its end, the lab's rdma-core. So what the caller's own folders
have comes first, and then the lab's, not the system's. --rdma-core changes this.

A program that crashes leaves its core dump in the file core in its working
directory, where the limit (ulimit -c) allows it.
"""

STATUSES = f"""\
The exit status is COMMAND's, or 128 + N where signal N ended it, or
  {COMPLAINED}  the kernel complained (WARN, BUG and the like), with --fail-on-warn
  {vm.PANICKED}  the kernel panicked or had an oops: its trace is on stderr
  {vm.TIMED_OUT}  --timeout was reached
  {vm.FAILED}  the lab failed: the reason is on stderr
  {vm.NOT_EXECUTABLE}  COMMAND cannot be executed
  {vm.NOT_FOUND}  COMMAND was not found
With two VMs it is the first one's, if that is not 0. If it is 0, it is the second
one's, where that ended by itself: one that the lab had to end, {pair.GRACE} seconds after
the first, does not count, and one that a signal to the lab ended does not either.
If the second one's VM fails, or cannot execute it, that is the status.

Ctrl-C reaches COMMAND; a second one ends the VM. SIGTERM, SIGHUP and SIGQUIT reach
it as well; if it did not end --kill-after seconds later, or when the same signal
comes again, the lab ends the VM. SIGUSR1 and SIGUSR2 are passed on. Kernel messages
are in build/logs/vm/. To load more modules, call modprobe in the VM.
"""


# What ./lab shell does not have
WITHOUT_PAIR = re.compile(r"With two VMs.*? that is the status\.\n", re.DOTALL)


def _positive(what):
    """A type for argparse: a number above 0."""
    def convert(text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text}: {what} are a number above 0")
        return number
    return convert


def _count(most=None):
    """A type for argparse: a whole number from 1 to MOST."""
    def convert(text):
        if not text.isdecimal() or int(text) < 1 or (most and int(text) > most):
            limit = f"a number from 1 to {most}" if most else "1 or more"
            raise argparse.ArgumentTypeError(f"{text}: it can be {limit}")
        return int(text)
    return convert


def _size(text):
    """A type for argparse: a size as QEMU takes it, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text, re.IGNORECASE | re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text}: a size is a number of MiB, or one with K, M, G or T, such as 512M or 4G")
    return int(float(match[1]) * {"K": 1 << 10, "": MIB, "M": MIB, "G": 1 << 30,
                                  "T": 1 << 40}[match[2].upper()])


def _add_machine(add):
    """The options that say what the VM is."""
    add("--kernel", choices=tuple(kernels.FLAVOURS),
        default=os.environ.get("LAB_KERNEL", "phyr"),
        help="the kernel to boot (default: $LAB_KERNEL, or phyr)")
    add("--mem", metavar="SIZE", type=_size, default="2G", help="memory of the VM (default: 2G)")
    add("--cpus", metavar="N", type=_count(), help="processors of the VM (default: 2)")
    add("--device", metavar="QEMU-ARGS", action="append", default=[], dest="devices",
        help="more for QEMU: a -device, or any of its options; may be repeated")
    add("--append", metavar="KERNEL-ARGS", action="append", default=[],
        help="more for the kernel command line; may be repeated")
    add("--iommu", choices=dma.IOMMUS, default="none",
        help="; ".join(f"{name}: {setup.what}" for name, setup in dma.IOMMUS.items())
        + " (default: none)")
    add("--edu", action="store_true", help="add edu_0, an RDMA device that copies by DMA")
    add("--edu-bits", metavar="N", type=_count(64),
        help=f"address bits of edu_0 (default: {dma.BITS})")
    add("--icount", action="store_true",
        help="one processor, a clock that counts instructions, and no randomness: slow, "
             "but the same in each run")
    add("--gdb", action="store_true",
        help="the VM waits, before its kernel starts, for gdb; how to attach it is on stderr")


def _add_program(add):
    """The options that say how the program runs."""
    add("--rw", metavar="DIR", action="append", default=[],
        help="a directory that reaches the host, as the working directory does; "
             "may be repeated")
    add("--rdma-core", metavar="WHICH", default="lab",
        help="lab (the default): PATH and LD_LIBRARY_PATH get the lab's rdma-core and perftest "
             "appended; system: they are left alone; or a folder with a build of rdma-core: "
             "that one comes first")
    add("--timeout", metavar="SECONDS", type=_positive("seconds"),
        help="end COMMAND this long after its start")
    add("--kill-after", metavar="SECONDS", type=_positive("seconds"), default=vm.KILL_AFTER,
        help="how long COMMAND may go on after SIGTERM, SIGHUP or SIGQUIT "
             f"(default: {vm.KILL_AFTER:g})")
    add("--fail-on-warn", action="store_true",
        help=f"give exit status {COMPLAINED} where the VM's kernel complained")
    add("-v", "--verbose", action="store_true",
        help="say which kernel log and which accelerator is used")


def options(verb, with_command):
    usage = f"./lab {verb} [OPTION]..." + (" [--] COMMAND [ARGUMENT]..." if with_command else "")
    text = (DESCRIPTION if with_command else SHELL) + SURROUNDINGS
    parser = argparse.ArgumentParser(
        prog=f"lab {verb}", usage=usage,
        epilog=STATUSES if with_command else WITHOUT_PAIR.sub("", STATUSES),
        description=text + (PAIR if with_command else ""),
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_machine(parser.add_argument)
    parser.set_defaults(vms=None, peer=None)
    if with_command:
        parser.add_argument("--vms", type=int, choices=(1, 2),
                            help="run COMMAND in so many VMs (default: 1); see above")
        parser.add_argument("--peer", metavar="SCRIPT",
                            help="two VMs: the second one runs SCRIPT, by sh, and not COMMAND")
    _add_program(parser.add_argument)
    return parser


def _contradiction(opts):
    """What is wrong with options that are right one by one; None if nothing is."""
    if opts.vms == 1 and opts.peer is not None:
        return "--peer is for two VMs: leave --vms away, or say --vms 2"
    if opts.icount and (opts.vms == 2 or opts.peer is not None):
        return "--icount is for one VM: the clocks of two would not agree"
    if opts.icount and opts.cpus not in (None, 1):
        return f"--icount is for one processor: leave --cpus {opts.cpus} away"
    if opts.edu_bits and not opts.edu:
        return "--edu-bits is for --edu"
    least = LEAST_MEMORY.get(opts.kernel, 0)
    if opts.mem < least:
        return f"--mem: the {opts.kernel} kernel needs {least // MIB}M or more"
    return None


def _most_cpus(built):
    """How many processors kernel BUILT can use."""
    try:
        match = re.search(r"^CONFIG_NR_CPUS=(\d+)$", (built.obj / ".config").read_text(),
                          re.MULTILINE)
    except OSError:
        match = None
    return min(MOST_CPUS, int(match[1])) if match else MOST_CPUS


def _prepare(opts):
    """Build what the run needs, and refuse what this kernel cannot do."""
    built = vm.prepare(opts.kernel)
    most = _most_cpus(built)
    if opts.cpus and opts.cpus > most:
        raise ui.LabError(f"--cpus {opts.cpus}: the {opts.kernel} kernel takes 1 to {most}")
    # What it looks for, or builds, shall not take from the limits of time
    vm.environment({}, opts.rdma_core)


def _limits():
    """The caller's resource limits, as (number, soft, hard)."""
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return [(number, *(value & (1 << 64) - 1 for value in resource.getrlimit(number)))
            for number in sorted(numbers)]


def _tell_gdb(path, built):
    """Say how to attach a debugger."""
    symbols = built.symbols
    ui.say(f"lab: the VM waits for gdb before its kernel starts. In another terminal:\n"
           f"    gdb -ex 'target remote {path}' {shlex.quote(str(symbols))}\n"
           "  There, `hbreak FUNCTION` sets a breakpoint, and `continue` starts the VM.")


def split(args):
    """The lab's own options, and the command, which begins at -- or at the
    first word that is not an option."""
    with_value = {"--kernel", "--mem", "--cpus", "--device", "--append", "--edu-bits",
                  "--iommu", "--rw", "--timeout", "--vms", "--peer", "--rdma-core",
                  "--kill-after"}
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

    WATCHED = (signal.SIGINT, *vm.ENDING, *vm.OTHERS, signal.SIGWINCH, signal.SIGCONT)

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
    _report_kernel(result, "")
    if verbose and result.late:
        ui.say(f"lab: {result.late} times, the VM saw input only when it looked after a second")
    if result.panic or verbose:
        ui.say(f"     VM on {result.accel}; kernel log: {vm.paths.show(result.kernel_log)}")


def _report_kernel(result, where):
    """Say that the kernel complained; what a panic says is shown anyway."""
    count = len(result.reports)
    if result.panic or not count:
        return
    first = klog.STAMP.sub("", result.reports[0].splitlines()[0])
    ui.say(f"lab: the kernel complained{where}: {first}"
           + (f" (and {count - 1} more)" if count > 1 else "")
           + f"; its log: {vm.paths.show(result.kernel_log)}")


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
    elif verbose and peer.timed_out:
        ui.say(f"lab: {where}, the program still ran {pair.GRACE} s after the first one's end, "
               "and was ended")
    _report_kernel(peer, " " + where)
    if peer.panic or verbose:
        ui.say(f"     kernel log of the second VM: {vm.paths.show(peer.kernel_log)}")


def runner(opts):
    """vm.run, or the like for two VMs."""
    if opts.peer is not None:
        return functools.partial(pair.run, other=[b"sh", b"-c", os.fsencode(opts.peer)])
    return pair.run if opts.vms == 2 else vm.run


def _status(result, fail_on_warn):
    """The exit status: with FAIL_ON_WARN, a program's counts only where no kernel complained."""
    complaints = result.reports or (result.peer and result.peer.reports)
    if not fail_on_warn or not complaints or result.panic or result.timed_out \
            or (result.peer and result.peer.panic):
        return result.status
    if result.status:
        ui.say(f"lab: without --fail-on-warn, the exit status were {result.status}")
    return COMPLAINED


def run(opts, argv, env):
    stdin, stdout, stderr = standard_streams()
    try:
        _prepare(opts)
        with Signals() as signals:
            result = runner(opts)(
                argv, kernel=opts.kernel, mem=f"{-(-opts.mem // MIB)}M", cpus=opts.cpus or 2,
                devices=opts.devices, cmdline=opts.append, iommu=opts.iommu,
                edu=(opts.edu_bits or dma.BITS) if opts.edu else None, timeout=opts.timeout,
                stdin=stdin, stdout=stdout, stderr=stderr, env=env, rw=opts.rw,
                icount=opts.icount, name="exec", signals=signals, limits=_limits(),
                rdma_core=opts.rdma_core, kill_after=opts.kill_after,
                gdb=_tell_gdb if opts.gdb else None)
    except ui.LabError as e:
        e.show()
        return vm.FAILED
    except OSError as e:
        (ui.place_trouble(e) or ui.LabError(str(e))).show()
        return vm.FAILED
    report(result, argv, opts.verbose)
    return _status(result, opts.fail_on_warn)


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
    wrong = _contradiction(opts)
    if wrong:
        ui.say(f"lab: {wrong}")
        return vm.FAILED
    return run(opts, [os.fsencode(arg) for arg in argv], environ())


def shell(args):
    parser = options("shell", False)
    try:
        opts = parser.parse_args(args)
    except SystemExit as e:
        return vm.FAILED if e.code else 0
    wrong = _contradiction(opts)
    if wrong:
        ui.say(f"lab: {wrong}")
        return vm.FAILED
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
