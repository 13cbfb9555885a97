# SPDX-License-Identifier: GPL-2.0
"""The suites of `./lab check`: one module each, with HELP and run(report).

run() gives each outcome to a report.Report; a suite that cannot run raises
ui.LabError, which counts as a failure. debug has no run(): it is a name for
other suites, its PARTS, on the debug kernel.
"""

import importlib

import ui

# Cheap ones first: what is quick to break is quick to see
ORDER = ("unit", "config", "lint", "drivers", "kunit", "verbs", "dma", "dmabuf", "ulp", "pyverbs",
         "programs", "lab", "debug")

# What runs together when all of them run a few at a time: those of a line one
# after the other, since lint and drivers share a tree. Long ones first, so
# that none is left alone at the end.
TOGETHER = (("dma",), ("config", "lint", "drivers"), ("kunit",), ("lab",), ("verbs",), ("pyverbs",),
            ("unit",), ("dmabuf", "ulp"), ("programs",))


def names():
    return ORDER


def load(name):
    try:
        return importlib.import_module("suites." + name)
    except ModuleNotFoundError as e:
        if e.name != "suites." + name:
            raise
        raise ui.LabError(f"this clone has no suite '{name}'") from e


def parts(name, kernel):
    """The (kernel, suite) that suite NAME on KERNEL consists of."""
    if name == "debug":
        return [("debug", part) for part in load("debug").PARTS]
    return [(kernel, name)]


def together(kernel):
    """All suites on KERNEL, as (kernel, suites) for a call each."""
    calls = [*((kernel, group) for group in TOGETHER),
             *((flavour, (name,)) for flavour, name in parts("debug", kernel))]
    return list(dict.fromkeys(calls))       # on the debug kernel, debug's are there already
