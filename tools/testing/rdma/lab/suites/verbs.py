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
    ./"$program"
    status=$?
    echo "=== program $program $status"
    [ $status -eq 0 ] || worst=1
done
exit $worst
"""

END = re.compile(r"^=== program (\S+) (\d+)$", re.MULTILINE)


def tests(folder):
    """The programs that the Makefile says are tests."""
    return sorted(path.name for path in folder.glob("mr_*") if path.suffix == "")


def run(report):
    folder = programs.ensure()
    names = tests(folder)
    log = paths.log(f"check/verbs-{report.kernel}.log")
    env = {**os.environb, b"RDMA_LAB_KERNEL": report.kernel.encode()}
    with open(log, "wb") as out:
        report.vm("verbs", ["sh", "-c", SCRIPT, "verbs", str(folder), *names], env=env,
                  stdout=out.fileno(), stderr=out.fileno())
    text = log.read_text(errors="replace")
    parts = END.split(text)
    ended = dict(zip(parts[1::3], zip(parts[0::3], parts[2::3])))
    for name in names:
        output, status = ended.get(name, (parts[-1], None))
        results = ktap.parse(output)
        report.add(results, log, under=name)
        if status != "0" and not any(r.status == "fail" for r in results):
            how = f"exit status {status}" if status else "did not end"
            report.fail(f"{name}.status", how, log)
