# SPDX-License-Identifier: GPL-2.0
"""`./lab bench --against FILE`: what got worse since an earlier run.

Counts repeat, so what is compared is phyr's own figure. Rates scatter and
differ from machine to machine, so of a row with a spread it is the ratio to
stock, which is worse where the two spreads do not overlap.
"""

from typing import NamedTuple

import bench_doc
import bench_report as report
import ui

SCATTER = 0.01              # of counts
# Facts that make figures differ by themselves
MATTERS = ("base", "configs", "accelerator")


class Change(NamedTuple):
    kind: str
    row: report.Row
    before: float           # phyr's figure, or its ratio to stock
    now: float
    worse: bool             # None: neither worse nor better
    words: str = ""


def _sign(row):
    """1 where more is worse."""
    return -1 if row.more else 1


def _by_spread(old, new):
    if old.more and new.spread[1] < old.spread[0] or \
            not old.more and new.spread[0] > old.spread[1]:
        return True
    return None if new.spread[1] >= old.spread[0] and new.spread[0] <= old.spread[1] else False


def _by_value(old, new):
    change = (new.phyr - old.phyr) * _sign(old)
    return None if abs(change) <= SCATTER * abs(old.phyr) else change > 0


def _change(kind, old, new):
    if old.spread and new.spread:
        return Change(kind, new, old.ratio, new.ratio, _by_spread(old, new), "ratio to stock")
    if old.spread or new.spread:
        return Change(kind, new, old.ratio, new.ratio, True if old.spread else None, new.note)
    if old.phyr is None or new.phyr is None:
        worse = None if old.phyr == new.phyr else new.phyr is None
        return Change(kind, new, old.phyr, new.phyr, worse, new.note)
    return Change(kind, new, old.phyr, new.phyr, _by_value(old, new))


def _by_name(kinds):
    return {(kind, row.table, row.what): row for kind, part in kinds.items()
            for row in bench_doc.rows_of(part)}


def changes(old, new):
    """(a Change for each row that both have, the names of those that only OLD has)."""
    before, now = _by_name(old), _by_name(new)
    return ([_change(key[0], before[key], now[key]) for key in now if key in before],
            [key for key in before if key not in now])


def _percent(change):
    if not change.before or change.now is None:
        return "-"
    return f"{change.now / change.before - 1:+.1%}"


def _show(title, found):
    if found:
        print(f"\n{title}\n")
        ui.table(["", "", "before", "now", "change", ""],
                 [[c.kind, c.row.what, report.number(c.before), report.number(c.now), _percent(c),
                   c.words] for c in found])


def _facts(kinds):
    return next(iter(kinds.values()))["facts"]


def compare(old, new):
    """Say what changed; the exit status: 1 where something got worse."""
    found, gone = changes(old, new)
    if not found:
        raise ui.LabError("the two results have no row in common")
    for name in MATTERS:
        if _facts(old).get(name) != _facts(new).get(name):
            ui.say(f"The runs differ in {name}: {_facts(old).get(name)} and "
                   f"{_facts(new).get(name)}")
    worse = [change for change in found if change.worse]
    _show("Better than before", [change for change in found if change.worse is False])
    _show("Worse than before", worse)
    print(f"\n{len(found)} rows compared, {len(worse)} worse by more than the spread"
          + (f"; {len(gone)} of before were not measured" if gone else ""))
    return 1 if worse else 0
