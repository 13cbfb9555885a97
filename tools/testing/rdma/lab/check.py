# SPDX-License-Identifier: GPL-2.0
"""`./lab check`: the tests."""

import argparse

import kernel
import report
import suites
import ui

HELP = """Run the tests. Without a SUITE, all of them, the cheap ones first.

The last line is "N passed, N failed"; the exit status is 0 only where tests
ran and none failed. Skipped tests are counted apart. Each outcome is in
build/logs/check/SUITE.txt."""


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
    return result


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
    args = parser.parse_args(argv)
    if args.list:
        print(suite_help())
        return 0
    unknown = [s for s in args.suites if s not in suites.names()]
    if unknown:
        ui.say(f"lab: there is no suite '{unknown[0]}'; there are:\n{suite_help()}")
        return 2
    if args.accept and args.suites != ["pyverbs"]:
        ui.say("lab: --accept goes with the suite pyverbs, alone")
        return 2
    passed = failed = 0
    for name in args.suites or suites.names():
        result = run_suite(name, args.kernel, args)
        result.line()
        passed += result.count("ok")
        failed += result.count("fail")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1
