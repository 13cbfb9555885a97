# SPDX-License-Identifier: GPL-2.0
"""Kernel users of rxe: NVMe-oF host and target over a RAM disk."""

import ktap
import paths
import ui

HELP = "the kernel's own users of rxe: NVMe-oF host and target, data checked on the disk"

SOURCE = paths.TESTING / "ulp"
FOLDER = paths.BUILD / "ulp"


def build():
    log = paths.log("ulp.log")
    with ui.step("Building the ULP programs"):
        ui.logged(["make", "-C", SOURCE, f"O={FOLDER}"], log, "building the ULP programs")


def run(report):
    build()
    result = report.vm("ulp", ["sh", str(SOURCE / "nvme.sh"), str(FOLDER)], under="nvme.",
                       deferred=True)
    log = paths.log(f"check/ulp-{report.kernel}.log")
    log.write_bytes(result.stdout + result.stderr)
    results = ktap.parse(result.stdout.decode(errors="replace"))
    report.add(results, log, under="nvme")
    if result.status and not any(r.status == "fail" for r in results):
        report.fail("nvme.status", f"exit status {result.status}\n"
                    + result.stderr.decode(errors="replace")[-2000:], log)
