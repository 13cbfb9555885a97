# SPDX-License-Identifier: GPL-2.0
"""KTAP and TAP, as KUnit and our own programs print them.

parse() gives the leaves of the tree: a test that has subtests stands for
them, not beside them. What makes a report worthless (no plan, fewer tests
than planned, a subtest that its parent does not sum up) is a failed result
of its own, so that a program that dies half way never passes.
"""

import re
from typing import NamedTuple

_RESULT = re.compile(r"(not )?ok\b(?:\s+(\d+))?\s*(?:-\s*)?(.*)$")
_PLAN = re.compile(r"1\.\.(\d+)\s*(?:#\s*(?:SKIP)?\s*(.*))?$")
_SKIP = re.compile(r"#\s*SKIP\b[: ]*(.*)$", re.IGNORECASE)
_KMSG = re.compile(r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[[^]]*\])?\s)?")


class Result(NamedTuple):
    name: str
    status: str         # ok, fail or skip
    why: str = ""


class _Level:
    """One level of nesting: its results so far and what it promised."""

    def __init__(self, indent):
        self.indent = indent
        self.plan = None
        self.results = []       # of this level and below, names relative to it
        self.seen = 0           # result lines of this level
        self.talk = []          # lines since the last result


def _close(level, name, planned=True):
    """The results of LEVEL, which is over, under NAME; it has to be PLANNED."""
    out = [Result(f"{name}.{r.name}" if name else r.name, r.status, r.why)
           for r in level.results]
    where = name or "report"
    if level.plan is None:
        if planned:
            out.append(Result(where, "fail",
                              "no plan line (1..N): the report is not complete"))
    elif level.seen != level.plan:
        out.append(Result(where, "fail", f"{level.plan} tests planned, {level.seen} reported"))
    return out


def parse(text, planned=True):
    """The Results in TEXT, which may be a kernel log with time stamps.

    KUnit plans no tests whose parameters come from a generator: without PLANNED,
    tests below another may lack a plan. Their parent still sums them up.
    """
    levels = [_Level(0)]
    for raw in text.splitlines():
        body = _KMSG.sub("", raw.rstrip("\r"), count=1)
        line = body.lstrip(" ")
        indent = len(body) - len(line)
        if line.startswith("KTAP version") or line.startswith("TAP version") \
                or line.startswith("# Subtest:"):
            if indent > levels[-1].indent:
                levels.append(_Level(indent))
            continue
        plan = _PLAN.match(line)
        if plan:
            if indent > levels[-1].indent:
                levels.append(_Level(indent))
            while len(levels) > 1 and levels[-1].indent > indent:
                _orphan(levels)
            levels[-1].plan = (levels[-1].plan or 0) + int(plan[1])
            if int(plan[1]) == 0:
                levels[-1].results.append(Result("all", "skip", plan[2] or "nothing planned"))
            continue
        match = _RESULT.match(line)
        if not match:
            levels[-1].talk.append(line.lstrip("# "))
            continue
        if indent > levels[-1].indent:
            levels.append(_Level(indent))
        while len(levels) > 1 and levels[-1].indent > indent \
                and levels[-2].indent > indent:
            _orphan(levels)
        _result(levels, indent, match, planned)
    while len(levels) > 1:
        _orphan(levels)
    if not levels[0].seen and levels[0].plan is None and not levels[0].results:
        return [Result("report", "fail", "no KTAP in the output")]
    return _close(levels[0], "")


def _orphan(levels):
    """A level that ended with no line of its parent to sum it up."""
    level = levels.pop()
    levels[-1].results += _close(level, "") + [
        Result("subtest", "fail", "ended without a result of its parent")]


def _result(levels, indent, match, planned):
    bad, _number, rest = match.groups()
    skip = _SKIP.search(rest)
    name = re.split(r"\s#\s|\s?#\s?SKIP", rest, maxsplit=1)[0].strip() or "unnamed"
    below = levels.pop() if levels[-1].indent > indent else None
    level = levels[-1]
    level.seen += 1
    if below:
        inner = _close(below, name, planned)
        level.results += inner
        if bad and not any(r.status == "fail" for r in inner):
            level.results.append(Result(name, "fail", "\n".join(below.talk[-8:])))
        elif not any(True for _ in inner):
            level.results.append(Result(name, "fail", "no test in it"))
    elif bad:
        level.results.append(Result(name, "fail", "\n".join(level.talk[-8:])))
    elif skip:
        level.results.append(Result(name, "skip", skip[1].strip()))
    else:
        level.results.append(Result(name, "ok"))
    level.talk = []
