# SPDX-License-Identifier: GPL-2.0
"""The files in bench/perftest-configs/: one run of perftest each.

    program = ib_write_bw       which of perftest's programs
    memory = small              registered memory, see below
    sizes = 1 4K 1M             bytes of a message

and, where it is to differ from what perftest does by itself,

    transport = UC              RC, UC or UD
    qps = 4                     queue pairs
    depth = 16                  requests that are under way at once
    mtu = 1024                  bytes of a packet
    vms = 2                     the server in one VM, the client in another
    options = --events          more for the program

Memory is pinned in small or huge pages; or it is on-demand: odp, whose pages come
in with the first messages, odp-prefetch, by advice before, odp-implicit, all of the
process's as one region; or it is a dma-buf of heap (the system's), udmabuf, or bar
(the server's is a PCI function's, by vfio).
"""

import configparser
import re
from pathlib import Path
from typing import NamedTuple

import bar
import bench_report
import paths
import perftest
import ui
import userspace

FOLDER = bench_report.SOURCE / "perftest-configs"
NEEDED = ("program", "memory", "sizes")
MEMORY = {"small": (), "huge": ("--use_hugepages",), "odp": ("--odp",),
          "odp-prefetch": ("--odp_prefetch",), "odp-implicit": ("--odp_implicit",),
          "heap": ("--use_dmabuf=system",), "udmabuf": ("--use_dmabuf=udmabuf",), "bar": ()}
SERVER = {"bar": (bar.OPTION,)}     # there is one for two programs
TRANSPORTS = ("RC", "UC", "UD")
MTUS = ("256", "512", "1024", "2048", "4096")
# key: the option of perftest that takes its value
OPTIONS = {"transport": "-c", "qps": "-q", "depth": "-t", "mtu": "-m"}
KEYS = {*NEEDED, *OPTIONS, "vms", "options"}
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}

# Messages in a measurement, within these: enough to fill BYTES
BYTES = 8 << 20
FEWEST, MOST = 8, 2000


class Config(NamedTuple):
    name: str
    program: str
    memory: str
    sizes: tuple
    options: tuple              # for perftest, of all the other keys
    vms: int

    def tests(self, *more):
        """A perftest.Test for each size."""
        return [perftest.Test(self.program, size, min(max(BYTES // size, FEWEST), MOST),
                              (*MEMORY[self.memory], *self.options, *more),
                              SERVER.get(self.memory, ()))
                for size in self.sizes]


def names():
    return sorted(path.stem for path in FOLDER.glob("*.conf"))


def _bytes(word):
    match = re.fullmatch(r"(\d+)([KM]?)", word)
    return int(match[1]) * UNITS[match[2]] if match else 0


def _complaint(values):
    """What is wrong with VALUES, or nothing."""
    if unknown := set(values) - KEYS:
        return f"there is no key '{min(unknown)}', only " + ", ".join(sorted(KEYS))
    if missing := set(NEEDED) - set(values):
        return f"the key '{min(missing)}' is missing"
    if values["program"] not in userspace.PROGRAMS:
        return f"no program '{values['program']}', only " + ", ".join(userspace.PROGRAMS)
    if values["memory"] not in MEMORY:
        return f"no memory '{values['memory']}', only " + ", ".join(MEMORY)
    if not values["sizes"].split() or not all(map(_bytes, values["sizes"].split())):
        return "'sizes' are bytes, or K or M of them: 1 4K 1M"
    for key in ("qps", "depth"):
        if not re.fullmatch(r"[1-9]\d*", values.get(key, "1")):
            return f"'{key}' is a number"
    for key, known in (("transport", TRANSPORTS), ("mtu", MTUS), ("vms", ("1", "2"))):
        if values.get(key, known[0]) not in known:
            return f"'{key}' is one of " + ", ".join(known)
    return ""


def _options(values):
    words = [word for key, option in OPTIONS.items() if key in values
             for word in (option, values[key])]
    if "depth" in values and values["program"].startswith("ib_send"):
        words += ["-r", values["depth"]]
    return (*words, *values.get("options", "").split())


def read(name):
    """The Config in file NAME, or of that name in the folder."""
    path = Path(name) if "/" in name else FOLDER / f"{name.removesuffix('.conf')}.conf"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("[config]\n" + path.read_text(encoding="utf-8"), str(path))
        values = dict(parser["config"])
    except OSError as e:
        raise ui.LabError(f"{paths.show(path)}: {e.strerror}",
                          "There are: " + ", ".join(names())) from e
    except configparser.Error as e:
        raise ui.LabError(f"{paths.show(path)} is not made of lines like key = value: {e}") from e
    if complaint := _complaint(values):
        raise ui.LabError(f"{paths.show(path)}: {complaint}")
    return Config(path.stem, values["program"], values["memory"],
                  tuple(map(_bytes, values["sizes"].split())),
                  _options(values), int(values.get("vms", 1)))
