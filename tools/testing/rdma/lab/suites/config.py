# SPDX-License-Identifier: GPL-2.0
"""The config of the kernels that are measured, against that of Debian's kernel.

tinyconfig, where ours starts, turns off much that each distribution has, and what
is measured then costs something else. So each option that differs, in those parts
of the kernel that the measured code runs through, is in a list with the reason.
"""

import fnmatch
import re
from typing import NamedTuple

import kernel
import packages
import paths
import sources
import ui

HELP = "the kernel's config against Debian's: each difference that counts is in a list"

LIST = paths.CONFIGS / "differences.txt"

# The Kconfig files of what measured code runs through
AREAS = re.compile(
    r"(arch|init|lib|crypto|mm|kernel/dma|kernel/bpf|kernel/irq|kernel/rcu|kernel/time|kernel/trace"
    r"|arch/x86|arch/x86/crypto|net|net/core|net/ipv4|drivers/iommu|drivers/dma-buf|security)"
    r"/(\w+/)*Kconfig[^/]*|kernel/Kconfig\.(preempt|locks|hz)")
NOT_AREAS = re.compile(
    r"arch/(?!x86|Kconfig)|arch/x86/(kvm|xen|events)/|net/(?!Kconfig|core|ipv4)|lib/fonts/"
    r"|security/(?!Kconfig)")


class Difference(NamedTuple):
    option: str
    ours: str
    debian: str


def visible_options(source):
    """{option: the Kconfig file} of those that a person can set, in AREAS of the SOURCE tree."""
    found = {}
    for path in sorted(source.rglob("Kconfig*")):
        name = str(path.relative_to(source))
        if not AREAS.fullmatch(name) or NOT_AREAS.match(name):
            continue
        for block in re.split(r"^(?:menu)?config ", path.read_text(errors="replace"),
                              flags=re.MULTILINE)[1:]:
            option, _, body = block.partition("\n")
            if re.search(r'^\s+(bool|tristate|prompt) +"', body, re.MULTILINE):
                found["CONFIG_" + option.strip()] = name
    return found


def differences(ours, debian, options):
    """What is built in on one side only. A module costs nothing until it is loaded."""
    found = []
    for option in sorted(options):
        mine, theirs = ours.get(option, "n"), debian.get(option, "n")
        if (mine == "y") != (theirs == "y") and {mine, theirs} != {"y", "m"}:
            found.append(Difference(option, mine, theirs))
    return found


def reasons():
    """[(pattern of options, why they differ)], from LIST: a reason, then options below it."""
    found, why = [], []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("\t"):
            found += [("CONFIG_" + pattern, " ".join(why)) for pattern in line.split()]
        elif line.strip():
            why = [line.strip()] if not why or found and found[-1][1] == " ".join(why) \
                else [*why, line.strip()]
    return found


def run(report):
    packages.ensure("sources")
    built = kernel.ensure(report.kernel)
    with ui.step("Reading the options of the kernel"):
        options = visible_options(built.src)
    found = differences(kernel.options(built.obj / ".config"),
                        kernel.options(sources.debian_config()), options)
    report.test("options", len(options) > 500, f"only {len(options)} options were found")
    known = reasons()
    unused = {pattern for pattern, _ in known}
    for difference in found:
        matching = {pattern for pattern, _ in known
                    if fnmatch.fnmatchcase(difference.option, pattern)}
        unused -= matching
        report.test(difference.option, matching,
                    f"is {difference.ours} here and {difference.debian} in Debian's kernel "
                    f"({options[difference.option]}).\nSet it as Debian does, or say why not in "
                    f"{paths.show(LIST)}")
    for pattern in sorted(unused):
        report.fail(pattern, f"nothing differs there any more: take it out of {paths.show(LIST)}")
