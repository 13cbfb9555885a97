# SPDX-License-Identifier: GPL-2.0
"""What benchmarks share: their programs, one VM run, rows with goals, files."""

import argparse
import contextlib
import csv
import functools
import hashlib
import json
import os
import subprocess
import threading
import time
from typing import NamedTuple

import accel
import agent
import kernel
import packages
import pair
import paths
import sources
import ui
import userspace
import vm

SOURCE = paths.TOP / "bench"
FOLDER = paths.BUILD / "bench"
KERNELS = ("stock", "phyr")


class Row(NamedTuple):
    """One line of a table; GOAL is the most (or least) that VALUE may be."""
    what: str
    stock: float
    phyr: float
    ratio: float            # phyr to stock, or None where stock is 0 or has no figure
    floor: float            # what cannot be avoided, or None
    value: float            # what the goal is about
    goal: str               # in words, "" for none
    met: bool               # None where there is no goal
    spread: tuple = None    # of the ratios: two standard deviations either way
    more: bool = False      # more of it is better
    note: str = ""          # why a figure is missing, or what is wrong with it
    table: str = ""         # which table it belongs to


def programs():
    """The folder of our benchmark programs, built."""
    packages.ensure("bench")
    core = userspace.ensure_rdma_core()
    ui.logged(["make", "-C", SOURCE, f"O={FOLDER}", f"RDMA_CORE={core}"],
              paths.log("bench.log"), "building the benchmarks")
    return FOLDER


def facts(**more):
    """What the figures depend on, for who reads them later."""
    commit = subprocess.run(["git", "-c", f"safe.directory={paths.TOP}", "describe", "--always",
                             "--dirty", "--abbrev=12"], cwd=paths.TOP, capture_output=True,
                            text=True, check=False).stdout.strip()
    kernels = {name: kernel.ensure(name) for name in KERNELS}
    return {"date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "commit": commit or "unknown",
            "base": sources.linux().version,
            "kernels": {name: built.release for name, built in kernels.items()},
            "configs": {name: _digest(built.obj / ".config") for name, built in kernels.items()},
            "accelerator": accel.name(accel.choose(kernels["phyr"], agent.initramfs())),
            **more}


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def run(argv, flavour, title, total, name, peer=None, **more):
    """Run ARGV on a kernel and give what it printed, a line at a time; with
    PEER, in two VMs, the second of which runs that.

    It prints TOTAL lines that begin with one of "{=", for the progress.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}-{flavour}.out"

    def count():
        text = path.read_text(errors="replace")
        return sum(line[:1] in ("{", "=") for line in text.splitlines()), total

    vm.prepare(flavour)
    with open(path, "wb") as out, ui.step(title, quiet=False, watch=count) as step:
        runner = functools.partial(pair.run, other=peer) if peer else vm.run
        result = runner(argv, kernel=flavour, name=f"bench-{name}-{flavour}", cwd=FOLDER,
                        stdout=out.fileno(), **more)
        step.progress(*count())
    if result.status or result.panic:
        told = (result.panic or result.stderr.decode(errors="replace")).splitlines()
        raise ui.LabError(f"{os.path.basename(argv[0])} on {flavour} gave exit status "
                          f"{result.status}", None, result.kernel_log, told[-15:])
    if result.reports:
        ui.say(f"The {flavour} kernel complained: {paths.show(result.kernel_log)}")
    return path.read_text(errors="replace").splitlines(), result


def of_each(function):
    """{kernel: FUNCTION(kernel)}, all at a time where there are processors: what
    else runs changes no count of instructions."""
    found, errors = {}, []

    def work(flavour):
        try:
            found[flavour] = function(flavour)
        except BaseException as e:      # it is the caller's thread that tells
            errors.append(e)

    if kernel.jobs() < len(KERNELS):
        return {flavour: function(flavour) for flavour in KERNELS}
    for flavour in KERNELS:
        vm.prepare(flavour)
    threads = [threading.Thread(target=work, args=(flavour,), daemon=True) for flavour in KERNELS]
    for thread in threads:
        thread.start()
    # In short steps: a signal interrupts no join()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
    if errors:
        raise errors[0]
    return {flavour: found[flavour] for flavour in KERNELS}


def measure(argv, wanted, flavour, title, name, **more):
    """Run ARGV for the cases WANTED: {case: what it said of that}, and the kernel's log."""
    lines, result = run([*argv, *wanted], flavour, title, len(wanted), name, icount=True, **more)
    found = {case["what"]: case for case in map(json.loads, lines)}
    if set(found) != set(wanted):
        raise ui.LabError(f"{name} on {flavour} measured {len(found)} of {len(wanted)} cases",
                          log=result.kernel_log)
    return found, result.kernel_log


def least(figures):
    """What happens meanwhile only adds to a count: the least of a list of them, a figure as
    it is."""
    return min(figures) if isinstance(figures, list) else figures


def number(value):
    """A count as a person reads it."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.1f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cells(row, floors, spreads):
    cells = [row.what, number(row.stock), number(row.phyr),
             "-" if row.ratio is None else f"{row.ratio:.3f}"]
    if floors:
        known = row.floor and row.phyr is not None
        cells += [number(row.floor), f"{row.phyr / row.floor:.3f}" if known else "-"]
    if spreads:
        cells.append("{:.3f} to {:.3f}".format(*row.spread) if row.spread else "-")
    outcome = "; ".join(filter(None, ({None: "", True: "met", False: "NOT MET"}[row.met],
                                      row.note)))
    return [*cells, row.goal, outcome]


def cells(rows):
    """(head, cells of each row); columns that none of them fills are left out."""
    floors = any(row.floor is not None for row in rows)
    spreads = any(row.spread for row in rows)
    head = ["", "stock", "phyr", "phyr/stock", *(["floor", "phyr/floor"] if floors else []),
            *(["spread"] if spreads else []), "goal", ""]
    return head, [_cells(row, floors, spreads) for row in rows]


def show(rows):
    """The table of ROWS."""
    ui.table(*cells(rows))


def show_tables(rows):
    """The tables that ROWS belong to, each under its title."""
    for table in dict.fromkeys(row.table for row in rows):
        print(f"\n{table}\n")
        show([row for row in rows if row.table == table])


def options(kind, text, quick):
    """The parser of `./lab bench KIND`, with what all kinds have. QUICK: what --quick means."""
    parser = argparse.ArgumentParser(prog=f"./lab bench {kind}", description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--strict", action="store_true",
                        help="exit status 1 where a goal is missed")
    return parser


def save(name, rows, raw, about, plots=()):
    """The rows as CSV, and all there is as JSON; PLOTS are for bench_doc.py."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.csv", "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(Row._fields)
        out.writerows(rows)
    with open(FOLDER / f"{name}.json", "w", encoding="utf-8") as f:
        json.dump({"kind": name, "facts": about, "rows": [row._asdict() for row in rows],
                   "plots": plots, "raw": raw}, f, indent=1)
        f.write("\n")
    print(f"\nRaw data: {paths.show(FOLDER / name)}.json and .csv")


def plot(name, title, x, y, series, scale="log"):
    """A plot for bench_doc.py. SERIES is {name: [(x, y) or (x, y, low, high)]};
    X and Y name the axes, SCALE is what Y is: logarithmic, or linear and has
    "zero" or "one" in it."""
    return {"name": name, "title": title, "x": x, "y": y, "scale": scale,
            "series": {key: [point for point in points if point[1]]
                       for key, points in series.items()}}


def verdict(rows, strict):
    """The exit status, and in words how many goals are missed."""
    goals = [row for row in rows if row.met is not None]
    missed = [row for row in goals if not row.met]
    print(f"{len(goals) - len(missed)} of {len(goals)} goals met")
    return 1 if strict and missed else 0


@contextlib.contextmanager
def timed():
    """Say at the end how long it all took."""
    began = time.monotonic()
    yield
    ui.say(f"It took {ui.duration(time.monotonic() - began)}")
