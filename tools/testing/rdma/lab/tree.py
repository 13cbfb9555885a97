# SPDX-License-Identifier: GPL-2.0
"""Our work on a pristine source tree: the patch series and the overlay.

A tree is made of hard links to the pristine one, so it costs no space, and
only the files that differ are written (unlinked first). What is written
later, when a patch or an overlay file changed, is again just what differs:
make then builds only that.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import paths
import ui

# Folders of the repo that are no part of the kernel although the kernel has
# a folder of that name
NOT_OVERLAY = {"tools", "Documentation"}


class Tree:
    """A source tree at DIR: PRISTINE (a sources.Source), SERIES applied, OVERLAY on top.

    SERIES is a folder with a `series` file, or None; OVERLAY a function that
    gives {path in the tree: file to take it from}.
    """

    def __init__(self, folder, pristine, series=None, overlay=lambda pristine: {}):
        self.dir = Path(folder) / "src"
        self.stamp = Path(folder) / "src.json"
        self.pristine = pristine
        self.patches = read_series(series) if series else []
        self.overlay = overlay(pristine.dir)

    def identity(self):
        """A digest of all that makes the content of this tree."""
        digest = hashlib.sha256(base_identity(self.pristine).encode())
        for path in [*self.patches, *[f for _, f in sorted(self.overlay.items())]]:
            digest.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def update(self):
        """Bring the tree to what it should be; nothing where it is."""
        identity = self.identity()
        had = self._state()
        if had.get("identity") == identity:
            return identity
        # Until it is done the tree is in neither state; what was written is known
        base = base_identity(self.pristine)
        ours = {}
        if self.patches:
            with ui.step(f"Applying {len(self.patches)} patches"):
                ours = apply(self.patches, self.pristine.dir, self.dir.parent / "stage")
        for name, file in self.overlay.items():
            whole = (file.read_bytes(), bool(file.stat().st_mode & stat.S_IXUSR))
            if ours.get(name, whole) != whole:
                raise ui.LabError(f"the repo's {name} is not what the series makes of that file",
                                  "Take the file out of the patch: the repo's replaces it whole.")
            ours[name] = whole
        written = set(had.get("written", ()))
        self._save(identity="", base=had.get("base", ""), written=sorted(written | set(ours)))
        if had.get("base") != base:
            self._mirror(written | set(ours), new=not had.get("base"))
        for name in sorted(written - set(ours)):
            self._restore(name)
        for name, content in ours.items():
            self._write(name, content)
        self._save(identity=identity, base=base, written=sorted(ours))
        return identity

    def changed(self):
        """The files of the tree that are not the pristine ones."""
        return self._state().get("written", ())

    def _state(self):
        try:
            return json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return {}

    def _save(self, **state):
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        part = self.stamp.with_suffix(".part")
        part.write_text(json.dumps(state))
        part.rename(self.stamp)

    def _mirror(self, skip, new):
        """Make the tree the pristine one, except the files to SKIP.

        In a NEW tree these are hard links. In one that was built from, a file
        that differs is copied with the time of now, else make would not see it.
        """
        source = str(self.pristine.dir)
        ours = str(self.dir)
        title = f"{'Linking' if new else 'Updating'} {paths.show(self.dir)}"
        # Only what the lab unpacked itself may be linked to: it never changes
        link = self.pristine.dir.is_relative_to(paths.CACHE)
        with ui.step(title) as progress:
            done = 0
            for folder, subfolders, files in os.walk(source):
                subfolders[:] = [s for s in subfolders if s != ".git"]
                relative = os.path.relpath(folder, source)
                there = os.path.normpath(os.path.join(ours, relative))
                os.makedirs(there, exist_ok=True)
                links = [s for s in subfolders if os.path.islink(os.path.join(folder, s))]
                self._prune(relative, there, {*subfolders, *files}, skip)
                for name in [*files, *links]:
                    if os.path.normpath(os.path.join(relative, name)) not in skip:
                        link = _place(os.path.join(folder, name), os.path.join(there, name),
                                      link, new)
                done += len(files)
                progress.progress(done, note="files")

    @staticmethod
    def _prune(relative, there, keep, skip):
        for name in set(os.listdir(there)) - keep:
            path = os.path.join(there, name)
            if os.path.normpath(os.path.join(relative, name)) in skip:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                inside = os.path.normpath(os.path.join(relative, name)) + "/"
                if not any(s.startswith(inside) for s in skip):
                    shutil.rmtree(path)
            else:
                os.unlink(path)

    def _restore(self, name):
        """Give NAME its pristine content back, with the time of now."""
        source = self.pristine.dir / name
        if source.exists():
            self._write(name, (source.read_bytes(), os.access(source, os.X_OK)))
        else:
            (self.dir / name).unlink(missing_ok=True)

    def _write(self, name, content):
        path = self.dir / name
        if content is None:
            path.unlink(missing_ok=True)
            return
        data, executable = content
        try:
            if path.read_bytes() == data and os.access(path, os.X_OK) == executable:
                return
        except OSError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)        # never through a hard link
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)


def _place(source, target, link, new):
    """Put SOURCE at TARGET; whether hard links (still) work here."""
    if os.path.lexists(target):
        if os.path.islink(source) or _same(source, target):
            return link
        os.unlink(target)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif new and link:
        try:
            os.link(source, target)
        except OSError:         # another file system
            shutil.copy2(source, target)
            return False
    elif new:
        shutil.copy2(source, target)
    else:
        shutil.copy(source, target)
    return link


def _same(a, b):
    one, two = os.stat(a), os.stat(b)
    if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
        return True
    if one.st_size != two.st_size:
        return False
    with open(a, "rb") as f, open(b, "rb") as g:
        return f.read() == g.read()


def base_identity(pristine):
    """What tells one pristine tree from another."""
    if pristine.dir.is_relative_to(paths.CACHE):
        return f"{pristine.dir.parent.name} {pristine.version}"
    digest = hashlib.sha256(str(pristine.dir).encode())
    for folder, subfolders, files in os.walk(pristine.dir):
        subfolders[:] = sorted(s for s in subfolders if s != ".git")
        for name in sorted(files):
            info = os.lstat(os.path.join(folder, name))
            digest.update(f"{name} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


# -- the patch series -----------------------------------------------------------

def read_series(folder):
    """The patches of FOLDER in order; none where it has no series file."""
    series = Path(folder) / "series"
    if not series.exists():
        return []
    patches = []
    for line in series.read_text(encoding="utf-8").splitlines():
        name = line.split("#", 1)[0].strip()
        if name:
            patches.append(series.parent / name)
            if not patches[-1].is_file():
                raise ui.LabError(f"{paths.show(series)} names {name}, which is not there")
    return patches


def touched(patch):
    """The files that PATCH changes, makes or removes."""
    names = set()
    lines = iter(patch.read_text(encoding="utf-8", errors="replace").splitlines())
    for line in lines:
        match = re.match(r"(?:---|\+\+\+) [ab]/(\S+)", line)
        if match:
            names.add(match[1])
        match = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", line)
        if match:       # step over the hunk: its lines may look like headers
            old, new = (int(n) if n is not None else 1 for n in match.groups())
            while old > 0 or new > 0:
                mark = next(lines, "\\end")[:1]
                if mark == "\\":
                    break
                old -= mark != "+"
                new -= mark != "-"
    return names


def apply(patches, pristine, stage):
    """Apply PATCHES to a copy of the files they touch.

    Returns {name: (content, executable)}, None for a file that is removed.
    """
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    names = set()
    for patch in patches:
        for name in touched(patch) - names:
            names.add(name)
            if (pristine / name).exists():
                (stage / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(pristine / name, stage / name)
    log = paths.log("patch.log")
    log.write_text("")
    rejects = stage / "rejects"
    for patch in patches:
        done = subprocess.run(["patch", "-p1", "--fuzz=0", "--force", "--no-backup-if-mismatch",
                               f"--reject-file={rejects}", "-i", patch], cwd=stage,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        with open(log, "a", encoding="utf-8") as f:
            f.write(f"+ {patch.name}\n{done.stdout}")
        if done.returncode:
            reject = rejects.read_text(errors="replace").splitlines() if rejects.exists() else []
            raise ui.LabError(f"patch {patch.name} does not apply to {pristine.name}",
                              "The rejected hunks are above. Bring the patch up to this base, "
                              "or take the base it was made for.",
                              log, done.stdout.splitlines()[-6:] + reject[:40])
    result = {}
    for name in names:
        file = stage / name
        result[name] = (file.read_bytes(), os.access(file, os.X_OK)) if file.exists() else None
    shutil.rmtree(stage)
    return result


# -- the overlay ------------------------------------------------------------------

def repo_files(*folders):
    """Files of the repo below FOLDERS, those git ignores left out."""
    out = subprocess.run(["git", "-c", f"safe.directory={paths.TOP}", "ls-files", "-z", "--cached",
                          "--others", "--exclude-standard", "--", *folders], cwd=paths.TOP,
                         stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if out.returncode:
        raise ui.LabError("git cannot list the files of this clone",
                          "The lab runs in a git clone.", tail=out.stderr.decode().splitlines())
    names = {os.fsdecode(n) for n in out.stdout.split(b"\0") if n}
    return sorted(n for n in names if (paths.TOP / n).is_file())


def kernel_overlay(pristine):
    """The repo's files in kernel folders: {path in the tree: file}."""
    folders = [d.name for d in paths.TOP.iterdir()
               if d.is_dir() and d.name not in NOT_OVERLAY and not d.name.startswith(".")
               and (pristine / d.name).is_dir()]
    if not folders:
        return {}
    return {name: paths.TOP / name for name in repo_files(*folders)}
