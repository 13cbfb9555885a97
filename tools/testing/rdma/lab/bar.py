# SPDX-License-Identifier: GPL-2.0
"""Memory that is no RAM: the BAR of a function, QEMU's ivshmem, that vfio-pci has."""

SIZE = 16 << 20
FUNCTION = "0000:00:10.0"
# vfio wants an IOMMU that remaps interrupts
DEVICES = ("intel-iommu,intremap=on",
           f"-object memory-backend-ram,id=bar,share=on,size={SIZE} "
           "-device ivshmem-plain,memdev=bar,addr=0x10")
# For the VM's shell: the function is vfio's
PREPARE = f"""
echo vfio-pci > /sys/bus/pci/devices/{FUNCTION}/driver_override
echo {FUNCTION} > /sys/bus/pci/drivers_probe
"""
# An option of perftest's: buffers are dma-bufs of the BAR. One program at a time can.
OPTION = f"--use_dmabuf=vfio:{FUNCTION}/2"
