# SPDX-License-Identifier: GPL-2.0
"""`./lab bench`: what phyr costs and gains, against stock in the same run."""

import ui

HELP = """usage: ./lab bench reg [OPTION]...
       ./lab bench perftest [OPTION]... [CONFIG]...

  reg       kernel memory of a pinned region, and instructions to register and
            deregister it
  perftest  bandwidth and instructions per message of perftest's programs; the
            configs are in bench/perftest-configs/, all are run if none is named

Each measures the kernels stock and phyr and prints a table with the goal of
each row. Tables and raw data are kept in build/bench/. The exit status is 0
if all was measured; with --strict it is 1 where a goal is missed.
./lab bench reg --help and ./lab bench perftest --help say more."""


def main(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0 if argv else 2
    if argv[0] == "reg":
        import bench_reg as what
    elif argv[0] == "perftest":
        import bench_perftest as what
    else:
        ui.say(f"lab: there is no benchmark '{argv[0]}'\n\n{HELP}")
        return 2
    return what.main(argv[1:])
