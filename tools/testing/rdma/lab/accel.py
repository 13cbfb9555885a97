# SPDX-License-Identifier: GPL-2.0
"""Which accelerator QEMU uses: KVM where it was seen to work, else TCG.

/dev/kvm may be there and still not run a kernel. So a short boot has to prove
it, once for each host kernel, processor and QEMU; the outcome is kept in the
user's cache.
"""

import hashlib
import json
import os
import select
import shutil
import time

import agent
import paths
import qemu
import ui

TCG = ["-accel", "tcg,thread=multi", "-cpu", "max"]
KVM = ["-accel", "kvm", "-cpu", "max"]
# One instruction is one nanosecond of the guest's time, and what the guest takes for
# random and for the date is the same in each run, for the counts to be
ICOUNT = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off,align=off", "-cpu", "max",
          "-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]

PROOF = paths.CACHE / "kvm-proof.json"
LIMIT = 15              # seconds for a boot that takes KVM less than two
DEVICE = "/dev/kvm"


def _key():
    """What the outcome depends on."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        model = [line for line in f if line.startswith(("model name", "microcode"))][:2]
    binary = shutil.which("qemu-system-x86_64") or ""
    stat = os.stat(binary) if binary else None
    facts = [os.uname().release, os.uname().version, *model, binary,
             str(stat and (stat.st_size, stat.st_mtime_ns))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _known():
    try:
        return json.loads(PROOF.read_text())
    except (OSError, ValueError):
        return {}


def _remember(key, works):
    PROOF.parent.mkdir(parents=True, exist_ok=True)
    fresh = PROOF.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({**_known(), key: works}))
    fresh.replace(PROOF)


def _boots(kernel, initrd):
    """Does the agent report from a VM on KVM within the limit?"""
    log = paths.log("kvm-proof.log")
    log.unlink(missing_ok=True)
    limit = time.monotonic() + LIMIT
    vm = qemu.Qemu(log, accel=KVM, image=kernel.image, initrd=initrd, mem="512M")
    try:
        wire = agent.Wire(vm.ports["control"])
        while (left := limit - time.monotonic()) > 0:
            if not select.select([wire.sock], [], [], left)[0]:
                break
            messages = wire.receive()
            if messages is None:
                break
            if any(kind == "B" for kind, _ in messages):
                return True
        return False
    finally:
        vm.end()


def kvm_works(kernel, initrd):
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    key = _key()
    works = _known().get(key)
    if works is None:
        with ui.step("Trying KVM", quiet=False):
            works = _boots(kernel, initrd)
        ui.say("KVM works: it is used from now on" if works else
               f"{DEVICE} is there, but a VM does not boot with it: using emulation (TCG), "
               "which is slower")
        _remember(key, works)
    return works


def choose(kernel, initrd, icount=False):
    """QEMU's words for the best accelerator there is; LAB_ACCEL overrides."""
    if icount:
        return ICOUNT
    wish = os.environ.get("LAB_ACCEL", "")
    if wish not in ("", "tcg", "kvm"):
        raise ui.LabError(f"LAB_ACCEL={wish}: it can be tcg or kvm")
    if wish:
        return KVM if wish == "kvm" else TCG
    return KVM if kvm_works(kernel, initrd) else TCG


def name(words):
    """What to call it."""
    return "KVM" if words == KVM else "TCG, counting instructions" if words == ICOUNT else "TCG"
