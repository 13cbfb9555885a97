# SPDX-License-Identifier: GPL-2.0
"""rdma-core's own tests in the VM, against the list of what each is to do."""

import os
import shutil
import subprocess

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
# What each test of rdma-core does on rxe: ok, skip or fail, and its name. Those
# of dma-bufs are done twice, with memory of the system heap and of udmabuf.
# Written by `./lab check --accept pyverbs`: look at the difference first.
"""


# Some tests want huge pages
SCRIPT = 'echo 32 >/proc/sys/vm/nr_hugepages; exec "$@"'

# What the tests' names get in front, and more arguments of run_tests.py. Where
# there is no GPU, --gtt means udmabuf instead of the heap.
RUNS = {"pyverbs": ("", ()),
        "pyverbs-udmabuf": ("udmabuf:", ("--gtt", "-k", "DmaBuf"))}


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


def run_tests(report, name, expected):
    """One of RUNS: (result, log) by the test's name."""
    prefix, more = RUNS[name]
    env = {**os.environb, b"PYTHONPATH": os.fsencode(userspace.ensure_pyverbs())}
    tests = copy_tests()
    log = paths.log(f"check/{name}-{report.kernel}.log")
    total = sum((":" in test) == bool(prefix) for test in expected)

    def so_far():
        return log.read_bytes().count(b"ok "), total or None, "tests"

    # unittest talks in half lines: not into the same file
    with open(log, "wb") as out, open(f"{log}.stderr", "wb") as err, \
            ui.step(f"Running rdma-core's tests ({name})", watch=so_far):
        report.vm(name, ["sh", "-c", SCRIPT, "pyverbs", "/usr/bin/python3", "-B",
                         FOLDER / "outcomes.py", tests / "run_tests.py", "--dev", "rxe0",
                         *more],
                  env=env, stdout=out.fileno(), stderr=err.fileno(), under=prefix)
    results = ktap.parse(log.read_text(errors="replace"))
    return {prefix + r.name: (r, log) for r in results}


# A program of a caller's own, with a module of its own
OWN_PROGRAM = """
import own_module, pyverbs.device
with pyverbs.device.Context(name="rxe0") as context:
    print(pyverbs.__file__, context.query_device().max_mr > 0)
"""


def own_program(report):
    """`lab exec -- python3 ...` imports pyverbs. Where pyverbs is not built, it builds it."""
    folder = paths.log("check/pyverbs-own")
    folder.mkdir(exist_ok=True)
    (folder / "own_module.py").write_text("")
    with ui.step("Running a program that imports pyverbs"):
        done = subprocess.run(
            [paths.TOP / "lab", "exec", "--kernel", report.kernel, "--", "python3", "-c",
             OWN_PROGRAM], env={**os.environ, "PYTHONPATH": str(folder)}, cwd=paths.LOGS,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False)
    path = userspace.RDMA_CORE / "build/python/pyverbs/__init__.py"
    report.test("a program of one's own imports pyverbs and its own module",
                done.returncode == 0 and done.stdout == f"{path} True\n",
                done.stdout + done.stderr)


def parts(_kernel):
    """Those that can run alone."""
    return list(RUNS)


def run(report, only=(), accept=False):
    if "pyverbs" in only or not only:
        own_program(report)
    expected = read_expected()
    seen = {}
    for name in only or RUNS:
        seen |= run_tests(report, name, expected)
    if accept and not any(prefix + "report" in seen for prefix, _ in RUNS.values()):
        write_expected({name: result.status for name, (result, _) in seen.items()})
        expected = read_expected()
    prefixes = {RUNS[name][0] for name in only or RUNS}
    compare(report, {name: outcome for name, outcome in expected.items()
                     if name[:name.find(":") + 1] in prefixes}, seen)


def compare(report, expected, seen):
    """Each test did what the list says; each in the list was there."""
    for name, (result, log) in seen.items():
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
        report.fail(name, f"did not run, expected {expected[name]}")
