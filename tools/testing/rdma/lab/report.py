# SPDX-License-Identifier: GPL-2.0
"""What a suite reports to: the outcome of each test, and the VM to run it in."""

import os
import re
import sys
import time

import klog
import ktap
import paths
import ui

# A leak scan skips what is younger than 5 s, and only a second one is sure
LEAK_SCAN = """
"$@"
status=$?
leaks=/sys/kernel/debug/kmemleak
if [ -w "$leaks" ]; then
    sleep 6
    echo scan >"$leaks"
    sleep 1
    echo scan >"$leaks"
    cat "$leaks" >/dev/kmsg
fi
exit $status
"""


class Report:
    """The outcomes of one suite, on one kernel flavour."""

    def __init__(self, suite, kernel="phyr"):
        self.suite = suite
        self.kernel = kernel
        self.began = time.monotonic()
        self.results = []
        self.failures = []      # (ktap.Result, log)
        self.complaints = {}    # of the kernel, in a test: (its text, log) by the test's name

    def add(self, results, log=None, under=""):
        """Take over RESULTS (of ktap.parse), their names UNDER a common one."""
        for result in results:
            name = f"{under}.{result.name}" if under else result.name
            result = result._replace(name=name)
            self.results.append(result)
            if result.status == "fail":
                self.failures.append((result, log))

    def ok(self, name):
        self.add([ktap.Result(name, "ok")])

    def fail(self, name, why="", log=None):
        self.add([ktap.Result(name, "fail", why)], log)

    def skip(self, name, why=""):
        self.add([ktap.Result(name, "skip", why)])

    def test(self, name, good, why="", log=None):
        """NAME passed if GOOD."""
        if good:
            self.ok(name)
        else:
            self.fail(name, why, log)

    def count(self, status):
        return sum(r.status == status for r in self.results)

    def vm(self, name, argv, expect=None, under="", cmdline=(), **more):
        """Run ARGV in the VM on this report's kernel; its vm.Result.

        A test in which the kernel complained fails, whatever it says itself: the
        log tells which one ran (klog.Test), and UNDER is what its name has in front
        here. That there is no other complaint is a test of its own. What the regular
        expression EXPECT finds is no complaint, and has to be there. On the debug
        kernel, memory is searched for leaks when ARGV has ended.
        """
        import vm
        argv = [os.fspath(word) for word in argv]
        if self.kernel == "debug":
            argv = ["sh", "-c", LEAK_SCAN, "leaks", *argv]
        # Else the kernel drops marks of tests, where they are many
        result = vm.run(argv, kernel=self.kernel, name=name,
                        cmdline=[*cmdline, "printk.devkmsg=on"], **more)
        found = klog.complaints(result.kernel_log)
        talk = [one for one in found if not expect or not re.search(expect, one.text)]
        why = []
        if expect and len(talk) == len(found):
            why.append(f"the kernel did not complain of {expect}")
        if result.panic and not talk:
            why.append(result.panic)
        if result.timed_out:
            why.append(f"the VM was stopped after {more.get('timeout')} s")
        self.silent(f"{name}.kernel", talk, result.kernel_log, under, why)
        return result

    def silent(self, name, complaints, log, under="", why=()):
        """NAME fails where there is a reason WHY, or one of COMPLAINTS came in no test.

        The others fail their tests, see vm().
        """
        why = list(why)
        for text, test in complaints:
            if test:
                self.complaints.setdefault((under, test), []).append((text, log))
            else:
                why.append(text)
        self.test(name, not why, "\n".join(why), log)

    def settle(self):
        """Fail the tests in which the kernel complained."""
        names = {result.name for result in self.results}
        for (under, test), told in self.complaints.items():
            wanted = [f"{under}{test.program}.{test.name}"] if test.program else []
            wanted.append(f"{under}{test.name}")
            self._blame(next((name for name in wanted if name in names), wanted[0]), told)
        self.complaints = {}

    def _blame(self, name, told):
        """Test NAME fails with what was TOLD by the kernel, beside what it says itself."""
        mine = [result for result in self.results if result.name == name]
        self.results = [result for result in self.results if result.name != name]
        self.failures = [failure for failure in self.failures if failure[0].name != name]
        why = [result.why for result in mine if result.status == "fail" and result.why]
        self.fail(name, "\n".join([*why, *(text for text, _ in told)]), told[0][1])

    def line(self):
        """Print the summary, and the tests that failed."""
        skipped = self.count("skip")
        name = self.suite if self.kernel == "phyr" else f"{self.kernel} {self.suite}"
        text = (f"{name:13} {self.count('ok'):5} passed, {self.count('fail')} failed"
                + (f", {skipped} skipped" if skipped else ""))
        print(f"{text}  ({ui.duration(time.monotonic() - self.began)})")
        shown = set()
        for result, log in self.failures:
            print(f"  FAIL {result.name}")
            for line in result.why.splitlines()[:25]:
                print("       " + line)
            if log and log not in shown:
                print(f"       log: {paths.show(log)}")
                shown.add(log)
        sys.stdout.flush()

    def save(self):
        """All outcomes, one a line, in a log."""
        name = self.suite if self.kernel == "phyr" else f"{self.suite}-{self.kernel}"
        with open(paths.log(f"check/{name}.txt"), "w", encoding="utf-8") as f:
            for result in self.results:
                why = result.why.replace("\n", " | ")
                f.write(f"{result.status:4} {result.name}" + (f"  # {why}" if why else "") + "\n")
