"""iproute2, the independent reader and writer of the SAD and SPD: this machine's own, or its suite's backport.

`ip xfrm` learned to read and write XFRMA_SA_DIR in 6.11. Where the machine's is older (Debian 12 has 6.1), the
backport is unpacked into `.cache/iproute2`: nothing is installed, and the libraries that it wants are those of the
machine's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.kernels import OS_RELEASE, TREE, KernelUnavailable, download

__all__ = ["WANTED", "IpCommand", "IpCommandUnavailable", "find", "obtain"]

CACHE = TREE / ".cache" / "iproute2"
WANTED = (6, 11)
"""The first version with `dir` (XFRMA_SA_DIR)."""


class IpCommandUnavailable(Exception):
    """iproute2 of the wanted version cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class IpCommand:
    """An `ip` program. `path`: of the executable; `version`: its first two numbers."""

    path: Path
    version: tuple[int, int]

    @property
    def suffices(self) -> bool:
        """Whether it is of the wanted version or newer."""
        return self.version >= WANTED


def find() -> IpCommand | None:
    """The newest `ip` on this machine, unpacked ones included; None where there is none. Nothing is fetched."""
    own = shutil.which("ip")
    candidates = [CACHE / "bin/ip", CACHE / "sbin/ip", CACHE / "usr/bin/ip", *([Path(own)] if own else [])]
    found = [IpCommand(path, version) for path in candidates if (version := _version(path))]
    return max(found, key=lambda command: command.version, default=None)


def obtain() -> IpCommand:
    """An `ip` of the wanted version, fetched first where needed. Raises IpCommandUnavailable."""
    command = find()
    if command is not None and command.suffices:
        return command
    if os.geteuid() != 0:
        raise IpCommandUnavailable("iproute2: run as root to fetch the backport")
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=CACHE) as name:
        try:
            archives = download(f"{_codename()}-backports", ("iproute2",), Path(name))
        except KernelUnavailable as error:
            raise IpCommandUnavailable(f"iproute2: {error}") from None
        for archive in archives:
            subprocess.run(["dpkg-deb", "--extract", archive, CACHE], check=True)
    command = find()
    if command is None or not command.suffices:
        raise IpCommandUnavailable(f"iproute2: no version {WANTED[0]}.{WANTED[1]} or later, and none in backports")
    return command


def _version(path: Path) -> tuple[int, int] | None:
    """What `ip -V` says; None where it is not there or does not run."""
    try:
        said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    numbers = re.search(r"iproute2-(\d+)\.(\d+)", said)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _codename() -> str:
    found = re.search(r'^VERSION_CODENAME="?(\w+)', OS_RELEASE.read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "stable"


if __name__ == "__main__":
    try:
        ip = obtain()
    except IpCommandUnavailable as unavailable:
        sys.exit(str(unavailable))
    sys.stdout.write(f"{ip.path} {ip.version[0]}.{ip.version[1]}\n")
