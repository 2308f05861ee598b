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
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def set(self, instant: float | None) -> None:
        """Ring at `instant`, in monotonic seconds, or soon when that has passed; None for not at all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if instant is not None and not self._closed:
            wait_s = max(0.0, instant - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._rings)

    def close(self) -> None:
        """Ring no more."""
        self.set(None)
        self._closed = True

    def _rings(self) -> None:
        self._timer = None
        self._ring()
