"""What both GDOI engines are made of: what goes out, the guard around peer input, cookies.

A datagram on the NAT traversal port loses its marker here, and fragments are put together, before a role sees it.
"""

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
from agent.gdoi.isakmp.fragment import Reassembler, is_fragment, split
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.natt import Path, is_keepalive, unmark
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["Engine", "Outbox", "digest_of"]

E = TypeVar("E")


def digest_of(datagram: bytes) -> bytes:
    """What a datagram is recognised by when it comes again."""
    return hashlib.sha256(datagram).digest()


class Outbox(Generic[E]):
    """What an engine hands out. `fragment_octets`: largest IP packet to a peer that puts fragments together."""

    def __init__(self, fragment_octets: int) -> None:
        self._fragment_octets: Final = fragment_octets
        self._datagrams: list[Datagram] = []
        self._events: list[E | Dropped] = []

    def send(self, message: bytes, path: Path, *, fragments: bool = False) -> None:
        """Send an ISAKMP message. `fragments`: whether the peer announced that it puts them together."""
        if not fragments:
            self._datagrams.append(path.datagram(message))
            return
        pieces = split(message, self._fragment_octets - path.overhead_octets)
        self._datagrams.extend(path.datagram(piece) for piece in pieces)

    def keep_alive(self, path: Path) -> None:
        """Send a NAT-keepalive."""
        self._datagrams.append(path.keepalive())

    def tell(self, event: E | Dropped) -> None:
        """Tell the shell."""
        self._events.append(event)

    def datagrams(self) -> list[Datagram]:
        """Drain the datagrams to send, in order."""
        drained, self._datagrams = self._datagrams, []
        return drained

    def events(self) -> list[E | Dropped]:
        """Drain what happened, in order."""
        drained, self._events = self._events, []
        return drained


class Engine(ABC, Generic[E]):
    """The five calls of a sans-IO engine (docs/architecture.md, Engines), but for what a role does in them.

    `natt_port`: our UDP port where messages stand behind the non-ESP marker, None where there is none.
    """

    def __init__(
        self, entropy: Entropy, utc: Callable[[], datetime], *, natt_port: int | None, fragment_octets: int
    ) -> None:
        self._entropy: Final = entropy
        self._utc: Final = utc
        self._natt_port: Final = natt_port
        self._out: Final = Outbox[E](fragment_octets)
        self._fragments: Final = Reassembler()

    def receive(self, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Take a datagram that came from `peer` to `local`. Raises nothing: what is refused is reported as Dropped."""
        path = Path(peer, local, marked=local.port == self._natt_port)
        if path.marked and is_keepalive(datagram):
            return
        try:
            message = unmark(datagram) if path.marked else datagram
            header = Header.parse(message)
            if is_fragment(header):
                whole = self._put_together(header, message, path, now)
                if whole is None:
                    return
                header, message = Header.parse(whole), whole
            self._take(header, message, path, now)
        except PeerError as error:
            self._out.tell(Dropped(peer, str(error)))

    @abstractmethod
    def fire(self, now: float) -> None:
        """Do what is due by now: retransmissions, and the end of what waited too long."""

    @abstractmethod
    def deadline(self) -> float | None:
        """Monotonic seconds at which `fire` wants to be called, None while nothing waits."""

    def prepare(self) -> None:  # not every role has something to do
        """Compute ahead what the next datagram will want. For when everything is sent; nothing depends on it."""

    def outgoing(self) -> list[Datagram]:
        """Drain the datagrams to send, in order."""
        return self._out.datagrams()

    def events(self) -> list[E | Dropped]:
        """Drain what happened, in order."""
        return self._out.events()

    @abstractmethod
    def _take(self, header: Header, message: bytes, path: Path, now: float) -> None:
        """Take a message whose header parses. Raises PeerError."""

    @abstractmethod
    def _require_known(self, header: Header, path: Path) -> None:
        """Raise Unexpected unless a fragment's cookies are those of an exchange with a peer that shows it receives."""

    def _put_together(self, header: Header, fragment: bytes, path: Path, now: float) -> bytes | None:
        self._require_known(header, path)
        return self._fragments.take(header, fragment, path.peer, now)

    def _cookie(self, peer: Endpoint, local: Endpoint, now: float) -> bytes:
        """A cookie that hangs on the parties, the time and a fresh secret (RFC 2408 2.5.3)."""
        seed = f"{peer} {local} {now}".encode() + self._entropy.octets(16)
        return hashlib.sha256(seed).digest()[:COOKIE_OCTETS]
