# SPDX-License-Identifier: GPL-2.0
"""`./lab bench odp-edu`: what on-demand paging asks of the IOMMU, on the edu device.

bench/odp_dma.c measures; here its figures of two kernels are set side by side. The
unpatched kernel has the same driver, with bench/stock/edu_odp.c for what the two
kernels do each in its own way.
"""


import bench_report as report
import ui

HELP = """Bring pages that the CPU has mapped into a region of the edu device by one
ibv_advise_mr(), and have them taken away by one mprotect(), behind the emulated
Intel IOMMU, on the kernels stock and phyr. Both run in a VM of one processor whose
clock counts instructions.

What is taken away is flushed from the IOTLB at once (iommu.strict=1). With
caching mode the IOTLB is flushed after mapping, too. The part of the region is
what mprotect() takes more than for memory that no region has; the floor is that."""

MODES = ("strict", "caching")
PAGES = {"scattered": (1, 16, 512, 4096), "huge": (512, 4096)}
QUICK = ("scattered:512", "huge:512")
WORDS = {"scattered": "{} x 4 KiB, scattered", "huge": "{} x 4 KiB, in 2 MiB pages"}
EVENTS = {"map": "ranges linked", "unmap": "spans unlinked", "flush": "IOTLB flushes",
          "flush_map": "IOTLB syncs", "qi": "IOMMU requests"}
MEM, REPEAT, QUICK_REPEAT = "2G", 5, 3


def cases(quick):
    return QUICK if quick else [f"{kind}:{nr}" for kind, numbers in PAGES.items()
                                for nr in numbers]


def measure(flavour, mode, quick):
    """{case: what odp_dma.c said of it}"""
    found, log = report.measure(
        [f"{report.programs()}/odp_dma", "-r", str(QUICK_REPEAT if quick else REPEAT)],
        cases(quick), flavour, f"Paging on demand on {flavour}, edu, {mode}", f"odp-edu-{mode}",
        mem=MEM, iommu=mode, edu=64)
    for what, case in found.items():
        if not case["fault_events"]["map"] or not case["invalidate_events"]["unmap"]:
            raise ui.LabError(f"on {flavour}, nothing of {what} was linked, or nothing unlinked",
                              log=log)
    return found


def part(case):
    """Instructions of an invalidation: what mprotect() takes more with a region."""
    return min(case["invalidate"]) - min(case["protect"])


def row(what, stock, phyr, goal=None, of=None, floor=None, table=""):
    """With a GOAL: the most, OF stock or of the figure itself."""
    ratio = phyr / stock if stock else None
    value = {None: None, "stock": ratio, "it": phyr}[of]
    words = "" if goal is None else f"<= {goal}" + (" of stock" if of == "stock" else "")
    return report.Row(what, stock, phyr, ratio, floor, value, words,
                      None if goal is None else value <= goal, table=table)


def goal_rows(raw):
    """The rows of the goal table."""
    def both(mode, case, pick):
        return [pick(raw[flavour][mode][case]) for flavour in report.KERNELS]

    few, huge = "scattered:512", "huge:512"
    return [
        row("IOTLB flushes to invalidate 512 pages",
            *both("strict", few, lambda c: c["invalidate_events"]["flush"]), 1, "it"),
        row("IOTLB syncs to fault in 512 scattered pages, caching mode",
            *both("caching", few, lambda c: c["fault_events"]["flush_map"]), 1, "it"),
        row("instructions to unlink 512 pages", *both("strict", few, part), 0.05, "stock"),
        row("instructions to fault in 512 scattered pages that the CPU has mapped",
            *both("strict", few, lambda c: min(c["fault"])), 0.3, "stock"),
        row("the same, caching mode",
            *both("caching", few, lambda c: min(c["fault"])), 0.3, "stock"),
        row("links of a 2 MiB page",
            *both("strict", huge, lambda c: c["fault_events"]["map"]), 1, "it"),
    ]


def rest_rows(raw, quick):
    rows = []
    for mode in MODES:
        table = f"Pages that come and go, {mode}: instructions and counts"
        for case in cases(quick):
            kind, nr = case.split(":")
            where = WORDS[kind].format(nr)
            of = [raw[flavour][mode][case] for flavour in report.KERNELS]
            rows.append(row(f"bring in: {where}", *(min(c["fault"]) for c in of), table=table))
            rows.append(row(f"bring in what is in: {where}", *(min(c["again"]) for c in of),
                            table=table))
            rows.append(row(f"take away: {where}", *(part(c) for c in of),
                            floor=min(of[1]["protect"]), table=table))
            for when, words in (("fault", "in"), ("invalidate", "away")):
                for name, what in EVENTS.items():
                    counts = [c[f"{when}_events"][name] for c in of]
                    if any(counts):
                        rows.append(row(f"{what}, {words}: {where}", *counts, table=table))
    return rows


def main(argv):
    args = report.options("odp-edu", HELP, "only the cases that the goals are about, fewer repetitions").parse_args(argv)
    about = report.facts(repeat=QUICK_REPEAT if args.quick else REPEAT)
    with report.timed():
        raw = report.of_each(lambda flavour: {mode: measure(flavour, mode, args.quick)
                                              for mode in MODES})
    goals, rest = goal_rows(raw), rest_rows(raw, args.quick)
    print("\nPaging on demand behind an IOMMU, edu\n")
    report.show(goals)
    report.show_tables(rest)
    report.save("odp-edu", goals + rest, raw, about)
    return report.verdict(goals, args.strict)
