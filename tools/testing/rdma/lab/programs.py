# SPDX-License-Identifier: GPL-2.0
"""Our own C programs on libibverbs: tools/testing/rdma/NAME/, built into build/NAME/."""

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
