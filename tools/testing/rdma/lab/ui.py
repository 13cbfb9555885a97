# SPDX-License-Identifier: GPL-2.0
"""How the lab talks: steps with progress, logged commands, errors, tables.

All talk goes to stderr, so that stdout is the result (or, in `lab exec`, the
program's own). A step that has nothing to do says nothing.
"""

import errno
import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import time

import paths

TALK_EVERY = 20.0       # seconds between two lines where there is no terminal
REDRAW_EVERY = 0.2      # seconds between two redraws where there is one


class LabError(Exception):
    """What went wrong, what to do about it, and where to read more."""

    def __init__(self, what, todo=None, log=None, tail=()):
        super().__init__(what)
        self.what = what
        self.todo = todo
        self.log = log
        self.tail = list(tail)

    def show(self):
        for line in self.tail:
            say("    " + line.rstrip())
        say("lab: " + self.what)
        if self.todo:
            say("     " + str(self.todo).replace("\n", "\n     "))
        if self.log:
            say("     log: " + paths.show(self.log))


ROOM = "Make room there, then call this again: it goes on from here."


def user(uid):
    """What to call the user with this number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _not_ours(path):
    """The LabError for a PATH that we cannot write."""
    path = os.path.abspath(os.fspath(path))
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    owner = os.lstat(there).st_uid
    if owner == os.geteuid():
        return LabError(f"{path} cannot be written",
                        "Is the file system, or a folder of that path, read-only?")
    whose = f"{there} belongs to {user(owner)}, and {user(os.geteuid())} cannot write there"
    if path.startswith(str(paths.TOP) + "/") and os.lstat(paths.TOP).st_uid == os.geteuid():
        return LabError(whose, "An earlier call of ./lab ran as another user. Give it to the "
                        "owner of the clone:\n"
                        f"sudo chown -R {user(os.geteuid())} {paths.BUILD}")
    if path.startswith(str(paths.TOP) + "/"):
        return LabError(whose, "The lab writes to build/ in its clone. Make a clone of your own, "
                        "and call the lab there:\n"
                        "git clone --no-local -u 'git -c safe.directory=* upload-pack' "
                        f"{paths.TOP} ~/rdma-lab")
    return LabError(whose, "Give it to yourself (chown), or have another cache folder: "
                    "XDG_CACHE_HOME=DIR ./lab ...")


def place_trouble(e):
    """The LabError for an OSError that is about room or rights, else None."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return LabError(f"{e.strerror}: {e.filename or 'a file'}", ROOM)
    if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not e.filename:
        return None
    return _not_ours(e.filename)


def need_writable(*folders):
    """Refuse early where one of FOLDERS is there, and cannot be written."""
    for folder in folders:
        if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
            raise _not_ours(os.path.join(folder, "file"))


class Stopped(BaseException):
    """A signal asked the lab to stop; like KeyboardInterrupt, nothing catches it."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


def stop_on_signals():
    """SIGTERM and SIGHUP unwind the stack, so that every child is ended."""
    def stop(signum, _frame):
        raise Stopped(signum)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:      # nohup
            signal.signal(signum, stop)


def say(text=""):
    _line.clear()
    print(text, file=sys.stderr, flush=True)


class _StatusLine:
    """The one line at the bottom of a terminal that is redrawn in place."""

    def __init__(self):
        self.shown = False

    def draw(self, text):
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            width = 80
        sys.stderr.write("\r\033[K" + text[:max(width - 1, 20)])
        sys.stderr.flush()
        self.shown = True

    def clear(self):
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self.shown = False


_line = _StatusLine()


def duration(seconds):
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def size(number):
    """Bytes as a person reads them."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 10 \
                else f"{number:.1f} {unit}"
        number /= 1024
    return None


class step:
    """One long thing: `with ui.step("Building X") as s: s.progress(3, 10)`.

    A quiet step that ends within a second prints nothing at all. WATCH is
    called to learn the progress where nobody calls progress(). Of steps in
    steps, the innermost talks.
    """

    _open = []

    def __init__(self, title, quiet=True, watch=None):
        self.title = title
        self.quiet = quiet
        self.watch = watch
        self.began = time.monotonic()
        self.done = self.total = None
        self.note = ""
        self.spoke = False
        self._last = self.began
        self._over = threading.Event()
        self._clock = None

    def __enter__(self):
        tty = sys.stderr.isatty()
        if not self.quiet and not tty:
            say(self.title + " ...")
            self.spoke = True
        self._open.append(self)
        self._clock = threading.Thread(target=self._tick, args=(tty,), daemon=True)
        self._clock.start()
        return self

    def progress(self, done=None, total=None, note=""):
        self.done, self.total, self.note = done, total, note

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def count(self):
        if self.done is None:
            return ""
        if self.total is None:
            return f"{self.done}"
        return f"{self.done} of {self.total}"

    def _text(self):
        parts = [self.count(), self.note, duration(self.seconds)]
        return f"{self.title}: " + ", ".join(p for p in parts if p)

    def _tick(self, tty):
        # A clock of its own: a step that hangs still shows its time
        while not self._over.wait(REDRAW_EVERY):
            if self._open[-1] is not self:
                self._last = time.monotonic()
                continue
            if self.watch:
                self.progress(*self.watch())
            if tty:
                if self.seconds > 0.5:
                    _line.draw(self._text())
            elif time.monotonic() - self._last >= TALK_EVERY:
                self._last = time.monotonic()
                self.spoke = True
                say(self._text())

    def __exit__(self, kind, _value, _trace):
        self._over.set()
        self._clock.join()
        self._open.remove(self)
        _line.clear()
        if kind is not None:
            say(f"{self.title}: {'stopped' if issubclass(kind, (KeyboardInterrupt, Stopped)) else 'failed'}"
                f" after {duration(self.seconds)}")
        elif not self.quiet or self.spoke or self.seconds > 1.0:
            count = f"{self.count()}, " if self.done is not None else ""
            say(f"{self.title}: done, {count}{duration(self.seconds)}")
        return False


# -- commands ---------------------------------------------------------------

_MATTERS = re.compile(
    r"error|fatal|failed|undefined reference|no space left|cannot|not found|"
    r"no rule|unable|denied|FAILED|segmentation|killed", re.IGNORECASE)


def tail(log, lines=15):
    """The last lines of LOG that matter: those about errors, else the end."""
    try:
        with open(log, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 256 * 1024))
            text = f.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    hits = [i for i, line in enumerate(text) if _MATTERS.search(line)]
    if not hits:
        return text[-lines:]
    keep = set()
    for i in reversed(hits):        # each with a line around it, the latest first
        keep.update(range(max(0, i - 1), min(len(text), i + 3)))
        if len(keep) >= lines:
            break
    return [text[i] for i in sorted(keep)][-lines:]


def end(child, grace=5.0):
    """End CHILD and all in its group; it is its group's leader."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, signum)
        except ProcessLookupError:
            break
        try:
            child.wait(grace)
            break
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def logged(argv, log, what, *, cwd=None, env=None, line=None, todo=None,
           append=False, check=True):
    """Run ARGV with its output in file LOG, calling LINE for each line of it.

    The child gets a process group of its own: Ctrl-C then comes to us alone,
    and we end all of it. Returns the exit status; with CHECK, one that is
    not 0 is an error: WHAT could not be done.
    """
    argv = [str(a) for a in argv]
    with open(log, "ab" if append else "wb") as out:
        out.write(("+ " + " ".join(argv) + "\n").encode(errors="replace"))
        out.flush()
        try:
            child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     start_new_session=True)
        except OSError as e:
            raise LabError(f"{what}: cannot run {argv[0]}: {e.strerror}", todo, log) from e
        try:
            for raw in child.stdout:
                out.write(raw)
                if line:
                    line(raw.decode(errors="replace").rstrip("\n"))
            status = child.wait()
        except BaseException:
            end(child)
            raise
        finally:
            child.stdout.close()
    if check and status:
        raise LabError(f"{what}: {os.path.basename(argv[0])} {how(status)}",
                       todo, log, tail(log))
    return status


def how(status):
    """A subprocess status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"gave exit status {status}"


def output(argv, *, cwd=None, env=None):
    """The stdout of a short command that must work."""
    try:
        done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace")
    except OSError as e:
        raise LabError(f"cannot run {argv[0]}: {e.strerror}") from e
    if done.returncode:
        raise LabError(f"{' '.join(map(str, argv))} {how(done.returncode)}",
                       tail=done.stderr.splitlines()[-10:])
    return done.stdout


# -- tables -----------------------------------------------------------------

def table(head, rows, file=None):
    """Columns as wide as they need; numbers to the right."""
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(head)] + rows) for i in range(len(head))]
    right = [bool(rows) and all(re.match(r"[-+]?[0-9.,]+( ?[%x]| [A-Za-z/]+)?$", r[i]) or r[i] in ("", "-")
                                for r in rows) for i in range(len(head))]

    def put(cells):
        print("  ".join(c.rjust(w) if r else c.ljust(w)
                        for c, w, r in zip(cells, widths, right)).rstrip(),
              file=file or sys.stdout)
    put(head)
    put(["-" * w for w in widths])
    for row in rows:
        put(row)
    (file or sys.stdout).flush()
