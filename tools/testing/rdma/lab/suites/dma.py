# SPDX-License-Identifier: GPL-2.0
"""The edu device's DMA into registered memory, one boot for each set-up of the IOMMU."""

from typing import NamedTuple

import dma
import klog
import programs
from suites import dmabuf, verbs

HELP = ("real DMA in the VM by the edu device: without IOMMU, strict, lazy, caching, passthrough, "
        "bounced")

SETUP = "dma_setup"
P2P = ("dma_p2p", "dma_p2p_odp")
EXPORT = ("dma_export",)
# All that need no other function beside edu
ALONE = tuple(name for name in programs.names("dma", "dma_")
              if name not in (SETUP, *P2P, *EXPORT))
# Those that another way to flush the IOTLB makes a difference to
CHANGES = ("dma_copy", "dma_size", "dma_stale", "dma_life", "dma_odp")
# What the kernel makes of each --iommu: the type of the device's domain
TYPES = {"none": b"", "strict": b"DMA", "lazy": b"DMA-FQ", "caching": b"DMA",
         "passthrough": b"identity"}

# The edu device takes 0.1 s for each request. Nobody waits for that where QEMU counts
# instructions, since the clock jumps when the one processor has nothing to do. What two
# processors do at once is tested by the cases with an ordinary clock. That is not for P2P:
# with two processors, QEMU 7.2 now and then loses a request to edu when the other one
# disables the peer's memory; it seems to, as the memory map changes.


class Case(NamedTuple):
    """A boot: what the VM has, and the programs that run."""
    iommu: str
    bits: int = 64
    programs: tuple = ALONE
    complaint: str = ""         # of the kernel's, which has to be there
    peer: tuple = ()            # QEMU's arguments: other functions are there, beside edu
    p2p: bool = True            # PCI lets them reach each other's BARs
    rxe: bool = False           # rxe is there, too
    cmdline: tuple = ()         # more for the kernel
    mem: str = "3G"
    clock: bool = False         # an ordinary clock, see below


# Through the host bridge of this processor PCI functions reach each other
ZEN = "-cpu max,family=23"
BESIDE = ("ivshmem-plain,memdev=bar", "nvme,serial=cmb,cmb_size_mb=16")
BELOW = (f"{BESIDE[0]},bus=peer", f"{BESIDE[1]},bus=peer2")
BAR = 16 << 20
SECOND = dma.function(dma.BITS)
# The machine's IOMMU does not remap interrupts, which vfio asks for
UNSAFE = "iommufd.allow_unsafe_interrupts=1"
NOIOMMU = ("vfio.enable_unsafe_noiommu_mode=1",)
# All that no IOMMU translates is bounced, or cannot be mapped
BOUNCE = ("swiotlb=force",)

# The kernel is loud about addresses that a device cannot reach
BEYOND = r"WARNING: \S*kernel/dma/direct\.c"

CASES = {
    "none": Case("none"),
    "strict": Case("strict"),
    "lazy": Case("lazy", programs=CHANGES),
    "caching": Case("caching", programs=CHANGES),
    "passthrough": Case("passthrough", programs=("dma_copy", "dma_size", "dma_stale", "dma_odp")),
    "clock": Case("strict", programs=("dma_life", "dma_odp"), clock=True),
    # Without an IOMMU this kernel asks for no less than 32 bits, where there is more memory
    "mask-none": Case("none", 32, ("dma_mask",), BEYOND),
    "mask-strict": Case("strict", 30, ("dma_mask", "dma_copy", "dma_odp")),
    # By the IOVA, by the BAR's address (twice), by the switch, and not at all
    "p2p-strict": Case("strict", programs=P2P, peer=(ZEN, *BESIDE)),
    "p2p-host": Case("passthrough", programs=P2P, peer=(ZEN, *BESIDE)),
    "p2p-none": Case("none", programs=P2P, peer=(ZEN, *BESIDE), cmdline=NOIOMMU),
    "p2p-switch": Case("passthrough", programs=P2P, peer=BELOW),
    # Of RAM it reaches all, and nothing beyond
    "p2p-mask": Case("none", 31, P2P[1:], BEYOND, peer=(ZEN, BESIDE[1]), p2p=False, mem="2G"),
    "p2p-forbidden": Case("strict", programs=P2P, peer=BESIDE, p2p=False),
    # The BAR of edu itself, in the hands of rxe and of a second edu
    "export-strict": Case("strict", programs=EXPORT, peer=(ZEN, SECOND), rxe=True),
    "export-switch": Case("passthrough", programs=EXPORT, peer=(f"{SECOND},bus=peer",), rxe=True),
    "export-forbidden": Case("strict", programs=EXPORT, peer=(SECOND,), p2p=False, rxe=True),
    "bounce-none": Case("none", programs=("dma_bounce",), cmdline=BOUNCE),
    "bounce-strict": Case("strict", programs=("dma_bounce",), cmdline=BOUNCE),
    "bounce-passthrough": Case("passthrough", programs=("dma_bounce",), cmdline=BOUNCE),
}


def parts(_kernel):
    """Those that can run alone: the boots."""
    return list(CASES)


def run(report, only=()):
    folder = programs.ensure("dma")
    for name in only or CASES:
        run_case(report, folder, name, CASES[name])


def run_case(report, folder, name, case):
    """One boot, and what the IOMMU says of it."""
    variables = {b"DMA_TYPE": TYPES[case.iommu],
                 b"DMA_CACHING": b"1" if case.iommu == "caching" else b"0"}
    # A page freed while the IOMMU still maps it is a bug, and told as one
    debug = ["iommu.debug_pagealloc=1"] if report.kernel == "debug" else []
    cmdline = [verbs.CMA, *case.cmdline, *debug]
    devices = []
    if case.peer:
        variables[b"DMA_P2P"] = b"1" if case.p2p else b"0"
        devices = [*case.peer]
    if case.programs == P2P:
        cmdline.append(UNSAFE)
        devices = [dmabuf.shared(f"ivshmem-{name}", BAR)[1], *devices]
    under = f"{name}."
    logs = verbs.run_programs(report, f"dma-{name}", folder, [SETUP, *case.programs], under=under,
                              variables=variables, iommu=case.iommu, edu=case.bits,
                              devices=devices, icount=not case.clock, cmdline=cmdline,
                              mem=case.mem, network=case.rxe, deferred=True,
                              expect=case.complaint or None)
    for log in logs:
        report.silent(f"{name}.faults", klog.faults(log), log, under=under)
