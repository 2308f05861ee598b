"""Programs that the lab runs beside itself."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import LabError

__all__ = ["RunningProgram", "ip"]


def ip(*words: str, namespace: str | None = None) -> str:
    """Run iproute2's `ip`, in a network namespace if one is named; what it printed. Raises LabError if it fails."""
    command = ["ip", *(["-n", namespace] if namespace else []), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class RunningProgram:
    """A program in a namespace, its two streams in one log file."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._log = log
        self._argv = argv
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=TREE
            )

    @property
    def pid(self) -> int:
        """Its number: `ip netns exec` turns into what it runs."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text("utf-8", "replace")

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, patience_s: float = 20) -> int:
        """Ask it to end and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError(f"{' '.join(self._argv[:6])} did not stop in {patience_s:.0f} s") from None
