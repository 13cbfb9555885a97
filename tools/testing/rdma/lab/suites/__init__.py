# SPDX-License-Identifier: GPL-2.0
"""The suites of `./lab check`: one module each, with HELP and run(report).

run() gives each outcome to a report.Report; a suite that cannot run raises
ui.LabError, which counts as a failure.
"""

import importlib

import ui

# Cheap ones first: what is quick to break is quick to see
ORDER = ("unit", "lint", "kunit", "verbs", "ulp", "pyverbs", "programs", "lab",
         "debug")


def names():
    return ORDER


def load(name):
    try:
        return importlib.import_module("suites." + name)
    except ModuleNotFoundError as e:
        if e.name != "suites." + name:
            raise
        raise ui.LabError(f"this clone has no suite '{name}'") from e
