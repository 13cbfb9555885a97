# SPDX-License-Identifier: GPL-2.0
"""`./lab bench dmabuf`: what memory regions of dma-bufs cost on rxe.

bench/dmabuf.c measures. The unpatched rxe has no such regions, so what stands
beside most figures is a pinned region of as many bytes.
"""


import bar
import bench_report as report
import ui

HELP = """Register dma-bufs on rxe, write into them, and take them away, in a VM of one
processor whose clock counts instructions. The unpatched rxe cannot register any:
the floor is a pinned region of as many bytes, of 4 KiB pages for udmabuf and of
2 MiB pages for the others, on the same kernel.

udmabuf has 4 KiB pages that are no neighbours, hugetlb is udmabuf of 2 MiB pages,
    heap the system heap, bar the BAR of a PCI function that vfio-pci exports.
first is the first region of a dma-buf, for which the exporter lists its memory;
    one more region of the same dma-buf uses that list.
accessed is what the first access makes the exporter keep, beyond the region.
scatterlist is what udmabuf makes for access by the CPU, with one entry for each
    4 KiB: what it costs to say where memory is without ranges. It is the
    unpatched kernel's, beside the first region of the patched one."""

KIB, MIB = 1 << 10, 1 << 20
KINDS = {"udmabuf": "udmabuf, 4 KiB pages", "hugetlb": "udmabuf, 2 MiB pages",
         "heap": "system heap", "bar": "BAR by vfio-pci"}
SIZES = {"udmabuf": (2 * MIB, 16 * MIB, 64 * MIB), "hugetlb": (2 * MIB, 16 * MIB, 64 * MIB),
         "heap": (2 * MIB, 16 * MIB, 64 * MIB), "bar": (2 * MIB, 16 * MIB)}
WRITES = (8, 4 * KIB, 64 * KIB, MIB)
REVOKED = (0, 10, 100, 1000)
QUICK_SIZE, QUICK_REVOKED = 16 * MIB, (0, 10, 100)
REPEAT = 9
MEM = "2G"
WRITE_GOAL = 0.98           # of what a pinned region reaches

SCRIPT = 'echo 384 >/proc/sys/vm/nr_hugepages && exec "$0/dmabuf" "$@"'

REG_TABLE = "One region, instructions"
BYTES_TABLE = "One region, bytes of kernel memory"
LIST_TABLE = "Ranges against a scatterlist of the same dma-buf"
WRITE_TABLE = "RDMA write, instructions of both ends and the link"
REVOKE_TABLE = "A BAR taken away and given back, instructions"


def sizes(kind, quick):
    return (QUICK_SIZE,) if quick else SIZES[kind]


def writes(quick):
    return (WRITES[-1],) if quick else WRITES


def revoked(quick):
    return QUICK_REVOKED if quick else REVOKED


def cases(quick):
    return [*(f"reg:{kind}:{size}" for kind in KINDS for size in sizes(kind, quick)),
            *(f"sgt:{size}" for size in sizes("udmabuf", quick)),
            *(f"write:{kind}:{size}" for kind in KINDS for size in writes(quick)),
            *(f"revoke:{count}" for count in revoked(quick))]


def measure(flavour, quick):
    """{case: what dmabuf.c said of it}"""
    found, _log = report.measure(
        ["sh", "-c", SCRIPT, str(report.programs()), "-r", str(REPEAT)],
        cases(quick), flavour, f"Registering dma-bufs on {flavour}", "dmabuf", mem=MEM,
        devices=bar.DEVICES)
    return found


def value(case, name):
    """A figure of a case, or None where there is none."""
    return report.least(case[name]) if name in case else None


def size_words(size):
    return ui.size(size).replace(".0 ", " ")


class Figures:
    """All that was measured, of both kernels, as rows."""

    def __init__(self, raw, quick):
        self.raw = raw
        self.quick = quick

    def both(self, case, name):
        return [value(self.raw[flavour][case], name) for flavour in report.KERNELS]

    def note(self, case):
        return "; ".join(f"{flavour} cannot: {found[case]['error']}"
                         for flavour, found in self.raw.items() if "error" in found[case])

    def row(self, what, case, name, table, floor=None):
        stock, phyr = self.both(case, name)
        return report.Row(what, stock, phyr, phyr / stock if stock and phyr else None,
                          floor and value(self.raw["phyr"][case], floor), None, "", None,
                          note=self.note(case), table=table)

    def regions(self):
        rows = []
        for name, floor, table, words in (
                ("first", "pinned", REG_TABLE, "register, first"),
                ("more", "pinned", REG_TABLE, "register, one more"),
                ("dereg", "unpinned", REG_TABLE, "deregister, one is left"),
                ("last", "unpinned", REG_TABLE, "deregister, the last"),
                ("bytes_first", "bytes_pinned", BYTES_TABLE, "first"),
                ("bytes_more", "bytes_pinned", BYTES_TABLE, "one more"),
                ("bytes_used", None, BYTES_TABLE, "accessed")):
            for kind, kind_words in KINDS.items():
                for size in sizes(kind, self.quick):
                    rows.append(self.row(f"{words}: {size_words(size)}, {kind_words}",
                                         f"reg:{kind}:{size}", name, table, floor))
        return rows

    def lists(self):
        """What stock has is a scatterlist, so its figures are of another case."""
        rows = []
        for words, name, of in (("instructions to make", "make", "first"),
                                ("bytes for each 4 KiB", "bytes", "bytes_first")):
            for size in sizes("udmabuf", self.quick):
                pages = size // (4 * KIB) if name == "bytes" else 1
                stock = value(self.raw["stock"][f"sgt:{size}"], name) / pages
                phyr = value(self.raw["phyr"][f"reg:udmabuf:{size}"], of) / pages
                rows.append(report.Row(f"{words}: {size_words(size)}, udmabuf, 4 KiB pages", stock,
                                       phyr, phyr / stock, None, None, "", None,
                                       table=LIST_TABLE))
        return rows

    def writes(self):
        rows = []
        for kind, words in KINDS.items():
            for size in writes(self.quick):
                case = f"write:{kind}:{size}"
                row = self.row(f"{size_words(size)}, {words}", case, "dmabuf", WRITE_TABLE,
                               "pinned")
                reached = row.floor / row.phyr
                rows.append(row._replace(value=reached, goal=f">= {WRITE_GOAL} of pinned",
                                         met=reached >= WRITE_GOAL
                                         and self.raw["phyr"][case]["good"]))
        return rows

    def revokes(self):
        rows = []
        for name, words in (("off", "take away"), ("on", "give back"),
                            ("again", "write 8 bytes after that"),
                            ("warm", "write 8 bytes once more")):
            for count in revoked(self.quick):
                if count or name in ("off", "on"):
                    rows.append(self.row(f"{words}: {count:,} regions", f"revoke:{count}", name,
                                         REVOKE_TABLE))
        return rows

    def plots(self):
        found = []
        for name, floor, title, y in (
                ("first", "pinned", "first region of a dma-buf", "instructions to register"),
                ("bytes_first", "bytes_pinned", "first region of a dma-buf",
                 "bytes of kernel memory")):
            series = {words: [(size, value(self.raw["phyr"][f"reg:{kind}:{size}"], name))
                              for size in sizes(kind, self.quick)]
                      for kind, words in KINDS.items()}
            for kind, words in (("udmabuf", "pinned, 4 KiB pages"),
                                ("hugetlb", "pinned, 2 MiB pages")):
                series[words] = [(size, value(self.raw["phyr"][f"reg:{kind}:{size}"], floor))
                                 for size in sizes(kind, self.quick)]
            found.append(report.plot(f"dmabuf-{name.replace('_', '-')}", f"{title}: {y}",
                                     "size of the region, bytes", y, series))
        found.append(report.plot(
            "dmabuf-revoke", "A BAR taken away from many regions, phyr", "regions",
            "instructions", {"phyr": [(count, value(self.raw["phyr"][f"revoke:{count}"], "off"))
                                      for count in revoked(self.quick) if count]}))
        return found


def main(argv):
    args = report.options("dmabuf", HELP, f"regions of {size_words(QUICK_SIZE)}, writes of "
                          f"{size_words(WRITES[-1])}").parse_args(argv)
    about = report.facts(repeat=REPEAT)
    with report.timed():
        raw = report.of_each(lambda flavour: measure(flavour, args.quick))
    figures = Figures(raw, args.quick)
    rows = [*figures.writes(), *figures.regions(), *figures.lists(), *figures.revokes()]
    report.show_tables(rows)
    report.save("dmabuf", rows, raw, about, figures.plots())
    return report.verdict(rows, args.strict)
