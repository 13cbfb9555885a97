# SPDX-License-Identifier: GPL-2.0
"""Kernels: configured, checked, built and installed under build/linux/FLAVOUR/.

    stock    the pristine base
    phyr     the base with the overlay and the series; the same options
    symbols  phyr with debug information, for gdb, drgn and bpftrace
    debug    the source of phyr with every checker on

Each has its own source and object tree (the source is hard links, and costs
little), so that building one never waits for another. ensure() is what
everybody calls: where nothing changed it only compares digests.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import locks
import packages
import paths
import sources
import tree
import ui


class Flavour(NamedTuple):
    """How a kernel is made."""
    patched: bool
    fragments: tuple    # of its config
    deferred: tuple     # more of them, with modules that wait until a suite asks for them
    space: int          # on the disk, that a build needs


PHYR = ("base.config", "phyr.config")
DEFERRED = ("deferred.config", "kunit.config")
FLAVOURS = {
    "phyr": Flavour(True, PHYR, DEFERRED, 1 * sources.GIB),
    "stock": Flavour(False, ("base.config",), ("deferred.config",), 1 * sources.GIB),
    "symbols": Flavour(True, (*PHYR, "symbols.config"), DEFERRED, 3 * sources.GIB),
    "debug": Flavour(True, (*PHYR, "debug.config"), DEFERRED, 3 * sources.GIB),
}
LINUX = paths.BUILD / "linux"


class Kernel(NamedTuple):
    """A kernel that is built: what to boot and where it came from."""
    flavour: str
    release: str        # as uname -r prints it
    image: Path         # bzImage
    modules: Path       # the folder that holds lib/modules
    obj: Path
    src: Path
    symbols: Path       # an ELF file with what is known of its symbols


def jobs():
    return len(os.sched_getaffinity(0))


def environment(flavour):
    """A plain environment: the caller's CC, ARCH or KBUILD_* are not for us.

    ccache sees paths relative to the flavour's folder, so that another clone,
    or the other flavour, finds what this one compiled.
    """
    keep = {k: os.environ[k] for k in ("HOME", "TMPDIR", "TERM") if k in os.environ}
    return {**keep,
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
            "LC_ALL": "C",
            "CCACHE_DIR": str(paths.CACHE / "ccache"),
            "CCACHE_BASEDIR": str(LINUX / flavour),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": "10G",
            "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
            "KBUILD_BUILD_USER": "lab",
            "KBUILD_BUILD_HOST": "lab",
            "KBUILD_BUILD_VERSION": "1"}


def make(source, obj, flavour, *words):
    """The make command for TARGETs in the object tree OBJ."""
    return ["make", "-C", source, f"O={obj}", "CC=ccache gcc", "HOSTCC=ccache gcc",
            f"LOCALVERSION=-{flavour}", f"-j{jobs()}", *words]


def source_tree(flavour, patched):
    """The source of FLAVOUR, not yet brought up to date."""
    if patched:
        return tree.Tree(LINUX / flavour, sources.linux(), paths.PATCHES / "linux",
                         tree.kernel_overlay)
    return tree.Tree(LINUX / flavour, sources.linux())


def lock(name):
    """Held while folder NAME of build/ changes."""
    return locks.held(paths.BUILD / "locks" / name.replace("/", "-"), f"building {name}")


def fragments(flavour):
    return [paths.CONFIGS / name for name in FLAVOURS[flavour].fragments]


def deferred_fragments(flavour):
    return [paths.CONFIGS / name for name in FLAVOURS[flavour].deferred]


def _digest(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _load(stamp):
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}


def _built(flavour, key, deferred):
    """The Kernel of FLAVOUR if it was built from KEY, with its DEFERRED modules or not."""
    folder = LINUX / flavour
    state = _load(folder / "built.json")
    separate = folder / "vmlinux.debug"
    kernel = Kernel(flavour, state.get("release", ""), folder / "obj/arch/x86/boot/bzImage",
                    folder / "mod", folder / "obj", folder / "src",
                    separate if separate.exists() else folder / "obj/vmlinux")
    if state.get("key") == key and kernel.image.exists() and kernel.modules.is_dir() \
            and state.get("deferred") >= deferred:
        return kernel
    return None


def _key(flavour, source):
    return _digest(source.identity(), flavour, *fragments(flavour), *deferred_fragments(flavour))


def ensure(flavour="phyr", deferred=False):
    """The Kernel of FLAVOUR, built if need be, with its DEFERRED modules or not yet."""
    if flavour not in FLAVOURS:
        raise ui.LabError(f"there is no kernel '{flavour}'", "One of: " + ", ".join(FLAVOURS))
    source = source_tree(flavour, FLAVOURS[flavour].patched)
    kernel = _built(flavour, _key(flavour, source), deferred)
    if kernel:
        return kernel
    packages.ensure("kernel", *(["symbols"] if flavour == "symbols" else []))
    with lock(f"linux/{flavour}"):
        source = source_tree(flavour, FLAVOURS[flavour].patched)
        key = _key(flavour, source)
        kernel = _built(flavour, key, deferred)     # another call may just have built it
        if not kernel:
            _build(flavour, source, deferred)
            state = {"key": key, "release": _release(flavour), "deferred": deferred}
            (LINUX / flavour / "built.json").write_text(json.dumps(state))
            kernel = _built(flavour, key, deferred)
    return kernel


def _release(flavour):
    return (LINUX / flavour / "obj/include/config/kernel.release").read_text().strip()


# -- building --------------------------------------------------------------------

# Files in the compiler cache by which a kernel has been compiled before
SEASONED = 2000


def _first(env):
    """More of ENV where there is nothing in the compiler cache to be found.

    Then ccache need not preprocess each file to look for it, a fifth of the work,
    and takes the files that it depends on from the compiler. What it keeps is
    found again as long as none of these changes.
    """
    stats = ui.output(["ccache", "--print-stats"], env=env)
    files = re.search(r"^files_in_cache\t(\d+)$", stats, re.MULTILINE)
    return {} if files and int(files[1]) >= SEASONED else {"CCACHE_DEPEND": "1"}


def _build(flavour, source, deferred):
    folder = LINUX / flavour
    obj = folder / "obj"
    sources.need_space(folder, 0 if (obj / "vmlinux").exists() else FLAVOURS[flavour].space,
                       f"building the {flavour} kernel")
    if not _built(flavour, _key(flavour, source), False):
        # Else it can be used while the deferred modules are added
        (folder / "built.json").unlink(missing_ok=True)
    source.update()
    obj.mkdir(parents=True, exist_ok=True)
    env = environment(flavour)
    env |= _first(env)
    configure(source, obj, flavour, fragments(flavour), env, deferred_fragments(flavour))
    later = [] if deferred else _wait(obj)
    log = paths.log(f"linux-{flavour}.log")
    todo = "Mend what the log says, then call this again: it goes on from there."

    def run(what, words, line=None, append=True):
        ui.logged(make(source.dir, obj, flavour, *words), log,
                  f"building the {flavour} kernel ({what})", env=env, line=line,
                  todo=todo, append=append)

    with ui.step(f"Preparing the {flavour} kernel's build"):
        run("prepare", ["prepare"], append=False)
        total = _objects_to_build(source, obj, flavour, env, later)
    with ui.step(f"Building the {flavour} kernel", quiet=False) as step:
        counter = _Counter(step, total)
        run("make", ["bzImage", "modules", *later], counter)
        counter.done()
    with ui.step(f"Installing the {flavour} kernel's modules"):
        run("modules_install", ["modules_install", f"INSTALL_MOD_PATH={folder}/mod.part",
                                "INSTALL_MOD_STRIP=1"])
        ui.output(["rm", "-rf", folder / "mod"])
        (folder / "mod.part").rename(folder / "mod")
    if flavour == "symbols":
        ui.output(["objcopy", "--only-keep-debug", obj / "vmlinux", folder / "vmlinux.debug"])


def _wait(obj):
    """The words of make that leave the deferred modules for later.

    They override what the makefiles read of the configuration. What is compiled
    reads it from a header, and so is the same with them and without.
    """
    return [f"{option}=" for option in (obj / DEFERRED_OPTIONS).read_text().split()]


class _Counter:
    """Counts the compilations that make tells of."""

    def __init__(self, step, total):
        self.step, self.total, self.count = step, total, 0
        step.progress(0, total, "objects")

    def __call__(self, line):
        if re.match(r"  (CC|AS)( \[M\])? ", line):
            self.count += 1
            self.step.progress(self.count, max(self.total, self.count), "objects")
        elif re.match(r"  (LD|OBJCOPY|MODPOST|ZOFFSET|BUILD) ", line):
            name = line.split()[-1]
            self.step.progress(self.count, max(self.total, self.count), f"objects, {name}")

    def done(self):
        self.step.progress(self.count, self.count)


def _objects_to_build(source, obj, flavour, env, later):
    """How many objects a build would compile now: what make -n would do."""
    log = paths.log(f"linux-{flavour}-dry.log")
    ui.logged(make(source.dir, obj, flavour, "-n", "-k", "-s", "vmlinux", "modules", *later),
              log, "make -n", env=env, check=False)    # it fails at the link: nothing to link
    return len(set(re.findall(r" -c -o (\S+\.o) ", log.read_text(errors="replace"))))


# -- configuration -----------------------------------------------------------------

# In an object tree: what is a module by deferred fragments alone
DEFERRED_OPTIONS = ".lab-deferred"


def configure(source, obj, flavour, parts, env, deferred=()):
    """tinyconfig plus PARTS, then DEFERRED ones, checked; only when something of it changed."""
    kconfigs = sorted(source.dir / name for name in source.changed()
                      if Path(name).name.startswith("Kconfig") and (source.dir / name).exists())
    key = _digest(tree.base_identity(source.pristine), *parts, "later", *deferred, *kconfigs)
    stamp = obj / ".lab-config"
    if stamp.exists() and stamp.read_text() == key and (obj / ".config").exists():
        return
    stamp.unlink(missing_ok=True)
    log = paths.log(f"config-{flavour}.log")
    what = f"configuring the {flavour} kernel"

    def add(fragments):
        ui.logged(["scripts/kconfig/merge_config.sh", "-m", "-O", obj, obj / ".config", *fragments],
                  log, what, cwd=source.dir, env=env, append=True)
        ui.logged(make(source.dir, obj, flavour, "olddefconfig"), log, what, env=env, append=True)
        return {name for name, value in options(obj / ".config").items() if value == "m"}

    with ui.step(f"Configuring the {flavour} kernel"):
        ui.logged(make(source.dir, obj, flavour, "tinyconfig"), log, what, env=env)
        at_once = add(parts)
        later = add(deferred) - at_once if deferred else set()
        check_config([*parts, *deferred], obj / ".config", log)
    (obj / DEFERRED_OPTIONS).write_text("\n".join(sorted(later)))
    stamp.write_text(key)


def options(path):
    """{option: value} of a config file; 'n' where it is not set."""
    options = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        match = re.match(r"(CONFIG_\w+)=(.*)$|# (CONFIG_\w+) is not set$", line)
        if match:
            options[match[1] or match[3]] = match[2] if match[1] else "n"
    return options


def check_config(parts, final, log):
    """Every option that PARTS ask for must be in FINAL: Kconfig drops silently."""
    wanted = {}
    for part in parts:
        for option, value in options(part).items():
            wanted[option] = (value, Path(part).name)
    have = options(final)
    wrong = [f"{option}={value} ({part}) is {have.get(option, 'absent')}"
             for option, (value, part) in wanted.items() if have.get(option, "n") != value]
    if wrong:
        raise ui.LabError(f"{len(wrong)} options asked for are not in the final kernel config",
                          "A dependency is off, or this base has no such option. "
                          f"The final config: {paths.show(final)}", log, wrong)
