"""One timer that is set anew: what a shell owes to the deadlines of what it drives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.clock import Clock

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` in the running loop when its instant has come; setting it again moves the instant."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._instant: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = 0.0
        self._closed = False

    def set(self, instant: float | None) -> None:
        """Ring at `instant`, in monotonic seconds, or soon when that has passed; None for not at all."""
        self._instant = None if self._closed else instant
        if self._instant is None or (self._timer is not None and self._wakes <= self._instant):
            # The loop's timer may run early, and look again: a deadline moves away with nearly every datagram.
            return
        self._stop()
        self._start(self._instant)

    def close(self) -> None:
        """Ring no more."""
        self._instant, self._closed = None, True
        self._stop()

    def _start(self, instant: float) -> None:
        self._wakes = instant
        wait_s = max(0.0, instant - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._rings)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        if self._instant is None:
            return
        if self._wakes < self._instant:
            self._start(self._instant)
            return
        self._instant = None
        self._ring()
