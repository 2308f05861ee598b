"""Phase 1 exchanges under way at a key server, bounded in number, per address and in time (RFC 6407 7.2.5)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from netaddr import IPAddress

from agent.errors import Unexpected
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.phase1 import MainMode
from agent.gdoi.isakmp.phase1_state import Stage
from agent.wire.endpoint import Endpoint

__all__ = ["MAX_REFUSED", "MAX_RESENDS", "HalfOpen", "HalfOpenTable", "Refusals"]

MAX_RESENDS: Final = 8
"""Times one reply is sent again: more than a member's retries, and an end to being used as an echo."""
MAX_REFUSED: Final = 4
"""Different final messages that one exchange may fail with: each costs us a signature check."""


@dataclass(slots=True)
class HalfOpen:
    """One exchange. `began`: monotonic seconds. `taken`: digest of the message answered last, by `reply`.

    `refused`: digests of final messages that failed; `trouble`: what to say if nothing better comes.
    """

    mode: MainMode
    peer: Endpoint
    local: Endpoint
    began: float
    taken: bytes = b""
    reply: bytes = b""
    resends: int = 0
    refused: set[bytes] = field(default_factory=set)
    trouble: tuple[FailureCause, str] | None = None


class HalfOpenTable:
    """Exchanges by initiator cookie and peer, oldest first."""

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self._limit: Final = limit
        self._limit_per_address: Final = limit_per_address
        self._entries: OrderedDict[tuple[bytes, Endpoint], HalfOpen] = OrderedDict()
        self._addresses: Counter[IPAddress] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def giving_way(self, address: IPAddress) -> HalfOpen | None:
        """What to let go so that one exchange more of `address` passes no limit, None where there is room.

        It is the oldest whose peer has not shown that it receives what we send: forged addresses take the places of
        each other, not of members. Raises Unexpected, without notify, when there is none.
        """
        if self._addresses[address] >= self._limit_per_address:
            of_address = (entry for entry in self._entries.values() if entry.peer.address == address)
            return _oldest_unproven(of_address, f"{self._limit_per_address} Phase 1 exchanges of {address}")
        if len(self._entries) >= self._limit:
            return _oldest_unproven(self._entries.values(), f"{self._limit} Phase 1 exchanges")
        return None

    def add(self, entry: HalfOpen) -> None:
        """Take an exchange in; ask `giving_way` first."""
        self._entries[entry.mode.cookies[:8], entry.peer] = entry
        self._addresses[entry.peer.address] += 1

    def get(self, initiator_cookie: bytes, peer: Endpoint) -> HalfOpen | None:
        """The exchange of that initiator cookie with that peer."""
        return self._entries.get((initiator_cookie, peer))

    def remove(self, entry: HalfOpen) -> None:
        """Let an exchange go."""
        del self._entries[entry.mode.cookies[:8], entry.peer]
        self._addresses[entry.peer.address] -= 1
        if not self._addresses[entry.peer.address]:
            del self._addresses[entry.peer.address]

    def oldest(self) -> HalfOpen | None:
        """The exchange that began first."""
        return next(iter(self._entries.values()), None)


def _oldest_unproven(entries: Iterable[HalfOpen], what: str) -> HalfOpen:
    for entry in entries:
        if entry.mode.stage is Stage.SA_SENT:
            return entry
    raise Unexpected(f"{what} are under way already", notify=0)


class Refusals:
    """First messages that were refused: no state is made, but each is reported once and answered only so often.

    A bounded memory; when it overflows the oldest is forgotten, which costs an event more and nothing else.
    """

    _LIMIT: Final = 256

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, int] = OrderedDict()

    def count(self, digest: bytes) -> int:
        """How often this message was refused before; counts this time."""
        before = self._answers.pop(digest, 0)
        self._answers[digest] = before + 1
        if len(self._answers) > self._LIMIT:
            self._answers.popitem(last=False)
        return before
