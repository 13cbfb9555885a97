# SPDX-License-Identifier: GPL-2.0
"""Suites of the VM once more, on the kernel with every checker on.

pyverbs is the last: it takes longest, and most of it has little to do with memory.
"""

HELP = "verbs, kunit, dma and pyverbs on the debug kernel; any report of it fails them"

PARTS = ("verbs", "kunit", "dma", "pyverbs")
