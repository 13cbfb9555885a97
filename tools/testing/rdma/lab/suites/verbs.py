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
    # A name, or a name and which of its tests
    ./$program
    status=$?
    echo "=== program ${program%% *} $status"
    [ $status -eq 0 ] || worst=1
done
exit $worst
"""

# Memory for what the debug kernel has: the CMA heap, and persistent memory
CMA = "cma=64M"
PMEM = ["-machine nvdimm=on", "-m slots=1,maxmem=4G",
        "-object memory-backend-ram,id=pmem,size=64M -device nvdimm,memdev=pmem"]

END = re.compile(r"^=== program (\S+) (\d+)$", re.MULTILINE)


def tests(folder, patterns=("mr_*", "odp_*")):
    """The programs that the Makefile says are tests."""
    return sorted(path.name for pattern in patterns for path in folder.glob(pattern)
                  if path.suffix == "")


# What moves most bytes, and takes the debug kernel minutes: left out there (None),
# or those of its tests that have this in their names. The code paths are those of
# the other tests; `./lab exec --kernel debug` runs all of them.
LESS = {"debug": {"mr_size": None, "odp_data": None, "mr_data": "data/scattered",
                  "mr_bounds": "rc/scattered"}}


def chosen(names, flavour):
    """NAMES with what to run of them on kernel FLAVOUR."""
    less = LESS.get(flavour, {})
    words = {name: less.get(name, "") for name in names}
    return [f"{name} {tests}".rstrip() for name, tests in words.items() if tests is not None]


def run(report):
    folder = programs.ensure()
    run_programs(report, "verbs", folder, chosen(tests(folder), report.kernel), cmdline=[CMA],
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
    for program in (name.split()[0] for name in names):
        output, status = ended.get(program, (parts[-1], None))
        results = ktap.parse(output)
        report.add(results, log, under=under + program)
        if status != "0" and not any(r.status == "fail" for r in results):
            how = f"exit status {status}" if status else "did not end"
            report.fail(f"{under}{program}.status", how, log)
    return result
