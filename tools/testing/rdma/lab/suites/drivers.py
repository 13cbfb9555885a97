# SPDX-License-Identifier: GPL-2.0
"""Every RDMA driver and ULP of the tree compiles with W=1 as it did before.

They are the folders below drivers/infiniband/, so that a driver which the
config forgets is a failure.
"""

import re

import objects
import packages

HELP = "every RDMA driver and ULP of the tree compiles, with W=1, without a new warning"

TOP = "drivers/infiniband/"
TITLE = "Compiling every RDMA driver with W=1"


def run(report):
    packages.ensure("kernel")
    with objects.tree() as source:
        build = objects.patched(source)
        _, _, lines = build.compile("Compiling what W=1 must find", ["bad.o"],
                                    f"M={objects.bad_module()}")
        said = "\n".join(lines)
        report.test("selftest", "-Wunused-but-set-variable" in said, said, build.log)

        status, found, lines = build.compile(TITLE, [TOP])
        known = objects.stock_messages(f"{TITLE}, of the base", [TOP]) if found else set()
        new = {name: fresh for name, messages in found.items()
               if (fresh := [line for line in messages if objects.core(line) not in known])}
        folders = drivers(source)
        for folder in folders:
            why = complaints(build, folder, new, lines)
            report.test(folder.removeprefix(TOP).rstrip("/"), not why, "\n".join(why), build.log)
        rest = [line for name, messages in new.items() if not name.startswith(tuple(folders))
                for line in messages]
        report.test("all", status == 0 and not rest,
                    "\n".join(rest) or f"make gave exit status {status}", build.log)


def drivers(source):
    """The folders of TOP that are drivers, the core among them."""
    top = source.dir / TOP
    folders = [path for kind in ("hw", "sw", "ulp") for path in (top / kind).iterdir()
               if path.is_dir()]
    return sorted(f"{path.relative_to(source.dir)}/" for path in (top / "core", *folders))


def complaints(build, folder, new, lines):
    """What is wrong with the driver in FOLDER."""
    why = [line for name, messages in new.items() if name.startswith(folder) for line in messages]
    why += [line for line in lines if re.search(rf"\*\*\* \[.*\b{folder}", line)]
    left = [path for path in sorted((build.source.dir / folder).rglob("*.c"))
            if not (build.obj / path.relative_to(build.source.dir)).with_suffix(".o").exists()]
    if left:
        why.append("not compiled (is its option in drivers.config?): "
                   + " ".join(str(path.relative_to(build.source.dir / folder)) for path in left))
    return why
