# SPDX-License-Identifier: GPL-2.0
"""Pristine sources: fetched, verified and unpacked once, kept in the user's cache.

Everything comes from Debian suites that this machine may not have set up, so
apt gets a configuration of our own: its lists, cache and sources file live in
our cache folder, the mirror is the machine's, and the signatures are checked
with the archive keys that the machine has. What is in the cache is used as it
is; only `./lab build --update` looks for something newer.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import locks
import packages
import paths
import ui

APT = paths.CACHE / "apt"
DOWNLOADS = paths.CACHE / "downloads"
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp")
KERNEL = "7.3"
KERNEL_SUITE = "trixie-backports"       # binary packages: linux-source-X.Y
SOURCE_SUITE = "sid"                    # source packages
GIB = 1 << 30

APT_CONF = """\
Dir::State "{apt}";
Dir::State::lists "{apt}/lists";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache";
Dir::Etc::sourcelist "{apt}/lab.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferencesparts "-";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""

APT_SOURCES = """\
Types: deb
URIs: {mirror}
Suites: {kernel}
Components: main
Signed-By: {keyring}

Types: deb-src
URIs: {mirror}
Suites: {source}
Components: main
Signed-By: {keyring}
"""


class Source(NamedTuple):
    """An unpacked pristine source tree."""
    version: str
    dir: Path


class _Download(NamedTuple):
    version: str
    uri: str
    size: int
    digest: str         # SHA256:...
    name: str           # the file's


# -- the machine's apt set-up, with suites of our own ------------------------

def mirror():
    """The address of the Debian mirror that this machine uses."""
    if not shutil.which("apt-get"):
        raise ui.LabError("there is no apt here to fetch sources with",
                          "Name source trees of your own: LAB_LINUX, LAB_RDMA_CORE, LAB_PERFTEST")
    codename = ""
    try:
        with open("/etc/os-release", encoding="utf-8") as f:
            codename = re.search(r'^VERSION_CODENAME="?(\w+)', f.read(), re.MULTILINE)[1]
    except (OSError, TypeError):
        pass
    # --no-release-info: without it nothing is printed where no list was fetched yet
    out = ui.output(["apt-get", "indextargets", "--no-release-info",
                     "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])
    suites = {codename, "stable", "oldstable", "testing", "unstable", "sid"}
    for line in out.splitlines():
        site, release, component = (line.split() + ["", ""])[:3]
        if release in suites and component == "main" and not site.startswith("cdrom:"):
            return site
    raise ui.LabError("this machine's apt set-up names no Debian mirror",
                      "Add a line for Debian main to /etc/apt/sources.list.d, or name source "
                      "trees of your own: LAB_LINUX, LAB_RDMA_CORE, LAB_PERFTEST")


def _apt_conf():
    """Write our apt configuration; its path."""
    keyring = next((k for k in KEYRINGS if os.path.exists(k)), None)
    if not keyring:
        raise ui.LabError("the Debian archive keys are not installed",
                          "apt-get install debian-archive-keyring")
    for folder in ("lists/partial", "cache/archives/partial"):
        (APT / folder).mkdir(parents=True, exist_ok=True)
    (APT / "status").touch()
    (APT / "lab.sources").write_text(APT_SOURCES.format(
        mirror=mirror(), keyring=keyring, kernel=KERNEL_SUITE, source=SOURCE_SUITE))
    conf = APT / "apt.conf"
    conf.write_text(APT_CONF.format(apt=APT))
    return conf


def _refresh():
    """Fetch the lists of our suites."""
    conf = _apt_conf()
    with ui.step(f"Fetching the package lists of {KERNEL_SUITE} and {SOURCE_SUITE}", quiet=False):
        log = paths.log("apt.log")
        status = ui.logged(["apt-get", "-c", conf, "update"], log, "apt-get update", check=False)
        text = log.read_text(errors="replace")
    if status or re.search(r"^(E:|Err:|W: Failed)", text, re.MULTILINE):
        raise ui.LabError("the package lists could not be fetched",
                          "Is the network up, and the mirror of /etc/apt reachable?",
                          log, ui.tail(log, 8))


def _apt(*words):
    """Ask apt under our configuration; empty where it does not know."""
    return subprocess.run([words[0], "-c", _apt_conf(), *words[1:]], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def _uris(*words):
    """The downloads that apt-get would make: 'uri' name size digest."""
    found = []
    for line in _apt("apt-get", *words, "--print-uris").splitlines():
        match = re.match(r"'([^']+)' (\S+) (\d+) (SHA256:\w+)$", line.strip())
        if match:
            uri, name, size, digest = match.groups()
            found.append(_Download(name.split("_")[1], uri, int(size), digest, name))
    return found


def _offer_kernel():
    return next(iter(_uris("download", f"linux-source-{KERNEL}")), None)


def _offer_source(package):
    for item in _uris("source", package):
        match = re.match(r"(.*)\.orig\.tar\.\w+$", item.name)
        if match:
            return item._replace(version=match[1].split("_")[1])
    return None


# -- fetching and unpacking: nothing half is ever left under a final name ------

def need_space(where, needed, what):
    """Refuse early what would fill the disk."""
    where = Path(where)
    where.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(where).free
    if free < needed:
        raise ui.LabError(f"{what} needs {ui.size(needed)}, and {ui.size(free)} are free "
                          f"under {where}", "Make room there, then call this again"
                          " (./lab clean removes what was built)")


def _download(item):
    """The verified file of ITEM; a partial one is gone on from."""
    path = DOWNLOADS / item.name
    if path.exists():
        return path
    need_space(DOWNLOADS, item.size, f"fetching {item.name}")
    part = path.with_name(path.name + ".part")
    log = paths.log("download.log")

    def so_far():
        have = part.stat().st_size if part.exists() else 0
        return None, None, f"{ui.size(have)} of {ui.size(item.size)}"
    with ui.step(f"Fetching {item.name}", quiet=False, watch=so_far):
        fetch = ["/usr/lib/apt/apt-helper", "-c", _apt_conf(), "download-file",
                 item.uri, part, item.digest]
        if ui.logged(fetch, log, "download", check=False):
            if "Hash Sum mismatch" in log.read_text(errors="replace"):
                part.unlink(missing_ok=True)
            raise ui.LabError(f"{item.name} could not be fetched",
                              "Is the network up? The next call goes on from here.",
                              log, ui.tail(log, 6))
    part.rename(path)
    return path


def _remove(path):
    shutil.rmtree(path, ignore_errors=True)


def _unpack(target, script, file, space):
    """Make folder TARGET by the shell SCRIPT, run in a folder beside it with $1 = FILE."""
    need_space(target.parent, space, f"unpacking {file.name}")
    for old in target.parent.glob(".*.part"):       # of a call that was interrupted
        _remove(old)
    part = target.with_name(f".{target.name}.part")
    part.mkdir()
    with ui.step(f"Unpacking {file.name}", quiet=False):
        ui.logged(["bash", "-o", "pipefail", "-ec", script, "unpack", file],
                  paths.log("unpack.log"), f"unpacking {file.name}", cwd=part)
    part.rename(target)


def _key(version):
    return [int(n) for n in re.findall(r"\d+", version)]


def _newest(folder):
    """The newest version unpacked in FOLDER, if any."""
    found = [d for d in folder.glob("*") if d.is_dir() and not d.name.startswith(".")]
    if not found:
        return None
    best = max(found, key=lambda d: _key(d.name))
    return Source(best.name, best)


def newest(kind):
    """The newest Source of KIND in the cache, or None."""
    return _newest(paths.CACHE / kind)


def _get(kind, offer, script, space, what, update):
    """The newest KIND there is: of the cache, else (or to UPDATE it) of the mirror."""
    folder = paths.CACHE / kind
    have = _newest(folder)
    if have and not update:
        return have
    packages.ensure("sources")
    with locks.held(paths.CACHE / "lock", "fetching sources"):
        have = _newest(folder)          # another call may just have fetched it
        if have and not update:
            return have
        # One refresh serves all the sources of a call
        if not getattr(_get, "fresh", False):
            if update or not offer():
                _refresh()
            _get.fresh = True
        item = offer()
        if not item:
            if have:
                ui.say(f"{what} is no longer offered; going on with {have.version} of the cache")
                return have
            raise ui.LabError(f"the mirror does not offer {what}",
                              "Name a source tree of your own: "
                              f"LAB_{kind.upper().replace('-', '_')}=DIR")
        target = folder / item.version
        if not target.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            file = _download(item)
            _unpack(target, script, file, space)
            file.unlink()               # the tree is what we keep
        return Source(item.version, target)


# -- what the lab builds on ----------------------------------------------------

def kernel_version(tree):
    """7.3.4, say, from the Makefile of TREE."""
    try:
        text = (Path(tree) / "Makefile").read_text(encoding="utf-8")
        return ".".join(re.search(rf"^{name}\s*=\s*(\d*)", text, re.MULTILINE)[1]
                        for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    except (OSError, TypeError) as e:
        raise ui.LabError(f"{tree} is no kernel source tree (its Makefile names no version)") from e


def _own(variable, marker):
    """The tree that the environment VARIABLE names, if it does."""
    value = os.environ.get(variable)
    if not value:
        return None
    tree = Path(value).expanduser().resolve()
    if not (tree / marker).exists():
        raise ui.LabError(f"{variable}={value}: there is no {marker} in it")
    return tree


def linux(update=False):
    own = _own("LAB_LINUX", "Makefile")
    if own:
        version = kernel_version(own)
        if version.split(".")[:2] != KERNEL.split("."):
            raise ui.LabError(f"LAB_LINUX={own} is Linux {version}; the series is for {KERNEL}.y")
        if (own / ".config").exists() or (own / "include/config").exists():
            raise ui.LabError(f"LAB_LINUX={own} was built in place",
                              f"make -C {own} mrproper, or name a clean tree")
        return Source(version, own)
    return _get("linux", _offer_kernel,
                'dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/src/linux-source-' + KERNEL
                + '.tar.xz | tar -xJ --strip-components=1',
                3 * GIB, f"linux-source-{KERNEL} ({KERNEL_SUITE})", update)


def debian_config():
    """The config of Debian's own kernel for this processor."""
    package = f"linux-config-{KERNEL}"
    script = ('dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards '
              '"./usr/src/*/config.*_none_$(dpkg --print-architecture).xz" | xz -d >config')
    return _get("linux-config", lambda: next(iter(_uris("download", package)), None),
                script, GIB // 100, f"{package} ({KERNEL_SUITE})", False).dir / "config"


def _tarball(package, marker, update, space=GIB // 10):
    own = _own("LAB_" + package.upper().replace("-", "_"), marker)
    if own:
        return Source("own", own)
    return _get(package, lambda: _offer_source(package),
                'tar -xf "$1" --strip-components=1', space,
                f"the source of {package} ({SOURCE_SUITE})", update)


def rdma_core(update=False):
    return _tarball("rdma-core", "CMakeLists.txt", update)


def perftest(update=False):
    return _tarball("perftest", "configure.ac", update)


def sparse(update=False):
    return _tarball("sparse", "sparse.c", update)
