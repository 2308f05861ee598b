"""User-mode Linux kernels with ESP: where they come from and how they are had on a Debian machine.

A kernel is Debian's package `user-mode-linux` of one suite. The suite of this machine gives the installed package.
A later suite's kernel is fetched into `.cache/kernels` with the C library that it wants, and runs in a small chroot.
apt is given folders of its own for that, so this machine's package sources stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KERNELS", "TREE", "Kernel", "KernelUnavailable", "UmlKernel", "download", "obtain", "stanza_for"]

TREE = Path(__file__).resolve().parents[2]
CACHE = TREE / ".cache" / "kernels"
PACKAGE = "user-mode-linux"
C_LIBRARY = ("libc6", "libgcc-s1")  # libgcc: without it the kernel aborts at power-off
OS_RELEASE = Path("/etc/os-release")
APT_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class KernelUnavailable(Exception):
    """A kernel cannot be had on this machine; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class UmlKernel:
    """A UML kernel by name. `name`: as `--kernel` takes it; `version`: its first two numbers; `suite`: Debian's."""

    name: str
    version: str
    suite: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """A UML kernel that is ready to boot.

    `binary`: the kernel as an executable; `modules`: folder with the modules of exactly this release; `chroot`: folder
    with the C library to run it with, or None where this machine's own does.
    """

    name: str
    binary: Path
    modules: Path
    chroot: Path | None

    @property
    def release(self) -> str:
        """What `uname -r` says inside, such as `6.1.176`."""
        return self.modules.name


KERNELS = {
    kernel.name: kernel
    for kernel in (
        UmlKernel("uml-6.1", "6.1", "bookworm"),
        UmlKernel("uml-6.12", "6.12", "trixie"),
        UmlKernel("uml-7.2", "7.2", "sid"),
    )
}


def obtain(name: str) -> Kernel:
    """The kernel `name` of `KERNELS`, fetched first where needed.

    Raises KernelUnavailable if it cannot be had: not root, no Debian package source, or another version by now.
    """
    wanted = KERNELS[name]
    kernel = _installed(wanted) or _cached(wanted) or _fetch(wanted)
    if not kernel.release.startswith(f"{wanted.version}."):
        raise KernelUnavailable(
            f"{name}: Debian {wanted.suite} has {kernel.release} by now; change the table KERNELS in {__file__}"
        )
    return kernel


def _modules_of(root: Path, version: str) -> Path | None:
    """The modules folder below an unpacked package, or the machine's root, that belongs to `version`."""
    found = sorted((root / "usr/lib/uml/modules").glob(f"{version}.*"))
    return found[-1] if found else None


def _installed(wanted: UmlKernel) -> Kernel | None:
    binary = Path("/usr/bin/linux.uml")
    modules = _modules_of(Path("/"), wanted.version)
    return Kernel(wanted.name, binary, modules, None) if modules and binary.exists() else None


def _cached(wanted: UmlKernel) -> Kernel | None:
    folder = CACHE / wanted.suite
    if not (folder / "complete").exists():
        return None
    modules = _modules_of(folder / "package", "*")
    if modules is None:
        return None
    return Kernel(wanted.name, folder / "chroot/bin/linux", modules, folder / "chroot")


def _fetch(wanted: UmlKernel) -> Kernel:
    """Download the suite's package and C library, and lay out the chroot."""
    if os.geteuid() != 0:
        raise KernelUnavailable(f"{wanted.name}: run as root to fetch the kernel of Debian {wanted.suite}")
    folder = CACHE / wanted.suite
    shutil.rmtree(folder, ignore_errors=True)
    package, library, chroot = folder / "package", folder / "library", folder / "chroot"
    for needed in (package, library, chroot):
        needed.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as name:
        try:
            archives = download(wanted.suite, (PACKAGE, *C_LIBRARY), Path(name))
        except KernelUnavailable as error:
            raise KernelUnavailable(f"{wanted.name}: {error}") from None
        for archive in archives:
            target = package if archive.name.startswith(PACKAGE) else library
            subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
    _lay_out(package, library, chroot)
    shutil.rmtree(library)
    (folder / "complete").touch()
    kernel = _cached(wanted)
    if kernel is None:
        raise KernelUnavailable(f"{wanted.name}: Debian's package {PACKAGE}/{wanted.suite} holds no modules")
    return kernel


def download(suite: str, packages: Sequence[str], apt: Path) -> list[Path]:
    """A suite's packages as files in `apt`, by an apt that knows no other suite and no folder of the machine's.

    Raises KernelUnavailable with apt's last words.
    """
    (apt / "lists/partial").mkdir(parents=True)
    (apt / "archives/partial").mkdir(parents=True)
    sources = apt / "suite.sources"
    sources.write_text(stanza_for(suite), encoding="utf-8")
    (apt / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", *packages]):
        done = subprocess.run(
            ["apt-get", *options, "-q", *command], cwd=apt, capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise KernelUnavailable(f"apt-get {command[0]} for {suite}: {' '.join(reason)}")
    return sorted(apt.glob("*.deb"))


def stanza_for(suite: str) -> str:
    """The machine's own Debian package source, as a deb822 stanza, turned to `suite`."""
    release = dict(line.split("=", 1) for line in OS_RELEASE.read_text("utf-8").splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    for fields in _own_stanzas():
        if codename in fields.get("Suites", "").split() and "main" in fields.get("Components", "").split():
            turned = {**fields, "Types": "deb", "Suites": suite, "Components": "main"}
            return "".join(f"{key}: {value}\n" for key, value in turned.items())
    raise KernelUnavailable(f"no Debian package source for {codename or 'this system'} in /etc/apt; add one")


def _own_stanzas() -> list[dict[str, str]]:
    """Every package source of this machine, both file formats, as deb822 fields."""
    files = [APT_SOURCES[0], *sorted(APT_SOURCES[1].glob("*.list")), *sorted(APT_SOURCES[1].glob("*.sources"))]
    stanzas: list[dict[str, str]] = []
    for file in filter(Path.is_file, files):
        text = file.read_text(encoding="utf-8")
        stanzas += _deb822(text) if file.suffix == ".sources" else _one_line(text)
    return stanzas


def _deb822(text: str) -> list[dict[str, str]]:
    stanzas = []
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += f"\n{line}"
            elif ":" in line:
                last, value = line.split(":", 1)
                fields[last] = value.strip()
        if fields:
            stanzas.append(fields)
    return stanzas


def _one_line(text: str) -> list[dict[str, str]]:
    stanzas = []
    for line in text.splitlines():
        match = re.match(
            r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)", line
        )
        if not match:
            continue
        fields = {"URIs": match["uri"], "Suites": match["suite"], "Components": match["components"].strip()}
        for option in (match["options"] or "").split():
            if option.startswith("signed-by="):
                fields["Signed-By"] = option.removeprefix("signed-by=")
        stanzas.append(fields)
    return stanzas


def _lay_out(package: Path, library: Path, chroot: Path) -> None:
    """The chroot: the kernel, its C library, and the empty folders that it needs (without /root it panics)."""
    for name in ("bin", "lib64", "lib/x86_64-linux-gnu", "root", "dev", "proc", "tmp", "host"):
        (chroot / name).mkdir(parents=True)
    binary = next(path for path in (package / "usr/bin").iterdir() if path.name.startswith("linux"))
    shutil.copy2(binary, chroot / "bin/linux")
    for folder in (library / "lib/x86_64-linux-gnu", library / "usr/lib/x86_64-linux-gnu"):
        for file in folder.glob("*.so*"):
            shutil.copy2(file, chroot / "lib/x86_64-linux-gnu" / file.name)
    loader = "ld-linux-x86-64.so.2"
    shutil.copy2(chroot / "lib/x86_64-linux-gnu" / loader, chroot / "lib64" / loader)
