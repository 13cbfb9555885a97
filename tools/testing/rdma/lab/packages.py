# SPDX-License-Identifier: GPL-2.0
"""Debian packages: what each part needs, and how the missing ones get here.

A name may offer alternatives, "new-name|old-name", since Debian 12 and 13
differ. Where nothing is missing, apt and sudo are never called.
"""

import os
import re
import shutil
import subprocess

import locks
import paths
import ui

GROUPS = {
    "kernel": ["gcc", "make", "libc6-dev", "binutils", "flex", "bison", "bc", "perl",
               "libelf-dev", "libssl-dev", "kmod", "cpio", "xz-utils", "patch", "git", "ccache"],
    "symbols": ["dwarves"],
    "sources": ["xz-utils", "patch", "git"],
    "rdma-core": ["gcc", "cmake", "ninja-build", "pkgconf", "ccache", "libnl-3-dev",
                  "libnl-route-3-dev", "libudev-dev"],
    "pyverbs": ["cython3", "python3-dev"],
    "perftest": ["gcc", "make", "autoconf", "automake", "libtool", "ccache", "libpci-dev"],
    "vm": ["gcc", "libc6-dev", "qemu-system-x86", "iproute2", "kmod"],
    "verbs": ["gcc", "make", "libc6-dev"],
    "unit": ["gcc", "make", "libc6-dev", "gcc-multilib", "clang", "libclang-rt-dev"],
    "selftests": ["libcap-dev", "uuid-dev", "iproute2", "iputils-ping"],
    "lint": ["gcc", "make", "perl", "shellcheck", "xz-utils"],
    "ulp": ["nvme-cli"],
    "programs": ["rdmacm-utils", "ibverbs-utils", "libfabric-bin", "fio", "ucx-utils",
                 "openmpi-bin", "libopenmpi-dev", "gcc"],
    "gdb": ["gdb"],
    "bench": ["gcc", "make", "libc6-dev"],
    "plots": ["gnuplot-nox|gnuplot-qt", "fonts-dejavu-core"],
}


def _installed(names):
    """Those of NAMES that are installed."""
    out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *names],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         check=False).stdout
    return {line.split()[1] for line in out.splitlines() if line.startswith("installed ")}


def missing(groups):
    """The names (or alternatives) of GROUPS that are not installed."""
    return _missing(list(dict.fromkeys(name for group in groups for name in GROUPS[group])))


def _missing(wanted):
    if not wanted or not shutil.which("dpkg-query"):
        return []       # another distribution: the builds say what they lack
    have = _installed([n for name in wanted for n in name.split("|")])
    return [name for name in wanted if not have.intersection(name.split("|"))]


def _as_root():
    """The words that make a command run as root, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], check=False,
                                               stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL).returncode == 0:
        return ["sudo", "-n"]
    return None


def _candidates(names):
    """Those of NAMES that apt could install now."""
    out = subprocess.run(["apt-cache", "policy", *names], stdin=subprocess.DEVNULL,
                         env={**os.environ, "LC_ALL": "C"}, capture_output=True,
                         text=True, check=False).stdout
    found = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (.*)$", out, re.MULTILINE)
    return {name for name, candidate in found if candidate != "(none)"}


def _choose(names):
    """(packages to install, names that apt does not know)."""
    known = _candidates([n for name in names for n in name.split("|")])
    chosen, unknown = [], []
    for name in names:
        fitting = [n for n in name.split("|") if n in known]
        if fitting:
            chosen.append(fitting[0])
        else:
            unknown.append(name)
    return chosen, unknown


def line(names):
    """What a person types to install NAMES."""
    return ("sudo apt-get update && sudo apt-get install --no-install-recommends -y "
            + " ".join(name.split("|")[0] for name in names))


def ensure(*groups):
    """Have every package of GROUPS installed."""
    if missing(groups):
        with locks.held(paths.CACHE / "packages", "installing packages"):
            names = missing(groups)
            if names:
                _install(names)


def _install(names):
    root = _as_root()
    if root is None or not shutil.which("apt-get"):
        raise ui.LabError(f"{len(names)} packages are missing, and there is no root here and "
                          "no sudo that asks no password",
                          "Install them, then call this again:\n" + line(names))
    log = paths.log("packages.log")
    todo = "Is the network up? To install by hand:\n" + line(names)

    def apt(*words):
        return ui.logged([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get",
                          "-o", "DPkg::Lock::Timeout=300", *words], log,
                         "installing packages", todo=todo, append=True, check=False)

    def refresh():
        with ui.step("Fetching package lists", quiet=False):
            return apt("update")

    chosen, unknown = _choose(names)
    fresh = False
    if unknown:
        refresh()
        fresh = True
        chosen, unknown = _choose(names)
    if unknown:
        raise ui.LabError("apt knows no package " + ", ".join(unknown),
                          "Is the network up, and is this Debian 12 or 13?", log, ui.tail(log, 8))
    ui.say("Installing packages: " + " ".join(chosen))
    for last in (fresh, True):
        with ui.step(f"Installing {len(chosen)} packages", quiet=False):
            status = apt("install", "--no-install-recommends", "-y", *chosen)
        if status == 0 or last:
            break
        refresh()       # old lists name files that the mirror no longer has
    left = _missing(names)
    if left:
        raise ui.LabError("these packages could not be installed: " + " ".join(left),
                          todo, log, ui.tail(log))
