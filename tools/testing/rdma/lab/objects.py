# SPDX-License-Identifier: GPL-2.0
"""Kernel objects, compiled for what the compiler says of them: nothing is
linked or booted.

The suites lint and drivers share one tree, build/linux/objects, with every
RDMA driver on. What was compiled is compiled again, for its messages; ccache
makes that quick. The same files of the base are compiled only where there are
messages, to tell the new ones.
"""

import contextlib
import re

import kernel
import paths
import sources
import ui

NAME = "objects"
FOLDER = kernel.LINUX / NAME
DRIVERS = paths.CONFIGS / "drivers.config"

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


@contextlib.contextmanager
def tree():
    """The patched source, up to date and ours alone."""
    source = kernel.source_tree(NAME, patched=True)
    with kernel.lock(f"linux/{NAME}"):
        source.update()
        yield source


def bad_module():
    """The folder of a module that every checker must complain about."""
    folder = FOLDER / "selftest"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bad.c").write_text(BAD_C)
    (folder / "Kbuild").write_text("obj-m := bad.o\n")
    return folder


# "file:line:column: text" of the compiler and sparse, "Warning: file:line text" of kernel-doc
MESSAGE = re.compile(r"(?:Warning: )?(?:\S*/src/)?(\S+?\.[chS]):\d+:?(?:\d+:)? (.*)$")


def core(message):
    """MESSAGE without where it is, to compare two versions of a file."""
    return MESSAGE.sub(r"\1 \2", message)


class Build:
    """An object tree with every RDMA driver on, to compile single files in."""

    def __init__(self, source, *parts):
        folder = source.dir.parent
        self.source, self.obj, self.name = source, folder / "obj", folder.name
        self.env = kernel.environment(self.name)
        self.log = paths.log(f"check/{self.name}.log")
        sources.need_space(folder, sources.GIB, f"build/linux/{self.name}")
        self.obj.mkdir(parents=True, exist_ok=True)
        with ui.step(f"Preparing build/linux/{self.name}"):
            kernel.configure(source, self.obj, self.name, [*parts, DRIVERS], self.env)
            ui.logged(self._make("modules_prepare"), self.log,
                      f"preparing build/linux/{self.name}", env=self.env)

    def _make(self, *words):
        return kernel.make(self.source.dir, self.obj, self.name, *words)

    def compile(self, title, targets, *words):
        """Compile TARGETS, objects or folders ("drivers/x/"), with W=1 and WORDS of make.

        Gives make's exit status, {file: the messages about it} and all lines.
        """
        for target in targets:      # what is up to date would not be compiled again
            path = self.obj / target
            for old in path.rglob("*.o") if target.endswith("/") else [path]:
                old.unlink(missing_ok=True)
        lines, count = [], 0
        with ui.step(title) as step:
            def line(text):
                nonlocal count
                lines.append(text)
                if re.match(r"  CC(?: \[M\])? ", text):
                    count += 1
                    step.progress(count, note="objects")
            status = ui.logged(self._make("-k", "W=1", *words, *targets), self.log, title,
                               env=self.env, append=True, line=line, check=False)
        found = {}
        for text in lines:
            match = MESSAGE.match(text)
            if match and not match[2].startswith("note:"):
                found.setdefault(match[1], []).append(text)
        return status, found, lines


def patched(source):
    return Build(source, *kernel.fragments("phyr"), *kernel.deferred_fragments("phyr"))


def stock_messages(title, targets, *words):
    """What is said of those of TARGETS that the base has, without where it is."""
    stock = kernel.source_tree(f"{NAME}-stock", patched=False)
    stock.update()
    names = [name for name in targets
             if (stock.dir / re.sub(r"\.o$", ".c", name)).exists()]
    build = Build(stock, *kernel.fragments("stock"), *kernel.deferred_fragments("stock"))
    _, before, _ = build.compile(title, names, *words)
    return {core(line) for lines in before.values() for line in lines}
