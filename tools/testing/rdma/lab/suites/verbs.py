# SPDX-License-Identifier: GPL-2.0
"""Our C programs on libibverbs, all in one boot of the VM."""

import os
import re

import ktap
import paths
import programs

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


def run_programs(report, name, folder, names, under="", variables=None, **machine):
    """Run the programs NAMES of FOLDER in one boot, as run NAME; its vm.Result.

    Their results are reported UNDER a common name. VARIABLES (bytes) are added
    to the environment.
    """
    log = paths.log(f"check/{name}-{report.kernel}.log")
    env = {**os.environb, b"RDMA_LAB_KERNEL": report.kernel.encode(), **(variables or {})}
    with open(log, "wb") as out:
        result = report.vm(name, ["sh", "-c", SCRIPT, name, str(folder), *names], env=env,
                           stdout=out.fileno(), stderr=out.fileno(), **machine)
    text = log.read_text(errors="replace")
    parts = END.split(text)
    ended = dict(zip(parts[1::3], zip(parts[0::3], parts[2::3])))
    for program in names:
        output, status = ended.get(program, (parts[-1], None))
        results = ktap.parse(output)
        report.add(results, log, under=under + program)
        if status != "0" and not any(r.status == "fail" for r in results):
            how = f"exit status {status}" if status else "did not end"
            report.fail(f"{under}{program}.status", how, log)
    return result
