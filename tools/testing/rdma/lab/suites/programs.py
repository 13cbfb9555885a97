# SPDX-License-Identifier: GPL-2.0
"""Real programs that are no part of this project, over rxe by ./lab exec."""

import subprocess

import ktap
import packages
import paths
import ui
import vm

HELP = "rping, rstream, fi_pingpong and fio's rdma engine, from rxe0 to rxe1"

GUEST = paths.TESTING / "labtest"
PROGRAMS = {"rping": 2, "rstream": 4, "fi_pingpong": 2, "fio": 2}      # and their transfers
HANGS = 300             # seconds after which it hangs for certain
LEAST = 20              # packets that each transfer sends, each way


def transfers(program, text):
    """What programs.sh printed, as results."""
    for line in text.splitlines():
        name, outcome, *packets = line.rsplit(maxsplit=3)
        crossed = len(packets) == 2 and all(int(n) >= LEAST for n in packets)
        why = f"{program} {outcome}, packets from net0 and net1: {packets}"
        passed = outcome == "ok" and crossed
        yield ktap.Result(name, "ok" if passed else "fail", "" if passed else why)


def run(report):
    packages.ensure("vm", "programs")
    vm.prepare(report.kernel)
    for program, count in PROGRAMS.items():
        with ui.step(f"Running {program}"):
            done = subprocess.run(
                [paths.TOP / "lab", "exec", "--kernel", report.kernel, "--timeout", str(HANGS),
                 "--", "sh", GUEST / "programs.sh", GUEST, program], cwd=paths.LOGS,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                check=False)
        log = paths.log(f"check/programs-{program}.log")
        log.write_text(done.stdout + done.stderr)
        results = list(transfers(program, done.stdout))
        report.add(results, log)
        if done.returncode or len(results) != count:
            report.fail(program + ".all", f"{len(results)} of {count} transfers, status "
                                 f"{done.returncode}\n{done.stderr[-2000:]}", log)
