# SPDX-License-Identifier: GPL-2.0
"""Each command line that the documents and the help texts show is run.

A line is run as it is, in a folder that looks like the clone and has ./my_test
and my_module/. FORMS has another form for a line that takes too long, or that
is no command as it is printed: with a placeholder, say. A new line that cannot
be run, and is not in FORMS, fails.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import bench
import bench_doc
import bench_report
import packages
import paths
import run as lab_run
import sources
import ui
import userspace
import vm
from suites import programs

HELP = "each command line that README, Documentation and --help show; the lab's front door"

FOLDER = paths.BUILD / "docs"
LAB = str(paths.TOP / "lab")
GUEST = paths.TESTING / "labtest"
PATIENCE = 1800         # seconds after which a command hangs for certain
VERBS = ("run", "check", "exec", "shell", "build", "bench", "clean")
NOBODY = "65534"


# -- finding them ----------------------------------------------------------------

COMMAND = re.compile(r"([A-Z_]+=\S+ )*\./lab( |$)|gcc |make -C ")


def complete(text):
    """Is TEXT all of a shell's command: no open quote, no line to come?"""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def blocks(text):
    """The lines of each literal block of reST."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.endswith("::"):
            block = []
            for inner in lines[i + 1:]:
                if inner.strip() and not inner[0].isspace():
                    break
                block.append(inner)
            yield block


def of_blocks(text):
    """The commands in the literal blocks of TEXT."""
    for block in blocks(text):
        command = ""
        for line in block:
            if not command and not COMMAND.match(line.strip()):
                continue
            command += ("\n" if command else "") + line.strip()
            if complete(command):
                yield re.sub(r"\s+# .*$", "", command)
                command = ""
        if command:
            yield command       # cut off: the shell says so


def of_sentences(text):
    """The commands in ``literals`` of TEXT."""
    for match in re.finditer(r"``([^`]+)``", text):
        words = " ".join(match[1].split())
        if COMMAND.match(words) and words != "./lab":
            yield words


def of_help(text):
    """The commands that a help text names, but for argparse's own usage."""
    text = re.sub(r"^usage:.*?\n\n", "", text, count=1, flags=re.DOTALL)
    words = "|".join([*VERBS, *bench.KINDS, "help", "VERB", "KIND", "--[a-z]+"])
    for match in re.finditer(rf"\./lab( (?:{words})\b)+", text):
        yield match[0]


def shown():
    """{command: where it is shown}."""
    found = {}
    for file in [paths.TOP / "README.rst", *sorted((paths.TOP / "Documentation").rglob("*.rst"))]:
        text = file.read_text(encoding="utf-8")
        for command in [*of_blocks(text), *of_sentences(text)]:
            found.setdefault(command, file.name)
    for words in [["--help"], *([verb, "--help"] for verb in VERBS),
                  *(["bench", kind, "--help"] for kind in bench.KINDS if "-" not in kind)]:
        text = subprocess.run([LAB, *words], capture_output=True, text=True, check=True).stdout
        for command in of_help(text):
            found.setdefault(command, "./lab " + " ".join(words))
    return found


# -- running them ----------------------------------------------------------------

def each(form, words):
    return " && ".join(form.format(word) + " >/dev/null" for word in words)


def forms():
    """{a command as it is shown: how it is run here}."""
    return {
        "./lab shell": "./lab shell </dev/null",
        "./lab build [KERNEL]": "./lab build phyr",
        "./lab clean": f"git clone -q {shlex.quote(str(paths.TOP))} clone && cd clone && "
                       "mkdir -p build/logs && ./lab clean && test ! -e build",
        # A WARN, an oops and data that are not right: it has to say so
        "./lab run --kernel stock": "./lab run --kernel stock; test $? -eq 1",
        "LAB_LINUX=DIR ./lab ...": f"LAB_LINUX={sources.linux().dir} ./lab --version",
        "./lab bench [KIND]": each("./lab bench {} --help", bench.KINDS),
        "./lab bench odp": "./lab bench odp --quick",
        "./lab bench --against old.json": "./lab bench --results old.json --against old.json",
        # A debugger has to come
        "./lab exec --gdb -- ./my_test": "./lab exec --help >/dev/null",
        "./lab VERB --help": each("./lab {} --help", VERBS),
        "./lab help VERB": each("./lab help {}", VERBS),
        "./lab bench KIND --help": each("./lab bench {} --help", bench.KINDS),
    }


def form_of(command, known):
    """How COMMAND is run here."""
    if command in known:
        return known[command]
    if " mpirun " in command:       # README exports it in a line before
        return "UCX_UD_VERBS_ETH_DGID_CHECK=n UCX_TLS=rc_verbs,ud_verbs,self " + command
    if command.startswith("./lab check"):      # it would run this suite, and others for long
        return "./lab check --list"
    if command.startswith("./lab bench"):   # it takes minutes; `odp` above stands for all
        return " ".join([*command.replace(" --quick", "").split()[:3], "--help"])
    return command


def kernels(command):
    """The kernels that COMMAND needs besides the one under test."""
    named = re.findall(r"(?:--kernel |LAB_KERNEL=)(\w+)", command)
    return named + (["stock"] if command.endswith("--quick") else [])


def not_built(command):
    return [name for name in kernels(command)
            if not (paths.BUILD / "linux" / name / "built.json").exists()]


def set_up():
    """A folder that looks like the clone, with what the examples use."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name in ("lab", "build"):
        (FOLDER / name).symlink_to(paths.TOP / name)
    shutil.copy(GUEST / "my_test.c", FOLDER)
    shutil.copytree(GUEST / "my_module", FOLDER / "my_module")
    shutil.copy(programs.build_mpi_program(), FOLDER / "my_mpi")
    row = {"what": "a count", "stock": 2, "phyr": 1, "ratio": 0.5, "floor": None, "value": 0.5,
           "goal": "", "met": None, "more": False, "spread": None}
    (FOLDER / "old.json").write_text(json.dumps({"kind": "made", "facts": {"base": "1"},
                                                 "rows": [row], "raw": {}}))


def commands(report, kernel):
    """Run all that is shown; what builds something goes first."""
    known = forms()
    found = shown()
    env = {**os.environ, "LAB_KERNEL": kernel}
    order = sorted(found, key=lambda command: "./lab" in command)
    with ui.step("Running what the documents show") as step:
        for number, command in enumerate(order, 1):
            step.progress(number, len(order), "commands")
            name = f"{found[command]}: {' '.join(command.split())}"
            real = form_of(command, known)
            if not_built(real):
                report.skip(name, f"./lab build {not_built(real)[0]} was not called here")
                continue
            log = paths.log(f"check/docs/{number:02}.log")
            with open(log, "wb") as out:
                out.write(f"+ {real}\n".encode())
                out.flush()
                done = subprocess.run(["sh", "-c", real], cwd=FOLDER, stdin=subprocess.DEVNULL,
                                      stdout=out, stderr=out, env=env, timeout=PATIENCE,
                                      check=False)
            report.test(name, done.returncode == 0,
                        "\n".join([f"run as {real}: {ui.how(done.returncode)}",
                                   *ui.tail(log, 8)]), log)


# -- the front door --------------------------------------------------------------

def call(*argv, **more):
    """Run a command: (status, stdout and stderr)."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **more)
    return done.returncode, done.stdout


def helps(report):
    for verb in VERBS:
        report.test(f"help {verb} is {verb} --help",
                    call(LAB, "help", verb) == call(LAB, verb, "--help"), call(LAB, "help", verb))
    status, text = call(LAB, "help", "nonsense")
    report.test("help of no verb is an error", status == 2 and "nonsense" in text, text)
    _, text = call(LAB, "shell", "--help")
    report.test("shell --help is about a shell", "Run COMMAND" not in text and
                "two VMs" not in text and "123" in text, text)
    status, text = call(LAB, "--version")
    report.test("--version", not status and re.fullmatch(
        r"lab [0-9a-f]{12}\S*\nLinux 7\.3\.\d+\S*\nrdma-core \d\S*\nperftest \d\S*\n", text), text)


def copy_lab(folder):
    """The lab alone, in FOLDER."""
    there = folder / "tools/testing/rdma/lab"
    shutil.copytree(paths.LAB, there, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(LAB, folder)
    return str(folder / "lab")


def places(report):
    """Clones that nothing can be built in."""
    for odd in (" ", ":"):
        status, text = call(copy_lab(FOLDER / f"odd{odd}name"), "exec", "true")
        report.test(f"a clone in a path with {odd!r} is refused", status == 125 and
                    "lab: the clone is in " in text, text)
    if os.geteuid():
        report.skip("another user's clone", "only root can be another user")
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        lab = copy_lab(Path(folder) / "clone")
        as_nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "env",
                     f"HOME={folder}/none"]
        status, text = call(*as_nobody, lab, "exec", "true")
        report.test("another user's clone: it says whose it is, and what to do",
                    status == 125 and "belongs to root" in text and "git clone" in text, text)


def plot(name, *lines):
    return bench_report.plot(name, name, "bytes", "y",
                             {f"line {number}": points for number, points in enumerate(lines)})


def plots(report):
    """A plot of one size is not drawn, nor named in the report."""
    packages.ensure("plots")
    kinds = {"made": {"facts": {}, "rows": [], "plots": [
        plot("one", [(4096, 1.5)], [(8192, 2.5)]), plot("two", [(4096, 1.5), (8192, 2.5)]),
        plot("none", [])]}}
    folder = FOLDER / "plots"
    folder.mkdir()
    (folder / "one.svg").write_text("of a run before")
    with mock.patch.object(bench_report, "FOLDER", folder), \
            contextlib.redirect_stdout(io.StringIO()):
        bench_doc.write(kinds, {})
    files = {file.name for file in folder.iterdir()}
    report.test("a plot of two sizes is drawn", {"two.svg", "two.png"} <= files, sorted(files))
    report.test("a plot of one size is not", not any(name.startswith(("one", "none"))
                                                     for name in files), sorted(files))
    text = (folder / "report.md").read_text()
    report.test("the report names the plots that are drawn",
                "two.png" in text and "one.png" not in text, text)


def panic(report, kernel):
    """./lab run where the kernel panics in the middle of the second kind of memory."""
    plan = [line for line in lab_run.lines() if line.operation.title in ("write", "read") and
            line.size == lab_run.MIB][:6]
    datacheck = lab_run.datacheck

    def crash(folder, group):
        if group[0].memory != plan[2].memory:
            return datacheck(folder, group)
        return datacheck(folder, group[:1]) + "; sleep 2; echo c >/proc/sysrq-trigger"

    out = io.StringIO()
    with mock.patch.object(lab_run, "datacheck", crash), contextlib.redirect_stdout(out):
        try:
            lab_run.run(plan, kernel)
            error = ui.LabError("it says that all is well")
        except ui.LabError as e:
            error = e
    lines = out.getvalue().splitlines()[2:]
    report.test("a panic: a line of the table for each test", len(lines) == len(plan), lines)
    wanted = ["yes", "yes", "yes", lab_run.BAD_BY_PANIC, "yes", "yes"]
    for line, words, row in zip(plan, wanted, lines):
        report.test(f"a panic: {line.memory.title}, {line.operation.title}: {words}",
                    words in row and re.search(r" \d+\.\d  ", row), row)
    report.test("a panic: it says what failed, and where",
                "1 of 6 lines are not verified" in error.what and
                any(plan[3].memory.title in text and "sysrq" in text.lower()
                    for text in error.tail), [error.what, *error.tail])


def run(report):
    packages.ensure("vm", "programs", "bench")
    vm.prepare(report.kernel)
    userspace.ensure_perftest()
    set_up()
    helps(report)
    places(report)
    plots(report)
    panic(report, report.kernel)
    commands(report, report.kernel)
