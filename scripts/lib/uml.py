"""Run a command inside a user-mode Linux kernel, on this machine's own file system.

The kernel is an ordinary process. It runs in a mount and PID namespace of its own, so killing one process takes all of
it away, whatever state it is in. Inside, `/` is this machine's root (hostfs), `/run` is fresh memory, and the
command's output comes out of the kernel's console. A kernel's exit status is not its init's, so init leaves the
command's status in a file.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.apart import run_apart
from scripts.lib.boots import BOOTS, BootFailed, Console, Finished, command_line, prepared
from scripts.lib.kernels import KERNELS, Kernel, obtain

__all__ = ["BOOTS", "BootFailed", "Finished", "boot"]

# The chroot sees the whole machine under /host; its own /dev and /tmp are where UML puts the guest's memory.
IN_CHROOT = """
mount --rbind / {chroot}/host
mount --bind /dev {chroot}/dev
mount -t proc proc {chroot}/proc
mount -t tmpfs tmpfs {chroot}/tmp
exec chroot {chroot} /bin/linux rootflags=/host "$@"
"""


def boot(
    kernel: Kernel,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    memory_mb: int = 768,
    devices: Sequence[str] = (),
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Boot `kernel`, run `argv` in the tree inside it, power off.

    `devices`: of the kernel's command line, such as `vec0:transport=tap,...`. `on_line` is called with each line of the
    command's output as it comes. Raises BootFailed if the kernel dies or `timeout_s` runs out. Whatever ends this call,
    the kernel is gone after it.
    """
    with prepared() as this:
        this.write_init(kernel.modules, argv, environment or {})
        console = Console(on_line)
        ended = run_apart(
            _command(kernel, this.name, this.init, memory_mb, devices),
            timeout_s=timeout_s,
            on_line=console.take,
            extra=["--mount-proc"],
        )
        return this.finished(kernel.name, ended, console, timeout_s)


def _command(kernel: Kernel, umid: str, init: Path, memory_mb: int, devices: Sequence[str]) -> list[str]:
    """The kernel's command line, to be run in a mount namespace of its own."""
    options = [
        f"mem={memory_mb}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rw",
        f"init={init}",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        "loglevel=1",
        f"umid={umid}",
        *devices,
    ]
    if kernel.chroot is None:
        return [str(kernel.binary), "rootflags=/", f"uml_dir={init.parent}/", *options]
    script = IN_CHROOT.format(chroot=shlex.quote(str(kernel.chroot)))
    return ["sh", "-e", "-c", script, "sh", "uml_dir=/tmp/", *options]


def _run(name: str, argv: Sequence[str], **how: Any) -> Finished:
    return boot(obtain(name), argv, **how)


if __name__ == "__main__":
    sys.exit(command_line("scripts.lib.uml", KERNELS, _run, sys.argv[1:]))
