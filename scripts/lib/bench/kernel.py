"""A benchmark's way into a kernel: the inside runs there, tells how far it is, and leaves its findings in a file."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kernels import TREE, obtain
from scripts.lib.uml import boot

__all__ = ["BenchmarkBroke", "leave", "run_inside", "tell"]

STEP = "@bench "
"""Opens a console line by which the inside tells the outside how far it is."""
TIMEOUT_S = 1800
MEMORY_MB = 1536


class BenchmarkBroke(Exception):
    """The inside ended before it had measured everything; the text has its last words."""


def tell(step: str) -> None:
    """From the inside: what is done now."""
    print(f"{STEP}{step}", flush=True)


def leave(content: Any, file: Path) -> None:
    """From the inside: the findings, as JSON."""
    file.write_text(json.dumps(content), encoding="utf-8")


def run_inside(kernel: str, module: str, arguments: Sequence[str], on_step: Callable[[str], None]) -> Any:
    """Boot `kernel` and run `python -m module FILE arguments...` there; what it left in FILE.

    Raises KernelUnavailable, BootFailed, and BenchmarkBroke when it left nothing.
    """
    cache = TREE / ".cache"
    cache.mkdir(exist_ok=True)
    said: list[str] = []

    def on_line(line: str) -> None:
        if line.startswith(STEP):
            on_step(line.removeprefix(STEP))
        elif line.strip():
            said.append(line)

    # In the checkout, because a UML kernel's /tmp and /run are its own.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache) as folder:
        file = Path(folder) / "findings.json"
        argv = [sys.executable, "-m", module, str(file), *arguments]
        boot(obtain(kernel), argv, timeout_s=TIMEOUT_S, memory_mb=MEMORY_MB, on_line=on_line)
        if not file.exists():
            raise BenchmarkBroke("\n".join(said[-15:]) or "it ended without a word")
        return json.loads(file.read_text("utf-8"))
