"""Debian's stock kernels, for virtual machines: where they come from and how they are had on a Debian machine.

A kernel is the package that `linux-image-amd64` of one suite stands for. It is fetched into `.cache/kernels`, without
the drivers of hardware that no virtual machine of ours has, together with a static busybox that mounts its root file
system. Nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.kernels import CACHE, KernelUnavailable, download

__all__ = ["STOCK_KERNELS", "StockKernel", "StockSource", "named_by", "obtain_stock"]

LATEST = "linux-image-amd64"
BUSYBOX = "busybox-static"
# Folders below `kernel` with two thirds of a package's size.
NO_SUCH_HARDWARE = (
    "sound",
    "drivers/gpu",
    "drivers/hid",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
)


@dataclass(frozen=True, slots=True)
class StockSource:
    """A stock kernel by name. `name`: as `--kernel` takes it; `version`: its first two numbers; `suite`: Debian's."""

    name: str
    version: str
    suite: str


@dataclass(frozen=True, slots=True)
class StockKernel:
    """A stock kernel that is ready to boot.

    `image`: as a boot loader takes it; `modules`: folder with the modules of exactly this release, and their
    dependencies; `busybox`: a static one.
    """

    name: str
    image: Path
    modules: Path
    busybox: Path

    @property
    def release(self) -> str:
        """What `uname -r` says inside, such as `6.1.0-50-amd64`."""
        return self.modules.name


STOCK_KERNELS = {
    kernel.name: kernel
    for kernel in (
        StockSource("qemu-6.1", "6.1", "bookworm"),
        StockSource("qemu-6.12", "6.12", "trixie"),
    )
}


def obtain_stock(name: str) -> StockKernel:
    """The kernel `name` of `STOCK_KERNELS`, fetched first where needed.

    Raises KernelUnavailable if it cannot be had: not root, no Debian package source, or another version by now.
    """
    wanted = STOCK_KERNELS[name]
    kernel = _cached(wanted) or _fetch(wanted)
    if not kernel.release.startswith(f"{wanted.version}."):
        raise KernelUnavailable(
            f"{name}: Debian {wanted.suite} has {kernel.release} by now; change the table STOCK_KERNELS in {__file__}"
        )
    return kernel


def _folder(wanted: StockSource) -> Path:
    return CACHE / f"stock-{wanted.suite}"


def _cached(wanted: StockSource) -> StockKernel | None:
    return _laid_out(wanted) if (_folder(wanted) / "complete").exists() else None


def _laid_out(wanted: StockSource) -> StockKernel:
    folder = _folder(wanted)
    (modules,) = (folder / "lib/modules").iterdir()
    return StockKernel(wanted.name, folder / "vmlinuz", modules, folder / "busybox")


def _fetch(wanted: StockSource) -> StockKernel:
    """Download the suite's kernel and busybox, and keep of them what a virtual machine needs."""
    if os.geteuid() != 0:
        raise KernelUnavailable(f"{wanted.name}: run as root to fetch the kernel of Debian {wanted.suite}")
    folder = _folder(wanted)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as name:
        unpacked = Path(name, "unpacked")
        try:
            (latest,) = download(wanted.suite, (LATEST,), Path(name, "latest"))
            archives = download(wanted.suite, (_stands_for(latest), BUSYBOX), Path(name, "archives"))
        except KernelUnavailable as error:
            raise KernelUnavailable(f"{wanted.name}: {error}") from None
        for archive in archives:
            subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
        _keep(unpacked, folder)
    (folder / "complete").touch()
    return _laid_out(wanted)


def _stands_for(archive: Path) -> str:
    asked = ["dpkg-deb", "--field", str(archive), "Depends"]
    return named_by(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def named_by(depends: str) -> str:
    """The kernel's package that the one for the latest kernel depends on, which has the release in its name.

    Raises KernelUnavailable if it depends on none.
    """
    found = re.search(r"\blinux-image-\d[^\s,|(]*", depends)
    if found is None:
        raise KernelUnavailable(f"Debian's package {LATEST} depends on no kernel: {depends.strip()!r}")
    return found[0]


def _keep(unpacked: Path, folder: Path) -> None:
    """Move the kernel's image, its modules and busybox to where they stay, and note which module needs which."""
    (image,) = unpacked.glob("boot/vmlinuz-*")
    (modules,) = [*unpacked.glob("lib/modules/*"), *unpacked.glob("usr/lib/modules/*")]
    (busybox,) = [*unpacked.glob("bin/busybox"), *unpacked.glob("usr/bin/busybox")]
    for hardware in NO_SUCH_HARDWARE:
        shutil.rmtree(modules / "kernel" / hardware, ignore_errors=True)
    (folder / "lib/modules").mkdir(parents=True)
    shutil.move(image, folder / "vmlinuz")
    shutil.move(modules, folder / "lib/modules" / modules.name)
    shutil.move(busybox, folder / "busybox")
    # What was left out is asked for by nothing that stays, but depmod would say so of each symbol.
    subprocess.run(
        ["depmod", "--basedir", folder, modules.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
