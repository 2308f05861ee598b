"""Any real kernel by its name, whatever runs it: user-mode Linux as a process, a stock one in a virtual machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from scripts.lib import kernels, qemu, uml
from scripts.lib.boots import BootFailed, Finished
from scripts.lib.stock import STOCK_KERNELS

__all__ = ["NAMES", "BootFailed", "Finished", "boot", "obtain", "patience_with", "runner_of"]

NAMES: Final = (*kernels.KERNELS, *STOCK_KERNELS)


def obtain(name: str) -> str:
    """Have the kernel `name` on this machine, fetched first where needed; its release.

    Raises KernelUnavailable if it cannot be had.
    """
    return (qemu.obtain(name) if name in STOCK_KERNELS else kernels.obtain(name)).release


def boot(name: str, argv: Sequence[str], **how: Any) -> Finished:
    """Boot the kernel `name` and run `argv` inside it, as `scripts.lib.uml.boot` and `scripts.lib.qemu.boot` do.

    Raises KernelUnavailable and BootFailed.
    """
    if name in STOCK_KERNELS:
        return qemu.boot(qemu.obtain(name), argv, **how)
    return uml.boot(kernels.obtain(name), argv, **how)


def patience_with(name: str) -> int:
    """How many times longer than on a fast kernel the same may take on the kernel `name`."""
    return 3 if name in STOCK_KERNELS else 1


def runner_of(name: str) -> str:
    """The module that runs a command inside the kernel `name`: `python -m MODULE NAME COMMAND...`."""
    return "scripts.lib.qemu" if name in STOCK_KERNELS else "scripts.lib.uml"
