# SPDX-License-Identifier: GPL-2.0
"""The edu device's DMA into registered memory, one boot for each set-up of the IOMMU."""

from typing import NamedTuple

import klog
import programs
from suites import verbs

HELP = ("real DMA in the VM by the edu device: without IOMMU, strict, lazy, caching, passthrough, "
        "bounced")

EVERYTHING = ("dma_*",)
SETUP = "dma_setup"
# What the kernel makes of each --iommu: the type of the device's domain
TYPES = {"none": b"", "strict": b"DMA", "lazy": b"DMA-FQ", "caching": b"DMA",
         "passthrough": b"identity"}


class Case(NamedTuple):
    """A boot: what the VM has, and the programs that run."""
    iommu: str
    bits: int = 64
    programs: tuple = ()        # all of them
    complaint: str = ""         # of the kernel's, which has to be there
    debug: tuple = ()           # programs for the debug kernel; none: not there
    cmdline: tuple = ()         # more for the kernel


# To compare the pages of gigabytes takes the debug kernel minutes
DEBUG = ("dma_bad", "dma_copy", "dma_life", "dma_stale", "dma_odp", "dma_bounce")
# All that no IOMMU translates is bounced, or cannot be mapped
BOUNCE = ("swiotlb=force",)

CASES = {
    "none": Case("none"),
    "strict": Case("strict", debug=DEBUG),
    "lazy": Case("lazy", programs=("dma_copy", "dma_size", "dma_stale", "dma_life", "dma_odp")),
    "caching": Case("caching", programs=("dma_copy", "dma_size", "dma_stale", "dma_life", "dma_odp")),
    "passthrough": Case("passthrough", programs=("dma_copy", "dma_size", "dma_stale", "dma_odp")),
    # Without an IOMMU this kernel asks for no less than 32 bits, and is loud about more
    "mask-none": Case("none", 32, ("dma_mask",), r"WARNING: \S*kernel/dma/direct\.c"),
    "mask-strict": Case("strict", 30, ("dma_mask", "dma_copy", "dma_odp")),
    "bounce-none": Case("none", programs=("dma_bounce",), cmdline=BOUNCE),
    "bounce-strict": Case("strict", programs=("dma_bounce",), cmdline=BOUNCE),
    "bounce-passthrough": Case("passthrough", programs=("dma_bounce",), cmdline=BOUNCE),
}


def run(report):
    folder = programs.ensure("dma")
    for name, case in CASES.items():
        debug = report.kernel == "debug"
        if debug and not case.debug:
            continue
        names = case.debug if debug else case.programs
        names = [SETUP, *names] if names else verbs.tests(folder, EVERYTHING)
        variables = {b"DMA_TYPE": TYPES[case.iommu],
                     b"DMA_CACHING": b"1" if case.iommu == "caching" else b"0"}
        # A page freed while the IOMMU still maps it is a bug, and told as one
        cmdline = [*case.cmdline, *(["iommu.debug_pagealloc=1"] if debug else [])]
        result = verbs.run_programs(report, f"dma-{name}", folder, names, under=f"{name}.",
                                    variables=variables, iommu=case.iommu, edu=case.bits,
                                    cmdline=cmdline, mem="3G", network=False,
                                    expect=case.complaint or None)
        faults = klog.faults(result.kernel_log)
        report.test(f"{name}.faults", not faults, "\n".join(faults), result.kernel_log)
