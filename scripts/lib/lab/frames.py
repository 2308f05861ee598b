"""Sends frames as they are, at a steady rate: `python frames.py INTERFACE FILE RATE [COUNT]`.

FILE has a frame a line, in hex. They go out in turn, again and again, until SIGTERM or COUNT have left; then it prints
how many did, as JSON. It needs nothing but Python, and to be root.
"""

from __future__ import annotations

import itertools
import json
import signal
import socket
import sys
import time
from pathlib import Path

__all__ = ["main"]

BURST_S = 0.02  # a sleep for each frame would take longer than the frame


def main(interface: str, file: str, rate_pps: float, count: float = float("inf")) -> None:
    """Send."""
    frames = itertools.cycle([bytes.fromhex(line) for line in Path(file).read_text("ascii").split()])
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    sent, failed, began = 0, 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        while not stopping and sent < count:
            due = min(count, (time.monotonic() - began) * rate_pps)
            while sent < due and not stopping:
                try:
                    wire.send(next(frames))
                except OSError:
                    failed += 1
                sent += 1
            time.sleep(BURST_S)
    seconds = time.monotonic() - began
    print(json.dumps({"sent": sent - failed, "failed": failed, "seconds": round(seconds, 3)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), *map(float, sys.argv[4:5]))
