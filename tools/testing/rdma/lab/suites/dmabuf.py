# SPDX-License-Identifier: GPL-2.0
"""dma-bufs: the BAR of a PCI function as MRs and in an I/O address space of
iommufd. The kernel's own selftests of dma-bufs are in the suite selftests."""

import struct

import klog
import ktap
import paths
import programs
from suites import verbs

HELP = "a BAR as MRs and in iommufd, revoked while in use"

# vfio wants an IOMMU that remaps interrupts
IOMMU = "-device intel-iommu,intremap=on"
# A function alone below a port of its own can be reset: with its bus
PORT = "-device pcie-root-port,id=port0"
# The BAR in which the MRs are; of iommufd, one that has room for many ranges
BAR = 16 << 20
IOMMUFD_BAR = 64 << 20


def take(report, name, result):
    """Report what NAME printed."""
    log = paths.log(f"check/dmabuf-{name}-{report.kernel}.log")
    log.write_bytes(result.stdout + result.stderr)
    results = ktap.parse(result.stdout.decode(errors="replace"))
    report.add(results, log, under=name)
    if result.status and not any(r.status == "fail" for r in results):
        report.fail(f"{name}.status", f"exit status {result.status}", log)
    return log


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
    # The unpatched kernel has none of this: see verbs.mr_dmabuf
    if report.kernel != "stock":
        vfio(report)
        iommufd(report)
