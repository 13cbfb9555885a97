# SPDX-License-Identifier: GPL-2.0
"""`./lab check`: the tests."""

import argparse
import time

import kernel
import pool
import report
import suites
import ui

HELP = """Run the tests. The SUITEs that are named run in turn; without a SUITE, all of
them, a few at a time.

The last line is "N passed, N failed"; the exit status is 0 only where tests
ran and none failed. Skipped tests are counted apart. Each outcome is in
build/logs/check/SUITE.txt, or SUITE-KERNEL.txt on another kernel than phyr."""


def suite_help():
    lines = []
    for name in suites.names():
        try:
            lines.append(f"  {name:8}  {suites.load(name).HELP}")
        except ui.LabError as e:
            lines.append(f"  {name:8}  ({e.what})")
    return "\n".join(lines)


def run_suite(name, flavour, args):
    """The Report of suite NAME."""
    result = report.Report(name, flavour)
    try:
        module = suites.load(name)
        ui.say(f"Suite {name} ...")
        module.run(result, **({"accept": True} if args.accept else {}))
    except ui.LabError as e:
        why = "\n".join([e.what, *([str(e.todo)] if e.todo else []), *e.tail])
        result.fail("suite", why, e.log)
    if not result.count("ok") and not result.count("fail"):
        result.fail("suite", "not one test ran")
    result.save()
    result.line()
    return result


def in_turn(names, args):
    """(passed, failed) of the suites NAMES, run here."""
    results = [run_suite(part, flavour, args) for name in names
               for flavour, part in suites.parts(name, args.kernel)]
    return (sum(result.count("ok") for result in results),
            sum(result.count("fail") for result in results))


def all_at_once(args):
    """(passed, failed) of all suites, a few at a time."""
    until = args.within and time.monotonic() + args.within * 60
    tasks = [pool.Task(*call) for call in suites.together(args.kernel)]
    pool.prepare(tasks)
    passed, failed, left = pool.Pool(tasks, until).run()
    for task in left:
        print(f"{task}: NOT TESTED to its end, {args.within:g} minutes were over")
    return passed, failed


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab check", description=HELP + "\n\nSuites:\n"
                                     + suite_help() if "-h" in argv or "--help" in argv else HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    parser.add_argument("--kernel", default="phyr", choices=kernel.FLAVOURS,
                        help="the kernel that the VM's suites run on (default: phyr)")
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument("--accept", action="store_true",
                        help="with `pyverbs`: write the outcomes seen into the list of the "
                        "expected ones, for a look at the difference and a commit")
    parser.add_argument("--within", type=float, metavar="MINUTES",
                        help="where all suites run: end what still runs after so many "
                        "minutes, and name what was not tested to its end")
    args = parser.parse_args(argv)
    if args.list:
        print(suite_help())
        return 0
    unknown = [s for s in args.suites if s not in suites.names()]
    if unknown:
        ui.say(f"lab: there is no suite '{unknown[0]}'; there are:\n{suite_help()}")
        return 2
    if args.within and args.suites:
        ui.say("lab: --within goes with no suite named")
        return 2
    if args.accept and args.suites != ["pyverbs"]:
        ui.say("lab: --accept goes with the suite pyverbs, alone")
        return 2
    passed, failed = in_turn(args.suites, args) if args.suites else all_at_once(args)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1
