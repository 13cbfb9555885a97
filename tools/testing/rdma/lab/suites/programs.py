# SPDX-License-Identifier: GPL-2.0
"""Real programs that are no part of this project, over rxe by ./lab exec."""

import os
import subprocess
from typing import NamedTuple

import kernel
import ktap
import packages
import paths
import ui
import userspace
import vm

HELP = "rping, rstream, libfabric, UCX, Open MPI, fio and perftest, on rxe0 and rxe1"

GUEST = paths.TESTING / "labtest"
HANGS = 600             # seconds after which it hangs for certain
LEAST = 20              # packets that a transfer over the link sends, each way
MOST = 60               # what a program sends over the link besides: TCP, neighbours


class Program(NamedTuple):
    count: int                  # its transfers
    over_link: bool = True      # else from a device to itself


PROGRAMS = {"rping": Program(2), "rstream": Program(4), "fi_pingpong": Program(3),
            "fio": Program(2), "ucx": Program(3), "mpi": Program(3),
            "own": Program(8, over_link=False)}


def transfers(name, text):
    """What programs.sh printed, as results."""
    for line in text.splitlines():
        title, outcome, *packets = line.rsplit(maxsplit=3)
        if PROGRAMS[name].over_link:
            way = len(packets) == 2 and all(int(n) >= LEAST for n in packets)
        else:
            way = len(packets) == 2 and all(int(n) <= MOST for n in packets)
        why = f"{name} {outcome}, packets from net0 and net1: {packets}"
        # known: it fails, with the message that is known of its version
        passed = outcome == "known" or outcome == "ok" and way
        if name == "own":
            title = "to itself: " + title
        yield ktap.Result(title, "ok" if passed else "fail", "" if passed else why)


def build_mpi_program():
    """Our MPI program, by Open MPI's compiler."""
    folder = paths.BUILD / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    with kernel.lock("programs"):
        ui.logged(["mpicc.openmpi", "-O2", "-g", "-Wall", "-Wextra", "-o", folder / "mpi_data",
                   GUEST / "mpi_data.c"], paths.log("programs.log"), "building mpi_data",
                  env={**kernel.environment("user"), "OMPI_CC": "gcc"})
    return folder / "mpi_data"


def run(report):
    packages.ensure("vm", "programs")
    vm.prepare(report.kernel)
    mpi = build_mpi_program()
    env = {**os.environ, "PATH": f"{userspace.ensure_perftest()}:{os.environ['PATH']}"}
    for name, program in PROGRAMS.items():
        with ui.step(f"Running {name}"):
            done = subprocess.run(
                [paths.TOP / "lab", "exec", "--kernel", report.kernel, "--timeout", str(HANGS),
                 "--", "sh", GUEST / "programs.sh", GUEST, name, mpi], cwd=paths.LOGS, env=env,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                check=False)
        log = paths.log(f"check/programs-{name}.log")
        log.write_text(done.stdout + done.stderr)
        results = list(transfers(name, done.stdout))
        report.add(results, log)
        if done.returncode or len(results) != program.count:
            report.fail(name + ".all", f"{len(results)} of {program.count} transfers, status "
                                       f"{done.returncode}\n{done.stderr[-2000:]}", log)
