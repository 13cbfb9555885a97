# SPDX-License-Identifier: GPL-2.0
"""rdma-core's own tests in the VM, against the list of what each is to do."""

import os
import shutil

import ktap
import paths
import ui
import userspace

HELP = "rdma-core's own suite in the VM, each test against its expected outcome"

FOLDER = paths.TESTING / "pyverbs"
EXPECTED = FOLDER / "expected.txt"

HEAD = """\
# SPDX-License-Identifier: GPL-2.0
#
# What each test of rdma-core does on rxe: ok, skip or fail, and its name.
# Written by `./lab check --accept pyverbs`: look at the difference first.
"""


# Some tests want huge pages
SCRIPT = 'echo 32 >/proc/sys/vm/nr_hugepages; exec "$@"'


def read_expected():
    """{test: outcome}"""
    expected = {}
    if EXPECTED.exists():
        for line in EXPECTED.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                outcome, name = line.split()
                expected[name] = outcome
    return expected


def write_expected(seen):
    EXPECTED.write_text(HEAD + "".join(f"{seen[name]:4} {name}\n" for name in sorted(seen)),
                        encoding="utf-8")


def copy_tests():
    """A copy of the tests: beside their source lies a pyverbs that is not built."""
    source = userspace.RDMA_CORE / "src/tests"
    copy = paths.BUILD / "pyverbs/tests"
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(source, copy)
    return copy


def run(report, accept=False):
    python = userspace.ensure_pyverbs()
    tests = copy_tests()
    env = {**os.environb, b"PYTHONPATH": os.fsencode(python)}
    log = paths.log(f"check/pyverbs-{report.kernel}.log")
    expected = read_expected()

    def so_far():
        return log.read_bytes().count(b"ok "), len(expected) or None, "tests"

    # unittest talks in half lines: not into the same file
    with open(log, "wb") as out, open(f"{log}.stderr", "wb") as err, \
            ui.step("Running rdma-core's tests", watch=so_far):
        report.vm("pyverbs", ["sh", "-c", SCRIPT, "pyverbs", "/usr/bin/python3", "-B",
                              FOLDER / "outcomes.py", tests / "run_tests.py", "--dev", "rxe0"],
                  env=env, stdout=out.fileno(), stderr=err.fileno())
    results = ktap.parse(log.read_text(errors="replace"))
    seen = {r.name: r for r in results}
    if accept and "report" not in seen:
        write_expected({name: r.status for name, r in seen.items()})
        expected = read_expected()
    compare(report, expected, seen, log)


def compare(report, expected, seen, log):
    """Each test did what the list says; each in the list was there."""
    for name, result in seen.items():
        wanted = expected.get(name)
        if wanted is None:
            report.fail(name, f"{result.status}, and not in {EXPECTED.name}\n{result.why}", log)
        elif wanted != result.status:
            report.fail(name, f"{result.status}, expected {wanted}\n{result.why}", log)
        elif wanted == "skip":
            report.skip(name, result.why)
        else:
            report.ok(name)
    for name in expected.keys() - seen.keys():
        report.fail(name, f"did not run, expected {expected[name]}", log)
