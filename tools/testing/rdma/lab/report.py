# SPDX-License-Identifier: GPL-2.0
"""What a suite reports to: the outcome of each test, and the VM to run it in."""

import os
import re
import sys
import time

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

    def vm(self, name, argv, expect=None, **more):
        """Run ARGV in the VM on this report's kernel; its vm.Result.

        That the kernel had nothing to complain about is a test of its own, but
        for what the regular expression EXPECT finds, which has to be there. On
        the debug kernel, memory is searched for leaks when ARGV has ended.
        """
        import vm
        argv = [os.fspath(word) for word in argv]
        if self.kernel == "debug":
            argv = ["sh", "-c", LEAK_SCAN, "leaks", *argv]
        result = vm.run(argv, kernel=self.kernel, name=name, **more)
        talk = [text for text in result.reports if not expect or not re.search(expect, text)]
        if expect and len(talk) == len(result.reports):
            talk.append(f"the kernel did not complain of {expect}")
        if result.panic:
            talk.append(result.panic)
        if result.timed_out:
            talk.append(f"the VM was stopped after {more.get('timeout')} s")
        self.test(f"{name}.kernel", not talk, "\n".join(talk), result.kernel_log)
        return result

    def line(self):
        """The summary, and the tests that failed."""
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
