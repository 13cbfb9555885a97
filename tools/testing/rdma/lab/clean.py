# SPDX-License-Identifier: GPL-2.0
"""`./lab clean`: remove what was built."""

import argparse
import shutil

import paths
import ui

HELP = """Remove build/ (what this clone built, and its logs).

The user's cache (sources, packages' lists, compiled objects) stays, so that
the next build is quick; --cache removes that too."""


def main(argv):
    parser = argparse.ArgumentParser(prog="./lab clean", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", action="store_true", help="the user's cache too")
    args = parser.parse_args(argv)
    for folder in [paths.BUILD] + ([paths.CACHE] if args.cache else []):
        if folder.is_dir():
            with ui.step(f"Removing {folder}", quiet=False):
                shutil.rmtree(folder)
    ui.say("clean")
    return 0
