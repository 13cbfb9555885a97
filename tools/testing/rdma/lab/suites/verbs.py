# SPDX-License-Identifier: GPL-2.0
"""Our C programs on libibverbs, all in one boot of the VM."""

import os
import re

import klog
import ktap
import paths
import programs
import ui

HELP = "C programs in the VM: data byte for byte, bounds, windows, bad input, life of MRs"

# Each prints KTAP; "=== program NAME STATUS" after it says how it ended
SCRIPT = """
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
cd "$1" || exit
shift
worst=0
for program; do
    "./$program"
    status=$?
    echo "=== program $program $status"
    [ $status -eq 0 ] || worst=1
done
exit $worst
"""

# Memory for what the debug kernel has: the CMA heap, and persistent memory
CMA = "cma=64M"
PMEM = ["-machine nvdimm=on", "-m slots=1,maxmem=4G",
        "-object memory-backend-ram,id=pmem,size=64M -device nvdimm,memdev=pmem"]

END = re.compile(r"^=== program (\S+) (\d+)$", re.MULTILINE)


TESTS = "mr_|odp_"


def parts(_kernel):
    """Those that can run alone: the programs."""
    return programs.names("verbs", TESTS)


def run(report, only=()):
    folder = programs.ensure()
    run_programs(report, "verbs", folder, only or parts(report.kernel), cmdline=[CMA],
                 devices=PMEM if report.kernel == "debug" else ())
    # It takes the network apart
    run_programs(report, "unplug", folder, ["unplug"])


def run_programs(report, name, folder, names, under="", variables=None, **machine):
    """Run the programs NAMES of FOLDER in one boot, as run NAME; the kernel's logs.

    Their results are reported UNDER a common name. VARIABLES (bytes) are added
    to the environment. After a panic, those that had not run yet run in another
    boot: that is why there may be more than one log.
    """
    env = {**os.environb, b"RDMA_LAB_KERNEL": report.kernel.encode(), **(variables or {})}
    logs, left = [], list(names)
    while left:
        turn = f"{name}-{len(logs)}" if logs else name
        log = paths.log(f"check/{turn}-{report.kernel}.log")
        with open(log, "wb") as out:
            result = report.vm(turn, ["sh", "-c", SCRIPT, name, str(folder), *left], env=env,
                               stdout=out.fileno(), stderr=out.fileno(), under=under, **machine)
        logs.append(result.kernel_log)
        left = take(report, under, left, result, log)
    return logs


def take(report, under, names, result, log):
    """Report what the programs NAMES wrote to LOG; those that a panic kept from running."""
    parts = END.split(log.read_text(errors="replace"))
    ended = dict(zip(parts[1::3], zip(parts[0::3], parts[2::3])))
    left = [name for name in names if name not in ended]
    for name in names:
        if name in ended or not result.panic:
            program_results(report, under + name, *ended.get(name, (parts[-1], None)), log)
    if not result.panic or not left:
        return []
    test = klog.panicked_in(result.kernel_log)
    guilty = test.program if test and test.program in left else left[0]
    panic_results(report, under + guilty, parts[-1] if guilty == left[0] else "", test, log)
    left.remove(guilty)
    if left:
        ui.say(f"The kernel panicked in {under}{guilty}; to be run in another boot: "
               + " ".join(left))
    return left


def program_results(report, name, output, status, log):
    """Report what program NAME printed, and that it ended with STATUS, or not at all."""
    results = ktap.parse(output)
    report.add(results, log, under=name)
    if status != "0" and not any(r.status == "fail" for r in results):
        how = f"exit status {status}" if status else "did not end"
        report.fail(f"{name}.status", how, log)


def panic_results(report, name, output, test, log):
    """Report the tests of NAME before TEST, in which the kernel panicked. That one has failed."""
    done = [result for result in ktap.parse(output) if result.name != "report"]
    report.add(done, log, under=name)
    where = f" in {test.name}" if test else ""
    report.fail(f"{name}.rest", f"not run, the kernel panicked{where}", log)
