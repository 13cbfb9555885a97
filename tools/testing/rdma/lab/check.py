# SPDX-License-Identifier: GPL-2.0
"""`./lab check`: the tests."""

import argparse
import textwrap

import kernel
import pool
import report
import suites
import ui
from suites import debug

HELP = """Run the tests. The SUITEs that are named run in turn; SUITE/PART is one part of one.

Without a SUITE, all of them run, a few at a time, and after them a share of what is
to run on the debug kernel. Another commit runs another share: the last lines say
which one it was, and what was not run. --debug runs all of it, and nothing else.

The last line is "N passed, N failed"; the exit status is 0 only where tests
ran and none failed. Skipped tests are counted apart. Each outcome is in
build/logs/check/SUITE.txt, or SUITE-KERNEL.txt on another kernel than phyr."""


def suite_help():
    lines = []
    for name in suites.names():
        try:
            lines.append(f"  {name:8}  {suites.load(name).HELP}")
            parts = ", ".join(suites.parts(name, "phyr"))
            lines += textwrap.wrap(parts and f"parts: {parts}", 100, initial_indent=" " * 12,
                                   subsequent_indent=" " * 12, break_on_hyphens=False)
        except ui.LabError as e:
            lines.append(f"  {name:8}  ({e.what})")
    return "\n".join(lines)


def run_suite(name, only, args):
    """The Report of suite NAME, or of ONLY some of its parts."""
    result = report.Report(name, args.kernel)
    try:
        module = suites.load(name)
        ui.say(f"Suite {name} {' '.join(only)}".rstrip() + " ...")
        module.run(result, **({"only": only} if only else {}),
                   **({"accept": True} if args.accept else {}))
    except ui.LabError as e:
        why = "\n".join([e.what, *([str(e.todo)] if e.todo else []), *e.tail])
        result.fail("suite", why, e.log)
    result.settle()
    if not result.count("ok") and not result.count("fail"):
        result.fail("suite", "not one test ran")
    result.save()
    result.line()
    return result


def in_turn(args):
    """(passed, failed) of the suites that are named, run here."""
    results = [run_suite(name, only, args) for name, only in suites.grouped(args.suites).items()]
    return (sum(result.count("ok") for result in results),
            sum(result.count("fail") for result in results))


def all_at_once(calls):
    """(passed, failed) of CALLS, a few at a time."""
    tasks = [pool.Task(*call) for call in calls]
    pool.prepare(tasks)
    return pool.Pool(tasks).run()


def everything(args):
    """(passed, failed) where no suite is named."""
    if args.debug:
        return all_at_once(debug.calls(debug.units()))
    calls = [(args.kernel, group) for group in suites.TOGETHER]
    if args.kernel == "debug":
        return all_at_once(calls)
    shares = debug.shares()
    number, commit = debug.commit()
    share = shares[number % len(shares)]
    totals = all_at_once([*calls, *debug.calls(share)])
    left = sorted(debug.units().keys() - share)
    print(f"debug kernel: share {number % len(shares) + 1} of {len(shares)} was run ({commit}); "
          "./lab check --debug runs all. Not run:")
    print(textwrap.fill(" ".join(left), 90, initial_indent="  ", subsequent_indent="  ",
                        break_on_hyphens=False))
    return totals


def unknown(words, flavour):
    """What is wrong with WORDS as suites and parts of them; empty if nothing is."""
    for name, part in map(suites.split, words):
        if name not in suites.names():
            return f"there is no suite '{name}'; there are:\n{suite_help()}"
        if part and part not in suites.parts(name, flavour):
            return (f"suite {name} has no part '{part}'; it has: "
                    + (" ".join(suites.parts(name, flavour)) or "none"))
    return ""


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab check", description=HELP + "\n\nSuites:\n"
                                     + suite_help() if "-h" in argv or "--help" in argv else HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE[/PART]")
    parser.add_argument("--kernel", default="phyr", choices=kernel.FLAVOURS,
                        help="the kernel that the VM's suites run on (default: phyr)")
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument("--accept", action="store_true",
                        help="with `pyverbs` or `selftests`: write the outcomes seen into the "
                        "list of the expected ones, for a look at the difference and a commit")
    parser.add_argument("--debug", action="store_true",
                        help="run all that is to run on the debug kernel, a few suites at a time")
    args = parser.parse_args(argv)
    if args.list:
        print(suite_help())
        return 0
    wrong = unknown(args.suites, args.kernel)
    if args.debug and (args.suites or args.kernel != "phyr"):
        wrong = "--debug goes with no suite and no kernel named"
    if wrong:
        ui.say(f"lab: {wrong}")
        return 2
    if args.accept and args.suites not in (["pyverbs"], ["selftests"]):
        ui.say("lab: --accept goes with the suite pyverbs or selftests, alone")
        return 2
    passed, failed = in_turn(args) if args.suites else everything(args)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1
