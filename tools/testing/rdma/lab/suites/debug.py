# SPDX-License-Identifier: GPL-2.0
"""The suites of the VM once more, on the kernel with every checker on."""

import report as reports
import suites
import ui

HELP = "kunit, verbs and pyverbs on the debug kernel; any report of the kernel fails it"

PARTS = ("kunit", "verbs", "pyverbs")


def run(report):
    for name in PARTS:
        part = reports.Report(name, "debug")
        try:
            suites.load(name).run(part)
        except ui.LabError as e:
            part.fail("suite", "\n".join([e.what, *e.tail]), e.log)
        logs = {result.name: log for result, log in part.failures}
        for result in part.results:
            report.add([result], logs.get(result.name), under=name)
