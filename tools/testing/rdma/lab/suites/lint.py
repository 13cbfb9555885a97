# SPDX-License-Identifier: GPL-2.0
"""Static checks of everything that the repo holds.

Each checker is first run on something bad that it must find: one that is
too old for this kernel, or did not run, is a failure and not a pass.
"""

import os
import re
import socket
import subprocess
from pathlib import Path

import kernel
import packages
import paths
import sources
import tree
import ui

HELP = "checkpatch, sparse, W=1, kernel-doc, shellcheck, Python, licences, every RDMA driver builds"

LINT = paths.BUILD / "linux/lint"
DRIVERS = "drivers/infiniband/"

# Found by: gcc with W=1 (set, not used), sparse (address space, endianness),
# checkpatch (white space), kernel-doc (a parameter that is not there)
BAD_C = """\
// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/types.h>

/**
 * lab_bad() - what every checker must find
 * @nobody: there is no such parameter
 */
static int __used lab_bad(void __user *from, __le32 number)
{
	int unused;
        char *to = from;

	unused = number + 1;
	return *to;
}

MODULE_DESCRIPTION("bad");
MODULE_LICENSE("GPL");
"""
BAD_SH = "#!/bin/sh\nfor f in $(ls *); do rm $f; done\nif [ $x == 1 ]; then :; fi\n"


def run(report):
    packages.ensure("lint", "kernel")
    files = tree.repo_files(".")
    scripts(report, files)
    texts(report, files)
    source = kernel.source_tree("lint", patched=True)
    with kernel.lock("linux/lint"):
        source.update()
        bad = LINT / "selftest"
        bad.mkdir(parents=True, exist_ok=True)
        (bad / "bad.c").write_text(BAD_C)
        (bad / "Kbuild").write_text("obj-m := bad.o\n")
        checkpatch(report, source, files, bad)
        kernel_doc(report, source, bad)
        compile_checks(report, source, bad)


def _find(argv, cwd=None, env=None):
    """(exit status, stdout and stderr) of a checker."""
    try:
        done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as e:
        return 127, str(e)
    return done.returncode, done.stdout


# -- scripts -------------------------------------------------------------------

def _is_shell(name):
    path = paths.TOP / name
    if name.endswith(".sh"):
        return True
    with open(path, "rb") as f:
        return re.match(rb"#!\s*/\S*/(env )?(ba|da)?sh\b", f.readline()) is not None


def scripts(report, files):
    bad = LINT / "selftest/bad.sh"
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text(BAD_SH)
    _, said = _find(["shellcheck", bad])
    report.test("shellcheck.selftest", "SC2045" in said, said)
    for name in filter(_is_shell, files):
        status, said = _find(["shellcheck", "-x", name], cwd=paths.TOP)
        report.test(f"shellcheck.{name}", status == 0, said)
    for name in files:
        if name.endswith(".py"):
            try:
                compile((paths.TOP / name).read_bytes(), name, "exec")
                report.ok(f"python.{name}")
            except SyntaxError as e:
                report.fail(f"python.{name}", str(e))


# -- texts: licences, and nothing of the machine they were written on --------------

def texts(report, files):
    url = re.compile(r"\b(?:https?|ftp|git|ssh)://[\w.-]+")
    mine = [str(paths.TOP), str(paths.CACHE), str(Path.home()) + "/"]
    if len(socket.gethostname()) > 8:       # else it is a word like any other
        mine.append(socket.gethostname())
    try:
        mine.append(re.sub(r"^\w+://|/.*", "", sources.mirror()))
    except ui.LabError:
        pass        # no apt here
    no_licence, foreign = [], []
    for name in files:
        text = (paths.TOP / name).read_text(encoding="utf-8", errors="replace")
        head = "\n".join(text.splitlines()[:3])
        if "SPDX-License-Identifier: GPL-2.0" not in head and not name.endswith(".patch"):
            no_licence.append(name)
        for number, line in enumerate(text.splitlines(), 1):
            found = [m for m in mine if m in line] + url.findall(line)
            foreign += [f"{name}:{number}: {word}" for word in found]
    report.test("licence", not no_licence, "no SPDX line: " + " ".join(no_licence))
    report.test("places", not foreign,
                "names of hosts, or paths of this machine:\n" + "\n".join(foreign))


# -- checkpatch ----------------------------------------------------------------------

# FILE_PATH_CHANGES asks for MAINTAINERS, which is not ours to change
IGNORE = "FILE_PATH_CHANGES"
KERNEL_ONLY = "PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO"


def checkpatch(report, source, files, bad):
    tool = [source.dir / "scripts/checkpatch.pl", "--strict", "--terse", "--show-types",
            "--no-summary", f"--root={source.dir}", f"--ignore={IGNORE}"]

    def check(name, *words):
        # It leaves a file where it runs
        status, said = _find([*tool, *words], cwd=LINT)
        report.test(f"checkpatch.{name}", status == 0 and not said.strip(), said)

    _, said = _find([*tool, "-f", bad / "bad.c"], cwd=LINT)
    report.test("checkpatch.selftest", "CODE_INDENT" in said, said)
    for name in files:
        if name.endswith((".c", ".h")):
            # Outside the kernel's folders are programs, which have no kernel headers
            user = [] if name in source.overlay else [f"--ignore={IGNORE},{KERNEL_ONLY}"]
            check(name, *user, "-f", paths.TOP / name)
    for patch in source.patches:
        check(patch.name, patch)


# -- kernel-doc -------------------------------------------------------------------------

def kernel_doc(report, source, bad):
    tool = [source.dir / "scripts/kernel-doc", "-none", "-Wall"]
    _, said = _find([*tool, bad / "bad.c"])
    report.test("kernel-doc.selftest", "nobody" in said, said)
    for name in source.overlay:
        if name.endswith((".c", ".h")):
            status, said = _find([*tool, name], cwd=source.dir)
            report.test(f"kernel-doc.{name}", status == 0 and not said.strip(), said)


# -- the compiler and sparse ---------------------------------------------------------------

def build_sparse():
    """A sparse that knows this kernel's C, which a stable suite's may not."""
    source = sources.sparse()
    folder = paths.CACHE / "sparse-build" / source.version
    program = folder / "sparse"
    if not program.exists():
        with ui.step("Building sparse"):
            ui.output(["rm", "-rf", folder])
            folder.parent.mkdir(parents=True, exist_ok=True)
            ui.output(["cp", "-a", source.dir, folder])
            ui.logged(["make", f"-j{kernel.jobs()}", "CC=gcc", "HAVE_SQLITE=no", "HAVE_GTK=no",
                       "HAVE_LIBXML=no", "HAVE_LLVM=no", "sparse"], paths.log("sparse.log"),
                      "building sparse", cwd=folder, env=kernel.environment(".."))
    return program


class _Build:
    """An object tree with every RDMA driver on, to compile single files in."""

    def __init__(self, source, parts, sparse):
        folder = source.dir.parent
        self.source, self.obj, self.sparse = source, folder / "obj", sparse
        self.flavour = folder.name
        self.env = kernel.environment(self.flavour)
        self.log = paths.log("check/lint-build.log")
        sources.need_space(folder, sources.GIB, "the suite lint")
        self.obj.mkdir(parents=True, exist_ok=True)
        with ui.step("Preparing the build of the suite lint"):
            kernel.configure(source, self.obj, self.flavour, parts, self.env)
            ui.logged(self.make("modules_prepare"), self.log, "preparing the lint build",
                      env=self.env)

    def make(self, *words):
        return kernel.make(self.source.dir, self.obj, self.flavour, *words)

    def messages(self, objects, *words):
        """{file: its messages} from compiling OBJECTS with W=1 and sparse."""
        lines = []
        for name in objects:        # what is up to date would not be compiled again
            (self.obj / name).unlink(missing_ok=True)
        status = ui.logged(self.make("-k", "W=1", "C=2", f"CHECK={self.sparse}", *words, *objects),
                           self.log, "compiling with W=1 and sparse", env=self.env, append=True,
                           line=lines.append, check=False)
        found = {}
        for line in lines:
            match = re.match(r"(?:\S*/lint(?:-stock)?/src/)?(\S+?\.[chS]):\d+:(?:\d+:)? (.*)$", line)
            if match and not match[2].startswith("note:"):
                found.setdefault(match[1], []).append(line)
        return status, found, lines


def _core(message):
    """MESSAGE without where it is, to compare two versions of a file."""
    return re.sub(r"^\S+:\d+:(\d+:)? ", "", message)


def compile_checks(report, source, bad):
    sparse = build_sparse()
    _, valid = _find(["sh", source.dir / "scripts/checker-valid.sh", sparse])
    report.test("sparse.valid", valid.strip() == "1", f"{sparse} cannot check this kernel: {valid}")
    parts = [paths.CONFIGS / name for name in ("base.config", "phyr.config", "drivers.config")]
    build = _Build(source, parts, sparse)

    _, _, lines = build.messages(["bad.o"], f"M={bad}")
    said = "\n".join(lines)
    report.test("W=1.selftest", "-Wunused-but-set-variable" in said, said, build.log)
    report.test("sparse.selftest", "different address spaces" in said
                and "restricted __le32" in said, said, build.log)

    touched = sorted(name for name in source.changed()
                     if name.endswith(".c") and (source.dir / name).exists())
    with ui.step(f"Compiling {len(touched)} files with W=1 and sparse"):
        status, found, _ = build.messages([name[:-2] + ".o" for name in touched])
    known = _stock_messages(source, touched, sparse) if found else set()
    headers = {name for name in source.changed() if name.endswith(".h")}
    for name in sorted({*touched, *headers}):
        new = [line for line in found.get(name, []) if _core(line) not in known]
        built = name in headers or (build.obj / name).with_suffix(".o").exists()
        report.test(f"compile.{name}", built and not new,
                    "\n".join(new) or "it did not compile", build.log)
    others = [line for name, lines in found.items() if name not in headers
              and name not in touched for line in lines if _core(line) not in known]
    report.test("compile.all", status == 0 and not others, "\n".join(others), build.log)
    drivers(report, build)


def _stock_messages(source, touched, sparse):
    """What the compiler and sparse say of the files of TOUCHED before they were."""
    names = [name for name in touched if (source.pristine.dir / name).exists()]
    stock = kernel.source_tree("lint-stock", patched=False)
    stock.update()
    build = _Build(stock, [paths.CONFIGS / "base.config", paths.CONFIGS / "drivers.config"], sparse)
    _, before, _ = build.messages([name[:-2] + ".o" for name in names])
    return {_core(line) for lines in before.values() for line in lines}


def drivers(report, build):
    """Every RDMA driver and ULP of the tree still compiles."""
    count = 0
    with ui.step("Compiling every RDMA driver") as step:
        def line(text):
            nonlocal count
            if re.match(r"  CC \[M\] ", text):
                count += 1
                step.progress(count, note="objects")
        status = ui.logged(build.make("-k", DRIVERS), build.log, "compiling the RDMA drivers",
                           env=build.env, append=True, line=line, check=False)
    said = "\n".join(l for l in build.log.read_text(errors="replace").splitlines()
                     if "error:" in l or "Error " in l)
    names = [d.name for d in (build.source.dir / DRIVERS / "hw").iterdir() if d.is_dir()]
    silent = [name for name in names if not any((build.obj / DRIVERS / "hw" / name).rglob("*.o"))]
    report.test("drivers", status == 0 and not silent,
                said or "nothing was compiled of " + " ".join(silent), build.log)
