# SPDX-License-Identifier: GPL-2.0
"""What the kernel said: find its complaints in a console log."""

import re

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


def lines(log):
    """The text of console log LOG (a path), without carriage returns."""
    try:
        with open(log, "rb") as f:
            return f.read().decode(errors="replace").replace("\r", "").splitlines()
    except OSError:
        return []


def reports(log, limit=60):
    """Each complaint of the kernel in LOG, as the lines of its report."""
    found, text = [], lines(log)
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
        found.append("\n".join(text[i:end]))
        i = end
    return found


def faults(log):
    """The faults of the IOMMU in LOG that no test said to expect."""
    found, expected = [], False
    for line in lines(log):
        if NO_MORE in line:
            expected = False
        elif EXPECTED in line:
            expected = True
        elif FAULT.search(line) and not expected:
            found.append(line)
    return found


def panic(log, limit=70):
    """From the first line of an oops or panic to the end; empty without one."""
    text = lines(log)
    for i, line in enumerate(text):
        if PANIC.search(line):
            return "\n".join(text[i:i + limit])
    return ""
