"""How long the pure layers of xfrm take to import, in an interpreter of their own.

These are the layers that need no socket: numbers, the uapi's tables, values, requests, events, and conversations
without I/O. Their bytecode is there already, as in an installed package.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.lib.kernels import TREE

__all__ = ["PURE", "import_seconds"]

PURE = ("xfrm", "xfrm.window", "xfrm.dump")
"""Together they import all that is pure; what else the package has belongs to sockets or to the command."""
MEASURE = """
import sys, time
began = time.perf_counter()
for name in sys.argv[1:]:
    __import__(name)
print(time.perf_counter() - began)
"""


def import_seconds(times: int) -> list[float]:
    """What a fresh interpreter takes to import them, its own start not counted; measured so many times."""
    with _bytecode() as environment:
        argv = [sys.executable, "-c", MEASURE, *PURE]
        _, *measured = (
            subprocess.run(argv, cwd=TREE, env=environment, capture_output=True, text=True, check=True).stdout
            for _ in range(1 + times)
        )
    return [float(seconds) for seconds in measured]


@contextmanager
def _bytecode() -> Iterator[dict[str, str]]:
    """An environment in which bytecode is kept, also where the caller's forbids that."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield environment
