"""Run a command inside a stock kernel in a virtual machine, on this machine's own file system.

The virtual machine is an ordinary process (QEMU, which needs no help of the processor) in a mount and PID namespace of
its own. Inside, `/` is this machine's root (9p), `/dev`, `/proc`, `/sys` and `/run` are the kernel's own, and the
command's output comes out of its serial console. A machine takes some seconds to boot, and computes several times
slower than this one.
"""

from __future__ import annotations

import lzma
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.apart import run_apart
from scripts.lib.boots import Boot, BootFailed, Console, Finished, command_line, prepared
from scripts.lib.initramfs import Entry, archive
from scripts.lib.kernels import KernelUnavailable
from scripts.lib.stock import STOCK_KERNELS, StockKernel, obtain_stock

__all__ = ["BootFailed", "Finished", "boot", "command", "files_of", "obtain"]

QEMU = "qemu-system-x86_64"
ROOT_TAG = "root"
# What a stock kernel has as modules of what its root file system takes.
ROOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
# The guest is the only one that writes where it writes: it may keep what it has read. What it wrote, `sync` brings out.
ROOT_OPTIONS = "trans=virtio,version=9p2000.L,cache=loose,msize=512000"

FIRST_INIT = """#!/busybox sh
{load}
/busybox mount -t 9p -o {options} {tag} /root
/busybox mount -t devtmpfs devtmpfs /root/dev
exec /busybox switch_root /root {init}
"""


def obtain(name: str) -> StockKernel:
    """The kernel `name` of `STOCK_KERNELS`. Raises KernelUnavailable if it, or QEMU, cannot be had."""
    if shutil.which(QEMU) is None:
        raise KernelUnavailable(f"{name}: {QEMU} is not installed; as root do: apt-get install qemu-system-x86")
    return obtain_stock(name)


def boot(
    kernel: StockKernel,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    memory_mb: int = 768,
    devices: Sequence[str] = (),
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Boot `kernel`, run `argv` in the tree inside it, power off.

    `devices`: of QEMU's command line, such as `virtio-net-pci,netdev=...`. `on_line` is called with each line of the
    command's output as it comes. Raises BootFailed if the kernel dies or `timeout_s` runs out. Whatever ends this call,
    the machine is gone after it.
    """
    with prepared() as this:
        this.write_init(kernel.modules, argv, environment or {})
        initramfs = this.folder / "initramfs"
        initramfs.write_bytes(_initramfs(kernel, this))
        console = Console(on_line)
        ended = run_apart(
            command(kernel.image, initramfs, memory_mb, devices),
            timeout_s=timeout_s,
            on_line=console.take,
            extra=["--mount-proc"],
        )
        return this.finished(kernel.name, ended, console, timeout_s)


def command(image: Path, initramfs: Path, memory_mb: int, devices: Sequence[str]) -> list[str]:
    """QEMU's command line for one boot. The console is its standard output."""
    options = {
        "machine": "pc",
        "accel": "tcg,tb-size=512",
        "cpu": "max,la57=off",
        "smp": "1",
        "m": str(memory_mb),
        "display": "none",
        "monitor": "none",
        "chardev": "file,id=console,path=/dev/stdout",
        "serial": "chardev:console",
        "fsdev": "local,id=root,path=/,security_model=passthrough,multidevs=remap",
        "kernel": str(image),
        "initrd": str(initramfs),
        "append": "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off",
    }
    words = [QEMU, "-nodefaults", "-no-user-config", "-no-reboot"]
    words += [word for name, value in options.items() for word in (f"-{name}", value)]
    for device in (f"virtio-9p-pci,fsdev=root,mount_tag={ROOT_TAG}", *devices):
        words += ["-device", device]
    return words


def files_of(dependencies: str) -> list[Path]:
    """The modules to load, in order, that `modprobe --show-depends` names; what is built in needs none."""
    return [Path(found) for found in re.findall(r"^insmod (\S+)", dependencies, re.MULTILINE)]


def _initramfs(kernel: StockKernel, this: Boot) -> bytes:
    """What mounts this machine's root and goes on with the boot's init there."""
    base = kernel.modules.parents[2]
    asked = ["modprobe", "--dirname", str(base), "--set-version", kernel.release, "--show-depends", "--all"]
    said = subprocess.run([*asked, *ROOT_MODULES], capture_output=True, text=True, check=True).stdout
    files = {file.name.partition(".")[0] + ".ko": file for file in files_of(said)}
    init = FIRST_INIT.format(
        load="\n".join(f"/busybox insmod /{name}" for name in files),
        options=ROOT_OPTIONS,
        tag=ROOT_TAG,
        init=shlex.quote(str(this.init)),
    )
    return archive(
        [
            Entry.folder("dev"),
            Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
            Entry.folder("root"),
            Entry.program("busybox", kernel.busybox.read_bytes()),
            Entry.program("init", init.encode()),
            *(Entry.program(name, _module(file)) for name, file in files.items()),
        ]
    )


def _module(file: Path) -> bytes:
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content


def _run(name: str, argv: Sequence[str], **how: Any) -> Finished:
    return boot(obtain(name), argv, **how)


if __name__ == "__main__":
    sys.exit(command_line("scripts.lib.qemu", STOCK_KERNELS, _run, sys.argv[1:]))
