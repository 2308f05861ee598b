"""A clock that tests move, and an engine that does as it is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from netaddr import IPAddress

from agent.wire.endpoint import Datagram, Endpoint

HERE = Endpoint(IPAddress("192.0.2.1"), 848)
THERE = Endpoint(IPAddress("192.0.2.2"), 848)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Monotonic seconds from 0, the wall clock from 2026 on; both move only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)


class FakeEngine:
    """Sends and tells what the test queued; remembers what it was asked."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.fired: list[float] = []
        self.queue: list[Datagram] = []
        self.told: list[str] = []
        self.wakes: float | None = None
        self.on_fire: Callable[[], None] = lambda: None

    def receive(self, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        self.received.append(datagram)
        self.told.append(f"{peer} at {now:g}")
        self.queue.append(Datagram(b"answer", peer, local))

    def fire(self, now: float) -> None:
        self.fired.append(now)
        self.wakes = None
        self.on_fire()

    def outgoing(self) -> list[Datagram]:
        drained, self.queue = self.queue, []
        return drained

    def deadline(self) -> float | None:
        return self.wakes

    def events(self) -> list[str]:
        drained, self.told = self.told, []
        return drained
