# SPDX-License-Identifier: GPL-2.0
"""`./lab build`: build without running anything."""

import argparse

import kernel
import paths
import sources
import ui
import userspace

HELP = """Build a kernel, and the user space that goes with it, and say where they are.

  phyr     the base kernel with the overlay and the patch series (the default)
  stock    the same base and config without them
  symbols  phyr with debug information, for gdb, drgn and bpftrace
  debug    phyr with KASAN, lockdep and the other checkers

Sources come from Debian through apt and stay in the user's cache. A build
that was interrupted goes on where it stopped."""


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab build", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="phyr|stock|symbols|debug",
                        help="what to build")
    parser.add_argument("--update", action="store_true",
                        help="look for newer sources first (7.3.y, rdma-core, perftest)")
    parser.add_argument("--modules", action="store_true",
                        help="also the modules that only some suites need, see "
                        "tools/testing/rdma/configs/deferred.config")
    args = parser.parse_args(argv)
    for flavour in args.what:
        if flavour not in kernel.FLAVOURS:
            parser.error(f"there is no kernel '{flavour}'; there are " + ", ".join(kernel.FLAVOURS))
    if args.update:
        for name in (sources.linux, sources.rdma_core, sources.perftest):
            name(update=True)
    for flavour in args.what or ["phyr"]:
        built = kernel.ensure(flavour, args.modules)
        ui.say(f"{flavour}: Linux {built.release}, {paths.show(built.image)}")
    ui.say(f"rdma-core: {paths.show(userspace.ensure_rdma_core())}")
    ui.say(f"perftest: {paths.show(userspace.ensure_perftest())}")
    return 0
