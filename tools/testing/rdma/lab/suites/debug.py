# SPDX-License-Identifier: GPL-2.0
"""What runs on the debug kernel: all of it takes long, so a share of it is run at a time.

A unit of it is a suite, or a part of a suite, as in `./lab check SUITE/PART`. The units
are dealt out to shares that take about as long as each other. Which share is run turns
with the commit.
"""

import subprocess

import paths
import suites

# Suites, and how many seconds a part of them takes one processor under emulation, boot
# and search for leaks included, where it is not the usual time
USUAL = 120
SECONDS = {
    "pyverbs/pyverbs": 1500, "pyverbs/pyverbs-udmabuf": 150, "kunit/page_tables": 600,
    "verbs/mr_size": 300, "verbs/odp_data": 300, "verbs/mr_data": 300, "verbs/mr_bounds": 300,
    "dma/none": 300, "dma/strict": 300, "dma/lazy": 300, "dma/caching": 300,
    "dma/passthrough": 300, "dma/clock": 300,
}
SUITES = ("verbs", "kunit", "dma", "pyverbs")
SHARE = 600             # seconds of one processor, so that two take some minutes


def units():
    """{unit: its seconds}"""
    found = {}
    for suite in SUITES:
        for part in suites.parts(suite, "debug") or [""]:
            unit = f"{suite}/{part}" if part else suite
            found[unit] = SECONDS.get(unit, USUAL)
    return found


def shares():
    """All units, in lists."""
    seconds = units()
    dealt = [[] for _ in range(max(1, round(sum(seconds.values()) / SHARE)))]
    # The longest first, each to the list that has least
    for unit in sorted(seconds, key=lambda unit: (-seconds[unit], unit)):
        min(dealt, key=lambda share: sum(map(seconds.get, share))).append(unit)
    return dealt


def commit():
    """A number that the next commit has another one of, and words for it."""
    def git(*words):
        return subprocess.run(["git", "-C", paths.TOP, *words], capture_output=True, text=True,
                              check=False).stdout.strip()
    if git("rev-parse", "--is-shallow-repository") == "false":
        count = git("rev-list", "--count", "HEAD")
        return int(count), f"commit {count}"
    head = git("rev-parse", "HEAD")
    if head:        # the number of commits is not known
        return int(head, 16), f"commit {head[:12]}"
    return 0, "no commit"


def calls(chosen):
    """The units CHOSEN as (kernel, words) for calls of `./lab check`, one for each suite."""
    seconds = units()
    grouped = [[unit for unit in chosen if suites.split(unit)[0] == suite] for suite in SUITES]
    grouped.sort(key=lambda group: -sum(map(seconds.get, group)))
    return [("debug", tuple(group)) for group in grouped if group]
