# SPDX-License-Identifier: GPL-2.0
"""The user space under test: rdma-core and perftest, built in place.

rdma-core is not installed anywhere: programs find it through the library
path of its build folder, and its own tests through its python folder.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import kernel
import packages
import paths
import sources
import tree
import ui

RDMA_CORE = paths.BUILD / "rdma-core"
PERFTEST = paths.BUILD / "perftest"


def _ensure(folder, groups, source, build, key_more="", stamp="built.json"):
    """Build SOURCE, a function that gives a tree.Tree, in FOLDER unless it is built."""
    stamp = folder / stamp

    def fresh(wanted):
        key = hashlib.sha256((wanted.identity() + key_more).encode()).hexdigest()
        try:
            return key, json.loads(stamp.read_text()) == key
        except (OSError, ValueError):
            return key, False

    if fresh(source())[1]:
        return
    packages.ensure(*groups)
    with kernel.lock(folder.name):
        wanted = source()
        key, done = fresh(wanted)
        if not done:
            stamp.unlink(missing_ok=True)
            wanted.update()
            build(wanted.dir)
            stamp.write_text(json.dumps(key))


def _environment():
    return {**kernel.environment("user"), "CCACHE_BASEDIR": str(paths.BUILD)}


# -- rdma-core ---------------------------------------------------------------------

def rdma_core_tree():
    return tree.Tree(RDMA_CORE, sources.rdma_core(), paths.PATCHES / "rdma-core")


def ensure_rdma_core():
    """The build folder of rdma-core: lib/, bin/, python/."""
    _ensure(RDMA_CORE, ["rdma-core"], rdma_core_tree, _build_rdma_core)
    return RDMA_CORE / "build"


def ensure_pyverbs():
    """The python folder of rdma-core; apart, as it takes longer than all the rest."""
    ensure_rdma_core()
    _ensure(RDMA_CORE, ["rdma-core", "pyverbs"], rdma_core_tree,
            lambda src: _build_rdma_core(src, pyverbs=True), stamp="pyverbs.json")
    return RDMA_CORE / "build/python"


PYTHON = re.compile(r"(python[\d.]*|pytest[\d.-]*|.*\.py)$")


def python_environment(env, argv):
    """ENV, with the lab's pyverbs behind the caller's PYTHONPATH if ARGV is a Python program.

    The name of the program decides, and pyverbs is built when the first such
    program runs. One that does not use pyverbs must run where pyverbs cannot be
    built, so that is told and not an error.
    """
    if not PYTHON.match(os.path.basename(os.fsdecode(argv[0]))):
        return env
    try:
        folder = os.fsencode(ensure_pyverbs())
    except ui.LabError as e:
        ui.say(f"lab: going on without pyverbs: {e.what}" + (f"\n{e.todo}" if e.todo else ""))
        return env
    env = dict(os.environb if env is None else env)
    own = env.get(b"PYTHONPATH")
    env[b"PYTHONPATH"] = own + b":" + folder if own else folder
    return env


def _build_rdma_core(src, pyverbs=False):
    out = RDMA_CORE / "build"
    sources.need_space(RDMA_CORE, sources.GIB // 4, "building rdma-core")
    log = paths.log("rdma-core.log")
    env = _environment()
    what = "building pyverbs" if pyverbs else "building rdma-core"
    with ui.step(what.capitalize(), quiet=False) as step:
        def count(line):
            match = re.match(r"\[(\d+)/(\d+)\]", line)
            if match:
                step.progress(int(match[1]), int(match[2]))
        # The system's Python and Cython: another Python on the path has no pyverbs
        ui.logged(["cmake", "-S", src, "-B", out, "-GNinja", "-DIN_PLACE=1", "-DNO_MAN_PAGES=1",
                   "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                   "-DCMAKE_C_COMPILER_LAUNCHER=ccache",
                   f"-DNO_PYVERBS={int(not pyverbs)}",
                   "-DPYTHON_EXECUTABLE=/usr/bin/python3",
                   "-DCYTHON_EXECUTABLE=/usr/bin/cython3"], log, what, env=env)
        ui.logged(["ninja", "-C", out, f"-j{kernel.jobs()}"], log, what, env=env, line=count,
                  append=True)
    if pyverbs and not any((out / "python/pyverbs").glob("device*.so")):
        raise ui.LabError("rdma-core was built without pyverbs", "See what cmake says in the log.",
                          log)


# -- perftest ------------------------------------------------------------------------

PROGRAMS = ("ib_write_bw", "ib_read_bw", "ib_send_bw", "ib_atomic_bw",
            "ib_write_lat", "ib_read_lat", "ib_send_lat", "ib_atomic_lat")


def perftest_tree():
    return tree.Tree(PERFTEST, sources.perftest(), paths.PATCHES / "perftest")


def ensure_perftest():
    """The folder with perftest's programs."""
    core = ensure_rdma_core()
    _ensure(PERFTEST, ["perftest", "rdma-core"], perftest_tree,
            lambda src: _build_perftest(src, core), rdma_core_tree().identity())
    return PERFTEST / "src"


def _build_perftest(src, core):
    log = paths.log("perftest.log")
    what = "building perftest"
    flags = [f"CPPFLAGS=-I{core}/include", f"LDFLAGS=-L{core}/lib -Wl,-rpath,{core}/lib",
             "CC=ccache gcc", "CFLAGS=-O2 -g"]
    env = _environment()
    with ui.step("Building perftest", quiet=False) as step:
        compiled = 0

        def count(line):
            nonlocal compiled
            if re.search(r"^\s*CC |gcc.* -c ", line):
                compiled += 1
                step.progress(compiled, note="objects")
        if not (src / "configure").exists():
            ui.logged(["./autogen.sh"], log, what, cwd=src, env=env)
        ui.logged(["./configure", *flags], log, what, cwd=src, env=env, append=True)
        ui.logged(["make", f"-j{kernel.jobs()}"], log, what, cwd=src, env=env, line=count,
                  append=True)
    missing = [p for p in PROGRAMS if not (Path(src) / p).exists()]
    if missing:
        raise ui.LabError("perftest was built without " + ", ".join(missing), None, log)
