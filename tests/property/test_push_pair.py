"""A key server that pushes and a member that listens, over a link that loses, repeats, reorders and corrupts, beside an
insider who has every KEK and no signing key: what the member holds is always what the key server once had.

Each message here says all that the group has, its TEK and, when that changes, its KEK, and deletes whatever else there
is; so that a member that missed some of them is as the key server was, never a mixture, and never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gdoi.push import PushContent
from agent.gdoi.push_ack import AckMessage, base_key_of, verify_ack
from agent.gdoi.rekey_events import RekeyDropped, Rekeyed, RekeyRefused, SequenceGap
from agent.gsa.rekey import Acknowledgement, LkhKey, LkhUpdate
from agent.gsa.sa import RekeySA, SecurityProtocol
from agent.gsa.update import EVERY_SPI, DeletedSA
from tests.unit.gdoi.pair import GROUP, an_sa
from tests.unit.gdoi.rekeying import KEY_SERVER, MULTICAST, KeyServer, Listener, a_rekey, lkh_key, resealed

ALL_ESP = DeletedSA(SecurityProtocol.ESP, EVERY_SPI)
LEAF, INNER = lkh_key(9), lkh_key(5)
NOW = 100.0
State = tuple[bytes, int]
"""The SPIs of KEK and TEK."""


def rekey_of(generation: int, kind: Acknowledgement | None) -> RekeySA:
    return a_rekey(f"generation {generation}", acknowledgement=kind, expires=None)


def root_of(rekey: RekeySA, generation: int) -> LkhKey:
    return LkhKey(1, generation, rekey.iv, rekey.key)


@dataclass
class Source:
    """The key server, with every state that it had and the datagram that told of it."""

    kind: Acknowledgement | None
    server: KeyServer = field(init=False)
    generation: int = 0
    tek: int = 0x1000
    told: list[tuple[bytes, RekeySA, State]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = KeyServer(rekey_of(0, self.kind))

    @property
    def state(self) -> State:
        return self.server.rekey.spi, self.tek

    def say(self, what: str) -> None:
        under = self.server.rekey
        content = PushContent((ALL_ESP,), data=(an_sa(self.tek, expires=None),))
        if what == "tek":
            self.tek += 1
            content = replace(content, data=(an_sa(self.tek, expires=None),))
        elif what != "again":
            self.generation += 1
            rekey = rekey_of(self.generation, self.kind)
            updates = (
                LkhUpdate(lkh_key(6), (root_of(rekey, self.generation),)),
                LkhUpdate(INNER, (root_of(rekey, self.generation),)),
            )
            content = replace(content, rekey=rekey, lkh_updates=updates if what == "lkh" else ())
        datagram = self.server.push(content, NOW)
        self.told.append((datagram, under, self.state))


class Member:
    """The member's engine, and what a shell would hold by its events."""

    def __init__(self, source: Source) -> None:
        first = source.server.rekey
        self.listener = Listener(replace(first, lkh=(LEAF, INNER, root_of(first, 0))), ack_jitter_s=0.0)
        self.state: State = source.state
        self.places: list[State] = [source.state]
        self.answers: list[tuple[bytes, AckMessage]] = []

    def hear(self, datagram: bytes) -> None:
        engine = self.listener.engine
        engine.receive(datagram, KEY_SERVER, MULTICAST, NOW)
        for event in engine.events():
            assert not isinstance(event, RekeyRefused), event
            if not isinstance(event, Rekeyed):
                assert isinstance(event, RekeyDropped | SequenceGap)
                continue
            update = event.update
            assert update.deleted == (ALL_ESP,)
            (sa,) = update.data
            rekey = update.rekey
            self.state = (self.state[0] if rekey is None else rekey.spi, int(sa.spi))
            self.places.append(self.state)
            engine.acknowledge(GROUP, update.sequence, NOW)
            for answer in engine.outgoing():
                self.answers.append((event.rekey_spi, AckMessage.parse(answer.payload)))


def garbled(datagram: bytes, place: int) -> bytes:
    at = place % len(datagram)
    return datagram[:at] + bytes([datagram[at] ^ (1 + place % 255)]) + datagram[at + 1 :]


def forged(datagram: bytes, under: RekeySA, place: int) -> bytes:
    """Another number, and a signature by another key or the one that was there."""

    def renumbered(clear: bytes) -> bytes:
        return clear[:4] + (1 + place).to_bytes(4) + clear[8:]

    return resealed(datagram, under, renumbered, seed=8 if place % 2 else None)


@dataclass(frozen=True)
class Fate:
    """What the link makes of a message: how often it arrives, after how many others; what an attacker adds."""

    copies: int
    later: int
    garbled: int | None
    forged: int | None


FATES = st.builds(
    Fate,
    copies=st.sampled_from([0, 1, 1, 1, 2, 3]),
    later=st.sampled_from([0, 0, 0, 1, 2, 5]),
    garbled=st.none() | st.integers(0, 2000),
    forged=st.none() | st.integers(0, 2000),
)
STORY = st.lists(st.tuples(st.sampled_from(["tek", "tek", "again", "kek", "lkh"]), FATES), min_size=1, max_size=12)
KINDS = st.sampled_from([None, *Acknowledgement])


def arrivals(source: Source, fates: list[Fate]) -> Iterator[bytes]:
    """All datagrams in the order in which they come to the member."""
    line: list[tuple[float, bytes]] = []
    for number, ((datagram, under, _), fate) in enumerate(zip(source.told, fates, strict=True)):
        when = number + fate.later
        if fate.garbled is not None:
            line.append((when - 0.5, garbled(datagram, fate.garbled)))
        if fate.forged is not None:
            line.append((when - 0.4, forged(datagram, under, fate.forged)))
        line += ((when + 0.1 * copy, datagram) for copy in range(fate.copies))
    return (datagram for _, datagram in sorted(line, key=lambda item: item[0]))


@pytest.mark.requirement("GDOI-4.4-01", "GDOI-4.4-02", "GDOI-5.7-03", "GDOI-7.3.4-01", "ACK-7.2-01")
@given(story=STORY, kind=KINDS)
def test_a_member_is_as_its_key_server_was(story: list[tuple[str, Fate]], kind: Acknowledgement | None) -> None:
    source = Source(kind)
    member = Member(source)
    for what, _ in story:
        source.say(what)
    history = [member.state, *(state for _, _, state in source.told)]
    for datagram in arrivals(source, [fate for _, fate in story]):
        member.hear(datagram)
    places = [history.index(state) for state in member.places]
    assert places == sorted(places)
    numbers = [(spi, message.sequence) for spi, message in member.answers]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) == (len(member.places) - 1 if kind is not None else 0)


@given(story=STORY, kind=KINDS)
def test_who_hears_every_message_once_is_where_the_key_server_is(
    story: list[tuple[str, Fate]], kind: Acknowledgement | None
) -> None:
    source = Source(kind)
    member = Member(source)
    for what, fate in story:
        source.say(what)
        datagram, under, state = source.told[-1]
        if fate.garbled is not None:
            member.hear(garbled(datagram, fate.garbled))
        if fate.forged is not None:
            member.hear(forged(datagram, under, fate.forged))
        for _ in range(max(1, fate.copies)):
            member.hear(datagram)
        assert member.state == state
        assert member.listener.engine.sequence(GROUP) == source.server.sequence
    if kind is None:
        assert member.answers == []
        return
    assert len(member.answers) == len(source.told)
    for (_, under, _), (_, message) in zip(source.told, member.answers, strict=True):
        key = base_key_of(replace(under, lkh=(LEAF, root_of(under, 0))), kind)
        assert key is not None
        assert verify_ack(message, kind, key)


@given(place=st.integers(0, 5000), changes=st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_one_who_registers_in_the_midst_of_it_goes_on(place: int, changes: list[int]) -> None:
    """A PULL gives the KEK of some moment; what came before is stale, what follows is taken."""
    source = Source(None)
    for change in changes:
        source.say(("tek", "kek")[change % 2])
    at = place % len(source.told)
    datagram, under, _ = source.told[at]
    listener = Listener(replace(under, sequence=0))
    listener.hear(datagram)
    before = listener.engine.sequence(GROUP)
    for older, _, _ in source.told[: at + 1]:
        assert not [event for event in listener.hear(older) if isinstance(event, Rekeyed)]
    assert listener.engine.sequence(GROUP) == before
    for newer, _, _ in source.told[at + 1 :]:
        assert [event for event in listener.hear(newer) if isinstance(event, Rekeyed)]
