"""The ledger of acknowledgements: who was to answer which GROUPKEY-PUSH, and who did (RFC 8263 5, 6). Pure.

A rekey is a round: its copies have sequence numbers of their own, and an acknowledgement of any of them counts. A round
holds the KEK's key itself, so what comes late under a KEK that is deleted can be checked until the round is over.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from netaddr import IPAddress

from agent.errors import PeerError
from agent.gcks.listeners import Listener
from agent.gcks.push import Push
from agent.gdoi.push_ack import AckMessage, verify_ack
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import Acknowledgement
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["AckLedger", "AckRefused", "AckTaken", "LeafKey", "Round"]

LeafKey = Callable[[GroupId, Identity], Secret | None]
"""The key of a member's leaf in the group's key hierarchy; None where it has none."""

_OF_A_LEAF: Final = frozenset({Acknowledgement.LKH_SHA256, Acknowledgement.LKH_SHA512})
_REFUSED_KEPT: Final = 4096
"""Digests of refused datagrams, so that one sent again and again costs no cryptography; the oldest go first."""
_OVER_KEPT: Final = 4096
"""Numbers of rounds that are over, to call a late answer late."""
_MOST_TRIED: Final = 16
"""Members of one address whose leaves are tried for one acknowledgement."""


@dataclass(slots=True)
class Round:
    """One rekey that is to be acknowledged. `missing`: members expected that have not, by identity, in order."""

    group: GroupId
    awaited: Acknowledgement
    base_key: Secret
    missing: dict[Identity, Listener]
    answered: dict[Identity, Listener] = field(default_factory=dict)
    numbers: list[tuple[bytes, int]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    by_address: dict[IPAddress, list[Listener]] = field(default_factory=dict)
    by_endpoint: dict[Endpoint, Listener] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everybody answered who was expected to."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class AckTaken:
    """An acknowledgement that holds. `first`: the first of that member in this round."""

    round: Round = field(repr=False)
    identity: Identity
    sequence: int
    first: bool


@dataclass(frozen=True, slots=True)
class AckRefused:
    """One that does not count: `reason`, for the log.

    `repeated`: the very datagram was there before; no news. `late`: its round is over; that is usual, as copies that
    were under way when the last member answered are acknowledged, too.
    """

    reason: str
    group: GroupId | None = None
    identity: Identity | None = None
    repeated: bool = False
    late: bool = False


class AckLedger:
    """All rounds that are open. `leaf_of` gives the keys of acknowledgements of the kind `lkh-`.

    `counts`: acknowledgements by what came of them.
    """

    def __init__(self, leaf_of: LeafKey) -> None:
        self._leaf_of: Final = leaf_of
        self._rounds: dict[tuple[bytes, int], Round] = {}
        self._seen: set[bytes] = set()
        self._over: OrderedDict[Hashable, None] = OrderedDict()
        self._refused: OrderedDict[Hashable, None] = OrderedDict()
        self.counts: Final = Counter[str]()

    def open(self, push: Push, base_key: Secret, expected: Iterable[Listener]) -> Round:
        """Await the acknowledgements of a rekey, which has not gone out yet. Raises ValueError if none is asked for."""
        if push.awaited is None:
            raise ValueError("no acknowledgement is asked for under this KEK")
        listeners = {listener.identity: listener for listener in expected}
        opened = Round(push.group, push.awaited, base_key, listeners)
        for listener in listeners.values():
            opened.by_address.setdefault(listener.endpoint.address, []).append(listener)
            opened.by_endpoint[listener.endpoint] = listener
        self.add(opened, push)
        return opened

    def add(self, opened: Round, push: Push) -> None:
        """A copy of the rekey goes out, maybe under another number: an answer to it counts as well."""
        number = (push.kek_spi, push.sequence)
        if number not in opened.numbers:
            opened.numbers.append(number)
        self._rounds[number] = opened

    def close(self, closed: Round) -> None:
        """Nothing is awaited any more; the key is wiped."""
        for number in closed.numbers:
            self._rounds.pop(number, None)
            _remember(self._over, number, _OVER_KEPT)
        self._seen -= closed.seen
        closed.base_key.wipe()

    def receive(self, datagram: bytes, peer: Endpoint) -> AckTaken | AckRefused:
        """Take a GROUPKEY-PUSH-ACK; whatever it holds, nothing is raised. Duplicates cost no cryptography."""
        # With the sender: behind two NATs two members may have one address, and so one datagram.
        digest = sha256(str(peer).encode() + b"|" + datagram).digest()
        taken: AckTaken | AckRefused = AckRefused("the same datagram again", repeated=True)
        if digest not in self._refused and digest not in self._seen:
            taken = self._examined(datagram, digest, peer)
        if isinstance(taken, AckTaken):
            self.counts["acknowledged" if taken.first else "repeated"] += 1
        else:
            self.counts["late" if taken.late else "repeated" if taken.repeated else "refused"] += 1
        return taken

    def _examined(self, datagram: bytes, digest: bytes, peer: Endpoint) -> AckTaken | AckRefused:
        try:
            message = AckMessage.parse(datagram)
        except PeerError as error:
            return self._refuse(digest, AckRefused(f"malformed: {error}"))
        number = (message.spi, message.sequence)
        opened = self._rounds.get(number)
        if opened is None:
            if number in self._over:
                return AckRefused(f"SEQ {message.sequence}: came after the wait for it was over", late=True)
            reason = f"SEQ {message.sequence}: none is awaited under this KEK and number"
            return self._refuse(digest, AckRefused(reason))
        listener = self._author(opened, message, peer)
        if isinstance(listener, AckRefused):
            return self._refuse(digest, listener)
        opened.seen.add(digest)
        self._seen.add(digest)
        first = opened.missing.pop(listener.identity, None) is not None
        opened.answered[listener.identity] = listener
        return AckTaken(opened, listener.identity, message.sequence, first)

    def _author(self, opened: Round, message: AckMessage, peer: Endpoint) -> Listener | AckRefused:
        """Who wrote it: the member that has the ID's address, or is where it came from, and whose key it proves."""
        candidates = _candidates(opened, message, peer)
        if not candidates:
            return AckRefused(f"ID {_shown(message)} from {peer.address} is no member registered", opened.group)
        if opened.awaited in _OF_A_LEAF:
            return self._author_by_leaf(opened, message, candidates)
        if not verify_ack(message, opened.awaited, opened.base_key):
            return AckRefused("HASH does not hold under the KEK", opened.group)
        if len(candidates) > 1:
            text = f"{len(candidates)} members are at {peer.address}: ask for lkh-sha2-256 to tell them apart"
            return AckRefused(text, opened.group)
        return candidates[0]

    def _author_by_leaf(
        self, opened: Round, message: AckMessage, candidates: Sequence[Listener]
    ) -> Listener | AckRefused:
        for listener in candidates[:_MOST_TRIED]:
            leaf = self._leaf_of(opened.group, listener.identity)
            if leaf is not None and verify_ack(message, opened.awaited, leaf):
                return listener
        only = candidates[0].identity if len(candidates) == 1 else None
        return AckRefused("HASH does not hold under the member's leaf", opened.group, only)

    def _refuse(self, digest: bytes, refusal: AckRefused) -> AckRefused:
        _remember(self._refused, digest, _REFUSED_KEPT)
        return refusal


def _candidates(opened: Round, message: AckMessage, peer: Endpoint) -> Sequence[Listener]:
    """Behind a NAT a member's own address, which its ID is, is another one than we see."""
    here = opened.by_address.get(message.identity, ()) if isinstance(message.identity, IPAddress) else ()
    exact = opened.by_endpoint.get(peer)
    if exact is not None and (not here or exact in here):
        return (exact,)
    return here or opened.by_address.get(peer.address, ())


def _shown(message: AckMessage) -> str:
    return str(message.identity) if isinstance(message.identity, IPAddress) else f"0x{message.identity.hex()}"


def _remember(kept: OrderedDict[Hashable, None], key: Hashable, most: int) -> None:
    kept[key] = None
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
