# SPDX-License-Identifier: GPL-2.0
"""Our own C programs on libibverbs: tools/testing/rdma/verbs/, built into build/verbs/."""

import paths
import ui
import userspace

SOURCE = paths.TESTING / "verbs"
FOLDER = paths.BUILD / "verbs"


def ensure():
    """Build what is not built, and give the folder of the programs."""
    core = userspace.ensure_rdma_core()
    log = paths.log("verbs.log")
    with ui.step("Building the verbs programs"):
        ui.logged(["make", "-C", SOURCE, "-j2", f"O={FOLDER}", f"RDMA_CORE={core}"],
                  log, "building the verbs programs")
    return FOLDER
