# SPDX-License-Identifier: GPL-2.0
"""Run a program in the VM.

    result = vm.run(["ibv_devinfo"], kernel="stock")
    result.status, result.stdout, result.stderr, result.kernel_log, result.reports

QEMU is a child that the kernel kills when we die (PR_SET_PDEATHSIG), and the
agent in the VM ends it when its control port closes: none is left behind,
however the lab ends.
"""

import itertools
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import accel
import agent
import dma
import klog
import paths
import qemu
import stall
import streams
import ui

# Statuses of the lab's own, as `timeout` and `env` have them; else the
# program's: its exit status, or 128 + N where signal N ended it.
PANICKED = 123
TIMED_OUT = 124
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127

BOOT_LIMIT = 1200       # seconds; far more than the slowest kernel takes on a busy machine
STOP_LIMIT = 5          # for what was written to reach the host
KILL_AFTER = 5.0        # for the program to end after SIGTERM
MORE_BOOTS = 2          # where QEMU is at fault
KEEP_LOGS = 200
MODULES = ("rdma_rxe", "ib_uverbs", "rdma_ucm")
# Those that ask a program to end are passed on once, the others each time
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
OTHERS = (signal.SIGUSR1, signal.SIGUSR2)
# No directory of the host's, or the VM has one of its own there
NOT_SHARED = ("/", "/dev", "/proc", "/sys")

STDOUT = subprocess.STDOUT
CLOSED = streams.CLOSED


@dataclass
class Result:
    """How the program ended, and what it and the kernel said."""
    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    kernel_log: Path = None
    accel: str = ""             # what QEMU ran on
    panic: str = ""             # its trace
    timed_out: bool = False
    stopped: int = 0            # the signal that made us stop it
    error: str = ""             # why the program could not be executed
    seconds: float = 0.0        # from its start to its end
    reports: list = field(default_factory=list)     # the kernel's complaints
    late: int = 0               # how often the agent found input by looking after a second
    peer: "Result" = None       # of the second VM, where there are two


# -- what the agent is told ---------------------------------------------------

def module_folder(kernel):
    return Path(kernel.modules) / "lib" / "modules" / kernel.release


def module_files(kernel, names):
    """The files of modules NAMES, each after those that it needs."""
    base = module_folder(kernel)
    needs = {}
    try:
        text = (base / "modules.dep").read_text()
    except OSError as e:
        raise ui.LabError(f"the kernel's modules are not there: {e}",
                          "./lab build makes them") from e
    for line in text.splitlines():
        file, _, rest = line.partition(":")
        needs[Path(file).name.split(".")[0].replace("-", "_")] = (file, rest.split())
    order = []
    for name in names:
        if name in needs:       # else it is built in
            file, rest = needs[name]
            order += reversed(rest)
            order.append(file)
    return [str(base / file) for file in dict.fromkeys(order)]


def _modules(built, network, edu):
    """(file, parameters) of each module to load."""
    names = list(MODULES) if network else []
    found = [(file, "") for file in module_files(built, names)]
    if edu:
        need = module_files(built, ["ib_uverbs", dma.MODULE])
        if built.flavour == "stock":
            need.append(dma.stock_module(built))
        known = {file for file, _ in found}
        found += [(file, "") for file in need[:-1] if file not in known]
        found.append((need[-1], dma.parameters(edu)))
    return found


def _core_folders(core):
    """The folders with the programs and with the libraries of rdma-core CORE, which
    is a folder: of a build, of its source, or where it is installed."""
    for top in (core, core / "build", core / "usr"):
        for lib in ("lib", "lib64", f"lib/{os.uname().machine}-linux-gnu"):
            if (top / lib / "libibverbs.so.1").exists():
                return [top / "bin", top / "sbin"], [top / lib]
    raise ui.LabError(f"--rdma-core {core}: no libibverbs.so.1 is in lib/ or build/lib/ there",
                      "Name a build folder of rdma-core, the prefix it is installed in, "
                      "`system` or `lab`.")


def _join(own, before=(), behind=()):
    """The search path OWN (bytes, or None) with folders before and behind it."""
    parts = [*map(os.fsencode, before), *([own] if own else []), *map(os.fsencode, behind)]
    return b":".join(parts)


# Where a distribution has its own programs; those of its rdma-core need its libraries
SYSTEM = {b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin"}


def _before_system(path, folders):
    """The search path PATH with FOLDERS before the first folder of the system."""
    parts = path.split(b":")
    at = next((i for i, part in enumerate(parts) if part in SYSTEM), len(parts))
    return b":".join([*parts[:at], *map(os.fsencode, folders), *parts[at:]])


def environment(env=None, core=None):
    """ENV (the caller's own, as bytes) with folders of an rdma-core in two variables.

    CORE says which: None is the lab's, in front of all, for the lab's own tests;
    "lab" is the lab's with its perftest, behind what the caller has, but before what
    the system has; "system" is none. A path is a folder of the caller's, in front of
    all, and the lab's behind.
    """
    import userspace
    env = dict(os.environb if env is None else env)
    if core == "system":
        return env
    lab = userspace.ensure_rdma_core()
    if core is None:
        before, behind = ([lab / "bin"], [lab / "lib"]), ((), ())
    else:
        before = ((), ()) if core == "lab" else _core_folders(Path(core).absolute())
        behind = ([lab / "bin", userspace.ensure_perftest()], [lab / "lib"])
    own = env.get(b"PATH") or os.fsencode(os.defpath)   # what execvp() takes for none
    env[b"PATH"] = _join(_before_system(own, behind[0]), before[0])
    env[b"LD_LIBRARY_PATH"] = _join(env.get(b"LD_LIBRARY_PATH"), before[1], behind[1])
    return env


def shared(cwd, rw):
    """The directories to share writable, outer ones first."""
    found = []
    for path in [cwd, *rw]:
        real = os.path.realpath(path)
        if not os.path.isdir(real):
            raise ui.LabError(f"{os.fsdecode(path)} is not a directory that can be shared")
        if real in NOT_SHARED or real.startswith(("/dev/", "/proc/", "/sys/")):
            raise ui.LabError(f"{real} cannot be the working directory, or --rw",
                              "It would be writable in the VM, and what is written would "
                              "reach the host.\nGo to a directory below it first.")
        if real not in found:
            found.append(real)
    return sorted(found, key=lambda path: path.count("/"))


def hostname(node=None):
    """Of the VM: this machine's, but no two VMs of a pair have the same."""
    own = os.uname().nodename
    return f"{own[:62]}-{node.number}" if node and node.number else own[:64]


def _kinds(fds, terminal):
    """For the agent: p(ipe), t(erminal), c(losed), s(ame as stdout)."""
    def kind(fd):
        if fd == CLOSED:
            return "c"
        return "t" if terminal and streams.is_tty(fd) else "p"
    kinds = [kind(fd) for fd in fds]
    if kinds[1] == kinds[2] == "p" and streams.same_file(fds[1], fds[2]):
        kinds[2] = "s"
    return kinds


# -- one run ------------------------------------------------------------------

_count = itertools.count()


def _log_path(name):
    stamp = time.strftime("%Y%m%d-%H%M%S")
    log = paths.log(f"vm/{stamp}-{name}-{os.getpid()}.{next(_count)}.log")
    for old in sorted(log.parent.glob("*.log"))[:-KEEP_LOGS]:
        old.unlink(missing_ok=True)
    return log


class _Run:
    """One VM, from its start to its end."""

    def __init__(self, log, *, timeout, kill_after, signals, node=None, boot_limit=BOOT_LIMIT):
        self.log = log
        self.timeout = timeout
        self.kill_after = kill_after
        self.signals = signals
        self.node = node                # which VM of a pair it is, if it is one
        self.result = Result(FAILED, kernel_log=log)
        self.threads = {}
        self.terminal = None
        self.qemu = self.ports = self.wire = None
        self.began = None               # when the program did
        self.deadline = boot_limit and time.monotonic() + boot_limit
        self.ending = 0                 # the signal that the deadline is for
        self.stopping = False
        self.totals = None              # bytes of stdout, stderr, tty: the end
        self.asked = self.answer = None # who had the interrupt key: when, what
        self.passed = 0                 # those of a row that were not the program's
        self.signalled = set()          # signals that the program got
        self.stall = None
        self.ended = None               # when the program did
        self.stdin_told = False
        self.broken_told = set()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)

    def wake(self):
        try:
            self._wake_in.send(b"!")
        except OSError:
            pass

    # start

    def start(self, job, **machine):
        self.qemu = qemu.Qemu(self.log, **machine)
        self.ports = self.qemu.ports
        self.wire = agent.Wire(self.ports["control"])
        # It may be more than the port takes before the VM is up
        threading.Thread(target=agent.send_job, args=(self.wire, job), daemon=True).start()

    def connect(self, stdin, stdout, stderr, kinds):
        """A thread for each stream that the program has."""
        if self.terminal:
            self.threads["tty"] = streams.Output(self.ports["tty"], self.terminal.output,
                                                 self.wake)
            if kinds[0] == "t":
                self.threads["keys"] = streams.Keys(self.ports["tty"], self.terminal, self.wake)
        if kinds[0] == "p":
            self.threads["stdin"] = streams.Input(self.ports["stdin"], stdin, self.wake)
        for name, kind, fd in (("stdout", kinds[1], stdout), ("stderr", kinds[2], stderr)):
            if kind == "p":
                self.threads[name] = streams.Output(self.ports[name], fd, self.wake)

    # what may happen

    def message(self, kind, data):
        if kind == "F":
            raise ui.LabError("the VM could not be set up: " + data.decode(errors="replace"),
                              log=self.log)
        if kind == "U":
            self.on_up()
        elif kind == "R":
            self.began = time.monotonic()
            self.deadline = self.began + self.timeout if self.timeout is not None else None
            self.on_running()
        elif kind == "N":
            self.not_executed(int(data))
        elif kind == "I":
            self.threads["stdin"].unwanted = True
            self.on_stdin_unwanted()
        elif kind == "Q":
            self.answer = data == b"1"
            self.watch_keys()
        elif kind == "L":
            self.result.late += 1
        elif kind in "PD":
            self.stall.message(kind, data)
        elif kind == "X":
            self.ended = time.monotonic()
            status, *self.totals = map(int, data.split())
            if not self.stopping:
                self.deadline = None    # what is left to do is up to who reads
            self.result.status = os.waitstatus_to_exitcode(status)
            if self.result.status < 0:
                self.result.status = 128 - self.result.status

    def not_executed(self, number):
        self.result.error = os.strerror(number)
        self.result.status = NOT_FOUND if number == 2 else NOT_EXECUTABLE
        self.totals = [0, 0, 0]

    def on_up(self):
        if self.node:
            self.node.is_up()
        else:
            self.let_run()

    def let_run(self):
        self.wire.send("r")

    def on_running(self):
        self.connect(*self.wanted)
        if "stdin" in self.threads:
            self.stall = stall.Watch(self)
        if self.terminal:
            self.terminal.take()
        if self.node:
            self.node.look()

    def on_stdin_unwanted(self):
        """Pass it on: who writes to us gets SIGPIPE, as from the program."""
        if self.signals and isinstance(self.wanted[0], int):
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, self.wanted[0])
            os.close(null)

    def stop(self, limit=STOP_LIMIT):
        """End the program, and give what it wrote the time to arrive."""
        if self.stopping or self.began is None:
            self.deadline = time.monotonic()
        else:
            self.wire.send("x")
            self.deadline = time.monotonic() + limit
        self.stopping = True

    def limit(self, seconds, ending=0):
        """End the program then, if it still runs; ENDING is the signal that asked it to."""
        until = time.monotonic() + seconds
        if self.totals is None and not self.stopping and \
                (self.deadline is None or until < self.deadline):
            self.deadline, self.ending = until, ending

    def on_signal(self, signum):
        if signum == signal.SIGWINCH:
            if self.terminal and self.began:
                self.wire.send("z", self.terminal.size())
        elif signum == signal.SIGCONT:
            if self.terminal and self.began:
                self.terminal.take()
        elif signum in OTHERS:
            if self.began:
                self.wire.send("k", signum)
        elif self.totals is None and self.began and signum not in self.signalled:
            self.pass_on(signum)
            if self.node and signum in ENDING:
                self.node.other.signal(signum)
        else:
            self.result.stopped = signum
            self.stop()

    def pass_on(self, signum):
        """Give the program a signal, and the time to end by itself after it."""
        self.signalled.add(signum)
        self.wire.send("k", signum)
        if signum in ENDING:
            self.limit(self.kill_after, signum)

    def watch_keys(self):
        """The first Ctrl-C is the program's; a second one ends the VM, unless
        the first went to a child of the program's (it is a shell, say)."""
        keys = self.threads.get("keys")
        if not keys:
            return
        if keys.interrupts < max(self.passed, 1):
            self.passed, self.asked = 0, None   # something else was typed
        new = keys.interrupts - self.passed
        if not new:
            return
        if self.asked is None:
            self.asked, self.answer = time.monotonic(), None
            self.wire.send("q")
        elif self.answer is False:
            self.passed, self.asked = keys.interrupts, None
        elif new > 1 and (self.answer or time.monotonic() - self.asked > 2):
            self.result.stopped = signal.SIGINT
            self.stop()

    def watch_streams(self):
        stdin = self.threads.get("stdin")
        if stdin and stdin.ended and not self.stdin_told:
            self.stdin_told = True
            self.wire.send("i", stdin.total)
        for name, number in (("stdout", 1), ("stderr", 2)):
            thread = self.threads.get(name)
            if thread and thread.broken and name not in self.broken_told:
                self.broken_told.add(name)
                self.wire.send("o", number)

    def complete(self):
        """Is all that the program wrote where it belongs?"""
        if self.totals is None:
            return False
        return all(thread is None or thread.total >= total for thread, total in
                   zip(map(self.threads.get, ("stdout", "stderr", "tty")), self.totals))

    def over(self):
        """Can the VM go? One of a pair stays until the other one's program ended, too."""
        return self.complete() and (not self.node or self.node.ended(self.result))

    def seconds_left(self):
        """Until something is to be done without an event; None: for ever."""
        now = time.monotonic()
        times = [self.deadline, self.stall and self.stall.due()]
        return min((due - now for due in times if due is not None), default=None)

    # the loop

    def loop(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.ports["control"], selectors.EVENT_READ, self.on_control)
            selector.register(self._wake_out, selectors.EVENT_READ, self.on_wake)
            if self.signals:
                selector.register(self.signals.fileno(), selectors.EVENT_READ, self.on_signals)
            while not self.over():
                left = self.seconds_left()
                if left is not None and left <= 0:
                    if self.on_time():
                        return
                    continue
                for key, _ in selector.select(left):
                    if key.data() is False:
                        return

    def on_control(self):
        messages = self.wire.receive()
        if messages is None:
            self.on_death()
            return False
        for kind, data in messages:
            self.message(kind, data)
        return True

    def on_wake(self):
        try:
            self._wake_out.recv(4096)
        except BlockingIOError:
            pass
        self.watch_streams()
        self.watch_keys()
        if self.node:
            self.node.look()
        return True

    def on_signals(self):
        for signum in self.signals.take():
            self.on_signal(signum)
        return True

    def on_time(self):
        """True where there is no more to wait for."""
        if self.deadline is not None and self.deadline <= time.monotonic():
            return self.on_deadline()
        self.stall.look()
        return False

    def on_deadline(self):
        """True where there is no more to wait for."""
        if self.stopping:
            return True
        if self.began is None:
            raise ui.LabError(f"the VM did not get ready within {BOOT_LIMIT} s",
                              log=self.log, tail=klog.lines(self.log)[-15:])
        if self.ending:
            self.result.stopped = self.ending
        else:
            self.result.timed_out = True
        self.stop()
        return False

    def on_death(self):
        """QEMU is gone, and the agent did not say goodbye."""
        if self.stopping or self.complete():
            return
        self.qemu.wait()
        self.result.panic = klog.panic(self.log)
        if not self.result.panic:
            raise ui.LabError("the VM ended before the program did", log=self.log,
                              tail=klog.lines(self.log)[-15:])

    def ran_stale_code(self):
        """Did the kernel die by a trap that it had removed, before the program began?

        The kernel changes its code while it runs, by way of a trap in the first byte.
        QEMU's emulation of several processors can run the trap once more afterwards.
        """
        return self.began is None and "Oops: int3" in self.result.panic

    def finish(self):
        if self.began:
            self.result.seconds = (self.ended or time.monotonic()) - self.began
        if self.terminal:
            self.terminal.give_back()
        if self.qemu:
            self.qemu.end()
            for name in ("stdout", "stderr", "tty"):
                if name in self.threads:
                    self.threads[name].join(1)
            for sock in self.ports.values():
                sock.close()
        self._wake_in.close()
        self._wake_out.close()

    def outcome(self):
        result = self.result
        for name in ("stdout", "stderr"):
            thread = self.threads.get(name)
            if thread and thread.fd is None:
                setattr(result, name, bytes(thread.data))
        if result.panic:
            result.status = PANICKED
        elif result.stopped:
            result.status = 128 + result.stopped
        elif result.timed_out:
            result.status = TIMED_OUT
        result.reports = klog.reports(self.log)
        return result


_umask = threading.Lock()


def own_umask():
    """Ours: to ask for it sets it, and it is that of all threads."""
    with _umask:
        umask = os.umask(0)
        os.umask(umask)
    return umask


def prepare(kernel="phyr", deferred=False):
    """Build and install whatever a run with KERNEL needs, its DEFERRED modules or not yet;
    gives the kernel."""
    import kernel as kernels
    import packages
    import userspace

    packages.ensure("vm")
    built = kernels.ensure(kernel, deferred)
    userspace.ensure_rdma_core()
    agent.initramfs()
    return built


def _job(argv, env, cwd, umask, limits, shares, built, modules, node, network):
    """What the agent is told, but for the streams."""
    job = [("a", arg) for arg in argv]
    job += [("e", key + b"=" + value) for key, value in env.items()]
    job += [("w", part) for share in shares for part in share]
    job += [("d", cwd), ("u", umask), ("h", hostname(node)), ("l", str(module_folder(built)))]
    job += [("c", " ".join(map(str, limit))) for limit in limits]
    job += [("m", f"{file}\0{words}") for file, words in modules]
    if network:
        job += [("n", f"{node.mac} {node.address}" if node else b"")]
    return job


def _cmdline(kernel, icount, gdb):
    """More for the kernel's command line."""
    words = []
    if kernel == "debug":
        # Where the CPU has five levels of page tables, KASAN takes good addresses for
        # wild ones in an interrupt that comes while the boot patches the code for them
        words.append("no5lvl")
    if icount:      # an address is random as well, and shows in counts
        words += ["nokaslr", "norandmaps"]
    if gdb:         # the addresses are those of the file with the symbols
        words.append("nokaslr")
    return words


def run(argv, *, kernel="phyr", mem="2G", cpus=2, devices=(), cmdline=(), timeout=None,
        stdin=b"", stdout=None, stderr=None, cwd=None, env=None, rw=(), icount=False,
        iommu="none", edu=None, network=True, umask=None, name="run", signals=None, node=None,
        limits=(), rdma_core=None, kill_after=KILL_AFTER, gdb=None, deferred=False):
    """Run ARGV in a VM and give its Result.

    IOMMU and EDU are as dma.machine() has them; without EDU, there is no edu
    function.
    STDIN is bytes or a descriptor; STDOUT and STDERR are descriptors, or None
    to have them in the result; STDERR may be vm.STDOUT. A descriptor that is a
    terminal is one for the program too, where SIGNALS says that we own it.
    NODE is for pair.run(), which runs two of them. LIMITS are (number, soft, hard)
    of setrlimit(); RDMA_CORE is as environment() has it. KILL_AFTER is how long the
    program may go on after a signal that asks it to end. GDB(SOCKET, KERNEL) is
    called before a VM starts that waits for a debugger at SOCKET. DEFERRED: the modules
    of configs/deferred.config are wanted, too.
    """
    import userspace
    built = prepare(kernel, deferred)
    if rdma_core in (None, "lab"):
        env = userspace.python_environment(env, argv)
    cwd = os.getcwd() if cwd is None else os.path.abspath(cwd)
    if umask is None:
        umask = own_umask()
    merged = stderr == STDOUT
    fds = [stdin, stdout, stdout if merged else stderr]
    kinds = _kinds(fds, signals is not None)
    if merged and kinds[1] == "p":
        kinds[2] = "s"
    shares = [(f"lab.rw{i}", path) for i, path in enumerate(shared(cwd, rw))]
    initrd = agent.initramfs()
    words = accel.choose(built, initrd, icount)
    if node:        # which cannot boot again by itself, see ran_stale_code()
        words = [word.replace("thread=multi", "thread=single") for word in words]
    own_devices, own_cmdline = dma.machine(iommu, edu)

    def boot():
        this = _Run(_log_path(name), timeout=timeout, kill_after=kill_after, signals=signals,
                    node=node, boot_limit=None if gdb else BOOT_LIMIT)
        this.wanted = (*fds, kinds)
        this.result.accel = accel.name(words)
        if "t" in kinds:
            this.terminal = streams.Terminal(fds)
        job = _job(argv, environment(env, rdma_core), cwd, umask, limits, shares, built,
                   _modules(built, network, edu), node, network)
        job += [("s", "".join(kinds))]
        if this.terminal:
            job += [("t", this.terminal.settings()), ("z", this.terminal.size())]
        with qemu.debugger(gdb, built) as debugger:
            try:
                if node:
                    node.join(this)
                this.start(job, accel=words, image=built.image, initrd=initrd, mem=mem,
                           cpus=1 if icount else cpus,
                           devices=[*own_devices, *devices],
                           cmdline=[*own_cmdline, *_cmdline(kernel, icount, gdb), *cmdline],
                           shares=shares, link=node and (node.socket, node.mac), gdb=debugger)
                this.loop()
            finally:
                this.finish()
        return this

    this = boot()
    for _ in range(MORE_BOOTS):
        if node or not this.ran_stale_code():
            break
        ui.say("lab: the emulation ran stale code while the kernel booted; booting again")
        this = boot()
    return this.outcome()
