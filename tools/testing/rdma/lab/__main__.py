# SPDX-License-Identifier: GPL-2.0
"""The lab: verbs and how they fail."""

import importlib
import os
import re
import sys

import paths
import ui

# verb: (module, function, one line)
VERBS = {
    "run": ("run", "main", "build all, boot the VM, move data over rxe, verify and measure it"),
    "check": ("check", "main", "run the tests: all suites, or those named"),
    "exec": ("exec", "main", "run one program of your own in the VM, with two rxe devices up"),
    "shell": ("exec", "shell", "an interactive shell in the VM"),
    "build": ("build", "main", "build a kernel (phyr, stock or debug) and the user space"),
    "bench": ("bench", "main", "measure phyr against stock"),
    "clean": ("clean", "main", "remove what was built"),
}

HELP = """usage: ./lab VERB [ARGUMENT...]

{verbs}

./lab VERB --help (or ./lab help VERB) says more; ./lab --version says what this is.
Where to start: ./lab run
LAB_LINUX=DIR names a 7.3.y kernel tree of your own instead of the Debian package."""

# Besides letters and digits: what make, the kernel's build and its shell commands all take
PLAIN = re.compile(r"[\w/.@+~^-]*")
LAB_FAILED = {"exec": 125, "shell": 125}        # else 1


def usage():
    width = max(map(len, VERBS))
    return HELP.format(verbs="\n".join(f"  {v.ljust(width)}  {VERBS[v][2]}" for v in VERBS))


def restore_environment():
    """Take back what Python adds to a C locale, for the caller's programs."""
    try:
        with open("/proc/self/environ", "rb") as f:
            given = [entry.split(b"=", 1)[0] for entry in f.read().split(b"\0")]
    except OSError:
        return
    if b"LC_CTYPE" not in given:
        os.environ.pop("LC_CTYPE", None)


def find(verb):
    module, function, _ = VERBS[verb]
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as e:
        if e.name != module:
            raise
        raise ui.LabError(f"this clone has no '{verb}': {module}.py is missing") from e


def check_place(verb):
    """Refuse early where the lab could not build or write."""
    if verb == "clean":
        return
    odd = sorted(set(PLAIN.sub("", str(paths.TOP))))
    if odd:
        words = " ".join("a space" if c == " " else repr(c) for c in odd)
        raise ui.LabError(f"the clone is in {paths.TOP}, and the build takes no path "
                          f"with {words}",
                          "make and the kernel's build split or refuse such a path. Move the "
                          "clone to another folder:\n"
                          "letters, digits and any of / . _ - @ + ~ ^ are all right.")
    ui.need_writable(*(folder for folder in (paths.BUILD, paths.LOGS, paths.LOGS / "vm",
                                             paths.CACHE)),
                     *([] if paths.BUILD.exists() else [paths.TOP]))


def call(verb, args):
    """The exit status of VERB, which may have failed."""
    failed = LAB_FAILED.get(verb, 1)
    try:
        check_place(verb)
        return find(verb)(args) or 0
    except ui.LabError as e:
        e.show()
        return failed
    except KeyboardInterrupt:
        ui.say("lab: stopped; the next call goes on from here")
        return 130
    except ui.Stopped as e:
        ui.say("lab: stopped; the next call goes on from here")
        return 128 + e.signum
    except BrokenPipeError:         # ./lab ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as e:
        trouble = ui.place_trouble(e)
        if not trouble:
            raise
        trouble.show()
        return failed


def main(argv):
    if argv[:1] == ["help"] and argv[1:] and argv[1] in VERBS:
        argv = [argv[1], "--help"]
    if argv[:1] == ["help"] and argv[1:]:
        argv = argv[1:]             # no verb: say so
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        import version
        print(version.text())
        return 0
    verb, args = argv[0], argv[1:]
    if verb not in VERBS:
        ui.say(f"lab: there is no verb '{verb}'\n\n{usage()}")
        return 2
    ui.stop_on_signals()
    restore_environment()
    return call(verb, args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
