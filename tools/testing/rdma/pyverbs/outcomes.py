# SPDX-License-Identifier: GPL-2.0
"""Run rdma-core's run_tests.py, and print each test's outcome as KTAP.

    outcomes.py RUN_TESTS [ARGUMENT...]

unittest's own output goes to stderr. A run that dies leaves a report
without its plan, which no reader takes for complete.
"""

import os
import runpy
import sys
import unittest

# What a test prints must not get between the lines of the report
report = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


class Outcomes(unittest.TextTestResult):
    """A result that writes down what the tests did."""

    number = 0

    @staticmethod
    def mark(what, test):
        """Tell the kernel's log, so that a complaint of the kernel is the test's."""
        with open("/dev/kmsg", "w", encoding="utf-8") as log:
            log.write(f"lab-test: {what} pyverbs {test.id()}\n")

    def startTest(self, test):
        super().startTest(test)
        self.mark("begin", test)

    def stopTest(self, test):
        self.mark("end", test)
        super().stopTest(test)

    def put(self, good, test, note=""):
        Outcomes.number += 1
        note = " ".join(str(note).split())
        report.write(f"{'' if good else 'not '}ok {self.number} {test.id()}"
                     f"{' # ' + note if note else ''}\n")

    def startTestRun(self):
        super().startTestRun()
        report.write("TAP version 13\n")

    def stopTestRun(self):
        super().stopTestRun()
        report.write(f"1..{self.number}\n")

    def talk(self, err):
        for line in str(err[1]).splitlines()[:5]:
            report.write(f"# {err[0].__name__}: {line}\n")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.put(True, test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.talk(err)
        self.put(False, test)

    def addError(self, test, err):
        super().addError(test, err)
        self.talk(err)
        self.put(False, test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.put(True, test, f"SKIP {reason}")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.put(True, test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.put(False, test)


def main():
    # unittest.main() is what the script calls: only its runner is ours
    unittest.TextTestRunner.resultclass = Outcomes
    sys.argv = [sys.argv[1], "-v", *sys.argv[2:]]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


main()
