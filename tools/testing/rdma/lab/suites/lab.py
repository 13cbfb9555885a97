# SPDX-License-Identifier: GPL-2.0
"""The lab's own behaviour, seen as its callers see it: through ./lab."""

import collections
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import threading
import time

import bench
import bench_report
import kernel
import ktap
import packages
import paths
import ui
import userspace
import vm

HELP = "the lab itself: statuses, streams, signals, terminals, files, traffic"

LAB = str(paths.TOP / "lab")
GUEST = paths.TESTING / "labtest"       # what runs in the VM
PATIENCE = 300          # seconds after which a call hangs for certain
AT_ONCE = 2             # groups at a time: that calls can run at once is a test too

Done = collections.namedtuple("Done", "status stdout stderr")


def lab(*args, cwd, stdin=b"", env=None, **more):
    """Call ./lab and wait for its end."""
    done = subprocess.run([LAB, *args], cwd=cwd, input=stdin, env=env, check=False,
                          capture_output=True, timeout=PATIENCE, **more)
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(argv, **more):
    """A child that does not outlive the test, even one that hangs."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          **more) as child:
        clock = threading.Timer(PATIENCE, child.kill)
        clock.start()
        try:
            yield child
        finally:
            clock.cancel()
            child.kill()


class Check:
    """Collects the outcome of a group's checks."""

    def __init__(self, group):
        self.group = group
        self.results = []

    def __call__(self, name, passed, why=""):
        if isinstance(why, Done):
            why = f"status {why.status}, stderr: {why.stderr[-2000:].decode(errors='replace')}"
        self.results.append(ktap.Result(f"{self.group}.{name}", "ok" if passed else "fail",
                                        "" if passed else str(why)))
        return passed

    def skip(self, name, why):
        self.results.append(ktap.Result(f"{self.group}.{name}", "skip", why))


# -- looking after QEMU ----------------------------------------------------------

def children(pid):
    """The (pid, start time) of each QEMU that process PID started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as f:
                comm, _, rest = f.read().partition("(")[2].rpartition(")")
            fields = rest.split()
            if int(fields[1]) == pid and comm.startswith("qemu"):
                found.append((int(name), fields[19]))
    return found


def alive(process):
    pid, started = process
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == started and fields[0] != "Z"


def all_gone(processes):
    """Wait for the end of PROCESSES; one that never ends is what we look for."""
    limit = time.monotonic() + 30
    while any(map(alive, processes)):
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


class Running:
    """A call of ./lab exec that is under way: its program said READY."""

    def __init__(self, script, cwd, *options):
        self.child = subprocess.Popen(
            [LAB, "exec", *options, "--", "sh", "-c", script], cwd=cwd,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = b""
        self.wait_for(b"READY\n")
        self.qemu = children(self.child.pid)

    def wait_for(self, text):
        while text not in self.said:
            data = os.read(self.child.stdout.fileno(), 65536)
            if not data:
                break
            self.said += data

    def end(self):
        out, err = self.child.communicate(timeout=PATIENCE)
        return Done(self.child.returncode, self.said + out, err)


# -- the groups ------------------------------------------------------------------

def streams(check, cwd):
    data, err = os.urandom(1 << 20), os.urandom(300001)
    (cwd / "err").write_bytes(err)
    done = lab("exec", "--", "sh", "-c", "cat; cat err >&2; exit 42", cwd=cwd, stdin=data)
    check("stdin to stdout, 1 MiB of any bytes", done.stdout == data,
          f"{len(done.stdout)} bytes, md5 {hashlib.md5(done.stdout).hexdigest()}")
    check("stderr apart, any bytes", done.stderr == err, f"{len(done.stderr)} bytes")
    check("exit status 42", done.status == 42, f"status {done.status}")


def order(check, cwd):
    done = subprocess.run(
        [LAB, "exec", "--", "sh", "-c",
         "wc -c; i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"],
        cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=PATIENCE, check=False)
    lines = done.stdout.decode(errors="replace").split()
    check("empty stdin ends at once", lines[:1] == ["0"], lines[:3])
    check("2>&1 keeps the order", lines[1:] == [f"{c}{i}" for i in range(500) for c in "oe"],
          lines[:20])
    check("exit status 0", done.returncode == 0, f"status {done.returncode}")


def closed(check, cwd):
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" exec -- sh -c "$1" <&- >&-', LAB,
         'for i in 0 1 2; do [ -e /proc/$$/fd/$i ] && echo open $i >&2; done; exit 5'],
        cwd=cwd, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    check("closed stdin and stdout are closed", done.stderr == b"open 2\n", done.stderr)
    check("exit status 5", done.returncode == 5, f"status {done.returncode}")


def flood(check, cwd):
    """The streams do not wait for each other: stdout is left alone until all of stderr came."""
    size = 30_000_000
    with started([LAB, "exec", "--", "sh", "-c",
                  f"yes out | head -c {size} & yes err | head -c {size} >&2; wait"],
                 cwd=cwd, stderr=subprocess.PIPE) as child:
        err = child.stderr.read(size)
        out = child.stdout.read()
        err += child.stderr.read()
    check("stderr arrives while nobody reads stdout", err == (b"err\n" * (size // 4)),
          f"{len(err)} bytes, status {child.returncode}: {err[:200]}")
    check("then all of stdout arrives", out == (b"out\n" * (size // 4)), f"{len(out)} bytes")


def broken_pipe(check, cwd):
    with started([LAB, "exec", "--", "yes"], cwd=cwd) as child:
        text = child.stdout.read(100000)
        child.stdout.close()
        status = child.wait()
    check("stdout arrives while the program runs", text == b"y\n" * 50000, text[:100])
    check("a closed stdout is a SIGPIPE for the program", status == 128 + signal.SIGPIPE,
          f"status {status}")


ODD = bytes(range(1, 256)).replace(b"/", b"")


def context(check, cwd):
    """Arguments, environment, directory, umask and names, all of odd bytes."""
    folder = os.fsencode(cwd) + b"/dir \n,\xff'"
    os.mkdir(folder)
    args = [ODD, b"", b"-x", b"--", b"*", b"two words", "sch\u00f6n".encode(),
            *[b"%0300d" % i for i in range(4000)]]
    own = {**os.environb, b"LABTEST": ODD, b"EMPTY": b"", b"odd.name": b"1",
           b"BASH_FUNC_f%%": b"() {  :\n}", b"LABTEST_LONG": b"l" * 100000}
    script = ("cat /proc/$$/cmdline >cmdline; cat /proc/$$/environ >environ; pwd -P >pwd;"
              "umask >umask; cat /proc/sys/kernel/hostname >hostname; id -u >id;"
              "date +%s >date")
    old = os.umask(0o027)
    try:
        done = lab("exec", "--timeout", "100", "--", "sh", "-c", script, *args,
                   cwd=folder, env=own)
    finally:
        os.umask(old)

    def read(name):
        try:
            with open(folder + b"/" + name.encode(), "rb") as f:
                return f.read()
        except OSError:
            return b""
    check("exit status 0", done.status == 0, done)
    check("nothing on the streams but the program's", done.stdout + done.stderr == b"", done)
    check("arguments, 1.2 MB of them", read("cmdline").split(b"\0")[3:-1] == args,
          f"{len(read('cmdline'))} bytes")
    got = dict(entry.split(b"=", 1) for entry in read("environ").split(b"\0") if b"=" in entry)
    differ = {k for k in {*got, *own} if got.get(k) != own.get(k)}
    check("environment", differ <= {b"PATH", b"LD_LIBRARY_PATH", b"_"}, sorted(differ))
    for name in (b"PATH", b"LD_LIBRARY_PATH"):
        folders = [folder for folder in got.get(name, b"").split(b":")
                   if not folder.startswith(os.fsencode(paths.BUILD))]
        check(f"{name.decode()} has the patched rdma-core, and all of the caller's in its order",
              os.fsencode(paths.BUILD) in got.get(name, b"") and
              folders == [folder for folder in own.get(name, b"").split(b":") if folder],
              got.get(name))
    check("working directory", read("pwd") == folder + b"\n", read("pwd"))
    check("umask", read("umask") == b"0027\n", read("umask"))
    check("host name", read("hostname") == os.fsencode(os.uname().nodename) + b"\n",
          read("hostname"))
    check("user is root", read("id") == b"0\n", read("id"))
    check("the clock is right", abs(int(read("date") or 0) - time.time()) < 100, read("date"))
    with contextlib.suppress(OSError):
        made = os.stat(folder + b"/pwd")
        check("files belong to the caller", made.st_uid == os.getuid(), made)
        check("files have the mode that the umask leaves",
              stat.S_IMODE(made.st_mode) == 0o640, oct(made.st_mode))


LIMITS = """
ulimit -S -n 500; ulimit -H -n 4000; ulimit -S -s 6000; ulimit -S -v 30000000; ulimit -S -c 3
(ulimit -S -a; ulimit -H -a) >host
exec "$0" exec -- sh -c "(ulimit -S -a; ulimit -H -a) >vm"
"""
CRASH = "rm -f core; sh -c 'ulimit -S -c %s; kill -SEGV $$'; echo $?"


def limits(check, cwd):
    """The caller's resource limits, and the core dumps that one of them is for."""
    done = subprocess.run(["sh", "-c", LIMITS, LAB], cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=PATIENCE, check=False)
    done = Done(done.returncode, done.stdout, done.stderr)
    theirs, ours = (cwd / "vm"), (cwd / "host").read_text()
    check("soft and hard limits", done.status == 0 and theirs.read_text() == ours,
          f"{done}\n{theirs.exists() and theirs.read_text()}\ninstead of\n{ours}")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        check.skip("core dumps", "the hard limit of core dumps is finite here")
        return
    core = cwd / "core"
    # In blocks of 512 bytes
    for limit, least, most in (("unlimited", 4097, 1 << 30), ("8", 4096, 4096), ("0", 0, 0)):
        done = lab("exec", "--", "sh", "-c", CRASH % limit, cwd=cwd)
        check(f"ulimit -c {limit}: status of the program that crashed", done.stdout == b"139\n",
              done)
        size = core.stat().st_size if core.exists() else 0
        check(f"ulimit -c {limit}: a core dump of {least} bytes or more, {most} at most",
              least <= size <= most, size)
        if size:
            check(f"ulimit -c {limit}: it is the caller's, and a dump",
                  core.stat().st_uid == os.getuid() and core.read_bytes()[:4] == b"\x7fELF")


def _path_of(variable, text):
    return re.search(rf"^{variable}=(.*)$", text.decode(), re.MULTILINE)[1].split(":")


SHOW = ("echo PATH=$PATH; echo LD_LIBRARY_PATH=$LD_LIBRARY_PATH;"
        "LD_TRACE_LOADED_OBJECTS=1 /usr/bin/ibv_devices | grep libibverbs")


def user_space(check, cwd):
    """Which rdma-core a program finds, and that perftest is there."""
    core = paths.BUILD / "rdma-core/build"
    own = cwd / "own/lib"
    own.mkdir(parents=True)
    for file in (core / "lib").glob("libibverbs.so*"):
        shutil.copy(file, own, follow_symlinks=True)
    system = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    plain = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"} | {"PATH": system}
    named = {**plain, "LD_LIBRARY_PATH": str(own), "PATH": f"{cwd}/bin:{plain['PATH']}"}

    def call(name, env, library, first, *options):
        done = lab("exec", *options, "--", "sh", "-c", SHOW, cwd=cwd, env=env)
        check(f"{name}: libibverbs", f"=> {library}/libibverbs.so.1".encode() in done.stdout, done)
        check(f"{name}: the first of PATH", done.stdout.startswith(f"PATH={first}:".encode()), done)
        return done.stdout

    call("the caller names none", plain, core / "lib", core / "bin")
    said = call("the caller's own", named, own, f"{cwd}/bin")
    check("the caller's own: then the lab's, then the system's",
          _path_of("LD_LIBRARY_PATH", said) == [str(own), str(core / "lib")] and
          _path_of("PATH", said)[:2] == [f"{cwd}/bin", str(core / "bin")] and
          _path_of("PATH", said)[3:] == system.split(":"), said)
    said = call("--rdma-core system", plain, "/lib/x86_64-linux-gnu", "/usr/local/bin",
                "--rdma-core", "system")
    check("--rdma-core system: nothing added", _path_of("PATH", said) == plain["PATH"].split(":")
          and _path_of("LD_LIBRARY_PATH", said) == [""], said)
    call("--rdma-core DIR", named, core / "lib", core / "bin", "--rdma-core", str(core.parent))
    done = lab("exec", "--rdma-core", str(cwd), "--", "true", cwd=cwd)
    check("--rdma-core without a libibverbs", done.status == 125 and b"libibverbs" in done.stderr,
          done)
    done = lab("exec", "--", "sh", "-c", '. "$0/pair.sh"; pair ib_send_bw '
               '"ib_send_bw -F -d rxe1 -x 1 -n 50" "ib_send_bw -F -d rxe0 -x 1 -n 50 127.0.0.1"',
               str(GUEST), cwd=cwd)
    check("perftest's programs run by name", done.stdout.startswith(b"ib_send_bw ok "), done)


def files(check, cwd):
    shared, outside, inside = cwd / "shared", cwd / "outside", cwd / "inside"
    for folder in (shared, outside, inside):
        folder.mkdir()
    (outside / "there").write_text("there")
    (outside / "doomed").write_text("doomed")
    done = lab("exec", "--rw", str(shared), "--", "/usr/bin/python3", str(GUEST / "files.py"),
               str(shared), str(outside), cwd=inside)
    for line in done.stdout.decode(errors="replace").splitlines():
        result, _, rest = line.partition(" ")
        name, _, why = rest.partition(" ")
        check(f"in the VM: {name}", result == "ok", why)
    check("the whole test ran", done.status == 0 and done.stdout.count(b"\n") == 9, done)
    for name, folder in (("the working directory", inside), ("--rw", shared)):
        moved = folder / "sub/moved"
        check(f"{name} reaches the host", moved.exists() and
              moved.read_bytes() == b"0123456789abcdef" * 65536 and
              moved.stat().st_uid == os.getuid() and stat.S_IMODE(moved.stat().st_mode) == 0o604,
              list(folder.iterdir()))
        check(f"{name} takes symbolic links",
              (folder / "link").is_symlink() and os.readlink(folder / "link") == "sub/moved")
    mapped = inside / "mapped"
    check("what was written through mmap is there",
          mapped.exists() and mapped.read_bytes()[4094:4100] == b"mapped")
    left = inside / "left-open"
    check("what was not closed is there", left.exists() and left.read_bytes() == b"x" * 3000000)
    check("nothing else reached the host",
          sorted(p.name for p in outside.iterdir()) == ["doomed", "there"] and
          (outside / "there").read_text() == "there" and (outside / "doomed").is_file() and
          not any(os.path.exists(p) for p in ("/tmp/labtest.made", "/etc/labtest.made",
                                              "/usr/labtest.made")))


def statuses(check, cwd):
    done = lab("exec", "--", "sh", "-c", "kill -9 $$", cwd=cwd)
    check("128 + N on a signal", done.status == 137, done)
    done = lab("exec", "--", "labtest-no-such-command", cwd=cwd)
    check("127 where the command is not found",
          done.status == 127 and b"labtest-no-such-command" in done.stderr, done)
    (cwd / "plain").write_text("no program")
    done = lab("exec", "--", "./plain", cwd=cwd)
    check("126 where it cannot be executed", done.status == 126 and b"plain" in done.stderr, done)
    done = lab("exec", "--timeout", "2", "--", "sh", "-c",
               "echo began; echo kept >kept; sleep 1000", cwd=cwd)
    check("124 at the time limit", done.status == 124 and b"time limit" in done.stderr, done)
    check("what was said before the time limit is passed on", done.stdout == b"began\n", done)
    kept = cwd / "kept"
    check("what was written before the time limit is kept",
          kept.exists() and kept.read_text() == "kept\n")


def failures(check, cwd):
    done = lab("exec", "--device", "no-such-device", "--", "true", cwd=cwd)
    check("125 where the VM does not start", done.status == 125 and b"lab: " in done.stderr, done)
    done = lab("exec", "--", "true", cwd="/")
    check("125 where / would be shared", done.status == 125 and b"lab: / " in done.stderr, done)
    done = lab("exec", "--rw", str(cwd / "none"), "--", "true", cwd=cwd)
    check("125 where --rw is no directory", done.status == 125 and b"none" in done.stderr, done)
    done = lab("exec", "--device", "-device 'edu", "--", "true", cwd=cwd)
    check("125 where --device makes no sense", done.status == 125 and b"--device" in done.stderr,
          done)
    done = lab("exec", "--no-such-option", "--", "true", cwd=cwd)
    check("125 for an unknown option", done.status == 125 and b"usage: " in done.stderr, done)
    done = lab("exec", cwd=cwd)
    check("125 without a command", done.status == 125 and b"usage: " in done.stderr, done)
    done = lab("no-such-verb", cwd=cwd)
    check("an unknown verb is named, and the known ones are",
          done.status not in (0, 125) and b"no-such-verb" in done.stderr and
          b"exec" in done.stderr, done)
    done = lab("--help", cwd=cwd)
    check("--help lists the verbs", done.status == 0 and b"exec" in done.stdout, done)
    done = lab("exec", "--help", cwd=cwd)
    check("exec --help tells the statuses",
          done.status == 0 and all(word in done.stdout for word in
                                   (b"122", b"123", b"124", b"125", b"--timeout")), done)


REFUSED = (("--cpus 0", "1 or more"), ("--cpus 100000", "takes 1 to"), ("--cpus two", "1 or more"),
           ("--mem 5", "needs"), ("--mem 1K", "needs"), ("--mem much", "512M"),
           ("--timeout -3", "above 0"), ("--timeout 0", "above 0"), ("--timeout nan", "above 0"),
           ("--kill-after 0", "above 0"), ("--vms 3", "choose from"),
           ("--vms 1 --peer x", "--vms 2"),
           ("--icount --vms 2", "one VM"), ("--icount --cpus 2", "one processor"),
           ("--edu-bits 40", "--edu"), ("--edu --edu-bits 65", "1 to 64"),
           ("--kernel none", "choose from"), ("--iommu none --rdma-core /none", "libibverbs"))


def refused(check, cwd):
    """What cannot be: 125, a sentence that says what can, and no QEMU."""
    fake = cwd / "bin/qemu-system-x86_64"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n: >{cwd}/booted\nexit 1\n")
    fake.chmod(0o755)
    env = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "LAB_ACCEL": "tcg"}
    for options, words in REFUSED:
        done = lab("exec", *options.split(), "--", "true", cwd=cwd, env=env)
        check(options, done.status == 125 and words.encode() in done.stderr and
              b"Traceback" not in done.stderr, done)
    check("none of them started QEMU", not (cwd / "booted").exists())
    lab("exec", "--", "true", cwd=cwd, env=env)
    check("and without such options it starts", (cwd / "booted").exists())


def panic(check, cwd):
    # What a program has just written may still be in its pipe when all stops.
    done = lab("exec", "--", "sh", "-c", "echo 7 >/proc/sys/kernel/printk; echo before;"
               "sleep 2; echo c >/proc/sysrq-trigger", cwd=cwd)
    check("123 where the kernel panics", done.status == 123, done)
    check("its trace is shown", b"Kernel panic" in done.stderr and
          b"sysrq_handle_crash" in done.stderr, done)
    check("what was said before is passed on", done.stdout == b"before\n", done)
    match = re.search(rb"kernel log: (\S+)", done.stderr)
    log = os.path.join(os.fsencode(cwd), match[1]) if match else b""
    check("the kernel log is named", os.path.exists(log), done)


def complaints(check, cwd):
    """The kernel complains, and the program goes on."""
    module = cwd / "warn.ko"
    built = vm.prepare(os.environ.get("LAB_KERNEL", "phyr"))
    shutil.copy(GUEST / "warn.c", cwd)
    (cwd / "Makefile").write_text("obj-m := warn.o\n")
    ui.output(kernel.make(built.src, built.obj, built.flavour, f"M={cwd}", "modules"),
              env=kernel.environment(built.flavour))
    script = f"insmod {module}; exit 4"
    done = lab("exec", "--", "sh", "-c", script, cwd=cwd)
    said = re.search(rb"the kernel complained: WARNING: .*warn_init.*; its log: (\S+)", done.stderr)
    check("a line says so", said, done)
    log = os.path.join(os.fsencode(cwd), said[1]) if said else b""
    check("it names the log", os.path.exists(log), done)
    check("the status is the program's", done.status == 4, done)
    done = lab("exec", "--fail-on-warn", "--", "sh", "-c", script, cwd=cwd)
    check("122 with --fail-on-warn", done.status == 122 and b"status were 4" in done.stderr, done)
    done = lab("exec", "--fail-on-warn", "--peer", f"insmod {module}", "--", "true", cwd=cwd)
    check("122 where the second VM's kernel complains", done.status == 122 and
          b"complained in the second VM: WARNING: " in done.stderr, done)
    done = lab("exec", "--fail-on-warn", "--", "sh", "-c", "exit 5", cwd=cwd)
    check("the program's status without a complaint", done.status == 5 and done.stderr == b"", done)


def ended(check, cwd):
    """Whatever ends the lab ends its VM."""
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        with contextlib.closing(_Ended(signum, cwd)) as call:
            name = signum.name
            check(f"{name}: the VM was there", len(call.qemu) == 1, call.qemu)
            check(f"{name}: it is gone", all_gone(call.qemu), call.qemu)
            wanted = -signum if signum == signal.SIGKILL else 128 + signum
            check(f"{name}: status", call.done.status == wanted, call.done)
            if signum != signal.SIGKILL:
                check(f"{name}: what was written is kept", call.kept == "kept\n", call.kept)


class _Ended:
    """A call that a signal ended."""

    def __init__(self, signum, cwd):
        self.file = cwd / f"kept-{signum}"
        running = Running(f"echo kept >kept-{signum}; echo READY; exec sleep 1000", cwd)
        self.qemu = running.qemu
        running.child.send_signal(signum)
        self.done = running.end()
        self.kept = self.file.read_text() if self.file.exists() else None

    def close(self):
        for process in filter(alive, self.qemu):
            os.kill(process[0], signal.SIGKILL)


def interrupts(check, cwd):
    """SIGINT without a terminal."""
    running = Running("trap 'echo GOT' INT; echo READY; while :; do sleep 0.2; done", cwd)
    running.child.send_signal(signal.SIGINT)
    running.wait_for(b"GOT\n")
    check("the first reaches the program", running.said == b"READY\nGOT\n", running.said)
    running.child.send_signal(signal.SIGINT)
    done = running.end()
    check("the second ends the VM", all_gone(running.qemu), running.qemu)
    check("status 130", done.status == 130, done)


STUBBORN = "trap 'echo GOT' TERM; echo READY; while :; do sleep 0.2; done"


def asked(check, cwd):
    """Signals that ask to end reach the program first."""
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        running = Running("trap 'echo GOT; exit 9' TERM HUP QUIT; echo READY;"
                          "while :; do sleep 0.2; done", cwd)
        running.child.send_signal(signum)
        done = running.end()
        check(f"{signum.name}: the program gets it", done.stdout == b"READY\nGOT\n", done)
        check(f"{signum.name}: the status is the program's", done.status == 9, done)
    running = Running(STUBBORN, cwd, "--kill-after", "1")
    running.child.send_signal(signal.SIGTERM)
    done = running.end()
    check("--kill-after: the lab ends the VM", done.status == 143 and b"SIGTERM" in done.stderr and
          all_gone(running.qemu), done)
    running = Running(STUBBORN, cwd, "--kill-after", "1000")
    running.child.send_signal(signal.SIGTERM)
    running.wait_for(b"GOT\n")
    running.child.send_signal(signal.SIGTERM)
    done = running.end()
    check("a second SIGTERM ends the VM", done.status == 143 and b"SIGTERM" in done.stderr and
          all_gone(running.qemu), done)
    running = Running("trap 'echo ONE' USR1; trap 'echo TWO; exit 3' USR2; echo READY;"
                      "while :; do sleep 0.2; done", cwd)
    for _ in range(2):
        running.child.send_signal(signal.SIGUSR1)
        running.wait_for(b"ONE\n")
        running.said = b""
    running.child.send_signal(signal.SIGUSR2)
    done = running.end()
    check("SIGUSR1 and SIGUSR2 are passed on", done.status == 3 and done.stdout == b"TWO\n", done)


def two_vms_asked(check, cwd):
    running = Running("trap 'echo GOT; exit $LAB_NODE' TERM; echo READY;"
                      "while :; do sleep 0.2; done", cwd, "--vms", "2")
    err = b""
    while b"[1] READY\n" not in err:
        data = os.read(running.child.stderr.fileno(), 65536)
        if not data:
            break
        err += data
    running.child.send_signal(signal.SIGTERM)
    done = running.end()
    check("SIGTERM reaches both programs", done.stdout == b"READY\nGOT\n" and
          b"[1] GOT\n" in done.stderr, done)
    check("the status is the first one's", done.status == 0, done)


# -- input that does not arrive ----------------------------------------------------

def stall(check, cwd):
    """A byte of stdin that is lost in the VM; and none that is only not read."""
    program = ["/usr/bin/python3", str(GUEST / "thief.py")]
    with subprocess.Popen([LAB, "exec", "--", *program], cwd=cwd, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        clock = threading.Timer(PATIENCE, child.kill)
        clock.start()
        try:
            said = child.stdout.readline()
            while said == b"READY\n" and not select.select([child.stdout], [], [], 0.2)[0]:
                child.stdin.write(b"x" * 100)
                child.stdin.flush()
            said += child.stdout.readline()
            child.stdin.close()
            err = b""
            while b"record" not in err and (line := child.stderr.readline()):
                err += line
            child.terminate()
            status = child.wait()
        finally:
            clock.cancel()
            child.kill()
    check("input was taken away", said.startswith(b"READY\nTOOK "), said + err)
    check("the lab says so", b"does not arrive" in err, err)
    check("it goes on, and the program gets its signals", status == 143, status)
    match = re.search(rb"record for the lab's developers: (\S+)", err)
    record = os.path.join(os.fsencode(cwd), match[1]) if match else b""
    text = ""
    if os.path.exists(record):
        with open(record, encoding="utf-8") as f:
            text = f.read()
    for words in ("the program waits for more", "name: lab.stdin", "pump 0: from", "virtio",
                  "shadow_avail_idx", "rip=", "CPU0"):
        check(f"the record has {words}", words.lower() in text.lower(), record)
    done = lab("exec", "--", "sh", "-c", "sleep 35; wc -c", cwd=cwd, stdin=bytes(400000))
    check("a program that does not read is none", done.stdout == b"400000\n" and
          done.stderr == b"", done)


# -- a debugger for the kernel -----------------------------------------------------

def debugger(check, cwd):
    with started([LAB, "exec", "--gdb", "--", "sh", "-c", "echo ran; exit 6"], cwd=cwd,
                 stderr=subprocess.PIPE) as child:
        err = b""
        while b"continue" not in err and (line := child.stderr.readline()):
            err += line
        match = re.search(rb"'target remote (\S+)' (\S+)", err)
        if not check("the lab says how to attach", match, err):
            return
        words = [os.fsdecode(word) for word in match.groups()]
        log, = (paths.LOGS / "vm").glob(f"*-exec-{child.pid}.*.log")
        check("the VM waits", not select.select([child.stdout], [], [], 5)[0] and
              log.stat().st_size == 0, log)
        gdb = subprocess.run(["gdb", "-nx", "-batch", "-ex", f"target remote {words[0]}", "-ex",
                              "hbreak start_kernel", "-ex", "continue", "-ex", "backtrace 1", "-ex",
                              "delete", "-ex", "detach", words[1]], cwd=cwd, check=False,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        check("gdb stops the kernel at a function",
              re.search(rb"#0 .*start_kernel", gdb.stdout), gdb.stdout + gdb.stderr)
        out = child.stdout.read()
        status = child.wait()
    check("then the program runs", out == b"ran\n" and status == 6, f"{out} {status}")
    check("the socket is gone", not os.path.exists(os.path.dirname(words[0])), words[0])


# -- terminals -------------------------------------------------------------------

class Typist:
    """Someone at a terminal, who answers what they see."""

    def __init__(self, argv, cwd, size=(33, 101)):
        self.seen = b""
        self.fd, theirs = pty.openpty()
        self.resize(*size)
        self.settings = termios.tcgetattr(self.fd)
        self.child = subprocess.Popen(["setsid", "--ctty", *argv], cwd=cwd, stdin=theirs,
                                      stdout=theirs, stderr=theirs)
        os.close(theirs)

    def resize(self, *size):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def wait_for(self, text):
        limit = time.monotonic() + PATIENCE
        while text not in self.seen and time.monotonic() < limit:
            if not self.read():
                break
        return text in self.seen

    def read(self):
        if not select.select([self.fd], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:         # all others closed it
            return False
        self.seen += data
        return bool(data)

    def type(self, keys):
        os.write(self.fd, keys)

    def status(self):
        """Of the program; and whether the terminal is as it was."""
        while self.read():
            pass
        restored = termios.tcgetattr(self.fd) == self.settings
        os.close(self.fd)
        return self.child.wait(PATIENCE), restored


def terminal(check, cwd):
    typist = Typist([LAB, "exec", "--", "sh", "-c",
                     "test -t 0 && test -t 1 && test -t 2 && echo ALL-TTY; stty size;"
                     "trap 'echo GOT' INT; trap 'stty size' WINCH; echo READY;"
                     "while :; do sleep 0.2; done"], cwd)
    typist.wait_for(b"READY\r\n")
    check("all three streams are the terminal", b"ALL-TTY" in typist.seen, typist.seen)
    check("it has the size of the caller's", b"33 101" in typist.seen, typist.seen)
    typist.resize(44, 99)
    check("and follows it", typist.wait_for(b"44 99"), typist.seen)
    typist.type(b"\x03")
    check("Ctrl-C reaches the program", typist.wait_for(b"GOT"), typist.seen)
    qemu = children(typist.child.pid)
    typist.type(b"\x03")
    status, restored = typist.status()
    check("Ctrl-C again ends the VM", status == 130 and all_gone(qemu), typist.seen)
    check("the terminal is as it was", restored)


def stubborn(check, cwd):
    """A program that ignores Ctrl-C, and two of them in one go."""
    typist = Typist([LAB, "exec", "--", "sh", "-c",
                     "trap '' INT; echo READY; while :; do sleep 1; done"], cwd)
    typist.wait_for(b"READY\r\n")
    typist.type(b"\x03\x03")
    status, restored = typist.status()
    check("two Ctrl-C in one go end the VM", status == 130 and restored, typist.seen)


def half_terminal(check, cwd):
    """Each stream has a terminal only where the caller's has one."""
    typist = Typist(["sh", "-c", 'exec "$0" exec -- sh -c "$1" >out', LAB,
                     "test -t 0 && test ! -t 1 && test -t 2 && echo RIGHT; echo READY >&2; cat"],
                    cwd)
    typist.wait_for(b"READY\r\n")
    typist.type(b"typed\n\x04")
    status, restored = typist.status()
    out = (cwd / "out").read_bytes()
    check("stdout to a file: stdin and stderr are the terminal", out == b"RIGHT\ntyped\n", out)
    check("what is typed is echoed", b"typed\r\n" in typist.seen, typist.seen)
    check("Ctrl-D ends stdin", status == 0 and restored, status)


def shell(check, cwd):
    typist = Typist(["env", "SHELL=/bin/bash", f"HOME={cwd}",
                     f"XDG_CACHE_HOME={paths.CACHE.parent}", LAB, "shell"], cwd)
    check("the prompt says where it is", typist.wait_for(b"[VM " + os.environb.get(b"LAB_KERNEL", b"phyr") + b"]"), typist.seen)
    typist.type(b"sleep 1000\n")
    typist.wait_for(b"sleep 1000")
    time.sleep(1)           # for bash to give the terminal to it
    typist.type(b"\x03\x03\x03\x03")
    typist.wait_for(b"^C")
    typist.type(b"\necho $((6 * 7)) in $PWD\n")
    check("Ctrl-C ends a command, not the VM",
          typist.wait_for(b"42 in " + os.fsencode(os.path.realpath(cwd))), typist.seen)
    typist.type(b"exit 7\n")
    status, restored = typist.status()
    check("its status is the shell's", status == 7, typist.seen[-300:])
    check("the terminal is as it was", restored)


# -- the machine -----------------------------------------------------------------

def machine(check, cwd):
    done = lab("exec", "--cpus", "1", "--mem", "768M", "--append", "labtest=1", "--append",
               "labtest=2", "--device", "edu", "--device", "-device virtio-balloon-pci", "--",
               "sh", "-c", "nproc; grep MemTotal /proc/meminfo; cat /proc/cmdline;"
               "cat /sys/bus/pci/devices/*/device", cwd=cwd)
    text = done.stdout.decode(errors="replace")
    memory = re.search(r"MemTotal: +(\d+) kB", text)
    check("--cpus", text.startswith("1\n"), done)
    check("--mem", memory and 500_000 < int(memory[1]) < 768 * 1024, text)
    check("--append", "labtest=1 labtest=2" in text, text)
    check("--device", "0x11e8" in text and "0x1002" in text, text)


def edu(check, cwd):
    """--edu and --iommu give what they say, and nothing comes without them."""
    script = ("ibv_devices | grep -c edu_0; cat /sys/module/edu_ib/parameters/dma_bits;"
              "cat /sys/class/infiniband/edu_0/device/iommu_group/type; ls /sys/class/iommu")
    done = lab("exec", "--edu", "--iommu", "strict", "--edu-bits", "40", "--", "sh", "-c", script,
               cwd=cwd)
    check("--edu, --edu-bits and --iommu", done.stdout == b"1\n40\nDMA\ndmar0\n", done)
    done = lab("exec", "--", "sh", "-c", script, cwd=cwd)
    check("none of it by default", done.stdout == b"0\n", done)
    done = lab("exec", "--edu", "--iommu", "passthrough", "--device", "pci-testdev,bus=peer", "--",
               "sh", "-c", "cat /sys/class/infiniband/edu_0/device/iommu_group/type;"
               "cd /sys/bus/pci/devices; grep -lx -e 0x11e8 -e 0x0005 */device |"
               "xargs realpath | cut -d/ -f1-6 | uniq -c", cwd=cwd)
    check("passthrough: two functions behind one switch",
          re.fullmatch(rb"identity\n +2 /sys/devices/pci0000:00/\S+\n", done.stdout), done)


def icount(check, cwd):
    """Only work of the processor counts alike: waiting for the host's files does not."""
    script = ("import os, time\n"
              "def work(): return sum(i * i for i in range(200000))\n"
              "work()\n"
              "began = time.perf_counter_ns()\n"
              "work()\n"
              "print(os.cpu_count(), time.perf_counter_ns() - began)\n")
    times = []
    for _ in range(2):
        done = lab("exec", "--icount", "--", "/usr/bin/python3", "-S", "-c", script, cwd=cwd,
                   env={**os.environ, "PYTHONHASHSEED": "0"})
        cpus, _, spent = done.stdout.partition(b" ")
        check("one processor", cpus == b"1", done)
        times.append(int(spent or 0))
    check("two boots count alike", times[0] and abs(times[0] - times[1]) < times[0] / 50, times)


def bare(check, cwd):
    """No network, no /dev/kvm, no package lists, no cache of what KVM can do."""
    (cwd / "dev").mkdir()
    config = cwd / "apt.conf"
    config.write_text(f'Dir::State "{cwd}/apt-state";\nDir::Cache "{cwd}/apt-cache";\n'
                      f'Dir::Etc "{cwd}/apt-etc";\n')
    env = {**os.environ, "APT_CONFIG": str(config)}
    done = subprocess.run(["unshare", "-rmn", "true"], capture_output=True, check=False)
    if done.returncode:
        check.skip("without network, KVM and apt", "unshare: " + done.stderr.decode())
        return

    def call(*words):
        done = subprocess.run(["unshare", "-rmn", "sh", str(GUEST / "bare.sh"), str(cwd / "dev"),
                               LAB, "exec", *words], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    done = call("-v", "--", "sh", "-c", "ibv_devices; exit 6")
    check("runs", done.status == 6 and b"rxe0" in done.stdout and b"rxe1" in done.stdout, done)
    check("without KVM it is TCG", b"VM on TCG" in done.stderr, done)
    done = call("--peer", "ibv_devices", "--", "ibv_devices")
    check("two VMs run", done.status == 0 and b"rxe0" in done.stdout and
          b"rxe0" in done.stderr, done)


def kvm(check, cwd):
    """A QEMU that hangs with KVM is found out within a limit."""
    real = shutil.which("qemu-system-x86_64")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        check.skip("a hanging KVM", "there is no /dev/kvm here")
        return
    fake = cwd / "bin/qemu-system-x86_64"
    fake.parent.mkdir()
    fake.write_text(f"""#!/bin/sh
        case $* in
        *'-accel kvm'*) echo $$ >>{cwd}/hung; exec sleep 1000 ;;
        esac
        exec {real} "$@"
        """)
    fake.chmod(0o755)
    done = lab("exec", "-v", "--", "sh", "-c", "exit 3", cwd=cwd,
               env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"})
    hung = cwd / "hung"
    check("KVM was tried", hung.exists(), done)
    check("the program runs on TCG", done.status == 3 and b"VM on TCG" in done.stderr, done)
    check("the lab says so", b"does not boot with it" in done.stderr, done)
    check("what hung is gone", hung.exists() and
          not any(os.path.exists(f"/proc/{pid}") for pid in hung.read_text().split()), done)


# -- traffic ---------------------------------------------------------------------

def traffic(check, cwd):
    done = lab("exec", "--", "sh", str(GUEST / "traffic.sh"), str(GUEST), cwd=cwd)
    lines = done.stdout.decode(errors="replace").splitlines()
    for i, address in enumerate(("0a00:0001", "0a00:0002")):
        port = lines[3 * i:3 * i + 3]
        check(f"rxe{i} is up before the program", port and "ACTIVE" in port[0], port)
        check(f"rxe{i} has its GIDs before the program", len(port) == 3 and
              port[1].startswith("fe80:") and port[2].endswith("ffff:" + address), port)
    for line in lines[6:]:
        name, outcome, *packets = line.split()
        check(f"{name}", outcome == "ok", done)
        check(f"{name} crosses the link, both ways",
              len(packets) == 2 and all(int(n) >= 20 for n in packets), packets)
    check("all seven transfers were made", len(lines) == 13 and done.status == 0, done)


# -- two VMs ---------------------------------------------------------------------

def two_vms(check, cwd):
    done = lab("exec", "--vms", "2", "--", "sh", str(GUEST / "across.sh"), cwd=cwd)
    lines = {0: done.stdout.decode(errors="replace").splitlines(),
             1: [line[4:] for line in done.stderr.decode(errors="replace").splitlines()
                 if line.startswith("[1] ")]}
    for node, address in enumerate(("0a00:0001", "0a00:0002")):
        said = lines[node]
        check(f"node {node} has one RDMA device", said[:1] == [f"node {node} -- rxe0"], done)
        check(f"node {node} is up before the program", len(said) > 2 and "ACTIVE" in said[1] and
              said[2].endswith("ffff:" + address), done)
    sent = dict(line.split() for line in lines[0][3:] if line.count(" ") == 1)
    for program in ("ibv_rc_pingpong", "rping"):
        check(f"{program} crosses the link", int(sent.get(program, 0)) >= 100, done)
    received = re.search(r"received (\d+)", "\n".join(lines[1]))
    check("the packets arrive in the other VM", received and int(received[1]) >= 200, done)
    check("status 0 where both end with 0", done.status == 0, done)
    done = lab("exec", "--peer", "head -c 10000000 /dev/zero; sleep 1000", "--", "sh", "-c",
               "cat; exit 7", cwd=cwd, stdin=ODD)
    check("the first one's status, though the second does not end", done.status == 7, done.status)
    check("stdin and stdout are the first one's", done.stdout == ODD, done.stdout[:300])
    done = lab("exec", "--vms", "2", "--icount", "--", "true", cwd=cwd)
    check("125 with --icount", done.status == 125, done)


# Says how many bytes it got; the sender is gone before it reads
SERVER = """
import os, socket, time
listening = socket.create_server((os.environ["LAB_ADDRESS"], 4791))
listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
peer = listening.accept()[0]
time.sleep(2)
total = 0
while data := peer.recv(65536):
    total += len(data)
print("got", total)
"""
CLIENT = """
import os, socket, time
while True:
    try:
        peer = socket.create_connection((os.environ["LAB_PEER"], 4791))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400000)
peer.sendall(bytes(100000))
"""


def two_vms_status(check, cwd):
    """The status of two is the same each time, whoever ends first."""
    script = "exit $((LAB_NODE * 5))"
    for name, times, status, *words in (
            ("the second ends badly after the first", 1, 7, "--peer", "sleep 2; exit 7", "--",
             "true"),
            ("both end at once, the second badly", 4, 7, "--peer", "exit 7", "--", "true"),
            ("the same, by LAB_NODE", 3, 5, "--vms", "2", "--", "sh", "-c", script),
            ("the second has to be ended", 1, 0, "--peer", "sleep 1000", "--", "true"),
            ("both end badly", 1, 3, "--peer", "exit 7", "--", "sh", "-c", "exit 3")):
        got = [lab("exec", *words, cwd=cwd) for _ in range(times)]
        check(f"{name}: status {status}", [done.status for done in got] == [status] * times, got)
    (cwd / "server").write_text(SERVER)
    (cwd / "client").write_text(CLIENT)
    done = lab("exec", "--peer", "/usr/bin/python3 -S server", "--",
               "/usr/bin/python3", "-S", "client", cwd=cwd)
    check("what a program sent just before its end arrives",
          done.status == 0 and done.stderr == b"[1] got 100000\n", done)


def two_vms_end(check, cwd):
    """Whichever VM ends, or the lab itself: what is left of the two."""
    running = Running("echo READY; exec sleep 1000", cwd, "--vms", "2")
    running.child.send_signal(signal.SIGKILL)
    running.end()
    check("SIGKILL: there were two VMs", len(running.qemu) == 2, running.qemu)
    check("SIGKILL: both are gone", all_gone(running.qemu), running.qemu)

    running = Running("echo READY; exec sleep 1000", cwd, "--vms", "2")
    os.kill(running.qemu[0][0], signal.SIGKILL)
    done = running.end()
    check("125 where one VM is killed", done.status == 125 and b"lab: the VM ended" in done.stderr,
          done)
    check("then the other one is gone, too", all_gone(running.qemu), running.qemu)

    done = lab("exec", "--peer", "echo 7 >/proc/sys/kernel/printk; sleep 1;"
               "echo c >/proc/sysrq-trigger", "--", "sh", "-c", "echo before; exec sleep 1000",
               cwd=cwd)
    check("123 where the second one's kernel panics", done.status == 123, done)
    check("its trace is shown", b"sysrq_handle_crash" in done.stderr and
          b"in the second VM" in done.stderr, done)
    check("what the first one said is passed on", done.stdout == b"before\n", done)
    done = lab("exec", "--peer", "exit 3", "--", "sleep", "1", cwd=cwd)
    check("the second one's status where the first one's is 0", done.status == 3, done)


# -- results ---------------------------------------------------------------------

def _results(path, **rows):
    """A made-up result of one kind: NAME=(stock, phyr), and a spread where it is a rate."""
    made = []
    for name, (stock, phyr, *spread) in rows.items():
        ratio = phyr and phyr / stock
        made.append({"what": name, "stock": stock, "phyr": phyr, "ratio": ratio, "floor": None,
                     "value": ratio, "goal": "", "met": None, "more": bool(spread),
                     "spread": spread or None})
    path.write_text(json.dumps({"kind": "made", "facts": {"base": "1"}, "rows": made, "raw": {}}))
    return str(path)


def against(check, cwd):
    """./lab bench --against: what counts as worse."""
    old = {"count": (100, 50), "rate": (100, 100, 0.95, 1.05)}
    before = _results(cwd / "before.json", **old)

    def call(name, **new):
        now = _results(cwd / "now.json", **{**old, **new})
        done = lab("bench", "--results", now, "--against", before, cwd=cwd)
        return done, f"{name}, status {done.status}: {(done.stdout + done.stderr).decode()}"

    for name, status, new in (
            ("the same", 0, {}),
            ("a count 0.8 % up", 0, {"count": (100, 50.4)}),
            ("a count 2 % up", 1, {"count": (100, 51)}),
            ("a count 20 % down", 0, {"count": (100, 40)}),
            ("a rate down, within the spread", 0, {"rate": (100, 92, 0.90, 0.96)}),
            ("a rate down, beyond the spread", 1, {"rate": (100, 90, 0.86, 0.94)}),
            ("a rate up, beyond the spread", 0, {"rate": (100, 120, 1.15, 1.25)}),
            ("a count that is no more", 1, {"count": (100, None)}),
            ("another row", 0, {"other": (1, 9)})):
        done, why = call(name, **new)
        check(f"{name}: {'worse' if status else 'no worse'}", done.status == status, why)
        text = done.stdout.partition(b"Worse than before")[2]
        changed = next(iter(new), "count").encode()
        check(f"{name}: {'named' if status else 'not named'} as worse",
              (changed in text) == bool(status), why)
    (cwd / "before.json").write_text("{}")
    done, why = call("nonsense")
    check("a file of something else is an error", done.status and b"before.json" in done.stderr and
          b"Traceback" not in done.stderr, why)


# The programs that ./lab bench runs, with the least to do
BENCHES = """
echo 64 >/proc/sys/vm/nr_hugepages
cd "$0" && ./reg -r 1 scattered:65536 && ./many 1 && ./copy 64 &&
./odp -r 1 pages:scattered:4 pages:huge:512 reg:scattered:65536 reg:sparse:1073741824 write:5000 &&
./dmabuf -r 1 reg:udmabuf:2097152 reg:hugetlb:2097152 reg:heap:2097152 write:udmabuf:5000 \
	write:heap:5000 sgt:65536
"""


def benches(check, cwd):
    """./lab bench: its kinds, and that their programs measure something."""
    for kind in bench.KINDS:
        if "-" not in kind:     # else another's with an option
            done = lab("bench", kind, "--help", cwd=cwd)
            check(f"{kind} --help", done.status == 0 and b"--quick" in done.stdout, done)
    done = lab("bench", "nonsense", cwd=cwd)
    check("2 for a kind that there is not", done.status == 2 and b"odp" in done.stderr, done)
    folder = bench_report.programs()
    done = lab("exec", "--icount", "--", "sh", "-c", BENCHES, str(folder), cwd=cwd)
    check("the programs run", done.status == 0 and done.stdout.count(b"\n") == 14, done)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    stock = os.environ.get("LAB_KERNEL") == "stock"
    for case in found:
        what = case.get("what")
        if what and not (stock and "error" in case):
            figures = [value for values in case.values() if isinstance(values, list)
                       for value in values]
            check(f"{what}: figures", "error" not in case and figures and all(figures), case)
        if "good" in case and not stock:
            check(f"{what}: the bytes arrive", case["good"], case)
    wrong = ("odp pages:scattered:0", "odp pages:sparse:4", "odp reg:nothing:4096", "odp write",
             "dmabuf reg:nothing:2097152", "dmabuf reg:heap:4096")
    done = lab("exec", "--", "sh", "-c", 'cd "$0"; for args; do ./$args >/dev/null; echo $?; done',
               str(folder), *wrong, cwd=cwd)
    check("2 for a case that there is not", done.stdout.split() == [b"2"] * len(wrong), done.stdout)


GROUPS = (two_vms_status, traffic, two_vms, two_vms_end, two_vms_asked, stall, user_space, limits,
          complaints, asked, debugger, against, benches, kvm, context, statuses, refused, files,
          ended, streams, order, closed, flood, broken_pipe, failures, panic, interrupts, terminal,
          stubborn, half_terminal, shell, machine, edu, icount, bare)


def run_group(group):
    check = Check(group.__name__)
    cwd = paths.BUILD / "labtest" / group.__name__
    shutil.rmtree(cwd, ignore_errors=True)
    cwd.mkdir(parents=True)
    try:
        group(check, cwd)
    except Exception as e:      # pylint: disable=broad-except # a group that breaks has failed
        check("ran to its end", False, repr(e))
    return check.results


def run(report):
    packages.ensure("vm", "programs", "gdb")
    vm.prepare(report.kernel)   # once, and not in each call
    userspace.ensure_pyverbs()  # which Python programs get
    os.environ["LAB_KERNEL"] = report.kernel
    log = paths.log("check/lab.log")
    with ui.step("Calling the lab") as step, open(log, "w", encoding="utf-8") as out, \
            concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for i, results in enumerate(pool.map(run_group, GROUPS)):
            step.progress(i + 1, len(GROUPS), "groups")
            for result in results:
                print(*result, file=out, flush=True)
            report.add(results, log)
