"""Phase 1 exchanges under way at a key server, bounded in number, per address and in time (RFC 6407 7.2.5)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from netaddr import IPAddress

from agent.errors import Unexpected
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import COOKIE_OCTETS
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_exchange import PhaseOneExchange
from agent.gdoi.traversal import Traversal
from agent.wire.endpoint import Endpoint

__all__ = ["AMPLIFICATION", "MAX_REFUSED", "MAX_RESENDS", "HalfOpen", "HalfOpenTable", "Rate", "Refusals"]

MAX_RESENDS: Final = 8
"""Times one reply is sent again: more than a member's retries, and an end to being used as an echo."""
MAX_REFUSED: Final = 4
"""Different final messages that one exchange may fail with: each costs us a signature check."""
AMPLIFICATION: Final = 3
"""Octets sent, at most, for each that came from a peer that has not shown that it receives what we send."""
_SITE_FACTOR: Final = 8
"""An IPv6 /64 may be one host with addresses at will, or a whole LAN of members."""

Place: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class HalfOpen:
    """One exchange. `began`: monotonic seconds. `taken`: digest of the message answered last, by `reply`.

    `received`, `sent`: octets so far. `refused`: digests of final messages that failed; `trouble`: what was said of
    them, and is to be said at the end if nothing better comes; `hint`: what to say then where there is no trouble.
    """

    mode: PhaseOneExchange
    traversal: Traversal
    path: Path
    began: float
    taken: bytes = b""
    reply: bytes = b""
    resends: int = 0
    received: int = 0
    sent: int = 0
    refused: set[bytes] = field(default_factory=set)
    trouble: tuple[FailureCause, str] | None = None
    hint: tuple[FailureCause, str] | None = None

    def may_send(self, octets: int) -> bool:
        """Whether so many octets more are in proportion to what came; anything is, once the peer is proven to be there.

        The first reply always is: Aggressive Mode's holds certificates, and how many go out is bounded by its rate.
        """
        return self.mode.proven or not self.sent or self.sent + octets <= AMPLIFICATION * self.received


class HalfOpenTable:
    """Exchanges by initiator cookie and peer, and by both cookies; oldest first."""

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self._limit: Final = limit
        self._limit_per_address: Final = limit_per_address
        self._entries: OrderedDict[tuple[bytes, Endpoint], HalfOpen] = OrderedDict()
        self._begun_at: dict[bytes, tuple[bytes, Endpoint]] = {}
        self._places: Counter[Place] = Counter()
        self._unproven: Final = _Crowd()

    def __len__(self) -> int:
        return len(self._entries)

    def giving_way(self, address: IPAddress) -> HalfOpen | None:
        """What to let go so that one exchange more of `address` passes no limit, None where there is room.

        It is the oldest whose peer has not shown that it receives what we send: of that address where it has its
        share, else of the one that has most. Forged addresses take the places of each other, not of members.
        Raises Unexpected, without notify, when there is none.
        """
        place = _place(address)
        share = self._limit_per_address * (_SITE_FACTOR if address.version == 6 else 1)
        if self._places[place] >= share:
            return _present(self._unproven.oldest_of(place), f"{share} Phase 1 exchanges of {_name(address)}")
        if len(self._entries) >= self._limit:
            return _present(self._unproven.oldest_of_the_fullest(), f"{self._limit} Phase 1 exchanges")
        return None

    def add(self, entry: HalfOpen) -> None:
        """Take an exchange in; ask `giving_way` first."""
        key = entry.mode.cookies[:COOKIE_OCTETS], entry.path.peer
        self._entries[key] = entry
        self._begun_at[entry.mode.cookies] = key
        place = _place(entry.path.peer.address)
        self._places[place] += 1
        if not entry.mode.proven:
            self._unproven.add(place, entry)

    def proved(self, entry: HalfOpen) -> None:
        """Note that the peer of an exchange has shown that it receives: it gives way to nobody any more."""
        self._unproven.discard(_place(self._begun_at[entry.mode.cookies][1].address), entry)

    def get(self, initiator_cookie: bytes, peer: Endpoint) -> HalfOpen | None:
        """The exchange that a peer began with that initiator cookie."""
        return self._entries.get((initiator_cookie, peer))

    def find(self, cookies: bytes) -> HalfOpen | None:
        """The exchange of both cookies, wherever its peer is by now."""
        key = self._begun_at.get(cookies)
        return self._entries[key] if key is not None else None

    def remove(self, entry: HalfOpen) -> None:
        """Let an exchange go."""
        key = self._begun_at.pop(entry.mode.cookies)
        del self._entries[key]
        place = _place(key[1].address)
        self._unproven.discard(place, entry)
        self._places[place] -= 1
        if not self._places[place]:
            del self._places[place]

    def oldest(self) -> HalfOpen | None:
        """The exchange that began first."""
        return next(iter(self._entries.values()), None)


class _Crowd:
    """Exchanges by place, oldest first, and the places by how many they have.

    Which place has most is known without a look at all of them: a flood asks that with every datagram.
    """

    def __init__(self) -> None:
        self._of_place: dict[Place, OrderedDict[bytes, HalfOpen]] = {}
        self._places: dict[int, OrderedDict[Place, None]] = {}
        self._most = 0

    def add(self, place: Place, entry: HalfOpen) -> None:
        """Take an exchange in."""
        own = self._of_place.setdefault(place, OrderedDict())
        own[entry.mode.cookies] = entry
        self._resize(place, len(own) - 1, len(own))

    def discard(self, place: Place, entry: HalfOpen) -> None:
        """Let an exchange go, if it is there."""
        own = self._of_place.get(place, OrderedDict())
        if own.pop(entry.mode.cookies, None) is None:
            return
        self._resize(place, len(own) + 1, len(own))
        if not own:
            del self._of_place[place]

    def oldest_of(self, place: Place) -> HalfOpen | None:
        """The first one of a place."""
        return next(iter(self._of_place.get(place, OrderedDict()).values()), None)

    def oldest_of_the_fullest(self) -> HalfOpen | None:
        """The first one of the place that has most."""
        place = next(iter(self._places.get(self._most, OrderedDict())), None)
        return self.oldest_of(place) if place is not None else None

    def _resize(self, place: Place, before: int, after: int) -> None:
        if before:
            del self._places[before][place]
            if not self._places[before]:
                del self._places[before]
        if after:
            self._places.setdefault(after, OrderedDict())[place] = None
        # Sizes change by one: where the fullest place was the only one so full, it is the fullest still.
        if after > self._most or self._most not in self._places:
            self._most = after


def _present(entry: HalfOpen | None, what: str) -> HalfOpen:
    if entry is None:
        raise Unexpected(f"{what} are under way already", notify=0)
    return entry


def _place(address: IPAddress) -> Place:
    """What counts as one address: of IPv6 the /64."""
    value = int(address)
    return (4, value) if address.version == 4 else (6, value >> 64)


def _name(address: IPAddress) -> str:
    return str(address) if address.version == 4 else f"{address}/64"


class Rate:
    """So many a second on average, and that many at once (a token bucket)."""

    def __init__(self, per_s: float) -> None:
        self._per_s: Final = per_s
        self._tokens = max(per_s, 1.0)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is within the rate; counts it then."""
        full = max(self._per_s, 1.0)
        self._tokens = min(full, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


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
