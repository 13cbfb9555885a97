# SPDX-License-Identifier: GPL-2.0
"""KUnit in the VM: every module of the kernel that holds KUnit suites."""

import kernel
import ktap
import ui

HELP = "KUnit suites of the kernel's modules, in the VM"

# The section that kunit_test_suites() puts into a module
MARK = b".kunit_test_suites"

SCRIPT = """
for module; do
    modprobe "$module" || echo "not ok 1 modprobe $module"
done
for results in /sys/kernel/debug/kunit/*/results; do
    echo "LAB $results"
    cat "$results"
done
"""


def modules(built):
    """The names of the modules with KUnit suites."""
    return sorted(path.name.split(".")[0] for path in built.modules.rglob("*.ko")
                  if MARK in path.read_bytes())


def run(report):
    built = kernel.ensure(report.kernel)
    names = modules(built)
    if not names:
        raise ui.LabError(f"no module of the {report.kernel} kernel holds a KUnit suite")
    result = report.vm("kunit", ["sh", "-c", SCRIPT, "kunit", *names])
    text = result.stdout.decode(errors="replace")
    suites = text.split("LAB ")
    if suites[0].strip():
        report.fail("modprobe", suites[0] + result.stderr.decode(errors="replace"),
                    result.kernel_log)
    if len(suites) == 1:
        report.fail("results", "no results in debugfs", result.kernel_log)
    for part in suites[1:]:
        _path, _, results = part.partition("\n")
        report.add(ktap.parse(results), result.kernel_log)
