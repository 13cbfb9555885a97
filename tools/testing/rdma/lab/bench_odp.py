# SPDX-License-Identifier: GPL-2.0
"""`./lab bench odp`: what memory with on-demand paging costs on rxe.

bench/odp.c measures; here its figures of two kernels are set side by side.
"""


import bench_report as report
import ui

HELP = """Register memory with on-demand paging on rxe, bring pages in, have them taken
away, and write into it, on the kernels stock and phyr. Both run in a VM of one
processor whose clock counts instructions.

pages come in by ibv_advise_mr(), which waits for them: pages that the CPU has
    mapped, for the first time and again, and pages that nobody has touched. The
    floor of the latter is what the CPU takes to touch them. They go by
    mprotect(), which frees none, madvise() or munmap(); the floor is the same
    call for memory that no region has.
reg registers memory whose pages are there, and addresses without a page (sparse).
    stock looks for pages when it registers, phyr does not: compare the rows that
    bring all pages in, too.
write is an RDMA write from rxe0 to rxe1, from its posting to its completion. The
    floor is the same write into pinned memory. All bytes written are compared."""

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
PAGES = {"scattered": (1, 16, 512, 4096), "huge": (512, 4096)}
REGIONS = {"scattered": (MIB, 16 * MIB, 256 * MIB), "huge": (16 * MIB, 256 * MIB),
           "sparse": (MIB, GIB, TIB, 64 * TIB)}
WRITES = (8, 4 * KIB, 64 * KIB, MIB)
# What the goals are about, and the least that says something of the rest
QUICK = ("pages:scattered:1", "pages:scattered:512", "pages:huge:512", f"reg:scattered:{16 * MIB}",
         f"reg:sparse:{GIB}", f"reg:sparse:{TIB}", "write:8", f"write:{MIB}")
PAGE_WORDS = {"scattered": "{} x 4 KiB", "huge": "{} x 4 KiB, of 2 MiB pages"}
WORDS = {"scattered": "4 KiB pages, scattered", "huge": "2 MiB pages", "sparse": "no page"}
MEM, QUICK_MEM = "2G", "1G"
REPEAT = 7

SPARSE_GOAL = 64 * KIB      # at registration of 1 TiB
WRITE_GOAL = 0.98           # of what a pinned region reaches

PAGE_TABLE = "Pages that come and go, instructions"
REG_TABLE = "One region, instructions and bytes"
WRITE_TABLE = "RDMA write, instructions of both ends and the link"


def cases(quick):
    if quick:
        return QUICK
    return (*(f"pages:{kind}:{nr}" for kind, numbers in PAGES.items() for nr in numbers),
            *(f"reg:{kind}:{size}" for kind, sizes in REGIONS.items() for size in sizes),
            *(f"write:{size}" for size in WRITES))


def measure(flavour, quick):
    """{case: what odp.c said of it}"""
    found, _log = report.measure(
        [f"{report.programs()}/odp", "-r", str(REPEAT)], cases(quick),
        flavour, f"Paging on demand on {flavour}", "odp", mem=QUICK_MEM if quick else MEM)
    return found


def value(case, name):
    """A figure of a case, or None where there is none."""
    if "error" in case or name not in case:
        return None
    if name in ("bytes", "bytes_full"):
        return case[name] / case["regions" if name == "bytes" else "full"]
    return report.least(case[name])


def region_part(case):
    """What mprotect() takes more where a region has the pages."""
    return max(0, value(case, "protect") - value(case, "protect_alone"))


def row(what, stock, phyr, table, floor=None, note=""):
    ratio = phyr / stock if stock and phyr is not None else None
    return report.Row(what, stock, phyr, ratio, floor, None, "", None, note=note, table=table)


def notes(raw, case):
    """Which kernel cannot do CASE, or does not do it right."""
    words = [f"{flavour} cannot: {found[case]['error']}" for flavour, found in raw.items()
             if "error" in found[case]]
    words += [f"{flavour} writes wrong bytes" for flavour, found in raw.items()
              if not found[case].get("good", True)]
    return "; ".join(words)


def size_words(size):
    return ui.size(size).replace(".0 ", " ")


def both(raw, case, name):
    return [value(raw[flavour][case], name) for flavour in report.KERNELS]


def page_rows(raw, quick):
    rows = []
    wanted = [case for case in cases(quick) if case.startswith("pages:")]
    for name, floor, words in (
            ("fault", None, "bring in, first time"),
            ("again", None, "bring in, once more"),
            ("present", None, "bring in what is in"),
            ("absent", "touch", "bring in what nobody has touched"),
            ("protect", "protect_alone", "take away by mprotect()"),
            ("", None, "the region's part of that"),
            ("drop", "drop_alone", "take away by madvise()"),
            ("unmap", "unmap_alone", "take away by munmap()")):
        for case in wanted:
            _, kind, nr = case.split(":")
            what = f"{words}: {PAGE_WORDS[kind].format(nr)}"
            figures = both(raw, case, name) if name else \
                [region_part(raw[flavour][case]) for flavour in report.KERNELS]
            rows.append(row(what, *figures, PAGE_TABLE, floor and value(raw["phyr"][case], floor)))
    return rows


def reg_rows(raw, quick):
    rows = []
    wanted = [case for case in cases(quick) if case.startswith("reg:")]
    for name, words in (("reg", "register"), ("all", "register, bring all pages in"),
                        ("dereg", "deregister"), ("bytes", "bytes when registered"),
                        ("bytes_full", "bytes with all pages in")):
        for case in wanted:
            _, kind, size = case.split(":")
            if name == "all":
                figures = [None if value(raw[flavour][case], "prefetch") is None else
                           value(raw[flavour][case], "reg") + value(raw[flavour][case], "prefetch")
                           for flavour in report.KERNELS]
            else:
                figures = both(raw, case, name)
            if figures[1] is not None:
                rows.append(row(f"{words}: {size_words(int(size))}, {WORDS[kind]}", *figures,
                                REG_TABLE, note=notes(raw, case)))
    return rows


def write_rows(raw, quick):
    rows = []
    for name, words in (("pinned", "pinned memory"), ("warm", "pages are in"),
                        ("cold", "pages are not in, the CPU has them"),
                        ("absent", "nobody has touched the pages")):
        for case in cases(quick):
            if case.startswith("write:"):
                size = size_words(int(case.split(":")[1]))
                rows.append(row(f"{size}, {words}", *both(raw, case, name), WRITE_TABLE,
                                value(raw["phyr"][case], "pinned"),
                                notes(raw, case) if name != "pinned" else ""))
    return rows


def goal_rows(raw, quick):
    """The rows of the goal table."""
    case = f"reg:sparse:{TIB}"
    stock, phyr = both(raw, case, "bytes")
    rows = [row("kernel memory of a region of 1 TiB without a page, bytes", stock, phyr, "",
                note=notes(raw, case))
            ._replace(value=phyr, goal=f"<= {size_words(SPARSE_GOAL)}",
                      met=phyr is not None and phyr <= SPARSE_GOAL)]
    for case in cases(quick):
        if case.startswith("write:"):
            size = size_words(int(case.split(":")[1]))
            stock, phyr = both(raw, case, "warm")
            pinned = value(raw["phyr"][case], "pinned")
            reached = pinned / phyr
            rows.append(row(f"RDMA write of {size}, pages are in", stock, phyr, "", pinned,
                            notes(raw, case))
                        ._replace(value=reached, goal=f">= {WRITE_GOAL} of pinned",
                                  met=reached >= WRITE_GOAL and raw["phyr"][case]["good"]))
    return rows


def plots(raw, quick):
    found = []
    wanted = cases(quick)

    def series(group, kind, name, by):
        numbers = [int(case.split(":")[-1]) for case in wanted
                   if case.startswith(f"{group}:{kind}")]
        return [(nr, value(raw[by][f"{group}:{kind}{nr}"], name)) for nr in numbers]

    for kind in PAGES:
        for name, floor, words in (("fault", None, "to bring pages in that the CPU has"),
                                   ("protect", "protect_alone", "to have them taken away")):
            lines = {flavour: series("pages", f"{kind}:", name, flavour)
                     for flavour in report.KERNELS}
            if floor:
                lines["without a region"] = series("pages", f"{kind}:", floor, "phyr")
            found.append(report.plot(f"odp-{name}-{kind}", f"ODP, {WORDS[kind]}: {words}",
                                     "pages of 4 KiB", "instructions", lines))
    for name, words in (("reg", "instructions to register"), ("bytes", "bytes of kernel memory")):
        found.append(report.plot(f"odp-{name}", f"ODP, region without a page: {words}",
                                 "size of the region, bytes", words,
                                 {flavour: series("reg", "sparse:", name, flavour)
                                  for flavour in report.KERNELS}))
    found.append(report.plot("odp-write", "RDMA write by the state of the memory, phyr",
                             "size of the write, bytes", "instructions, both ends and the link",
                             {words: series("write", "", name, "phyr") for name, words in (
                                 ("pinned", "pinned"), ("warm", "ODP, pages in"),
                                 ("cold", "ODP, the CPU has the pages"),
                                 ("absent", "ODP, nobody has the pages"))}))
    return found


def main(argv):
    args = report.options("odp", HELP, "only the cases that the goals are about").parse_args(argv)
    about = report.facts(repeat=REPEAT)
    with report.timed():
        raw = report.of_each(lambda flavour: measure(flavour, args.quick))
    goals = goal_rows(raw, args.quick)
    rest = page_rows(raw, args.quick) + reg_rows(raw, args.quick) + write_rows(raw, args.quick)
    print("\nPaging on demand: instructions, and kernel memory\n")
    report.show(goals)
    report.show_tables(rest)
    report.save("odp", goals + rest, raw, about, plots(raw, args.quick))
    return report.verdict(goals, args.strict)
