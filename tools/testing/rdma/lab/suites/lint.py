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
import objects
import packages
import paths
import sources
import tree
import ui

HELP = "checkpatch, sparse, W=1, kernel-doc, shellcheck, Python, licences"

BAD_SH = "#!/bin/sh\nfor f in $(ls *); do rm $f; done\nif [ $x == 1 ]; then :; fi\n"


def run(report):
    packages.ensure("lint", "kernel")
    files = tree.repo_files(".")
    scripts(report, files)
    texts(report, files)
    with objects.tree() as source:
        bad = objects.bad_module()
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
    bad = objects.FOLDER / "selftest/bad.sh"
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
        status, said = _find([*tool, *words], cwd=objects.FOLDER)
        report.test(f"checkpatch.{name}", status == 0 and not said.strip(), said)

    _, said = _find([*tool, "-f", bad / "bad.c"], cwd=objects.FOLDER)
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


def compile_checks(report, source, bad):
    sparse = build_sparse()
    _, valid = _find(["sh", source.dir / "scripts/checker-valid.sh", sparse])
    report.test("sparse.valid", valid.strip() == "1", f"{sparse} cannot check this kernel: {valid}")
    build = objects.patched(source)
    checks = ("C=2", f"CHECK={sparse}")

    _, _, lines = build.compile("Compiling what the checkers must find", ["bad.o"], f"M={bad}",
                                *checks)
    said = "\n".join(lines)
    report.test("W=1.selftest", "-Wunused-but-set-variable" in said, said, build.log)
    report.test("sparse.selftest", "different address spaces" in said
                and "restricted __le32" in said, said, build.log)

    # The kernel's own programs, below tools/, are compiled by who runs them
    touched = sorted(name for name in source.changed() if name.endswith(".c")
                     and not name.startswith("tools/") and (source.dir / name).exists())
    wanted = [name[:-2] + ".o" for name in touched]
    title = f"Compiling {len(touched)} files with W=1 and sparse"
    status, found, _ = build.compile(title, wanted, *checks)
    known = objects.stock_messages(f"{title}, of the base", wanted, *checks) if found else set()
    headers = {name for name in source.changed() if name.endswith(".h")}
    for name in sorted({*touched, *headers}):
        new = [line for line in found.get(name, []) if objects.core(line) not in known]
        built = name in headers or (build.obj / name).with_suffix(".o").exists()
        report.test(f"compile.{name}", built and not new,
                    "\n".join(new) or "it did not compile", build.log)
    others = [line for name, lines in found.items() if name not in headers
              and name not in touched for line in lines if objects.core(line) not in known]
    report.test("compile.all", status == 0 and not others, "\n".join(others), build.log)
