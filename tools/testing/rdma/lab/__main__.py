# SPDX-License-Identifier: GPL-2.0
"""The lab: verbs and how they fail."""

import errno
import importlib
import os
import sys

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

./lab VERB --help says more. Where to start: ./lab run
LAB_LINUX=DIR names a 7.3.y kernel tree of your own instead of the Debian package."""

ROOM = "Make room there, then call this again: it goes on from here."
RIGHTS = ("The lab writes to build/ in the clone and to ~/.cache (or $XDG_CACHE_HOME): both must be "
          "yours.")
PLACE_TROUBLE = {errno.ENOSPC: ROOM, errno.EDQUOT: ROOM,
                 errno.EACCES: RIGHTS, errno.EPERM: RIGHTS, errno.EROFS: RIGHTS}


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


def main(argv):
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    verb, args = argv[0], argv[1:]
    if verb not in VERBS:
        ui.say(f"lab: there is no verb '{verb}'\n\n{usage()}")
        return 2
    ui.stop_on_signals()
    restore_environment()
    try:
        return find(verb)(args) or 0
    except ui.LabError as e:
        e.show()
        return 1
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
        if e.errno not in PLACE_TROUBLE:
            raise
        ui.LabError(f"{e.strerror}: {e.filename or 'a file'}", PLACE_TROUBLE[e.errno]).show()
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
