# SPDX-License-Identifier: GPL-2.0
"""lib/phyr.c compiled in user space: tests against a model, and the fuzzer."""

import kernel
import ktap
import packages
import paths
import sources
import ui

HELP = "kernel code in user space, with ASan and UBSan: tests against a model, fuzzer"


def run(report):
    packages.ensure("unit")
    log = paths.log("check/unit.log")
    out = paths.BUILD / "unit"
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    status = ui.logged(["make", "-s", "--no-print-directory", "-C", paths.TESTING / "unit", f"O={out}",
                        f"KSRC={sources.linux().dir}", "check"], log, "unit",
                       env=kernel.environment(".."), line=lines.append, check=False)
    results = ktap.parse("\n".join(lines))
    report.add(results, log)
    if status and not any(r.status == "fail" for r in results):
        report.fail("make", f"make check {ui.how(status)}\n" + "\n".join(ui.tail(log)), log)
