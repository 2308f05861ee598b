"""The Rekey SAs that a member listens under: the present one of each group, and those before it while they may be used.

After a change of the KEK messages under the old one still come: parts and copies of the message that brought the new
one. Their numbers and digests are kept as long as it is, so that no message is taken twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from netaddr import IPAddress

from agent.gdoi.push_signature import RekeyVerifier
from agent.gsa.gpad import GpadEntry
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import LkhKey
from agent.gsa.sa import RekeySA
from agent.secret import Secret

__all__ = ["OLD_KEK_S", "HeldRekeySA", "WatchedGroup", "copied"]

OLD_KEK_S: Final = 300.0
"""Seconds for which a Rekey SA is kept after the next one came, unless it ends before: copies come within seconds."""

_MOST_HELD: Final = 8
"""Rekey SAs of a group that are kept at once; the oldest gives way to a key server that changes them faster."""
_MOST_RECENT: Final = 64
"""Digests of messages kept for each Rekey SA: only authentic ones, so that a flood pushes none out."""


def copied(rekey: RekeySA) -> RekeySA:
    """The same with keys of its own, so that either can be wiped."""

    def again(key: LkhKey) -> LkhKey:
        return replace(key, key=Secret(key.key.reveal()))

    return replace(rekey, key=Secret(rekey.key.reveal()), lkh=tuple(map(again, rekey.lkh)))


class HeldRekeySA:
    """A Rekey SA with what is known of its messages.

    `gcks`: the key server that gave it, itself or by a rekey. `last`: the highest sequence number seen, of an authentic
    message or of a GROUPKEY-PULL. `until`: monotonic seconds after which nothing is taken under it any more, None
    without end.
    """

    __slots__ = ("_recent", "gcks", "group", "last", "sa", "until", "verifier")

    def __init__(self, group: GroupId, gcks: Identity, rekey: RekeySA) -> None:
        """Raises ValueError for a public key that is none of its signature's."""
        self.group: Final = group
        self.gcks = gcks
        self.verifier: Final = RekeyVerifier(rekey.verify_key, rekey.signature)
        self.sa = copied(rekey)
        self.last = rekey.sequence
        self.until = rekey.expires
        self._recent: dict[bytes, None] = {}

    def seen(self, datagram: bytes) -> bool:
        """Whether that datagram, octet for octet, is one of those taken lately (RFC 6407 7.3.4)."""
        return sha256(datagram).digest() in self._recent

    def take(self, datagram: bytes, sequence: int) -> None:
        """Note an authentic message."""
        self.last = sequence
        self._recent[sha256(datagram).digest()] = None
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]

    def renew(self, rekey: RekeySA) -> None:
        """The same KEK was given again: its policy may be new; a sequence number below the known one is stale.

        One that was retired stays so: a GROUPKEY-PULL may be overtaken by the rekey that ends the KEK it gives.
        """
        before = self.sa
        self.sa = copied(rekey)
        self.last = max(self.last, rekey.sequence)
        if self.until == before.expires:
            self.until = rekey.expires
        _wipe(before)

    def retire(self, now: float) -> None:
        """Another one takes its place."""
        end = now + OLD_KEK_S
        self.until = end if self.until is None else min(self.until, end)

    def wipe(self) -> None:
        """Overwrite its keys."""
        _wipe(self.sa)


def _wipe(rekey: RekeySA) -> None:
    rekey.key.wipe()
    for key in rekey.lkh:
        key.key.wipe()


@dataclass(slots=True)
class WatchedGroup:
    """A group whose rekeys are listened for.

    `entry`: of the GPAD, for the key server `gcks`; `address`: the member's own in its latest GROUPKEY-PULL.
    `held`: Rekey SAs by SPI, oldest first; `present`: SPI of the one that the key server uses now, None after a Delete.
    `missed`: monotonic seconds at which a new Rekey SA, by its SPI, has been waited for long enough.
    """

    group: GroupId
    gcks: Identity
    entry: GpadEntry
    address: IPAddress | None
    held: dict[bytes, HeldRekeySA] = field(default_factory=dict)
    present: bytes | None = None
    missed: dict[bytes, float] = field(default_factory=dict)

    @property
    def current(self) -> HeldRekeySA | None:
        """The one that the key server uses now."""
        return self.held.get(self.present) if self.present is not None else None

    def enter(self, rekey: RekeySA, now: float) -> None:
        """Hold a Rekey SA that takes the place of the present one. Raises ValueError for an unfit public key."""
        fresh = HeldRekeySA(self.group, self.gcks, rekey)
        self._leave(rekey.spi)
        for other in self.held.values():
            other.retire(now)
        self.held[rekey.spi] = fresh
        self.present = rekey.spi
        self.missed.clear()
        while len(self.held) > _MOST_HELD:
            self._leave(next(iter(self.held)))

    def delete(self, spis: Iterable[bytes]) -> None:
        """Let go of Rekey SAs: those of them that are held, and without the present one of all that were before it."""
        for spi in tuple(spis):
            self._leave(spi)
        if self.present is None:
            self.clear()

    def admit(self, gcks: Identity, entry: GpadEntry, address: IPAddress | None, given: bytes) -> None:
        """That key server gives the group now; those that its entry does not stand for rekey it no more.

        `given`: SPI of the Rekey SA that it gave, which is the present one if that was another's.
        """
        self.gcks, self.entry, self.address = gcks, entry, address
        for spi in [spi for spi, held in self.held.items() if not entry.stands_for(held.gcks)]:
            self._leave(spi)
        if self.present is None and given in self.held:
            self.present, self.held[given].until = given, self.held[given].sa.expires

    def expire(self, now: float) -> None:
        """Let go of those that have ended."""
        for spi in [spi for spi, held in self.held.items() if held.until is not None and held.until <= now]:
            self._leave(spi)

    def clear(self) -> None:
        """Let go of all."""
        for spi in tuple(self.held):
            self._leave(spi)

    def _leave(self, spi: bytes) -> None:
        held = self.held.pop(spi, None)
        if held is not None:
            held.wipe()
        if spi == self.present:
            self.present = None
