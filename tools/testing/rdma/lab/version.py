# SPDX-License-Identifier: GPL-2.0
"""`./lab --version`: what this is and what it builds on. It fetches nothing."""

import os
import re
import subprocess
from pathlib import Path

import paths
import sources


def commit():
    """The commit of this clone, in git's words."""
    try:
        done = subprocess.run(["git", "-c", f"safe.directory={paths.TOP}", "describe", "--always",
                               "--dirty", "--tags", "--abbrev=12"], cwd=paths.TOP,
                              capture_output=True, text=True, check=False)
    except OSError:
        return "unknown: git is not installed"
    return done.stdout.strip() or "unknown: this is no git clone"


def base(name):
    """The version of source NAME, as the user has it; nothing is fetched for that."""
    own = os.environ.get("LAB_" + name.upper().replace("-", "_"))
    if own:
        return f"{_own_version(Path(own).expanduser())} ({own})"
    found = sources.newest(name)
    return found.version if found else "not fetched yet, ./lab build does"


def _own_version(tree):
    """What a source tree of the user's own says that it is."""
    for file, pattern in (("CMakeLists.txt", r'PACKAGE_VERSION "([^"]+)"'),
                          ("configure.ac", r"AC_INIT\(\[[^]]*\],\s*\[?([\w.]+)")):
        try:
            found = re.search(pattern, (tree / file).read_text(encoding="utf-8"))
        except OSError:
            continue
        if found:
            return found[1]
    try:
        text = (tree / "Makefile").read_text(encoding="utf-8")
        return ".".join(re.search(rf"^{word}\s*=\s*(\d+)$", text, re.MULTILINE)[1]
                        for word in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    except (OSError, TypeError):
        return "unknown"


def text():
    """All versions, a line each."""
    return "\n".join([f"lab {commit()}", f"Linux {base('linux')}",
                      f"rdma-core {base('rdma-core')}", f"perftest {base('perftest')}"])
