# SPDX-License-Identifier: GPL-2.0
"""The tests' own tests: who is to blame for what the kernel says, and which shares there are."""

import klog
import paths
import report as reports
import suites
import ui
import vm
from suites import debug, verbs

HELP = "the tests' own: a complaint of the kernel fails its test, the shares cover all"

FOLDER = paths.BUILD / "complaints"
SOURCES = ("labtest/complain.c", "verbs/ktap.c", "verbs/textfile.c")
PROGRAMS = ("calm", "loud", "fatal", "last")     # it behaves as its name says

KUNIT = """\
[    1.000000] WARNING: CPU: 0 PID: 1 at before.c
[    1.000000] ---[ end trace 0 ]---
[    2.000000] KTAP version 1
[    2.000000] 1..2
[    2.000000][    T1]     KTAP version 1
[    2.000000][    T1]     # Subtest: one
[    2.000000]     1..2
[    2.100000]     ok 1 calm
[    2.200000] WARNING: CPU: 0 PID: 1 at loud.c
[    2.200000] ---[ end trace 0 ]---
[    2.200000]     # loud: EXPECTATION FAILED at loud.c:1
[    2.200000]     not ok 2 loud
[    2.300000] # one: pass:1 fail:1 skip:0 total:2
[    2.300000] not ok 1 one
[    2.400000]     KTAP version 1
[    2.400000]     # Subtest: two
[    2.400000]     1..1
[    2.400000]         KTAP version 1
[    2.400000]         # Subtest: many
[    2.400000]         ok 1 first # SKIP no reason
[    2.500000] BUG: KASAN: bad access
[    2.500000] ==================================================================
[    2.500000]         ok 2 second one
[    2.600000]     ok 1 many
[    2.600000] ok 2 two
[    2.700000] WARNING: CPU: 0 PID: 1 at after.c
"""
IN_KUNIT = [None, "one.loud", "two.many.second one", None]
# The same log, when all ended in the middle of a suite
CUT = KUNIT[:KUNIT.index("[    2.200000]     # loud")]


# Those that fail, and a word of why: the last one ran, in another boot
WRONG = {"some.loud.at": "at complain.c", "some.fatal.at": "Kernel panic",
         "some.fatal.rest": "the kernel panicked in at"}
RIGHT = {f"some.{program}.{test}" for program in PROGRAMS for test in ("before", "at", "after")
         } - WRONG.keys() - {"some.fatal.after"} | {"complaints.kernel", "complaints-1.kernel"}


def build():
    """The folder with the programs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        ui.logged(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-I", paths.TESTING / "verbs",
                   "-o", FOLDER / name, *(paths.TESTING / name for name in SOURCES)],
                  paths.log("complaints.log"), f"building {name}")
    return FOLDER


def kunit(report):
    """Which of KUnit's tests a complaint belongs to."""
    log = paths.log("check/complaints-kunit.log")
    for name, text, wanted in (("whole", KUNIT, IN_KUNIT), ("cut", CUT, [None, "one"])):
        log.write_text(text, encoding="utf-8")
        found = [test and test.name for _, test in klog.complaints(log)]
        report.test(f"kunit.{name}", found == wanted, f"{found}", log)


def programs(report):
    """What is said of programs, of which one makes the kernel complain and one makes it panic."""
    seen = reports.Report("complaints", report.kernel)
    logs = verbs.run_programs(seen, "complaints", build(), PROGRAMS, under="some.")
    seen.settle()
    good = {result.name for result in seen.results if result.status == "ok"}
    report.test("programs.boots", len(logs) == 2, f"{logs}")
    report.test("programs.right", good == RIGHT, f"{sorted(good ^ RIGHT)}", logs[0])
    bad = {result.name: result.why for result, _ in seen.failures}
    report.test("programs.wrong", bad.keys() == WRONG.keys(), f"{bad}", logs[0])
    for name, why in WRONG.items():
        report.test(f"programs.{name}", why in bad.get(name, ""), bad.get(name), logs[0])


def shares(report):
    """Each unit of the debug kernel is in one share, and takes no share over its time."""
    units, dealt = debug.units(), debug.shares()
    report.test("shares.all", sorted(sum(dealt, [])) == sorted(units), f"{dealt}")
    times = [sum(map(units.get, share)) for share in dealt]
    report.test("shares.even", max(times) - min(times) <= max(units.values()), f"{times}")
    names = {suites.split(unit)[0] for unit in units}
    report.test("shares.suites", names == set(debug.SUITES), f"{names}")
    calls = {word for _, words in debug.calls(units) for word in words}
    report.test("shares.calls", calls == set(units), f"{calls ^ set(units)}")
    unknown = debug.SECONDS.keys() - units.keys()
    report.test("shares.known", not unknown, f"no units: {unknown}")


def run(report):
    shares(report)
    kunit(report)
    vm.prepare(report.kernel)
    programs(report)
