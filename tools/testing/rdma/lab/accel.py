# SPDX-License-Identifier: GPL-2.0
"""Which accelerator QEMU uses: KVM where it was seen to work, else TCG."""

TCG = ["-accel", "tcg,thread=multi", "-cpu", "max"]
ICOUNT = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off,align=off", "-cpu", "max"]


def machine(_kernel, _initrd, icount=False):
    return ICOUNT if icount else TCG
