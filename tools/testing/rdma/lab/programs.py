# SPDX-License-Identifier: GPL-2.0
"""Our own C programs on libibverbs: tools/testing/rdma/NAME/, built into build/NAME/."""

import re

import kernel
import paths
import ui
import userspace


def ensure(name="verbs"):
    """Build what is not built, and give the folder of the programs."""
    core = userspace.ensure_rdma_core()
    folder = paths.BUILD / name
    log = paths.log(f"{name}.log")
    with kernel.lock(name), ui.step(f"Building the {name} programs"):
        ui.logged(["make", "-C", paths.TESTING / name, "-j2", f"O={folder}", f"RDMA_CORE={core}"],
                  log, f"building the {name} programs")
    return folder


def names(name="verbs", pattern=""):
    """The programs of NAME, built or not, that match the regular expression PATTERN."""
    text = (paths.TESTING / name / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    words = re.search(r"^PROGRAMS := (.*)$", text, re.MULTILINE)[1].split()
    return sorted(word for word in words if re.match(pattern, word))
