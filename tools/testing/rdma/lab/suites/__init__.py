# SPDX-License-Identifier: GPL-2.0
"""The suites of `./lab check`: one module each, with HELP and run(report).

run() gives each outcome to a report.Report; a suite that cannot run raises
ui.LabError, which counts as a failure. A suite of parts that can run alone has
parts(kernel), their names, too, and run(report, only) takes some of them.
"""

import importlib

import ui

# Cheap ones first: what is quick to break is quick to see
ORDER = ("unit", "config", "lint", "drivers", "complaints", "kunit", "verbs", "dma", "dmabuf", "ulp",
         "selftests", "pyverbs", "programs", "lab", "docs")

# What runs together when all of them run a few at a time: those of a line one
# after the other, since lint and drivers share a tree. Long ones first, so
# that none is left alone at the end.
TOGETHER = (("dma",), ("config", "lint", "drivers"), ("kunit",), ("lab",), ("verbs",), ("pyverbs",),
            ("unit", "complaints"), ("dmabuf", "ulp"), ("programs",), ("docs",))


def names():
    return ORDER


def load(name):
    try:
        return importlib.import_module("suites." + name)
    except ModuleNotFoundError as e:
        if e.name != "suites." + name:
            raise
        raise ui.LabError(f"this clone has no suite '{name}'") from e


def split(word):
    """(suite, part) of SUITE or SUITE/PART."""
    suite, _, part = word.partition("/")
    return suite, part


def parts(name, kernel):
    """The parts of suite NAME on KERNEL."""
    module = load(name)
    return list(module.parts(kernel)) if hasattr(module, "parts") else []


def grouped(words):
    """{suite: its parts that are to run, or none for all} of SUITEs and SUITE/PARTs."""
    found = {}
    for suite, part in map(split, words):
        found.setdefault(suite, []).append(part)
    return {suite: [] if "" in some else some for suite, some in found.items()}
