# SPDX-License-Identifier: GPL-2.0
"""`./lab bench`: what phyr costs and gains, against stock in the same run."""

import argparse
import importlib
from pathlib import Path
from typing import NamedTuple

import bench_against
import bench_doc
import bench_report as report
import packages
import ui


class Kind(NamedTuple):
    """One kind of benchmark: its module, what that is called with, what it measures."""
    module: str
    words: tuple
    what: str

    def run(self, argv):
        return importlib.import_module(self.module).main([*self.words, *argv])


# In the order of a run; each leaves what it measured in build/bench/KIND.json
KINDS = {
    "reg": Kind("bench_reg", (), "kernel memory of a pinned region, and instructions to register "
                "and deregister it"),
    "reg-edu": Kind("bench_reg", ("--device", "edu"), "the same on edu_0, behind an IOMMU"),
    "scale": Kind("bench_scale", (), "the same from 4 KiB to 4 GiB, and 1 to 100,000 regions"),
    "odp": Kind("bench_odp", (), "paging on demand: pages that come and go, kernel memory, writes "
                "against pinned memory"),
    "odp-edu": Kind("bench_odp_dma", (), "links, IOTLB operations and instructions of paging on "
                    "edu_0, behind an IOMMU"),
    "dmabuf": Kind("bench_dmabuf", (), "regions of dma-bufs, beside pinned ones: kernel memory, "
                   "instructions, revoking"),
    "perftest": Kind("bench_perftest", (), "bandwidth and instructions per message of perftest's "
                     "programs"),
}

HELP = """Measure the kernels stock and phyr, with the goal of each row. Without a KIND,
all of them are run, and build/bench/ holds the report: report.md with tables
and plots, report.json and report.csv. With a KIND, only that one's table and
raw data are made; ./lab bench KIND --help has its options.

The exit status is 0 if all was measured; with --strict it is 1 where a goal is
missed, with --against where something got worse.

kinds:
""" + "\n".join(f"  {name:9} {kind.what}" for name, kind in KINDS.items())


def options():
    parser = argparse.ArgumentParser(
        prog="./lab bench", usage="./lab bench [KIND] [OPTION]...", description=HELP,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="fewer sizes and repetitions: 5 minutes at most")
    parser.add_argument("--strict", action="store_true",
                        help="exit status 1 where a goal is missed")
    parser.add_argument("--against", metavar="FILE", type=Path,
                        help="say what got worse, by more than the spread, since the run whose "
                             "report.json (or the like of one kind) FILE is")
    parser.add_argument("--results", metavar="FILE", type=Path,
                        help="take the results from there, and do not measure")
    return parser


def measure(quick):
    """Run all kinds; {kind: what it saved}."""
    kinds = {}
    for name, kind in KINDS.items():
        ui.say(f"Benchmark {name}: {kind.what}")
        kind.run(["--quick"] if quick else [])
        kinds |= bench_doc.load(report.FOLDER / f"{name}.json")
    return kinds


def everything(argv):
    args = options().parse_args(argv)
    before = bench_doc.load(args.against) if args.against else None
    if args.results:
        kinds = bench_doc.load(args.results)
    else:
        packages.ensure("bench", "plots")   # now, and not when all is measured
        with report.timed():
            kinds = measure(args.quick)
            bench_doc.write(kinds, {name: kind.what for name, kind in KINDS.items()})
    status = report.verdict(
        [row for part in kinds.values() for row in bench_doc.rows_of(part)], args.strict)
    if before:
        status |= bench_against.compare(before, kinds)
    return status


def main(argv):
    if not argv or argv[0].startswith("-"):
        return everything(argv)
    if argv[0] not in KINDS:
        ui.say(f"lab: there is no benchmark '{argv[0]}', only " + ", ".join(KINDS))
        return 2
    return KINDS[argv[0]].run(argv[1:])
