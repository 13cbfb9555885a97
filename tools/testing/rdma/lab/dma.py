# SPDX-License-Identifier: GPL-2.0
"""What the VM has for DMA: an IOMMU in one of its modes, and the edu function.

The edu function is an RDMA device that moves bytes by DMA, so it is the one
that all of this makes a difference to; see Documentation/infiniband/edu.rst.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import kernel as kernels
import paths
import tree
import ui

# Spans beyond 512 GiB need more than the default of 39 bits
INTEL = "intel-iommu,aw-bits=48"


class Setup(NamedTuple):
    """An IOMMU, or none, as QEMU's and the kernel's arguments; what it is for."""
    devices: tuple
    cmdline: tuple
    what: str


IOMMUS = {
    "none": Setup((), (), "no IOMMU: addresses are physical ones"),
    "strict": Setup((INTEL,), ("iommu.passthrough=0", "iommu.strict=1"),
                    "each unmapping flushes the IOTLB"),
    "lazy": Setup((INTEL,), ("iommu.passthrough=0", "iommu.strict=0"),
                  "the IOTLB is flushed later, for many at once"),
    "caching": Setup((INTEL + ",caching-mode=on",), ("iommu.passthrough=0",),
                     "the IOTLB is flushed after mapping, too"),
    "passthrough": Setup((INTEL,), ("iommu.passthrough=1",),
                         "it translates nothing; edu, ports `peer` and `peer2` are behind one switch"),
}

# For other functions beside edu: --device ivshmem-plain,bus=peer,...
SWITCH = ("pcie-root-port,id=root,chassis=1,slot=0",
          "x3130-upstream,id=switch,bus=root",
          "xio3130-downstream,id=edu,bus=switch,chassis=2,slot=0",
          "xio3130-downstream,id=peer,bus=switch,chassis=3,slot=0",
          "xio3130-downstream,id=peer2,bus=switch,chassis=4,slot=0")

# What the unpatched kernel's headers and configuration lack
STOCK = """\
#define RDMA_DRIVER_EDU (RDMA_DRIVER_IONIC + 1)
#define CONFIG_INFINIBAND_EDU_TEST 1
#define CONFIG_INFINIBAND_EDU_ODP 1
/* An importer offers nothing but a scatterlist, there */
#define mappings allow_peer2peer
#define ib_umem_dmabuf_mappings true
"""

MODULE = "edu_ib"
DRIVER = paths.TOP / "drivers/infiniband/hw/edu"
STOCK_ODP = paths.TOP / "bench/stock/edu_odp.c"     # in place of the driver's
BITS = 64


def function(bits):
    """The edu function with so many address bits, for QEMU."""
    return f"edu,dma_mask={(1 << bits) - 1:#x}"


def machine(iommu="none", edu=None):
    """(devices for QEMU, words for the kernel's command line).

    EDU is the number of address bits that the edu function has, or None.
    """
    devices, cmdline, _ = IOMMUS[iommu]
    if edu:
        if iommu == "passthrough":
            devices += (*SWITCH, function(edu) + ",bus=edu")
        else:
            devices += (function(edu),)
    return list(devices), list(cmdline)


def parameters(edu):
    """What the driver is to be told of the function."""
    return f"dma_bits={edu}"


# -- the driver for the unpatched kernel -----------------------------------------

def stock_module(stock):
    """The driver for kernel STOCK, which has none: the same source, built outside."""
    folder = paths.BUILD / "linux/stock-edu"
    names = tree.repo_files(str(DRIVER.relative_to(paths.TOP)))
    module = folder / f"{MODULE}.ko"
    files = {Path(name).name: (paths.TOP / name).read_text() for name in names}
    files["stock.h"] = STOCK
    files[STOCK_ODP.name] = STOCK_ODP.read_text()
    # Outside of the kernel's tree, kbuild does not see that the config changed
    config = zlib.crc32((stock.obj / ".config").read_bytes())
    with kernels.lock("linux/stock-edu"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if not (folder / name).exists() or (folder / name).read_text() != text:
                (folder / name).write_text(text)
        with ui.step("Building the edu driver for the stock kernel"):
            ui.logged(kernels.make(stock.src, stock.obj, "stock", f"M={folder}",
                                   "CONFIG_INFINIBAND_EDU=m", "CONFIG_INFINIBAND_EDU_TEST=y",
                                   "CONFIG_INFINIBAND_EDU_ODP=y",
                                   f"KCFLAGS=-I{paths.TOP}/include/uapi "
                                   f"-include {folder}/stock.h -DLAB_CONFIG={config}", "modules"),
                      paths.log("stock-edu.log"), "building the edu driver for the stock kernel",
                      env=kernels.environment("stock"))
    return str(module)
