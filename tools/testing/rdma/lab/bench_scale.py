# SPDX-License-Identifier: GPL-2.0
"""`./lab bench scale`: what pinned regions cost, by their size and by their number.

bench/reg.c and bench/many.c measure; here their figures of two kernels are set
side by side, and drawn.
"""

import argparse
import json

import bench_report as report
import ui

HELP = """Register and deregister memory of known physical layout on rxe, on the kernels
stock and phyr: one region of 4 KiB to 4 GiB, and 1 to 100,000 regions of one
page. Both run in a VM of one processor whose clock counts instructions. The
floor is what pinning (or unpinning) the same pages costs by itself (the
kernel's gup_test)."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = {"scattered": (4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB, 4 * GIB),
         "huge": (2 * MIB, 16 * MIB, 256 * MIB, GIB, 4 * GIB)}
WORDS = {"scattered": "4 KiB pages, scattered", "huge": "2 MiB pages"}
COUNTS = (1, 10, 100, 1000, 10_000, 100_000)
QUICK_SIZE, QUICK_COUNT = 16 * MIB, 1000    # the most of each with --quick
MEM, QUICK_MEM = "7G", "1G"
REPEAT = 3
# What is measured of one region, its unit, and what it cannot be less than
FIGURES = {"reg": ("instructions to register", "pin"),
           "dereg": ("instructions to deregister", "unpin"),
           "kernel": ("bytes of kernel memory", None)}


def cases(quick):
    return [f"{kind}:{size}" for kind, sizes in SIZES.items() for size in sizes
            if not quick or size <= QUICK_SIZE]


def counts(quick):
    return [count for count in COUNTS if not quick or count <= QUICK_COUNT]


def measure(flavour, quick):
    """{case or count: what the programs said of it}"""
    folder, wanted = report.programs(), [*cases(quick), *counts(quick)]
    script = '"$0/reg" -r {} {} && "$0/many" {}'.format(
        REPEAT, " ".join(cases(quick)), " ".join(map(str, counts(quick))))
    lines, result = report.run(["sh", "-c", script, str(folder)], flavour,
                               f"Registering regions on {flavour}", len(wanted), "scale",
                               icount=True, mem=QUICK_MEM if quick else MEM)
    found = {case.get("what", case.get("count")): case for case in map(json.loads, lines)}
    if set(found) != set(wanted):
        raise ui.LabError(f"on {flavour}, {len(found)} of {len(wanted)} cases were measured",
                          log=result.kernel_log)
    return found


def value(case, name):
    """A figure of a case, or None where there is none."""
    if "error" in case:
        return None
    if name == "kernel":
        return case["kernel_bytes"] / case["regions"]
    return report.least(case[name])


def row(what, stock, phyr, table, floor=None, note=""):
    ratio = phyr / stock if stock and phyr is not None else None
    return report.Row(what, stock, phyr, ratio, floor, None, "", None, note=note, table=table)


def cannot(raw, case):
    """Which kernel cannot do CASE, and what it says."""
    return "; ".join(f"{flavour} cannot: {found[case]['error']}" for flavour, found in raw.items()
                     if "error" in found[case])


def size_rows(raw, quick):
    rows = []
    for name, (words, floor) in FIGURES.items():
        for case in cases(quick):
            kind, size = case.split(":")
            stock, phyr = (value(raw[flavour][case], name) for flavour in report.KERNELS)
            rows.append(row(f"{ui.size(int(size)).replace('.0 ', ' ')}, {WORDS[kind]}", stock,
                            phyr, f"One region, {words}",
                            floor and value(raw["phyr"][case], floor), cannot(raw, case)))
    return rows


def count_rows(raw, quick):
    rows = []
    for name, words in (("reg", "instructions to register each"),
                        ("dereg", "instructions to deregister each"),
                        ("kernel_bytes", "bytes of kernel memory of each")):
        for count in counts(quick):
            if name in raw["phyr"][count]:      # memory: of many only
                rows.append(row(f"{count:,} region{'s' if count > 1 else ''}",
                                *(raw[flavour][count][name] for flavour in report.KERNELS),
                                f"Many regions, {words}"))
    return rows


def plots(raw, quick):
    found = []
    for kind, sizes in SIZES.items():
        sizes = [size for size in sizes if f"{kind}:{size}" in cases(quick)]
        for name, (words, floor) in FIGURES.items():
            series = {flavour: [(size, value(raw[flavour][f"{kind}:{size}"], name))
                                for size in sizes] for flavour in report.KERNELS}
            if floor:
                series["pinning alone" if name == "reg" else "unpinning alone"] = [
                    (size, value(raw["phyr"][f"{kind}:{size}"], floor)) for size in sizes]
            found.append(report.plot(f"scale-{name}-{kind}", f"One region, {WORDS[kind]}: {words}",
                                     "size of the region, bytes", words, series))
    for name, words in (("reg", "instructions to register one"),
                        ("dereg", "instructions to deregister one")):
        found.append(report.plot(f"scale-{name}-many", f"Many regions of 4 KiB: {words}",
                                 "regions at once", words,
                                 {flavour: [(count, raw[flavour][count][name])
                                            for count in counts(quick)]
                                  for flavour in report.KERNELS}, scale="zero"))
    return found


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab bench scale", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help=f"up to {ui.size(QUICK_SIZE)}, and {QUICK_COUNT:,} regions")
    args = parser.parse_args(argv)
    about = report.facts(repeat=REPEAT)
    with report.timed():
        raw = report.of_each(lambda flavour: measure(flavour, args.quick))
    rows = size_rows(raw, args.quick) + count_rows(raw, args.quick)
    for table in dict.fromkeys(r.table for r in rows):
        print(f"\n{table}\n")
        report.show([r for r in rows if r.table == table])
    report.save("scale", rows, raw, about, plots(raw, args.quick))
    return 0
