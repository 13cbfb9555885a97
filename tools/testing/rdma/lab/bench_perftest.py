# SPDX-License-Identifier: GPL-2.0
"""`./lab bench perftest`: perftest on stock and phyr, side by side.

Two ways to look at the same traffic, from rxe0 to rxe1 of one VM or from one
VM to another:

- bandwidth, which scatters: so the kernels take turns, several times, and what
  counts is the ratio within a turn, of all pinned memory together;
- instructions per message, which repeat: one processor and a clock that counts
  instructions. perftest polls, and what it polls in vain says nothing. So it
  sleeps where it can (--events), and where it cannot it only gets the time
  that nobody else wants (SCHED_IDLE). Two VMs have no clock in common, so
  there nothing is counted.

Beside both stands what memcpy() alone does in the same VM.
"""

import argparse
import json
import shlex
from statistics import geometric_mean, median, stdev

import bar
import bench_config
import bench_report as report
import perftest
import ui

HELP = """Run perftest's programs on the kernels stock and phyr, by turns, and compare
bandwidth and instructions per message. CONFIG is the name of a file in
bench/perftest-configs/ or the path of one of your own; all of the folder are
run if none is named. The floor is what memcpy() alone takes for as many bytes."""

PAIRS, QUICK_PAIRS = 5, 3
QUICK_CONFIGS = ("write", "read", "send")
QUICK_SIZES = (64, 1 << 20)
# What a run does in vain (a retry, say) only adds: the least of so many counts
COUNTS, QUICK_COUNTS = 3, 2
# Bandwidth takes so many times the messages: less than a second hardly says anything
LONGER = 6
# How far two counts of the same kernel are apart
COUNT_SCATTER = 0.01
HUGE_PAGES = 128
# Of a config's kinds of memory, those that stock has all of
PINNED = ("small", "huge")
MIB = 1 << 20
INSTRUCTIONS = "Instructions per message, both ends and the link"
BANDWIDTH = "Bandwidth, MB/s"
# An instruction that copies by itself counts once for each byte in emulation: use vectors
COPY_ENV = ("env", "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824")
PREPARE = f"""
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
echo {HUGE_PAGES} >/proc/sys/vm/nr_hugepages
"""
ONLY_WHEN_IDLE = "chrt --idle --pid 0 $$\n"
# Before the server, after the kernel's workers
BEFORE_SERVER = ("chrt", "--other", "0", "nice", "-n", "19")


def rate(figures):
    """Messages a second, from whichever figure was printed more exactly."""
    by_rate = figures.rate * 1e6
    by_bytes = figures.average * MIB / figures.test.size
    # Six digits behind the point, and two
    return by_rate if figures.rate * 1e4 > figures.average else by_bytes


def woken_first(test):
    """TEST, whose client sleeps, so that the server's last work is not to keep it from its
    clock: of few messages, that is a part that can be seen."""
    few = test.iterations == bench_config.FEWEST
    return test._replace(prefix=BEFORE_SERVER) if few else test


def run(configs, flavour, counts, title):
    """{(config name, size): messages a second, or why there is no figure}

    COUNTS: how often instructions are counted, or 0 for bandwidth.
    """
    found = {}
    groups = {}
    for config in configs:
        groups.setdefault((config.vms, config.memory == "bar"), []).append(config)
    for (vms, has_bar), group in groups.items():
        if not (counts and vms == 2):
            found.update(run_group(group, flavour, counts, title, vms, has_bar))
    return found


def run_group(configs, flavour, counts, title, vms, has_bar):
    """The same, of CONFIGS for as many VMs; memcpy's are under None."""
    keys, tests = [], []
    for config in configs * (counts or 1):
        sleeps = counts and not config.program.startswith("ib_write")
        keys += [(config.name, size) for size in config.sizes]
        tests += map(woken_first, config.tests("--events")) if sleeps else config.tests()
    if not counts:
        tests = [test._replace(iterations=LONGER * test.iterations) for test in tests]
    sizes = sorted({str(size) for _, size in keys}, key=int)
    floor = shlex.join([*COPY_ENV, f"{report.programs()}/copy", *sizes]) + "\n"
    script, peer = perftest.scripts(tests) if vms == 2 else (perftest.script(tests), None)
    script = PREPARE + floor + (ONLY_WHEN_IDLE if counts else "") + script
    more = {"peer": ["sh", "-c", PREPARE + peer]} if peer else {}
    if has_bar:
        script = bar.PREPARE + script
        more["devices"] = bar.DEVICES
    lines, _ = report.run(["sh", "-c", script], flavour, title + (", two VMs" if peer else ""),
                          2 * len(tests) + len(sizes), "perftest", icount=bool(counts), **more)
    found = {} if vms == 2 else {(None, copy["size"]): 1e9 / copy["ns"] for copy in
                                 (json.loads(line) for line in lines if line.startswith("{"))}
    for key, outcome in zip(keys, perftest.outcomes(tests, "\n".join(lines))):
        if isinstance(outcome, perftest.Failure):
            found.setdefault(key, outcome.why)
        elif isinstance(found.get(key, 0), str):
            found[key] = rate(outcome)
        else:
            found[key] = max(found.get(key, 0), rate(outcome))
    return found


def take_turns(configs, pairs):
    """[{kernel: rates}], each kernel first in every other turn."""
    turns = []
    for number in range(pairs):
        order = report.KERNELS if number % 2 == 0 else report.KERNELS[::-1]
        turns.append({flavour: run(configs, flavour, 0,
                                   f"Turn {number + 1} of {pairs}: {flavour}")
                      for flavour in order})
    return turns


def label(config, size):
    words = ui.size(size).replace(".0 ", " ")
    return f"{config.name}, {words}"


def all_sizes(configs):
    return [(config, size) for config in configs for size in config.sizes]


def rates_of(flavour, key, turns):
    """A kernel's rates, of the turns where it has one."""
    return [turn[flavour][key] for turn in turns if not isinstance(turn[flavour][key], str)]


def figure(flavour, key, turns):
    """The median of those, or None where it cannot."""
    rates = rates_of(flavour, key, turns)
    return median(rates) if rates else None


def whole(keys, turns):
    """The turns in which both kernels have a figure for all KEYS."""
    return [turn for turn in turns
            if all(rates_of(flavour, key, [turn]) for flavour in report.KERNELS for key in keys)]


def failures(key, turns):
    """Which kernel has no figure for KEY in some turn or in all, and why."""
    words = []
    for flavour in report.KERNELS:
        said = [turn[flavour][key] for turn in turns if isinstance(turn[flavour][key], str)]
        if said:
            how = "cannot" if len(said) == len(turns) else f"failed {len(said)} of {len(turns)}"
            words.append(f"{flavour} {how}: {said[0]}")
    return "; ".join(words)


def ratio_row(what, stock, phyr, ratios, note=""):
    """A row of turns' RATIOS, without a goal; two are the least that have a spread."""
    if len(ratios) < 2:
        return report.Row(what, stock, phyr, None, None, None, "", None, more=True, note=note,
                          table=BANDWIDTH)
    ratio, room = median(ratios), 2 * stdev(ratios)
    return report.Row(what, stock, phyr, ratio, None, ratio, "", None,
                      (ratio - room, ratio + room), more=True, note=note, table=BANDWIDTH)


def bandwidth_rows(configs, turns):
    """A row for each size, the mean of each config's, and that of all pinned memory, which
    is what is judged."""
    def mean_row(what, sizes):
        keys = [(config.name, size) for config, size in sizes]
        return ratio_row(f"{what}, mean of all sizes", None, None,
                         [geometric_mean(turn["phyr"][key] / turn["stock"][key] for key in keys)
                          for turn in whole(keys, turns)])

    def ratios_of(key):
        return [turn["phyr"][key] / turn["stock"][key] for turn in whole([key], turns)]

    rows = []
    for config, size in all_sizes(configs):
        key = (config.name, size)
        stock, phyr = (rate and rate * size / MIB for rate in
                       (figure(flavour, key, turns) for flavour in report.KERNELS))
        floor = None if config.vms == 2 else figure("phyr", (None, size), turns) * size / MIB
        rows.append(ratio_row(label(config, size), stock, phyr, ratios_of(key),
                              failures(key, turns))._replace(floor=floor))
    rows += [row for config in configs
             if (row := mean_row(config.name, all_sizes([config]))).ratio]
    pinned = [config for config in configs if config.memory in PINNED]
    if pinned:
        row = mean_row("pinned memory", all_sizes(pinned))
        rows.append(row._replace(goal=">= 1.0 within the spread",
                                 met=bool(row.spread) and row.spread[1] >= 1.0,
                                 note="" if row.spread else "in no two turns all have a figure"))
    return rows


def count_rows(configs, counts):
    rows = []
    for config, size in all_sizes([c for c in configs if c.vms == 1]):
        key = (config.name, size)
        stock, phyr = (rate and 1e9 / rate for rate in
                       (figure(flavour, key, [counts]) for flavour in report.KERNELS))
        ratio = phyr / stock if stock and phyr else None
        rows.append(report.Row(label(config, size), stock, phyr, ratio,
                               1e9 / counts["phyr"][None, size], ratio,
                               f"<= 1.0 within {COUNT_SCATTER:.0%}" if ratio else "",
                               ratio <= 1.0 + COUNT_SCATTER if ratio else None,
                               note=failures(key, [counts]), table=INSTRUCTIONS))
    return rows


def plots(configs, counted, rows):
    """Instructions per message by size, a plot for each config; all ratios of bandwidth."""
    found = []
    for config in configs:
        own = {size: row for size in config.sizes for row in counted
               if row.what == label(config, size)}
        if own:
            found.append(report.plot(
                f"perftest-{config.name}", f"{config.name}: instructions per message",
                "size of a message, bytes", "instructions, both ends and the link",
                {name: [(size, getattr(row, field)) for size, row in own.items()]
                 for name, field in (("stock", "stock"), ("phyr", "phyr"),
                                     ("memcpy alone", "floor"))}))
    ratios = {}
    for config, size in all_sizes(configs):
        ratios.setdefault(config.name, []).extend(
            (size, row.ratio, *row.spread) for row in rows
            if row.what == label(config, size) and row.spread)
    if rows:
        found.append(report.plot("perftest-bandwidth", "Bandwidth of phyr to that of stock: "
                                 "median, and two standard deviations",
                                 "size of a message, bytes", "bandwidth, phyr / stock", ratios,
                                 scale="one"))
    return found


def arguments(argv):
    parser = argparse.ArgumentParser(prog="./lab bench perftest", description=HELP,
                                     epilog=bench_config.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", metavar="CONFIG",
                        help="one of: " + ", ".join(bench_config.names()) + "; or a path")
    parser.add_argument("--pairs", type=int, metavar="N",
                        help=f"turns of bandwidth (default: {PAIRS}); 0: only instructions")
    parser.add_argument("--quick", action="store_true",
                        help=f"two sizes, {QUICK_PAIRS} turns, and of the configs "
                        + ", ".join(QUICK_CONFIGS))
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
    known = QUICK_CONFIGS if args.quick else bench_config.names()
    configs = [bench_config.read(name) for name in args.configs or known]
    if args.quick:
        configs = [c._replace(sizes=tuple(s for s in c.sizes if s in QUICK_SIZES) or c.sizes[:1])
                   for c in configs]
    about = report.facts(pairs=args.pairs)
    with report.timed():
        counts = report.of_each(lambda flavour: run(
            configs, flavour, QUICK_COUNTS if args.quick else COUNTS,
            f"Counting instructions on {flavour}"))
        turns = take_turns(configs, args.pairs)

    counted = count_rows(configs, counts)
    if counted:
        print(f"\n{INSTRUCTIONS}\n")
        report.show(counted)
    rows = []
    if turns:
        rows = bandwidth_rows(configs, turns)
        print(f"\n{BANDWIDTH}: median of {len(turns)} turns; spread: two standard deviations "
              "either way\n")
        report.show(rows)
    raw = {"instructions": _plain(counts), "turns": [_plain(turn) for turn in turns]}
    report.save("perftest", counted + rows, raw, about, plots(configs, counted, rows))
    return report.verdict(counted + rows, args.strict)


def _plain(rates):
    """Messages a second by kernel, for JSON."""
    return {flavour: {f"{name or 'memcpy'}, {size}": value
                      for (name, size), value in found.items()}
            for flavour, found in rates.items()}
