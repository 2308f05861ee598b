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
from scripts.lib.lab.stage import perform

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """0 if the scenario passed, 1 if not."""
    name, kernel, report, *options = arguments
    logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of a machine without routes
    if kernel == "native":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.umask(0o022)
    return 0 if perform(SCENARIOS[name], kernel, Path(report), keep="--keep" in options).passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
