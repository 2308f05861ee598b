"""The lab's half that runs inside the kernel: `python -m scripts.lib.lab.inside SCENARIO KERNEL REPORT [--keep]`.

It owns the kernel's network, or a network, mount and PID namespace of its own, and undoes nothing.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.lab.scenarios import SCENARIOS
from scripts.lib.lab.stage import NATIVE, SEVERAL, perform
from scripts.lib.uml import BOOTS

__all__ = ["main"]

OUTSIDE = (NATIVE, SEVERAL)  # the inside is a process of the machine's own kernel there


def main(arguments: Sequence[str]) -> int:
    """0 if the scenario passed, 1 if not."""
    name, kernel, report, *options = arguments
    logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of a machine without routes
    if kernel in OUTSIDE:
        _memory_at("/run")
    if kernel == SEVERAL:
        # The kernels' own files: in sight of nobody else's boots, and gone with us.
        BOOTS.mkdir(parents=True, exist_ok=True)
        _memory_at(str(BOOTS))
    os.umask(0o022)
    return 0 if perform(SCENARIOS[name], kernel, Path(report), keep="--keep" in options).passed else 1


def _memory_at(folder: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
