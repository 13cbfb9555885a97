# SPDX-License-Identifier: GPL-2.0
"""KUnit in the VM: every module of the kernel that holds KUnit suites."""

import fnmatch
from typing import NamedTuple

import dma
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

EDU = ("edu", "edu")


class Boot(NamedTuple):
    """Modules (a glob) that are loaded in a boot, and the VM's devices."""
    modules: str
    devices: tuple = EDU
    peer: str = ""              # what a test says of the way to the second edu
    under: str = ""             # what the results are to be told apart by


PEER = "phyr_dma_kunit"

# Each module is in the first boot whose glob matches. How one PCI function reaches
# another's MMIO depends on the machine, so the mapping of physical ranges is tested on
# each kind, which the test names. Host bridges are known to do it on newer AMD processors.
BOOTS = {
    "page_tables": Boot("iommu_pt_*"),
    "dma-buf": Boot("dmabuf_*"),
    "modules": Boot("*", peer="the peer cannot be reached"),
    "switch": Boot(PEER, (*dma.SWITCH, "edu,bus=edu", "edu,bus=peer"),
                   "the peer is reached by bus address", "switch"),
    "bridge": Boot(PEER, ("-cpu EPYC,+la57", *EDU),
                   "the peer is reached through the host bridge", "bridge"),
}


def modules(built):
    """The names of the modules with KUnit suites."""
    return sorted(path.name.split(".")[0] for path in built.modules.rglob("*.ko")
                  if MARK in path.read_bytes())


def dealt(names):
    """{boot: those modules of NAMES that it loads}"""
    left, found = list(names), {}
    for name, boot in BOOTS.items():
        found[name] = fnmatch.filter(names if boot.under else left, boot.modules)
        left = [module for module in left if module not in found[name]]
    return found


def parts(_kernel):
    """Those that can run alone: the boots."""
    return list(BOOTS)


def run(report, only=()):
    built = kernel.ensure(report.kernel, deferred=True)
    names = modules(built)
    if not names:
        raise ui.LabError(f"no module of the {report.kernel} kernel holds a KUnit suite")
    for name, some in dealt(names).items():
        absent = not some and report.kernel == "stock"     # which has fewer of them
        if (name in only or not only) and not absent:
            run_boot(report, name, BOOTS[name], some)


def run_boot(report, name, boot, names):
    """Load the modules NAMES in a VM with an IOMMU."""
    title = f"kunit-{name}"
    under = f"{boot.under}." if boot.under else ""
    result = report.vm(title, ["sh", "-c", SCRIPT, "kunit", *names], iommu="strict",
                       devices=boot.devices, under=under, deferred=True)
    text = result.stdout.decode(errors="replace")
    suites = text.split("LAB ")
    if suites[0].strip():
        report.fail(f"{title}.modprobe", suites[0] + result.stderr.decode(errors="replace"),
                    result.kernel_log)
    if boot.peer:
        report.test(f"{title}.peer", boot.peer in text, f"no test said: {boot.peer}",
                    result.kernel_log)
    if len(suites) == 1:
        report.fail(f"{title}.results", "no results in debugfs", result.kernel_log)
    for part in suites[1:]:
        _path, _, results = part.partition("\n")
        report.add(ktap.parse(results, planned=False), result.kernel_log, under=boot.under)
