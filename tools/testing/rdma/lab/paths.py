# SPDX-License-Identifier: GPL-2.0
"""Where things are.

Two places hold what the lab makes: build/ in the clone (its own trees, logs)
and one cache per user (downloads, pristine sources, compiler cache), which a
second clone shares.
"""

import os
from pathlib import Path

LAB = Path(__file__).resolve().parent
TESTING = LAB.parent
TOP = TESTING.parent.parent.parent
CONFIGS = TESTING / "configs"
PATCHES = TOP / "patches"
BUILD = TOP / "build"
LOGS = BUILD / "logs"


def _cache():
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG rules: a relative path is ignored
        base = Path.home() / ".cache"
    return Path(base) / "rdma-lab"


CACHE = _cache()


def log(name):
    """The path of log file NAME, its folder made."""
    path = LOGS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def show(path):
    """PATH as a person wants to read it: relative where it is below us."""
    path = Path(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
