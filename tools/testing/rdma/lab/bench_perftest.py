# SPDX-License-Identifier: GPL-2.0
"""`./lab bench perftest`: perftest on stock and phyr, side by side.

Two ways to look at the same traffic, from rxe0 to rxe1 of one VM:

- bandwidth, which scatters: so the kernels take turns, several times, and what
  counts is the ratio within a turn;
- instructions per message, which repeat: one processor and a clock that counts
  instructions. perftest polls, and what it polls in vain says nothing. So it
  sleeps where it can (--events), and where it cannot it only gets the time
  that nobody else wants (SCHED_IDLE).
"""

import argparse
from statistics import geometric_mean, median, quantiles

import bench_config
import bench_report as report
import perftest
import ui

HELP = """Run perftest's programs between rxe0 and rxe1 on the kernels stock and phyr, by
turns, and compare bandwidth and instructions per message. CONFIG is the name
of a file in bench/perftest-configs/ or the path of one of your own; all of
the folder are run if none is named."""

PAIRS, QUICK_PAIRS = 5, 3
QUICK_SIZES = (64, 4 << 10, 1 << 20)
# What a run does in vain (a retry, say) only adds: the least of so many counts
COUNTS = 3
# How far two counts of the same kernel are apart
COUNT_SCATTER = 0.01
HUGE_PAGES = 128
PREPARE = f"""
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
echo {HUGE_PAGES} >/proc/sys/vm/nr_hugepages
"""
ONLY_WHEN_IDLE = "chrt --idle --pid 0 $$\n"


def rate(figures):
    """Messages a second, from whichever figure was printed more exactly."""
    by_rate = figures.rate * 1e6
    by_bytes = figures.average * (1 << 20) / figures.test.size
    # Six digits behind the point, and two
    return by_rate if figures.rate * 1e4 > figures.average else by_bytes


def run(configs, flavour, counting, title):
    """{(config name, size): messages a second}"""
    keys, tests = [], []
    for config in configs * (COUNTS if counting else 1):
        sleeps = counting and not config.program.startswith("ib_write")
        keys += [(config.name, size) for size in config.sizes]
        tests += config.tests(*(["--events"] if sleeps else []))
    script = PREPARE + (ONLY_WHEN_IDLE if counting else "") + perftest.script(tests)
    lines, _ = report.run(["sh", "-c", script], flavour, title, 2 * len(tests),
                          "perftest", icount=counting)
    best = {}
    for key, figures in zip(keys, perftest.parse(tests, "\n".join(lines))):
        best[key] = max(best.get(key, 0), rate(figures))
    return best


def take_turns(configs, pairs):
    """[{kernel: rates}], each kernel first in every other turn."""
    turns = []
    for number in range(pairs):
        order = report.KERNELS if number % 2 == 0 else report.KERNELS[::-1]
        turns.append({flavour: run(configs, flavour, False,
                                   f"Turn {number + 1} of {pairs}: {flavour}")
                      for flavour in order})
    return turns


def label(config, size):
    words = ui.size(size).replace(".0 ", " ")
    return f"{config.name}, {words}"


def all_sizes(configs):
    return [(config, size) for config in configs for size in config.sizes]


def ratio_row(what, stock, phyr, ratios, judge):
    low, ratio, high = quantiles(ratios, n=4, method="inclusive")
    return report.Row(what, stock, phyr, ratio, None, ratio,
                      ">= 1.0 within the spread" if judge else "",
                      high >= 1.0 if judge else None, (low, high))


def bandwidth_rows(configs, turns):
    """A row for each size, and the mean of all sizes, which is what is judged."""
    def ratios_of(keys):
        return [geometric_mean(turn["phyr"][key] / turn["stock"][key] for key in keys)
                for turn in turns]

    rows = []
    for config, size in all_sizes(configs):
        key = (config.name, size)
        stock, phyr = (median(turn[f][key] for turn in turns) * size / (1 << 20)
                       for f in report.KERNELS)
        rows.append(ratio_row(label(config, size), stock, phyr, ratios_of([key]), False))
    for config in configs:
        keys = [(config.name, size) for size in config.sizes]
        rows.append(ratio_row(f"{config.name}, mean of all sizes", None, None,
                              ratios_of(keys), True))
    return rows


def count_rows(configs, counts):
    rows = []
    for config, size in all_sizes(configs):
        stock, phyr = (1e9 / counts[f][config.name, size] for f in report.KERNELS)
        rows.append(report.Row(label(config, size), stock, phyr, phyr / stock, None, phyr / stock,
                               f"<= 1.0 within {COUNT_SCATTER:.0%}",
                               phyr / stock <= 1.0 + COUNT_SCATTER))
    return rows


def arguments(argv):
    parser = argparse.ArgumentParser(prog="./lab bench perftest", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", metavar="CONFIG",
                        help="one of: " + ", ".join(bench_config.names()) + "; or a path")
    parser.add_argument("--pairs", type=int, metavar="N",
                        help=f"turns of bandwidth (default: {PAIRS}); 0: only instructions")
    parser.add_argument("--quick", action="store_true",
                        help=f"three sizes, and {QUICK_PAIRS} turns")
    parser.add_argument("--strict", action="store_true",
                        help="exit status 1 where a goal is missed")
    args = parser.parse_args(argv)
    if args.pairs == 1:
        parser.error("--pairs 1: one turn has no spread")
    if args.pairs is None:
        args.pairs = QUICK_PAIRS if args.quick else PAIRS
    return args


def main(argv):
    args = arguments(argv)
    configs = [bench_config.read(name) for name in args.configs or bench_config.names()]
    if args.quick:
        configs = [c._replace(sizes=tuple(s for s in c.sizes if s in QUICK_SIZES) or c.sizes[:1])
                   for c in configs]
    about = report.facts(pairs=args.pairs)
    with report.timed():
        counts = {flavour: run(configs, flavour, True, f"Counting instructions on {flavour}")
                  for flavour in report.KERNELS}
        turns = take_turns(configs, args.pairs)

    counted = count_rows(configs, counts)
    print("\nInstructions per message, both ends and the link\n")
    report.show(counted)
    rows = []
    if turns:
        rows = bandwidth_rows(configs, turns)
        print(f"\nBandwidth, MB/s: median of {len(turns)} turns, and half of the ratios lie in "
              "the spread\n")
        report.show(rows)
    raw = {"instructions": _plain(counts), "turns": [_plain(turn) for turn in turns]}
    report.save("perftest", counted + rows, raw, about)
    return report.verdict(counted + rows, args.strict)


def _plain(rates):
    """Messages a second by kernel, for JSON."""
    return {flavour: {f"{name}, {size}": value for (name, size), value in found.items()}
            for flavour, found in rates.items()}
