"""Rollover loses nothing: a sender and receivers that hear rekeys late, some of them not at all (RFC 5374 4.2.1).

The GCKS sends rekeys, each several times; every copy reaches every member after a delay of its own, or never. What each
member holds follows `agent.gsa.rollover`, what it sends and receives on follows the GSPD. At every instant at which
something changed anywhere, and just before and after it, the sender sends a packet, which arrives at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hypothesis import example, given
from hypothesis import strategies as st
from netaddr import IPAddress

from agent.gsa.databases import PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.group_policy import GroupPolicy
from agent.gsa.gspd import Gspd
from agent.gsa.role import Role
from agent.gsa.rollover import rolled
from agent.gsa.sa import GroupSA, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from tests.unit.member.support import GROUP, data_sa, group_sa

_FLOW = Flow.parse("239.1.1.1")
_FIRST = 0x100
_LIFETIME_S = 10_000
_TICK_S = 0.001
_RECEIVERS = 3


@dataclass(frozen=True)
class Rekey:
    """A rekey that the GCKS sends at `at`. `copies`: at which offsets; `deletes`: what of the older TEKs it names.

    `atd` counts from the first copy; `slack`: DTD beyond it, None for no DTD.
    """

    at: float
    spi: int
    atd: int
    slack: int | None
    copies: tuple[float, ...]
    deletes: str

    def update(self, received: float, sent: float) -> GsaUpdate:
        """What a member makes of the copy sent at `sent`, whose delays are those that are left."""
        atd = self.atd - int(sent - self.at)
        dtd = None if self.slack is None else atd + self.slack
        deleted = {"none": (), "all": (DeletedSA(SecurityProtocol.ESP, EVERY_SPI),)}.get(
            self.deletes, (DeletedSA(SecurityProtocol.ESP, Spi(self.spi - 1)),)
        )
        tek = replace(data_sa(self.spi, expires=received + _LIFETIME_S), send_from=received + atd)
        return GsaUpdate(
            GROUP, 1, received, data=(tek,), deleted=deleted, activation_delay_s=atd, deactivation_delay_s=dtd
        )


@st.composite
def rekeys(draw: st.DrawFn) -> tuple[Rekey, ...]:
    """Rekeys at intervals that may be far shorter than the ATD of each."""
    at, made = 100.0, []
    for number in range(draw(st.integers(1, 6))):
        pauses = draw(st.lists(st.sampled_from((0.5, 1.0, 2.0)), max_size=2))
        copies = tuple(sum(pauses[:place]) for place in range(len(pauses) + 1))
        atd = draw(st.integers(6, 20))
        slack = draw(st.none() | st.integers(6, 20))
        made.append(Rekey(at, _FIRST + 1 + number, atd, slack, copies, draw(st.sampled_from(("none", "last", "all")))))
        at += draw(st.sampled_from((0.5, 3.0, 10.0, 50.0)))
    return tuple(made)


class Member:
    """A member and what it heard, in the order in which it came."""

    def __init__(self, role: Role) -> None:
        self._gspd = Gspd([GroupPolicy(GROUP, role, (_FLOW,), (IPAddress("192.0.2.1"),))])
        self._changes: list[tuple[float, GroupSA]] = [(0.0, group_sa(data_sa(_FIRST, expires=_LIFETIME_S)))]
        self.heard: dict[int, float] = {_FIRST: 0.0}

    def hear(self, update: GsaUpdate) -> None:
        before = self._changes[-1][1]
        after = rolled(before, update, update.received)
        assert rolled(after, update, update.received) == after
        self._changes.append((update.received, after))
        for sa in update.data:
            self.heard.setdefault(sa.spi, update.received)

    @property
    def in_turn(self) -> bool:
        """Whether it heard of the TEKs in their order. One that did not saw a gap in the numbers, and registers."""
        return list(self.heard) == sorted(self.heard)

    def held(self, now: float) -> GroupSA:
        return [held for at, held in self._changes if at <= now][-1]

    def instants(self) -> Iterator[float]:
        for at, held in self._changes:
            yield max(at, _TICK_S)
            for sa in held.data:
                yield from (instant for instant in (sa.send_from, sa.expires) if instant)

    def sends_on(self, now: float) -> int | None:
        desired = self._gspd.desired({GROUP: self.held(now)}, now).databases
        outbound = (entry.template for entry in desired.spd if entry.direction is PolicyDirection.OUT)
        spis = [template.spi for template in outbound if template is not None]
        return spis[0] if spis else None

    def receives_on(self, now: float) -> set[int]:
        return {entry.spi for entry in self._gspd.desired({GROUP: self.held(now)}, now).databases.sad}


def departures(sent: tuple[Rekey, ...]) -> list[tuple[float, Rekey]]:
    """Every copy as it goes out, in the order of its sequence number; a rekey is not repeated once it is overtaken by
    one that deletes what was before, nor one that deletes everything once it is overtaken by any: what came meanwhile
    would be among it."""
    return sorted(
        (
            (rekey.at + offset, rekey)
            for rekey in sent
            for offset in rekey.copies
            if not any(
                (newer.deletes != "none" or rekey.deletes == "all") and rekey.at < newer.at <= rekey.at + offset
                for newer in sent
            )
        ),
        key=lambda copy: copy[0],
    )


def hear(member: Member, copies: list[tuple[float, Rekey]], delays: Sequence[float | None], *, in_order: bool) -> None:
    """Let a member hear the copies that are not lost; one overtaken by a higher sequence number is a replay."""
    arrivals, latest = [], 0.0
    for sequence, ((departed, rekey), delay) in enumerate(zip(copies, delays, strict=True)):
        if delay is not None:
            latest = max(latest, departed + delay)
            arrivals.append((latest if in_order else departed + delay, sequence, departed, rekey))
    last = -1
    for received, sequence, departed, rekey in sorted(arrivals, key=lambda arrival: arrival[:2]):
        if sequence > last:
            last = sequence
            member.hear(rekey.update(received, departed))


@dataclass(frozen=True)
class Case:
    """Rekeys, and how late each copy reaches the sender and each receiver; None where it does not."""

    sent: tuple[Rekey, ...]
    sender: tuple[float | None, ...]
    receivers: tuple[tuple[float | None, ...], ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A sender that misses a rekey stays where it is, which nobody can make good: it hears them all."""
    sent = draw(rekeys())
    # The last copy arrives within the least ATD, and within what DTD leaves after that.
    latest_s = min(min(rekey.atd, rekey.atd if rekey.slack is None else rekey.slack) for rekey in sent) - 5.0
    count, delay = len(departures(sent)), st.floats(0.0, latest_s)
    own = st.lists(delay, min_size=count, max_size=count).map(tuple)
    others = st.lists(st.none() | delay, min_size=count, max_size=count).map(tuple)
    return Case(sent, draw(own), tuple(draw(others) for _ in range(_RECEIVERS)))


_LATE_COPY = Case(
    (Rekey(at=100.0, spi=_FIRST + 1, atd=13, slack=None, copies=(0, 0.5, 1.0), deletes="last"),),
    sender=(0.0, 0.0, 6.0),
    receivers=((None, 0.0, 8.0),),
)
"""A receiver's last copy says a later switch than its first one did, and the old TEK is held until after that."""


@given(cases())
@example(_LATE_COPY)
def test_every_packet_finds_its_sa_at_every_receiver_that_heard_of_it_in_time(case: Case) -> None:
    sender, receivers = Member(Role.SENDER), [Member(Role.RECEIVER) for _ in case.receivers]
    copies = departures(case.sent)
    # The sender hears them in their order, too.
    hear(sender, copies, case.sender, in_order=True)
    for receiver, delays in zip(receivers, case.receivers, strict=True):
        hear(receiver, copies, delays, in_order=False)
    for instant in sorted(set(sender.instants()) | {at for each in receivers for at in each.instants()}):
        for now in (instant - _TICK_S, instant, instant + _TICK_S):
            if now >= _LIFETIME_S:
                continue
            spi = sender.sends_on(now)
            assert spi is not None, "a sender has nothing to send on"
            for receiver in receivers:
                if spi in receiver.heard and receiver.in_turn:
                    assert spi in receiver.receives_on(now), f"0x{spi:x} is not held at {now}"
