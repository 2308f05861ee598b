"""Run a command in namespaces of its own, which end with it, and end it with us.

Killing one process (`unshare`) takes away all that runs in its PID namespace, whatever state that is in; and the kernel
kills that process when we die, whatever we die of.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Ended", "run_apart"]

TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")
APART = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL")

# Left unset, UML keeps the guest's memory in /dev/shm.
TEMPORARY = frozenset({"TMPDIR", "TMP", "TEMP"})


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended. `status`: its exit status; `lines`: all that it wrote; `timed_out`: it was ended by us."""

    status: int
    lines: list[str]
    timed_out: bool


def run_apart(
    argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None], extra: Sequence[str] = ()
) -> Ended:
    """Run `argv` in a mount and PID namespace of its own (`extra`: more options of unshare), in a session of its own.

    `on_line` is called with each line that it writes. Whatever ends this call, the command is gone after it.
    """
    lines: list[str] = []
    timed_out = threading.Event()
    process = subprocess.Popen(
        [*TIED_TO_US, *APART, *extra, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in TEMPORARY},
    )

    def expire() -> None:
        timed_out.set()
        _kill(process)

    timer = threading.Timer(timeout_s, expire)
    timer.start()
    try:
        with process.stdout or contextlib.nullcontext(()) as output:
            for raw in output:
                lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
                on_line(lines[-1])
        process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.wait()
    return Ended(process.returncode, lines, timed_out.is_set())


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
