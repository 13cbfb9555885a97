# SPDX-License-Identifier: GPL-2.0
"""`./lab run`: build all, boot one VM, move data over rxe, verify and measure it."""

import argparse
import re
import shlex
from typing import NamedTuple

import bar
import kernel
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


def script(folder, plan):
    # Huge pages only where a line asks for them
    return f"""
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
echo {HUGE_PAGES} > /proc/sys/vm/nr_hugepages
{bar.PREPARE}
{perftest.script(tests_of(plan))}
echo "=== datacheck"
exec {datacheck(folder, plan)}
"""


# KIND OPERATION SIZE BYTES ok|BAD: a line of datacheck's
CHECKED = re.compile(r"^(\w+) (\w+) (\d+) (\d+) (ok|BAD)$", re.MULTILINE)


def verified(plan, text):
    """For each line of PLAN: (is it right, bytes). Text is datacheck's output."""
    found = {match[:3]: (match[4] == "ok", int(match[3])) for match in CHECKED.findall(text)}
    missing = (False, 0)
    return [found.get((line.memory.datacheck, line.operation.datacheck, str(line.size)), missing)
            for line in plan]


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


def run_vm(plan, kernel):
    """Outcomes of the measured lines, and what the check said of all."""
    folder = programs.ensure()
    text = script(folder, plan)
    vm.prepare(kernel)
    log = paths.log("run.log")
    with open(log, "wb") as out, \
            ui.step("Running perftest and the data check in the VM", quiet=False,
                    watch=progress(plan, log)):
        result = vm.run(["/bin/sh", "-c", text], kernel=kernel, name="lab-run",
                        devices=bar.DEVICES, stdout=out.fileno())
    if result.panic:
        raise ui.LabError("the kernel panicked", log=result.kernel_log,
                          tail=result.panic.splitlines()[-20:])
    speed, _, checks = log.read_text(errors="replace").partition("=== datacheck\n")
    outcomes = perftest.outcomes(tests_of(plan), speed)
    told = result.stderr.decode(errors="replace").splitlines()
    return outcomes, verified(plan, checks), told, result


def speed_words(outcome):
    if outcome is None:
        return "-"
    return "FAILED" if isinstance(outcome, perftest.Failure) else f"{outcome.average:.1f}"


def show(plan, outcomes, checks):
    speed = dict(zip(measured(plan), outcomes))
    rows = []
    for line, (right, count) in zip(plan, checks):
        rows.append([line.memory.title, line.operation.title, size_words(line.size),
                     speed_words(speed.get(line)),
                     f"yes, {count:,} bytes" if right else "NO"])
    ui.table(["memory region", "operation", "size", "MB/s", "data verified"], rows)


def main(argv):
    parser = argparse.ArgumentParser(
        prog="lab run", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", choices=tuple(kernel.FLAVOURS), default="phyr",
                        help="the kernel to boot (default: phyr)")
    args = parser.parse_args(argv)

    plan = lines()
    outcomes, checks, told, result = run_vm(plan, args.kernel)
    show(plan, outcomes, checks)
    bad = sum(not right for right, _ in checks)
    failures = [o for o in outcomes if isinstance(o, perftest.Failure)]
    if bad or failures or result.status or result.reports:
        what = f"{bad} of {len(plan)} lines are not verified" if bad else \
               f"perftest failed {len(failures)} times" if failures else \
               "the kernel complained" if result.reports else \
               f"the data check gave exit status {result.status}"
        why = [f"{' '.join([f.test.program, *f.test.options, *f.test.server])}: {f.why}"
               for f in failures[:5]]
        raise ui.LabError(what, tail=[*why, *told[-10:], *map(str, result.reports[:5])],
                          log=result.kernel_log)
    return 0
