# SPDX-License-Identifier: GPL-2.0
"""KUnit in the VM: every module of the kernel that holds KUnit suites."""

import dma
import kernel
import ktap
import ui

HELP = "KUnit suites of the kernel's modules, in the VM"

# The section that kunit_test_suites() puts into a module
MARK = b".kunit_test_suites"

# Each word is a module, and after a colon the glob that its suites must match
SCRIPT = """
modprobe kunit
for word; do
    module=${word%%:*}
    printf %s "${word#*:}" > /sys/module/kunit/parameters/filter_glob
    modprobe "$module" || echo "not ok 1 modprobe $module"
done
for results in /sys/kernel/debug/kunit/*/results; do
    echo "LAB $results"
    cat "$results"
done
"""


EDU = ("edu", "edu")

# What takes the debug kernel minutes: random mappings, checked one by one; page
# tables in other formats than the VM's; long chains of fences, which are not ours.
# And one machine is enough there.
FILTER = {"debug": ["kunit.filter=speed>slow"]}
SUITES = {"debug": {"iommu_pt_kunit_test": "vtdss*", "dmabuf_kunit": "dma-buf-phyr*"}}

# How one PCI function reaches another's MMIO depends on the machine, so the
# mapping of physical ranges is tested on each kind, which the test names. Host
# bridges are known to do it on newer AMD processors.
MACHINES = {
    "": (EDU, None, "the peer cannot be reached"),
    "switch": ((*dma.SWITCH, "edu,bus=edu", "edu,bus=peer"), "phyr_dma_kunit",
               "the peer is reached by bus address"),
    "bridge": (("-cpu EPYC,+la57", *EDU), "phyr_dma_kunit",
               "the peer is reached through the host bridge"),
}


def modules(built):
    """The names of the modules with KUnit suites."""
    return sorted(path.name.split(".")[0] for path in built.modules.rglob("*.ko")
                  if MARK in path.read_bytes())


def run(report):
    built = kernel.ensure(report.kernel, deferred=True)
    names = modules(built)
    if not names:
        raise ui.LabError(f"no module of the {report.kernel} kernel holds a KUnit suite")
    for machine, (devices, only, peer) in MACHINES.items():
        if machine and report.kernel == "debug":
            continue
        run_on(report, machine, devices, [only] if only else names, peer)


def run_on(report, machine, devices, names, peer):
    """Load the modules NAMES in a VM with DEVICES behind an IOMMU; one says PEER."""
    title = f"kunit-{machine}" if machine else "kunit"
    globs = SUITES.get(report.kernel, {})
    words = [f"{name}:{globs.get(name, '*')}" for name in names]
    result = report.vm(title, ["sh", "-c", SCRIPT, "kunit", *words], iommu="strict",
                       devices=devices, deferred=True, cmdline=FILTER.get(report.kernel, ()))
    text = result.stdout.decode(errors="replace")
    suites = text.split("LAB ")
    if suites[0].strip():
        report.fail(f"{title}.modprobe", suites[0] + result.stderr.decode(errors="replace"),
                    result.kernel_log)
    report.test(f"{title}.peer", peer in text, f"no test said: {peer}", result.kernel_log)
    if len(suites) == 1:
        report.fail(f"{title}.results", "no results in debugfs", result.kernel_log)
    for part in suites[1:]:
        _path, _, results = part.partition("\n")
        report.add(ktap.parse(results, planned=False), result.kernel_log, under=machine)
