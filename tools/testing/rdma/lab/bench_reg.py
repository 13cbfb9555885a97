# SPDX-License-Identifier: GPL-2.0
"""`./lab bench reg`: what a pinned region costs, by size and kind of memory.

bench/reg.c measures; here its figures of two kernels are set side by side.
"""

import argparse
import json
from statistics import median

import bench_report as report
import ui

HELP = """Register and deregister memory of known physical layout on rxe, on the kernels
stock and phyr, one after the other. Both run in a VM of one processor whose
clock counts instructions, so the figures are instructions and repeat within
0.1 %. Memory of the kernel is what a region holds beyond a region of one page.
The floor is what pinning (or unpinning) the same pages costs by itself
(the kernel's gup_test)."""

KIB = 1 << 10
MIB = 1 << 20
SIZES = {"scattered": (4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB),
         "huge": (2 * MIB, 16 * MIB, 256 * MIB)}
LARGE = 256 * MIB           # what the goals are about
WORDS = {"scattered": "4 KiB pages, scattered", "huge": "2 MiB pages"}


def cases(quick):
    return [f"{kind}:{size}" for kind, sizes in SIZES.items()
            for size in ((sizes[0], LARGE) if quick else sizes)]


def measure(flavour, wanted, repeat):
    """{case: what reg.c said of it}"""
    lines, result = report.run(
        [f"{report.programs()}/reg", "-r", str(repeat), *wanted], flavour,
        f"Registering memory on {flavour}", len(wanted), "reg", icount=True, mem="2G")
    found = {case["what"]: case for case in map(json.loads, lines)}
    if set(found) != set(wanted):
        raise ui.LabError(f"reg on {flavour} measured {len(found)} of {len(wanted)} cases",
                          log=result.kernel_log)
    return found


class Figures:
    """The figures of one kernel, by kind of memory and size."""

    def __init__(self, found):
        self.found = found

    def case(self, kind, size=LARGE):
        return self.found[f"{kind}:{size}"]

    def time(self, name, kind, size=LARGE):
        return median(self.case(kind, size)[name])

    def memory(self, kind, size=LARGE):
        """Bytes of kernel memory of one region."""
        case = self.case(kind, size)
        return case["kernel_bytes"] / case["regions"]

    def memory_per_page(self, kind):
        return ((self.memory(kind) - self.memory("scattered", 4 * KIB))
                / self.case(kind)["pages"])


def row(what, stock, phyr, *, floor=None, most=None, of=None):
    """A row whose goal is at most MOST, OF "it", "stock" or "floor"."""
    value = {None: None, "it": phyr, "stock": phyr / stock,
             "floor": phyr / floor if floor else None}[of]
    words = {None: "", "it": f"<= {most}", "stock": f"<= {most} of stock",
             "floor": f"<= {most} of the floor"}[of]
    return report.Row(what, stock, phyr, phyr / stock, floor, value, words,
                      None if value is None else value <= most)


def goal_rows(stock, phyr):
    """The rows of the goal table."""
    rows = []
    for kind, most in (("scattered", 8.5), ("huge", 0.02)):
        rows.append(row(f"kernel memory, bytes per 4 KiB: {WORDS[kind]}",
                        stock.memory_per_page(kind), phyr.memory_per_page(kind),
                        most=most, of="it"))
    for kind, most in (("scattered", 0.55), ("huge", 0.12)):
        rows.append(row(f"register 256 MiB: {WORDS[kind]}", stock.time("reg", kind),
                        phyr.time("reg", kind), floor=phyr.time("pin", kind),
                        most=most, of="stock"))
    for kind in ("scattered", "huge"):
        rows.append(row(f"deregister 256 MiB: {WORDS[kind]}, dirty before",
                        stock.time("dereg", kind), phyr.time("dereg", kind),
                        floor=phyr.time("unpin", kind), most=1.2, of="floor"))
    for kind in ("scattered", "huge"):
        rows.append(row(f"deregister 256 MiB: {WORDS[kind]}, clean before",
                        stock.case(kind)["first_dereg"], phyr.case(kind)["first_dereg"],
                        floor=phyr.time("unpin", kind)))
    return rows


def size_rows(stock, phyr, wanted):
    """Cost against size, for all that was measured."""
    rows = []
    for case in wanted:
        kind, size = case.split(":")
        size = int(size)
        where = f"{ui.size(size).replace('.0 ', ' ')}, {WORDS[kind]}"
        for name in ("reg", "dereg"):
            rows.append(row(f"{name}: {where}", stock.time(name, kind, size),
                            phyr.time(name, kind, size)))
        rows.append(row(f"bytes: {where}", stock.memory(kind, size), phyr.memory(kind, size)))
    return rows


def check_sanity(flavour, figures):
    """A measurement of something else is an error, not a figure."""
    for kind in SIZES:
        case = figures.case(kind)
        if case["dirty_before"] == case["pages"] or case["dirty_after"] != case["pages"]:
            raise ui.LabError(f"on {flavour}, of {case['pages']} pages {case['dirty_before']} "
                              f"were dirty before deregistration and {case['dirty_after']} after")


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab bench reg", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="only the sizes that the goals are about, fewer repetitions")
    parser.add_argument("--strict", action="store_true",
                        help="exit status 1 where a goal is missed")
    args = parser.parse_args(argv)

    wanted = cases(args.quick)
    repeat = 3 if args.quick else 7
    about = report.facts(repeat=repeat)
    raw, figures = {}, {}
    with report.timed():
        for flavour in report.KERNELS:
            raw[flavour] = measure(flavour, wanted, repeat)
            figures[flavour] = Figures(raw[flavour])
            check_sanity(flavour, figures[flavour])
    rows = goal_rows(figures["stock"], figures["phyr"])
    sizes = size_rows(figures["stock"], figures["phyr"], wanted)
    print("\nOne pinned region on rxe: instructions, and kernel memory\n")
    report.show(rows)
    print("\nAgainst size: instructions to register and deregister, bytes of kernel memory\n")
    report.show(sizes)
    report.save("reg", rows + sizes, raw, about)
    return report.verdict(rows, args.strict)
