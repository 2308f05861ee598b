"""The shell around an engine: feed, send, drain events, re-arm one timer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from agent.clock import Clock
from agent.service.alarm import Alarm
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["Engine", "Pump"]

Event_co = TypeVar("Event_co", covariant=True)
Event = TypeVar("Event")


class Engine(Protocol[Event_co]):
    """A sans-IO protocol engine, as docs/architecture.md has its five calls."""

    def receive(self, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Take a datagram; whatever it holds, nothing is raised."""

    def fire(self, now: float) -> None:
        """Do what is due at `now`."""

    def outgoing(self) -> Iterable[Datagram]:
        """Drain the datagrams to send."""

    def deadline(self) -> float | None:
        """When `fire` wants to be called next, in monotonic seconds."""

    def events(self) -> Iterable[Event_co]:
        """Drain what happened."""


class Pump(Generic[Event]):
    """Drives one engine. After any call on the engine from outside, call `turn`.

    `send` takes the engine's datagrams; `on_event` takes its events, may call the engine, and must not wait:
    work that waits goes to a task, which calls `turn` when it has told the engine. `prepare`: called when everything
    is sent, for what an engine can compute ahead while its peer is busy.
    """

    def __init__(
        self,
        engine: Engine[Event],
        send: Callable[[Datagram], None],
        on_event: Callable[[Event], None],
        clock: Clock,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._send = send
        self._on_event = on_event
        self._prepare = prepare
        self._clock = clock
        self._alarm = Alarm(clock, self._fire)
        self._turning = False
        self._closed = False

    def feed(self, datagram: bytes, peer: Endpoint, local: Endpoint) -> None:
        """Hand a datagram to the engine and deal with what comes of it."""
        if not self._closed:
            self._engine.receive(datagram, peer, local, self._clock.monotonic())
            self.turn()

    def turn(self) -> None:
        """Drain datagrams, then events, until the engine is quiet; then re-arm the timer.

        Datagrams first: the peer works on while what happened is logged and noted here.
        """
        if self._turning or self._closed:
            # An event's handler called the engine and then us: the loop below sees what came of it.
            return
        self._turning = True
        try:
            while self._drain():
                pass
            if self._prepare is not None:
                self._prepare()
        finally:
            self._turning = False
        self._alarm.set(self._engine.deadline())

    def close(self) -> None:
        """Send what is still to be sent, then stop the timer; no event is handled any more."""
        self._closed = True
        for datagram in self._engine.outgoing():
            self._send(datagram)
        self._alarm.close()

    def _drain(self) -> bool:
        busy = False
        for datagram in self._engine.outgoing():
            busy = True
            self._send(datagram)
        for event in self._engine.events():
            busy = True
            self._on_event(event)
        return busy

    def _fire(self) -> None:
        self._engine.fire(self._clock.monotonic())
        self.turn()
