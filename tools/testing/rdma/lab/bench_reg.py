# SPDX-License-Identifier: GPL-2.0
"""`./lab bench reg`: what a pinned region costs, by size and kind of memory and by device.

bench/reg.c measures; here its figures of two kernels are set side by side.
"""

import math
from typing import NamedTuple

import bench_report as report
import ui

HELP = """Register and deregister memory of known physical layout, on the kernels stock
and phyr. Both run in a VM of one processor whose clock counts instructions, so
the figures are instructions and repeat within 0.1 %.
Memory of the kernel is what a region holds beyond a region of one page.
The floor is what pinning (or unpinning) the same pages costs by itself
(the kernel's gup_test); of ranges mapped, in how many the memory is.

--device edu registers on the edu function behind the emulated Intel IOMMU, and
counts what is asked of that: ranges mapped, spans unmapped, IOTLB flushes after
either, and requests in its queue. The IOMMU flushes at once (iommu.strict=1)
but for the rows that say lazy. Mapping is what registration on edu costs more
than on rxe, which only pins and lists the pages."""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
LARGE = 256 * MIB           # what the goals are about
WORDS = {"scattered": "4 KiB pages, scattered", "huge": "2 MiB pages"}
EVENTS = {"map": "ranges mapped", "unmap": "spans unmapped", "flush": "IOTLB flushes, unmapping",
          "flush_map": "IOTLB flushes, mapping", "qi": "IOMMU requests"}


class Device(NamedTuple):
    """What is registered on: its name in the VM, the sizes, the VM's memory."""
    name: str
    sizes: dict
    mem: str
    repeat: int             # times that are taken of each case
    machine: dict           # for vm.run()


DEVICES = {
    "rxe": Device("rxe0", {"scattered": (4 * KIB, 64 * KIB, MIB, 16 * MIB, LARGE),
                           "huge": (2 * MIB, 16 * MIB, LARGE)}, "2G", 7, {}),
    "edu": Device("edu_0", {"scattered": (4 * KIB, 64 * KIB, MIB, 16 * MIB, LARGE, 4 * GIB),
                            "huge": (2 * MIB, 16 * MIB, LARGE, 4 * GIB)}, "7G", 3,
                  {"iommu": "strict", "edu": 64}),
}


def cases(device, quick):
    return [f"{kind}:{size}" for kind, sizes in device.sizes.items()
            for size in ((sizes[0], LARGE) if quick else sizes)]


def measure(flavour, device, wanted, repeat, **machine):
    """{case: what reg.c said of it}; MACHINE is what differs from the device's."""
    machine = {**device.machine, **machine}
    where = f", {machine['iommu']}" if "iommu" in machine else ""
    found, _log = report.measure(
        [f"{report.programs()}/reg", "-d", device.name, "-r", str(repeat)], wanted, flavour,
        f"Registering memory on {flavour}, {device.name}{where}", f"reg-{device.name}",
        mem=device.mem, **machine)
    return found


class Figures:
    """The figures of one kernel, by kind of memory and size."""

    def __init__(self, found):
        self.found = found

    def case(self, kind, size=LARGE):
        return self.found[f"{kind}:{size}"]

    def time(self, name, kind, size=LARGE):
        return report.least(self.case(kind, size)[name])

    def memory(self, kind, size=LARGE):
        """Bytes of kernel memory of one region."""
        case = self.case(kind, size)
        return case["kernel_bytes"] / case["regions"]

    def events(self, name, kind, size=LARGE):
        """How often, in a registration and its end."""
        case = self.case(kind, size)
        return case["reg_events"][name] + case["dereg_events"][name]

    def memory_per_page(self, kind):
        return ((self.memory(kind) - self.memory("scattered", 4 * KIB))
                / self.case(kind)["pages"])


def row(what, stock, phyr, *, floor=None, most=None, of=None):
    """A row whose goal is at most MOST, OF "it", "stock" or "floor"."""
    ratio = phyr / stock if stock else None if phyr else 1.0
    value = {None: None, "it": phyr, "stock": math.inf if ratio is None else ratio,
             "floor": phyr / floor if floor else None}[of]
    words = {None: "", "it": f"<= {most}", "stock": f"<= {most} of stock",
             "floor": f"<= {most} of the floor"}[of]
    return report.Row(what, stock, phyr, ratio, floor, value, words,
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


def edu_goal_rows(stock, phyr):
    """The rows of the goal table of edu; each has (rxe, strict, lazy)."""
    pages = phyr["strict"].case("scattered")["pages"]
    per_page = [(of["strict"].time("reg", "scattered") - of["rxe"].time("reg", "scattered")) / pages
                for of in (stock, phyr)]
    rows = [row(f"map, instructions per 4 KiB: {WORDS['scattered']}", *per_page, most=100, of="it")]
    for kind, most in (("scattered", 0.3), ("huge", 1)):
        rows.append(row(f"register 256 MiB: {WORDS[kind]}", stock["strict"].time("reg", kind),
                        phyr["strict"].time("reg", kind), most=most, of="stock"))
    for mode in ("strict", "lazy"):
        for kind in WORDS:
            rows.append(row(f"deregister 256 MiB, {mode}: {WORDS[kind]}",
                            stock[mode].time("dereg", kind), phyr[mode].time("dereg", kind),
                            most=1, of="stock"))
    for kind in WORDS:
        rows.append(row(f"IOTLB flushes to deregister 256 MiB, lazy: {WORDS[kind]}",
                        stock["lazy"].case(kind)["dereg_events"]["flush"],
                        phyr["lazy"].case(kind)["dereg_events"]["flush"], most=1, of="it"))
    return rows


def size_rows(stock, phyr, wanted, **goal):
    """Cost against size, for all that was measured; GOAL is that of each row."""
    rows = []
    for case in wanted:
        kind, size = case.split(":")
        size = int(size)
        where = f"{ui.size(size).replace('.0 ', ' ')}, {WORDS[kind]}"
        for name in ("reg", "dereg"):
            rows.append(row(f"{name}: {where}", stock.time(name, kind, size),
                            phyr.time(name, kind, size), **goal))
        rows.append(row(f"bytes: {where}", stock.memory(kind, size), phyr.memory(kind, size),
                        **goal))
        for name, words in EVENTS.items():
            counts = stock.events(name, kind, size), phyr.events(name, kind, size)
            if not any(counts):     # none without an IOMMU
                continue
            # Where in memory pages lie is up to each boot: by chance, some are neighbours
            of = {"floor": phyr.case(kind, size)["runs"], "of": "floor"} if name == "map" else {}
            rows.append(row(f"{words}: {where}", *counts, **{**goal, **of}))
    return rows


def check_sanity(flavour, figures, mapped):
    """A measurement of something else is an error, not a figure."""
    for kind in WORDS:
        case = figures.case(kind)
        if case["dirty_before"] == case["pages"] or case["dirty_after"] != case["pages"]:
            raise ui.LabError(f"on {flavour}, of {case['pages']} pages {case['dirty_before']} "
                              f"were dirty before deregistration and {case['dirty_after']} after")
        if mapped != bool(case["reg_events"]["map"]):
            raise ui.LabError(f"on {flavour}, {case['reg_events']['map']} ranges were mapped for "
                              "the device")


def main(argv):
    parser = report.options(
        "reg", HELP, "only the sizes that the goals are about, fewer repetitions")
    parser.add_argument("--device", choices=DEVICES, default="rxe",
                        help="what to register on (default: rxe)")
    args = parser.parse_args(argv)
    with report.timed():
        rows, sizes, raw, about = {"rxe": on_rxe, "edu": on_edu}[args.device](args.quick)
    print(f"\nOne pinned region on {args.device}: instructions, and kernel memory\n")
    report.show(rows)
    print("\nAgainst size: instructions to register and deregister, bytes of kernel memory\n")
    report.show(sizes)
    report.save("reg" if args.device == "rxe" else f"reg-{args.device}", rows + sizes, raw, about)
    return report.verdict(rows + sizes, args.strict)


def on_rxe(quick):
    """(rows with goals, rows by size, raw figures, what they depend on)."""
    device = DEVICES["rxe"]
    wanted, repeat = cases(device, quick), 3 if quick else device.repeat
    about = report.facts(repeat=repeat)
    raw = report.of_each(lambda flavour: measure(flavour, device, wanted, repeat))
    figures = {flavour: Figures(found) for flavour, found in raw.items()}
    for flavour, found in figures.items():
        check_sanity(flavour, found, mapped=False)
    return (goal_rows(figures["stock"], figures["phyr"]),
            size_rows(figures["stock"], figures["phyr"], wanted), raw, about)


def on_edu(quick):
    """The same, behind the IOMMU."""
    edu, rxe = DEVICES["edu"], DEVICES["rxe"]
    wanted, large = cases(edu, quick), [f"{kind}:{LARGE}" for kind in WORDS]
    about = report.facts(repeat=edu.repeat)
    raw = report.of_each(lambda flavour: {
        "rxe": measure(flavour, rxe, large, edu.repeat),
        "lazy": measure(flavour, edu, large, edu.repeat, iommu="lazy"),
        "strict": measure(flavour, edu, wanted, edu.repeat)})
    figures = {flavour: {mode: Figures(found) for mode, found in modes.items()}
               for flavour, modes in raw.items()}
    for flavour, modes in figures.items():
        for mode, found in modes.items():
            check_sanity(flavour, found, mapped=mode != "rxe")
    stock, phyr = figures["stock"], figures["phyr"]
    return (edu_goal_rows(stock, phyr),
            size_rows(stock["strict"], phyr["strict"], wanted, most=1, of="stock"), raw, about)
