"""What both GDOI engines are made of: queues, the guard around peer input, cookies."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Final, Generic, TypeVar

from agent.clock import Entropy
from agent.errors import PeerError
from agent.gdoi.events import Dropped
from agent.gdoi.isakmp.constants import COOKIE_OCTETS
from agent.gdoi.isakmp.header import Header
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["Engine", "digest_of"]

E = TypeVar("E")


def digest_of(datagram: bytes) -> bytes:
    """What a datagram is recognised by when it comes again."""
    return hashlib.sha256(datagram).digest()


class Engine(ABC, Generic[E]):
    """The five calls of a sans-IO engine (docs/architecture.md, Engines), but for what a role does in them."""

    def __init__(self, entropy: Entropy, utc: Callable[[], datetime]) -> None:
        self._entropy: Final = entropy
        self._utc: Final = utc
        self._outgoing: list[Datagram] = []
        self._events: list[E | Dropped] = []

    def receive(self, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Take a datagram that came from `peer` to `local`. Raises nothing: what is refused is reported as Dropped."""
        try:
            self._take(Header.parse(datagram), datagram, peer, local, now)
        except PeerError as error:
            self._events.append(Dropped(peer, str(error)))

    @abstractmethod
    def fire(self, now: float) -> None:
        """Do what is due by now: retransmissions, and the end of what waited too long."""

    @abstractmethod
    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""

    def outgoing(self) -> list[Datagram]:
        """Drain the datagrams to send, in order."""
        drained, self._outgoing = self._outgoing, []
        return drained

    def events(self) -> list[E | Dropped]:
        """Drain what happened, in order."""
        drained, self._events = self._events, []
        return drained

    @abstractmethod
    def _take(self, header: Header, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Take a datagram whose header parses. Raises PeerError."""

    def _send(self, payload: bytes, to: Endpoint, source: Endpoint) -> None:
        self._outgoing.append(Datagram(payload, to, source))

    def _cookie(self, peer: Endpoint, local: Endpoint, now: float) -> bytes:
        """A cookie that hangs on the parties, the time and a fresh secret (RFC 2408 2.5.3)."""
        seed = f"{peer} {local} {now}".encode() + self._entropy.octets(16)
        return hashlib.sha256(seed).digest()[:COOKIE_OCTETS]
