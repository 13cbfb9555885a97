# SPDX-License-Identifier: GPL-2.0
"""What the kernel said: find its complaints in a console log."""

import re
from typing import NamedTuple

# The first line of a report; each ends at the line that ends its trace.
REPORT = re.compile(
    r"BUG: |kernel BUG at |WARNING: |Kernel panic|Oops: |general protection fault|"
    r"Unable to handle|double fault|"
    r"INFO: (possible|suspicious|task .* blocked|rcu|inconsistent)|"
    r"possible (circular|recursive) locking|inconsistent lock state|"
    r"UBSAN: |KASAN: |KCSAN: |KFENCE: |DMA-API: .*(error|not|leak|overlap)|refcount_t: |"
    r"unreferenced object|\d+ new suspected memory leaks|"
    r"rcu: INFO: |watchdog: BUG|page allocation failure|bad page|Bad page|"
    r"list_(add|del) corruption|Object already free|debugobjects?: |ODEBUG: ")
PANIC = re.compile(r"Kernel panic|Oops: |BUG: unable|BUG: kernel NULL|kernel BUG at |"
                   r"general protection fault|KASAN: .* in ")
STAMP = re.compile(r"^\[ *\d+\.\d+\](\[ *[CT]\d+\])? ?")
FAULT = re.compile(r"DMAR: .*[Ff]ault")
# What tests write into the log around what they make the IOMMU report
EXPECTED = "a fault is expected"
NO_MORE = "no more faults are expected"
LAST = re.compile(r"---\[ end |^=+$|^ </TASK>")

# What tests write into the log (verbs/ktap.c, ulp/nvme.sh, pyverbs/outcomes.py): which one
# begins, and ends
MARK = re.compile(r"lab-test: (begin|end) (\S+) (.+)")
# What KUnit writes: a suite or a test of several begins, a test has its outcome
SUBTEST = re.compile(r"( *)# Subtest: (\S+)$")
OUTCOME = re.compile(r"( *)(?:not )?ok \d+ (\S.*?)(?: #.*)?$")


class Test(NamedTuple):
    """A test, as the log names it; KUnit's have no program, and SUITE.CASE for a name."""
    program: str
    name: str


class Complaint(NamedTuple):
    """A complaint of the kernel, and the test in which it came, or None."""
    text: str
    test: Test


def lines(log):
    """The text of console log LOG (a path), without carriage returns."""
    try:
        with open(log, "rb") as f:
            return f.read().decode(errors="replace").replace("\r", "").splitlines()
    except OSError:
        return []


def complaints(log, limit=60):
    """Each complaint of the kernel in LOG, as the lines of its report."""
    found, text = [], lines(log)
    tests = running(text)
    i = 0
    while i < len(text):
        if not REPORT.search(text[i]):
            i += 1
            continue
        end = i + 1
        while end < len(text) and end - i < limit:
            end += 1
            if LAST.search(STAMP.sub("", text[end - 1])):
                break
        found.append(Complaint("\n".join(text[i:end]), tests[i]))
        i = end
    return found


def reports(log, limit=60):
    """The text of each of them."""
    return [complaint.text for complaint in complaints(log, limit)]


def running(text):
    """The Test that ran when the kernel said it, or None, for each line of TEXT."""
    return [one or other for one, other in zip(_marked(text), _kunit(text))]


def _marked(text):
    """The test of each line, by the marks in the log."""
    test = None
    for line in text:
        mark = MARK.match(STAMP.sub("", line))
        if mark:
            test = Test(mark[2], mark[3].rstrip()) if mark[1] == "begin" else None
        yield test


def _kunit(text):
    """The KUnit test of each line: the one whose outcome comes next, in the same suite."""
    found, levels = [], []      # levels: (indent, name) of each subtest that is open
    for i, line in enumerate(text):
        line = STAMP.sub("", line)
        subtest, outcome = SUBTEST.match(line), OUTCOME.match(line)
        if subtest:
            if not levels:
                found += [None] * (i - len(found))
            levels = [level for level in levels if level[0] < len(subtest[1])]
            levels.append((len(subtest[1]), subtest[2]))
        elif outcome and levels:
            levels = [level for level in levels if level[0] <= len(outcome[1])]
            found += [_below(levels, outcome[2])] * (i + 1 - len(found))
    # At the end of the log, a suite may still run
    return found + [_below(levels) if levels else None] * (len(text) - len(found))


def _below(levels, *name):
    return Test("", ".".join([*(level[1] for level in levels), *name]))


def faults(log):
    """The faults of the IOMMU in LOG that no test said to expect, as Complaints."""
    found, expected, text = [], False, lines(log)
    for line, test in zip(text, running(text)):
        if NO_MORE in line:
            expected = False
        elif EXPECTED in line:
            expected = True
        elif FAULT.search(line) and not expected:
            found.append(Complaint(line, test))
    return found


def panic(log, limit=70):
    """From the first line of an oops or panic to the end; empty without one."""
    text = lines(log)
    for i, line in enumerate(text):
        if PANIC.search(line):
            return "\n".join(text[i:i + limit])
    return ""


def panicked_in(log):
    """The Test that ran at the panic, or None."""
    text = lines(log)
    tests = running(text)
    return next((test for line, test in zip(text, tests) if PANIC.search(line)), None)
