# SPDX-License-Identifier: GPL-2.0
"""The kernel's own selftests in the VM, from the source of the kernel that is
booted, against lists of what each of them is to do.

tools/testing/rdma/selftests/GROUP.txt has the outcomes on the patched kernel,
GROUP-KERNEL.txt what differs on another kernel. `./lab check --accept selftests`,
with or without --kernel, writes them.
"""

import re
from typing import NamedTuple

import kernel
import ktap
import packages
import paths
import ui
from suites import dmabuf, verbs

HELP = "the kernel's own selftests: rdma, vfio, dma-bufs, and iommufd on the debug kernel"

FOLDER = paths.TESTING / "selftests"
SKIPPED = 4                 # the exit status of a selftest that cannot run here
HANGS = 3600                # seconds after which a group hangs for certain
ABSENT = "none"             # in a list: the test does not run on this kernel

HEAD = """\
# SPDX-License-Identifier: GPL-2.0
#
# {what}: ok, skip, fail or none, and
# the name. Written by `./lab check --accept selftests`: look at the difference first.
"""


class Group(NamedTuple):
    """Tests that run in one boot."""
    setup: str              # what run.sh does before them
    build: tuple            # folders below tools/testing/selftests to build
    tests: dict             # name: command; {src} and {bin} are folders
    machine: dict           # for report.vm()
    home: str = "phyr"      # the kernel of the list; others may differ
    only: tuple = ()        # the kernels that it runs on; empty: all


SCRIPTS = ("rxe_rping_between_netns", "rxe_ipv6", "rxe_socket_with_netns",
           "rxe_test_NETDEV_UNREGISTER", "rxe_sent_rcvd_bytes", "rxe_netns_names")

# Each function has what the others lack: edu an MSI interrupt, ivshmem a BAR of
# some size, and nvme MSI-X interrupts, a reset and virtual functions
VFIO = [f"{test} {function}" for function in ("edu", "ivshmem", "nvme") for test in
        ("vfio_pci_device_test", "vfio_iommufd_setup_test", "vfio_dma_mapping_test",
         "vfio_dma_mapping_mmio_test", "vfio_pci_driver_test")]
VFIO.append("vfio_pci_sriov_uapi_test nvme")
NVME = ("-device nvme-subsys,id=subsys "
        "-device nvme,id=nvme,serial=lab,subsys=subsys,bus=port1,sriov_max_vfs=1,"
        "sriov_vq_flexible=2,sriov_vi_flexible=1,max_ioqpairs=4,msix_qsize=5")


def vfio_tests():
    tests = {line.replace(" ", ":"): "{bin}/%s $%s" % tuple(line.split()) for line in VFIO}
    tests["vfio_pci_device_init_perf_test"] = \
        "{bin}/vfio_pci_device_init_perf_test $edu $ivshmem $nvme"
    return tests


def vfio_machine():
    _, ivshmem = dmabuf.ivshmem("ivshmem-selftests", dmabuf.BAR, bus="port0")
    return {"mem": "4G", "cmdline": ["hugepagesz=1G hugepages=1"],
            "devices": [dmabuf.IOMMU, dmabuf.PORT + ",chassis=1",
                        "-device pcie-root-port,id=port1,chassis=2", ivshmem, NVME,
                        f"-device edu,dma_mask={(1 << 64) - 1:#x}"]}


def groups():
    """{name: Group}"""
    return {
        "rdma": Group("rdma", (), {name: "bash {src}/rdma/%s.sh" % name for name in SCRIPTS},
                      {"network": False}),
        "vfio": Group("vfio", ("vfio",), vfio_tests(), vfio_machine()),
        # dmabuf-heap looks at each heap that there is
        "dmabuf": Group("dmabuf", ("dmabuf-heaps", "drivers/dma-buf"),
                        {"udmabuf": "{bin}/udmabuf", "dmabuf-heap": "{bin}/dmabuf-heap"},
                        {"mem": "4G", "cmdline": [verbs.CMA]}),
        # It needs the mock IOMMU and failures on demand
        "iommu": Group("iommu", ("iommu",),
                       {"iommufd": "{bin}/iommufd", "iommufd_fail_nth": "{bin}/iommufd_fail_nth"},
                       {"mem": "4G"}, home="debug", only=("debug",)),
    }


# -- the lists --------------------------------------------------------------------

def read_list(path):
    """{test: outcome}"""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    pairs = (line.split(maxsplit=1) for line in text.splitlines()
             if line and not line.startswith("#"))
    return {name: outcome for outcome, name in pairs}


def write_list(path, what, outcomes):
    if not outcomes:
        path.unlink(missing_ok=True)
        return
    path.write_text(HEAD.format(what=what) + "".join(
        f"{outcomes[name]:4} {name}\n" for name in sorted(outcomes)), encoding="utf-8")


def list_of(name, flavour=None):
    return FOLDER / (f"{name}-{flavour}.txt" if flavour else f"{name}.txt")


def expected(name, group, flavour):
    """{test: outcome} on kernel FLAVOUR."""
    wanted = read_list(list_of(name))
    if flavour != group.home:
        wanted |= read_list(list_of(name, flavour))
    return {test: outcome for test, outcome in wanted.items() if outcome != ABSENT}


def take_as_expected(name, group, flavour, seen):
    """Write down what was SEEN: all of it, or how FLAVOUR differs."""
    is_now = {test: result.status for test, result in seen.items()}
    if flavour == group.home:
        write_list(list_of(name), f"What each selftest of {name} does", is_now)
        return
    base = read_list(list_of(name))
    differs = {test: is_now.get(test, ABSENT) for test in {*base, *is_now}
               if is_now.get(test, ABSENT) != base.get(test, ABSENT)}
    write_list(list_of(name, flavour), f"What selftests of {name} do otherwise there", differs)


def compare(report, wanted, seen, log):
    """Each test did what the list says; each in the list was there."""
    for name, result in seen.items():
        outcome = wanted.get(name)
        if outcome is None:
            report.fail(name, f"{result.status}, and not in the list\n{result.why}", log)
        elif outcome != result.status:
            report.fail(name, f"{result.status}, expected {outcome}\n{result.why}", log)
        elif outcome == "skip":
            report.skip(name, result.why)
        else:
            report.ok(name)
    for name in wanted.keys() - seen.keys():
        report.fail(name, f"did not run, expected {wanted[name]}", log)


# -- building and running ------------------------------------------------------------

def build(built, group):
    """Build the programs of GROUP; the folder they are in."""
    folder = paths.BUILD / "selftests" / built.flavour
    log = paths.log(f"selftests-{built.flavour}.log")
    if not group.build:
        return folder
    with kernel.lock(f"linux/{built.flavour}"), ui.step(f"Building selftests of {group.setup}"):
        for target in group.build:
            out = folder / target.replace("/", "-")
            out.mkdir(parents=True, exist_ok=True)
            ui.logged(["make", "-C", built.src / "tools/testing/selftests" / target,
                       f"OUTPUT={out}", f"KHDR_INCLUDES=-isystem {built.obj}/usr/include", "all"],
                      log, f"building the selftests {target}", append=True,
                      env=kernel.environment(built.flavour))
    return folder


def headers(built):
    with kernel.lock(f"linux/{built.flavour}"), ui.step("Making the kernel's headers"):
        ui.logged(kernel.make(built.src, built.obj, built.flavour, "headers"),
                  paths.log(f"selftests-{built.flavour}.log"),
                  "making the kernel's headers for programs",
                  env=kernel.environment(built.flavour))


def outcomes(text):
    """{test: ktap.Result} of what run.sh printed."""
    found = {}
    parts = verbs.END.split(text)
    for output, program, status in zip(parts[0::3], parts[1::3], parts[2::3]):
        for result in of_program(output, int(status)):
            name = f"{program}.{result.name}" if result.name else program
            found[re.sub(r"\s+", "_", name)] = result
    return found


def of_program(output, status):
    """What a program did: its tests, or itself where it tells of none."""
    if re.search(r"^(K?TAP version|1\.\.\d)", output, re.MULTILINE):
        results = ktap.parse(output)
        failed = any(result.status == "fail" for result in results)
        if status and status != SKIPPED and not failed:
            results.append(ktap.Result("status", "fail", f"exit status {status}"))
        return results
    outcome = {0: "ok", SKIPPED: "skip"}.get(status, "fail")
    return [ktap.Result("", outcome, output.strip()[-1000:])]


def run_group(report, name, group, built):
    """{test: ktap.Result}, and the log."""
    source = built.src / "tools/testing/selftests"
    folder = build(built, group)
    tests = []
    for test, command in group.tests.items():
        program = re.match(r"\{bin\}/(\w\S*)", command)
        there = program and next(folder.glob(f"*/{program[1]}")).parent
        tests.append(f"{test} {command.format(src=source, bin=there)}")
    log = paths.log(f"check/selftests-{name}-{report.kernel}.log")
    with open(log, "wb") as out:
        report.vm(f"selftests-{name}", ["sh", FOLDER / "run.sh", group.setup, source, *tests],
                  stdout=out.fileno(), stderr=out.fileno(), timeout=HANGS, **group.machine)
    text = log.read_text(errors="replace")
    seen = outcomes(text)
    ended = {test for test, _ in verbs.END.findall(text)}
    for test in group.tests.keys() - ended:
        seen[test] = ktap.Result(test, "fail", "did not end\n" + text[-1000:])
    return seen, log


def run(report, accept=False):
    packages.ensure("verbs", "selftests")
    built = kernel.ensure(report.kernel, deferred=True)
    headers(built)
    for name, group in groups().items():
        if group.only and report.kernel not in group.only:
            continue
        seen, log = run_group(report, name, group, built)
        if accept:
            take_as_expected(name, group, report.kernel, seen)
        compare(report, expected(name, group, report.kernel), seen, log)
