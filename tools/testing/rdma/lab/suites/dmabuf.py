# SPDX-License-Identifier: GPL-2.0
"""dma-bufs: the kernel's own selftests, from the source that is booted, and the
BAR of a PCI function as MRs and in an I/O address space of iommufd."""

import struct

import kernel
import klog
import ktap
import packages
import paths
import programs
import ui
from suites import verbs

HELP = "the kernel's selftests of dma-bufs; a BAR as MRs and in iommufd, revoked while in use"

# program: its source below tools/testing/selftests/
PROGRAMS = {
    "udmabuf": "drivers/dma-buf/udmabuf.c",
    "dmabuf-heap": "dmabuf-heaps/dmabuf-heap.c",
}
# Those that need a mock IOMMU, which the debug kernel has
DEBUG_PROGRAMS = {"iommufd": "iommu/iommufd.c"}

# udmabuf asks for huge pages without looking whether there are any
SCRIPT = """
echo "${3:-0}" > /proc/sys/vm/nr_hugepages
cd "$1" && exec ./"$2"
"""

# udmabuf has memfds of 1024 pages of 2 MiB, one at a time
HUGE_PAGES = {"udmabuf": 1024, "iommufd": 128}
MEMORY = "4G"
# dmabuf-heap looks at each heap that there is
CMDLINE = {"dmabuf-heap": [verbs.CMA]}

# vfio wants an IOMMU that remaps interrupts
IOMMU = "-device intel-iommu,intremap=on"
# A function alone below a port of its own can be reset: with its bus
PORT = "-device pcie-root-port,id=port0"
# The BAR in which the MRs are; of iommufd, one that has room for many ranges
BAR = 16 << 20
IOMMUFD_BAR = 64 << 20


def selftests_of(flavour):
    return {**PROGRAMS, **(DEBUG_PROGRAMS if flavour == "debug" else {})}


def build(flavour):
    """Build the programs from the source of FLAVOUR; the folder they are in."""
    packages.ensure("verbs", "selftests")
    built = kernel.ensure(flavour)
    tests = built.src / "tools/testing/selftests"
    folder = paths.BUILD / "dmabuf" / flavour
    folder.mkdir(parents=True, exist_ok=True)
    log = paths.log("dmabuf.log")
    with ui.step("Building the selftests of dma-bufs"):
        with kernel.lock(f"linux/{flavour}"):
            ui.logged(kernel.make(built.src, built.obj, flavour, "headers"), log,
                      "making the kernel's headers for programs", env=kernel.environment(flavour))
        for name, source in selftests_of(flavour).items():
            ui.logged(["gcc", "-O2", "-g", "-Wall", "-Wno-unused-function", "-D_GNU_SOURCE=",
                       "-I", tests, "-isystem", built.obj / "usr/include",
                       "-o", folder / name, tests / source, "-lcap"],
                      log, f"building {name}", append=True)
    return folder


def take(report, name, result):
    """Report what NAME printed."""
    log = paths.log(f"check/dmabuf-{name}-{report.kernel}.log")
    log.write_bytes(result.stdout + result.stderr)
    results = ktap.parse(result.stdout.decode(errors="replace"))
    report.add(results, log, under=name)
    if result.status and not any(r.status == "fail" for r in results):
        report.fail(f"{name}.status", f"exit status {result.status}", log)
    return log


def selftests(report):
    folder = build(report.kernel)
    for name in selftests_of(report.kernel):
        take(report, name, report.vm(
            f"dmabuf-{name}", ["sh", "-c", SCRIPT, name, folder, name,
                               str(HUGE_PAGES.get(name, 0))], mem=MEMORY,
            cmdline=CMDLINE.get(name, ())))


def shared(name, size):
    """A new file of SIZE bytes, and the memory `bar` that is in it, for QEMU."""
    memory = paths.BUILD / "dmabuf" / name
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.unlink(missing_ok=True)
    with open(memory, "wb") as f:
        f.truncate(size)
    return memory, f"-object memory-backend-file,id=bar,share=on,mem-path={memory},size={size}"


def ivshmem(name, size, bus="pcie.0"):
    """The same, with the function whose BAR that memory is."""
    memory, device = shared(name, size)
    return memory, f"{device} -device ivshmem-plain,memdev=bar,bus={bus}"


def host_sees(memory):
    """Whether file MEMORY holds what the last test wrote into the BAR."""
    words = struct.unpack(f"<{BAR // 8}Q", memory.read_bytes())
    return all(word == i for i, word in enumerate(words))


def vfio(report):
    """MRs in the BAR of ivshmem, whose memory is a file here."""
    program = programs.ensure() / "dmabuf_vfio"
    memory, device = ivshmem("ivshmem", BAR, bus="port0")
    log = take(report, "vfio", report.vm(
        "dmabuf-vfio", [program], under="vfio.", devices=[IOMMU, PORT, device]))
    report.test("vfio.host.file", host_sees(memory),
                "the file behind the BAR does not hold what was written into it", log)


def iommufd(report):
    """dma-bufs of such a BAR in an I/O address space, where edu does DMA."""
    program = programs.ensure() / "dmabuf_iommufd"
    memory, device = ivshmem("ivshmem-iommufd", IOMMUFD_BAR)
    result = report.vm("dmabuf-iommufd", [program], under="iommufd-vfio.", cmdline=[verbs.CMA],
                       devices=[IOMMU, device, f"-device edu,dma_mask={(1 << 64) - 1:#x}"])
    memory.unlink()
    take(report, "iommufd-vfio", result)
    report.silent("iommufd-vfio.faults", klog.faults(result.kernel_log), result.kernel_log,
                  under="iommufd-vfio.")


def run(report):
    selftests(report)
    # The unpatched kernel has none of this: see verbs.mr_dmabuf
    if report.kernel != "stock":
        vfio(report)
        iommufd(report)
