"""GROUPKEY-PUSH as a group member takes it (RFC 6407 4.4, RFC 8263 4), for all groups of a host.

Sans-IO, like the engines of registration: `receive` takes a datagram and raises nothing, `events` says what became of
it. In this order, and each step only when the one before held: cookies, a datagram seen before, form of the header,
decryption, chain of payloads, sequence number, signature. Nothing changes before the signature holds; then the number
counts as used, whatever the message says. What it says is read as a whole, held against the GPAD as a whole, and taken
as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from netaddr import IPAddress

from agent.clock import Entropy
from agent.errors import LocalError, NotAuthenticated, PeerError, Replayed, Unexpected
from agent.gdoi.delete import ANY_REKEY_SPI
from agent.gdoi.push_ack import base_key_of, build_ack
from agent.gdoi.push_open import OpenedPush, cookies_of, open_push
from agent.gdoi.rekey_acks import OwedAck, OwedAcks
from agent.gdoi.rekey_content import RekeyContent, content_of
from agent.gdoi.rekey_events import Excluded, RekeyDropped, Rekeyed, RekeyEvent, RekeyRefused, SequenceGap
from agent.gdoi.rekey_held import HeldRekeySA, WatchedGroup, copied
from agent.gdoi.tolerances import Tolerances
from agent.gsa.gpad import GpadEntry
from agent.gsa.identity import GroupId
from agent.gsa.rekey import Acknowledgement
from agent.gsa.sa import GroupSA, RekeySA
from agent.gsa.update import GsaUpdate
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["EXCLUSION_S", "RekeyMember"]

EXCLUSION_S: Final = 10.0
"""Seconds after the first message of a new KEK without keys for this member until it counts as excluded.

The updates of a key hierarchy may be spread over several messages, and each is sent more than once.
"""

_STANDARD: Final = Tolerances()
_UNSPECIFIED: Final = {4: IPAddress("0.0.0.0"), 6: IPAddress("::")}  # noqa: S104  # a source the kernel chooses


def _standard(_: GroupId) -> Tolerances:
    return _STANDARD


class RekeyMember:
    """The engine. One thread at a time; times are monotonic seconds."""

    def __init__(
        self,
        entropy: Entropy,
        *,
        ack_jitter_s: float = 2.0,
        tolerances_of: Callable[[GroupId], Tolerances] = _standard,
    ) -> None:
        """`ack_jitter_s`: the most by which the answer to a multicast message is put off, 0 to 5 seconds.

        `tolerances_of`: of the key servers of a group. Raises ValueError for another jitter.
        """
        self._tolerances_of: Final = tolerances_of
        self._acks: Final = OwedAcks(entropy, ack_jitter_s)
        self._groups: dict[GroupId, WatchedGroup] = {}
        self._by_spi: dict[bytes, list[tuple[WatchedGroup, HeldRekeySA]]] = {}
        self._outgoing: list[Datagram] = []
        self._events: list[RekeyEvent] = []

    def watch(self, group_sa: GroupSA, *, entry: GpadEntry, address: IPAddress | None, now: float) -> None:
        """Listen for rekeys of a group as a registration or a rekey left it; nothing changes when asked again.

        `entry`: of the GPAD, for the key server that gave it; `address`: the member's own in its latest GROUPKEY-PULL,
        by which an acknowledgement names it. Without a Rekey SA nothing is listened for; what is owed stays owed.
        Raises ValueError for a public key that is none of the Rekey SA's signature.
        """
        rekey = group_sa.rekey
        if rekey is None:
            self._leave(group_sa.group)
            return
        group = self._groups.get(group_sa.group)
        if group is None:
            group = WatchedGroup(group_sa.group, group_sa.gcks, entry, address)
            self._groups[group.group] = group
        held = group.held.get(rekey.spi)
        same = held is not None and (held.sa.key, held.sa.verify_key) == (rekey.key, rekey.verify_key)
        if held is not None and same:
            held.gcks = group_sa.gcks
            held.renew(rekey)
            group.missed.pop(rekey.spi, None)
        group.admit(group_sa.gcks, entry, address, rekey.spi)
        if not same:
            group.enter(rekey, now)
        self._reindex()

    def forget(self, group: GroupId) -> None:
        """Listen no more for a group, and owe it nothing."""
        self._leave(group)
        self._acks.drop(group)

    def sequence(self, group: GroupId) -> int | None:
        """The last sequence number under the present Rekey SA of a group, None when there is none."""
        watched = self._groups.get(group)
        held = watched.current if watched is not None else None
        return held.last if held is not None else None

    def acknowledge(self, group: GroupId, sequence: int, now: float) -> None:
        """A rekey is carried out: to be called once for each, in their order. It is answered if that was asked for.

        What is carried out more than five seconds after it came is not answered any more (RFC 8263 6).
        """
        self._acks.release(group, sequence, now)
        self._outgoing += self._acks.take(now)

    def receive(self, datagram: bytes, peer: Endpoint, local: Endpoint, now: float) -> None:
        """Take a datagram. `local`: the address that it was sent to, of a group or our own, and the port."""
        found = self._by_spi.get(cookies_of(datagram), ())
        dropped = RekeyDropped(None, peer, "its cookies name no Rekey SA that is held")
        for group, held in found:
            try:
                opened = self._opened(datagram, group, held, now)
            except (PeerError, LocalError) as error:
                dropped = RekeyDropped(group.group, peer, f"GROUPKEY-PUSH: {error}")
                continue
            expected = held.last + 1
            held.take(datagram, opened.sequence)
            if opened.sequence != expected:
                self._events.append(SequenceGap(group.group, expected, opened.sequence))
            self._act(group, held, opened, peer, local, now)
            return
        self._events.append(dropped)

    def fire(self, now: float) -> None:
        """Do what is due."""
        self._outgoing += self._acks.take(now)
        for group in self._groups.values():
            if any(end <= now for end in group.missed.values()):
                group.missed.clear()
                self._events.append(Excluded(group.group))
            group.expire(now)
        self._reindex()

    def prepare(self) -> None:
        """Nothing is worth computing ahead: no message is known before it comes."""

    def outgoing(self) -> list[Datagram]:
        """The acknowledgements to send, drained. An unspecified source address is for the kernel to choose."""
        drained, self._outgoing = self._outgoing, []
        return drained

    def events(self) -> list[RekeyEvent]:
        """What happened, drained."""
        drained, self._events = self._events, []
        return drained

    def deadline(self) -> float | None:
        """When `fire` wants to be called next; None for never."""
        ends = [end for group in self._groups.values() for end in group.missed.values()]
        ends += (held.until for found in self._by_spi.values() for _, held in found if held.until is not None)
        acks = self._acks.deadline()
        return min(ends if acks is None else [*ends, acks], default=None)

    def _leave(self, group: GroupId) -> None:
        watched = self._groups.pop(group, None)
        if watched is not None:
            watched.clear()
            self._reindex()

    def _reindex(self) -> None:
        self._by_spi = {}
        for group in self._groups.values():
            for spi, held in group.held.items():
                self._by_spi.setdefault(spi, []).append((group, held))

    def _opened(self, datagram: bytes, group: WatchedGroup, held: HeldRekeySA, now: float) -> OpenedPush:
        """The message, authentic and new. Raises PeerError; LocalError for a cipher that this host does not have."""
        if held.until is not None and held.until <= now:
            raise Unexpected("its Rekey SA has ended")
        if held.seen(datagram):
            raise Replayed("a copy of a message that was taken")
        opened = open_push(datagram, held.sa, self._tolerances_of(group.group))
        if opened.sequence <= held.last:
            raise Replayed(f"sequence number {opened.sequence}, not above {held.last}")
        if not held.verifier.holds(opened.signed, opened.signature):
            raise NotAuthenticated(f"the {held.verifier.signature} signature does not hold")
        return opened

    def _act(
        self, group: WatchedGroup, held: HeldRekeySA, opened: OpenedPush, peer: Endpoint, local: Endpoint, now: float
    ) -> None:
        """Take an authentic message as a whole, or nothing of it."""
        tolerances = self._tolerances_of(group.group)
        known = {spi: other.sa for spi, other in group.held.items()}
        try:
            content = content_of(opened.payloads(tolerances), held.sa, known, received=now, tolerances=tolerances)
        except (PeerError, LocalError) as error:
            text = f"rekey {opened.sequence} is not understood: {error}; the group is to be registered anew"
            self._events.append(RekeyRefused(group.group, text))
            return
        there = group.held.get(content.rekey.spi) if content.rekey is not None else None
        new = content.rekey if there is None or content.rekey is not there.sa else None
        refusals = group.entry.refusals(_proposed(group, content, new if there is None else None, now))
        if refusals:
            reasons = "; ".join(str(refusal) for refusal in refusals)
            text = f"rekey {opened.sequence} is refused: {reasons}"
            self._events.append(RekeyRefused(group.group, text, refusals))
            return
        ack = self._ack(group, held, content, opened.sequence, peer, local)
        had_one = group.present is not None
        brought = None if new is None else copied(new)  # parts of its path are those of one that may go now
        group.delete(_deleted(group, content))
        if brought is not None and there is not None:
            there.renew(brought)
        elif brought is not None:
            group.enter(brought, now)
        elif content.offered is not None and content.rekey is None:
            group.missed.setdefault(content.offered.spi, now + EXCLUSION_S)
        self._reindex()
        if ack is not None:
            self._acks.add(OwedAck(group.group, opened.sequence, ack, now, local.address.is_multicast()))
        update = GsaUpdate(
            group=group.group,
            sequence=opened.sequence,
            received=now,
            data=content.data,
            iec61850=content.iec61850,
            rekey=brought,
            deleted=content.deletions.data,
            deletes_all_data=content.deletions.all_data,
            deletes_rekey=had_one and group.present is None,
            activation_delay_s=content.activation_delay_s,
            deactivation_delay_s=content.deactivation_delay_s,
        )
        self._events.append(Rekeyed(group.group, update, ack is not None, peer, held.sa.spi))

    def _ack(
        self,
        group: WatchedGroup,
        held: HeldRekeySA,
        content: RekeyContent,
        sequence: int,
        peer: Endpoint,
        local: Endpoint,
    ) -> Datagram | None:
        """The answer that the latest SAK asks for, None when it asks for none or for one that cannot be given.

        It is made of the key under which the message came (RFC 8263 2.1), so before that key may go.
        """
        wanted = _acknowledgement(group, held, content)
        key = base_key_of(held.sa, wanted) if wanted is not None else None
        unicast = None if local.address.is_multicast() else local.address
        address = group.address or unicast
        if wanted is None or key is None or address is None:
            return None
        source = unicast or (address if address.version == peer.address.version else _UNSPECIFIED[peer.address.version])
        payload = build_ack(held.sa.spi, sequence, address, wanted, key)
        return Datagram(payload, to=peer, source=Endpoint(source, local.port))


def _acknowledgement(group: WatchedGroup, held: HeldRekeySA, content: RekeyContent) -> Acknowledgement | None:
    """What the latest SAK asks for: that of this message, or of the present Rekey SA.

    None for who has no key to what this message offers, and so does not conclude it (RFC 8263 4).
    """
    if content.offered is not None:
        return None if content.rekey is None else content.offered.acknowledgement
    return (group.current or held).sa.acknowledgement


def _proposed(group: WatchedGroup, content: RekeyContent, new: RekeySA | None, now: float) -> GroupSA:
    """What the message would bring, for the GPAD."""
    return GroupSA(
        group=group.group,
        gcks=group.gcks,
        data=content.data,
        received=now,
        rekey=new,
        activation_delay_s=content.activation_delay_s,
        deactivation_delay_s=content.deactivation_delay_s,
        iec61850=content.iec61850,
    )


def _deleted(group: WatchedGroup, content: RekeyContent) -> set[bytes]:
    """SPIs of the Rekey SAs that go: not the one that the same message gives, which a copy of it finds held."""
    spis = content.deletions.rekey_spis
    gone = set(group.held) if ANY_REKEY_SPI in spis else set(spis)
    return gone - ({content.offered.spi} if content.offered is not None else set())
