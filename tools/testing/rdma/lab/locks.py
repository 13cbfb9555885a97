# SPDX-License-Identifier: GPL-2.0
"""Locks between calls of the lab, of which several may run at once."""

import fcntl
from contextlib import contextmanager
from pathlib import Path

import ui


@contextmanager
def held(path, what):
    """Hold the lock file PATH; say so when another call has it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with ui.step(f"Waiting for another call of the lab ({what})", quiet=False):
                fcntl.flock(f, fcntl.LOCK_EX)
        yield
