"""Where a process's time goes: the library's Diffie-Hellman and signatures, system calls, the disk, our Python.

`install` puts a stopwatch around the few functions that are not ours; what a process was busy with besides is our
Python (with the ciphers and hashes of the messages, which are a call each). Stopwatches run on the processor's time of
the thread: a process that waits for its turn is not busy. The one on the disk runs on the wall clock.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["BUSY", "DISK", "PARTS", "Meter", "minus"]

DISK: Final = "disk"
"""What a process waits for the store; it is not busy meanwhile."""
BUSY: Final = "busy"
"""All that the event loop's thread does between two waits."""

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dh": (
        "agent.crypto.dh:_EcpPair.__init__",
        "agent.crypto.dh:_EcpPair.shared",
        "agent.crypto.dh:_ModpPair._power",
    ),
    "signatures": (
        "agent.crypto.signatures:PrivateKeySigner.sign",
        "agent.gdoi.isakmp.phase1_auth:verify",
        "agent.gdoi.isakmp.phase1_auth:load_public_key",
        "agent.crypto.x509:TrustStore.verify",
    ),
    "wire": ("socket:socket.sendmsg", "socket:socket.recvmsg"),
    DISK: ("agent.gcks.store:Store.grant",),
}
"""What is measured, as module:attribute."""


class Meter:
    """Stopwatches by the names of PARTS, and BUSY; in seconds since the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys((*PARTS, BUSY), 0.0)

    @classmethod
    def install(cls) -> Meter:
        """Measure this process from now on."""
        meter = cls()
        for part, places in PARTS.items():
            for place in places:
                module, _, path = place.partition(":")
                *owners, name = path.split(".")
                owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
                setattr(owner, name, meter._timed(part, getattr(owner, name)))
        meter._time_loop()
        return meter

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        seconds, clock = self.seconds, time.thread_time

        @functools.wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            began = clock()
            try:
                return call(*arguments, **named)
            finally:
                seconds[part] += clock() - began

        @functools.wraps(call)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            began = time.monotonic()
            try:
                return await call(*arguments, **named)
            finally:
                seconds[part] += time.monotonic() - began

        return awaited if inspect.iscoroutinefunction(call) else timed

    def _time_loop(self) -> None:
        seconds, clock, select = self.seconds, time.thread_time, selectors.EpollSelector.select
        woke = clock()

        def timed(selector: selectors.EpollSelector, timeout: float | None = None) -> Any:
            nonlocal woke
            seconds[BUSY] += clock() - woke
            ready = select(selector, timeout)
            woke = clock()
            return ready

        setattr(selectors.EpollSelector, "select", timed)  # noqa: B010  # mypy knows that methods are not assigned


def minus(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    """What the stopwatches ran meanwhile."""
    return {part: later[part] - earlier[part] for part in later}
