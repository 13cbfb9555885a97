# SPDX-License-Identifier: GPL-2.0
"""`./lab run`: build all, boot one VM, move data over rxe, verify and measure it."""

import argparse
import itertools
import re
import shlex
from typing import NamedTuple

import bar
import kernel
import klog
import paths
import perftest
import programs
import ui
import vm

DESCRIPTION = """\
Build the patched kernel and user space, boot one VM, register memory there,
pinned, on demand or of dma-bufs, and print one line per kind of memory,
operation and message size: how fast perftest moves it from rxe0 to rxe1, and
whether a check of our own, which compares all bytes with what they must be,
found it right. The unpatched kernel cannot do all of it, and its lines say so.
Where the kernel panics, the rest of that kind of memory is not run, and the
next kind goes on in a fresh boot.
"""

KIB = 1024
MIB = 1024 * KIB


class Memory(NamedTuple):
    title: str
    datacheck: str              # the kind's name in datacheck
    perftest: tuple             # options for perftest
    server: tuple = ()          # and for its server alone
    atomics: bool = True
    all_sizes: bool = False     # the largest only, so that a run takes less than a minute


class Operation(NamedTuple):
    title: str
    datacheck: str
    program: str                # None: perftest is of no use here
    sizes: tuple
    atomic: bool = False        # reads and writes at once


MEMORY = (
    Memory("pinned, 4 KiB pages", "scattered", (), all_sizes=True),
    Memory("pinned, 2 MiB pages", "hugetlb", ("--use_hugepages",), all_sizes=True),
    Memory("on demand (ODP)", "odp_scattered", ("--odp",)),
    Memory("dma-buf, system heap", "heap", ("--use_dmabuf=system",)),
    # The CPU has no atomics that reach over PCI
    Memory("dma-buf, PCI BAR (P2P)", "bar", (), (bar.OPTION,), atomics=False),
)

OPERATIONS = (
    Operation("write", "write", "ib_write_bw", (64 * KIB, MIB)),
    Operation("read", "read", "ib_read_bw", (64 * KIB, MIB)),
    Operation("send", "send", "ib_send_bw", (64 * KIB, MIB)),
    Operation("write with immediate", "write_imm", None, (64 * KIB,)),
    Operation("compare and swap", "cmp_swap", None, (8,), atomic=True),
    Operation("fetch and add", "fetch_add", None, (8,), atomic=True),
    Operation("atomic write", "atomic_write", None, (8,)),
)

BYTES = 4 * MIB                 # per line, about, whatever the message size
LEAST_MESSAGES = 8
MOST_MESSAGES = 200
HUGE_PAGES = 128


class Line(NamedTuple):
    memory: Memory
    operation: Operation
    size: int

    @property
    def count(self):
        return max(LEAST_MESSAGES, min(MOST_MESSAGES, BYTES // self.size))


def lines():
    return [Line(m, o, size) for m in MEMORY for o in OPERATIONS
            for size in (o.sizes if m.all_sizes else o.sizes[-1:])
            if m.atomics or not o.atomic]


def measured(plan):
    return [line for line in plan if line.operation.program]


def tests_of(plan):
    return [perftest.Test(line.operation.program, line.size, line.count, line.memory.perftest,
                          line.memory.server)
            for line in measured(plan)]


def datacheck(folder, plan):
    words = [f"{folder}/datacheck"]
    for line in plan:
        words += [line.memory.datacheck, line.operation.datacheck, str(line.size),
                  str(line.count)]
    return shlex.join(words)


def groups(plan):
    """The lines of PLAN, a list for each kind of memory."""
    return [list(lines) for _, lines in itertools.groupby(plan, lambda line: line.memory)]


# The pause: what was printed reaches the host before the data check can panic the kernel
GROUP = """
echo "=== memory"
{perftest}
echo "=== datacheck"
sleep 0.5
{datacheck} || failed=1
"""


def script(folder, plan):
    # Huge pages only where a line asks for them
    return f"""
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
echo {HUGE_PAGES} > /proc/sys/vm/nr_hugepages
{bar.PREPARE}
""" + "".join(GROUP.format(perftest=perftest.script(tests_of(group)),
                           datacheck=datacheck(folder, group))
              for group in groups(plan)) + "exit ${failed:-0}\n"


# KIND OPERATION SIZE BYTES ok|BAD: a line of datacheck's
CHECKED = re.compile(r"^(\w+) (\w+) (\d+) (\d+) (ok|BAD)$", re.MULTILINE)


def size_words(size):
    return ui.size(size).replace(".0 ", " ")


def progress(plan, log):
    """How many tests began, or were checked, of all."""
    total = len(measured(plan)) + len(plan)

    def watch():
        text = log.read_text(errors="replace")
        done = text.count("=== status") + len(CHECKED.findall(text))
        return done, total, "tests"
    return watch


# -- booting ---------------------------------------------------------------------

PANICKED = "the kernel panicked"
NOT_RUN = "not run: " + PANICKED
BAD_BY_PANIC = "NO: " + PANICKED


class Boot(NamedTuple):
    """One VM: the lines that it was to run, what they printed, how it ended."""
    plan: list
    text: str
    result: vm.Result

    def ran(self):
        """The groups that began, each with what it printed."""
        return list(zip(groups(self.plan), self.text.split("=== memory\n")[1:]))

    def left(self):
        """The lines for the next boot: after a panic, the kinds of memory that did not begin."""
        rest = groups(self.plan)[len(self.ran()):] if self.result.panic else []
        return [line for group in rest for line in group]


def boot(folder, plan, kernel, number):
    """Run PLAN in a VM; the NUMBERth of this call."""
    log = paths.log(f"run-{number}.log" if number > 1 else "run.log")
    again = " again" if number > 1 else ""
    with open(log, "wb") as out, \
            ui.step(f"Running perftest and the data check in the VM{again}", quiet=False,
                    watch=progress(plan, log)):
        result = vm.run(["/bin/sh", "-c", script(folder, plan)], kernel=kernel, name="lab-run",
                        devices=bar.DEVICES, stdout=out.fileno())
    this = Boot(plan, log.read_text(errors="replace"), result)
    if result.panic and not this.ran():
        raise ui.LabError(f"{PANICKED} before anything was measured", log=result.kernel_log,
                          tail=result.panic.splitlines()[-20:])
    return this


def boot_all(plan, kernel):
    """Run PLAN; after a panic, what is left of it in a fresh VM."""
    folder = programs.ensure()
    vm.prepare(kernel)
    boots = []
    while plan:
        boots.append(boot(folder, plan, kernel, len(boots) + 1))
        plan = boots[-1].left()
        if plan:
            ui.say(f"{PANICKED.capitalize()}; going on with: {plan[0].memory.title}")
    return boots


# -- what came of each line ------------------------------------------------------

def speeds(group, text, panicked):
    """{line: Figures, Failure, PANICKED or NOT_RUN} of the measured lines of GROUP."""
    tests = tests_of(group)
    began = text.count("=== test ") if panicked else len(tests)
    found = perftest.outcomes(tests[:began], text) if began else []
    if panicked and text.count("=== status") < began:
        found[-1] = PANICKED
    return dict(zip(measured(group), found + [NOT_RUN] * (len(tests) - began)))


def checks(group, text, panicked):
    """{line: "yes, ...", "NO" or what else its data check came to} of GROUP.

    TEXT is None where the data check did not begin.
    """
    found = {match[:3]: match for match in CHECKED.findall(text or "")}
    missing = "NO" if not panicked else NOT_RUN if text is None else BAD_BY_PANIC
    words = {}
    for line in group:
        match = found.get((line.memory.datacheck, line.operation.datacheck, str(line.size)))
        if match:
            words[line] = f"yes, {int(match[3]):,} bytes" if match[4] == "ok" else "NO"
        else:
            words[line] = missing
            missing = NOT_RUN if panicked else missing      # the first one panicked
    return words


def outcomes(boots):
    """({line: speed}, {line: words of its data check}) of all BOOTS."""
    fast, right = {}, {}
    for this in boots:
        ran = this.ran()
        for number, (group, text) in enumerate(ran, 1):
            panicked = bool(this.result.panic) and number == len(ran)
            speed, began, check = text.partition("=== datacheck\n")
            fast.update(speeds(group, speed, panicked))
            right.update(checks(group, check if began else None, panicked))
    return fast, right


def speed_words(outcome):
    if outcome in (None, NOT_RUN):
        return "-"
    if outcome == PANICKED or isinstance(outcome, perftest.Failure):
        return "FAILED"
    return f"{outcome.average:.1f}"


def show(plan, fast, right):
    ui.table(["memory region", "operation", "size", "MB/s", "data verified"],
             [[line.memory.title, line.operation.title, size_words(line.size),
               speed_words(fast.get(line)), right[line]] for line in plan])


# -- what to say at the end ------------------------------------------------------

STOCK = """stock's rxe is known to lose data in ODP regions, and to crash where the iova of one is
not its address; it has no dma-buf regions. README.rst has more: "The unpatched kernel"."""


def reasons(boots, fast, right):
    """Why lines failed, a line each."""
    found = []
    for this in boots:
        if this.result.panic:
            where = next((line for line in this.plan
                          if fast.get(line) == PANICKED or right[line] == BAD_BY_PANIC),
                         this.ran()[-1][0][-1])
            found.append(f"{where.memory.title}, {where.operation.title}: {PANICKED}: "
                         f"{klog.STAMP.sub('', this.result.panic.splitlines()[0])}")
            found.append(f"    its log: {paths.show(this.result.kernel_log)}")
    failures = [f for f in fast.values() if isinstance(f, perftest.Failure)]
    found += [f"{' '.join([f.test.program, *f.test.options, *f.test.server])}: {f.why}"
              for f in failures[:5]]
    last = boots[-1].result
    told = [] if last.panic else last.stderr.decode(errors="replace").splitlines()[-10:]
    return found + told + [text for this in boots if not this.result.panic
                           for text in this.result.reports[:5]]


def verdict(boots, fast, right):
    """In words what failed, or nothing."""
    bad = sum(not words.startswith("yes") for words in right.values())
    failed = sum(isinstance(speed, perftest.Failure) for speed in fast.values())
    panics = sum(bool(this.result.panic) for this in boots)
    if bad:
        times = "once" if panics == 1 else f"{panics} times"
        return f"{bad} of {len(right)} lines are not verified" + \
            (f": {PANICKED} {times}" if panics else "")
    if panics:
        return PANICKED
    if failed:
        return f"perftest failed {failed} times"
    if any(this.result.reports for this in boots):
        return "the kernel complained"
    status = boots[-1].result.status
    return f"the data check gave exit status {status}" if status else ""


def run(plan, kernel):
    """Run PLAN on KERNEL and show what came of it."""
    boots = boot_all(plan, kernel)
    fast, right = outcomes(boots)
    show(plan, fast, right)
    what = verdict(boots, fast, right)
    if what:
        raise ui.LabError(what, STOCK if kernel == "stock" else None,
                          tail=reasons(boots, fast, right), log=boots[-1].result.kernel_log)


def main(argv):
    parser = argparse.ArgumentParser(
        prog="./lab run", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", choices=tuple(kernel.FLAVOURS), default="phyr",
                        help="the kernel to boot (default: phyr)")
    run(lines(), parser.parse_args(argv).kernel)
    return 0
