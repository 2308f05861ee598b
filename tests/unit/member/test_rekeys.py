"""Rekeys from the datagram on: the engine and who is told are real, sockets and the data path are not."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from netaddr import IPAddress

from agent.gdoi.push import PushContent
from agent.gdoi.push_ack import AckMessage
from agent.gdoi.rekey_events import Excluded, RekeyDropped
from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.rekey import Acknowledgement
from agent.gsa.rollover import rolled
from agent.gsa.sa import GroupSA
from agent.gsa.update import GsaUpdate
from agent.member.needs import Need
from agent.member.rekeys import Rekeys, RekeySource
from agent.wire.endpoint import Datagram
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, Counted
from tests.unit.gdoi.rekeying import ENTRY, KEY_SERVER, MULTICAST, OWN, KeyServer, a_rekey, octets
from tests.unit.member.support import data_sa
from tests.unit.service.support import FakeClock

ACKED: dict[str, Any] = {"acknowledgement": Acknowledgement.KEK_SHA256, "destination": OWN}
HERE = replace(MULTICAST, address=OWN)
"""Where unicast rekeys come."""


@dataclass
class Taker:
    """Holds what rekeys leave, and writes down what it is told."""

    held: GroupSA
    told: list[str] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)

    def take(self, update: GsaUpdate) -> GroupSA | None:
        if update.group != self.held.group:
            return None
        self.held = rolled(self.held, update, update.received)
        return self.held

    def need(self, group: GroupId, need: Need) -> None:
        self.told.append(f"need {need.name}")

    def settled(self, group: GroupId, need: Need) -> None:
        self.told.append(f"settled {need.name}")

    def refused(self, group: GroupId, text: str, refusals: Iterable[GpadRefusal]) -> None:
        self.told.append("refused by the GPAD" if tuple(refusals) else "refused")

    def installed(self, group: GroupId, sequence: int, switch_s: float) -> None:
        self.told.append(f"installed {sequence}")
        self.switches.append(switch_s)


class World:
    """A key server that pushes and a member that follows."""

    def __init__(self, **rekey: Any) -> None:
        self.clock = FakeClock()
        self.gckd = KeyServer(a_rekey(**(ACKED | rekey)))
        self.taker = Taker(GroupSA(GROUP, GCKS_NAME, (data_sa(0x1000),), 0.0, rekey=self.gckd.rekey))
        self.sent: list[Datagram] = []
        self.rekeys = Rekeys(self.clock, Counted("rekeys"), self.taker, self.sent.append)
        self.source = RekeySource(ENTRY, OWN, KEY_SERVER.address)
        self.rekeys.registered(self.taker.held, self.source)

    def push(self, content: PushContent | None = None, **more: Any) -> bytes:
        return self.gckd.push(
            content or PushContent(data=(data_sa(0x2000 + self.gckd.sequence, expires=9000.0),)), self.clock.now, **more
        )

    def hear(self, datagram: bytes) -> None:
        self.rekeys.feed(datagram, KEY_SERVER, HERE)

    def passed(self, held: GroupSA | None = None, failed: Iterable[GroupId] = ()) -> None:
        latest = {GROUP: self.taker.held}
        self.rekeys.carried_out(latest if held is None else {GROUP: held}, latest, frozenset(failed))

    def acknowledged(self) -> list[int]:
        return [AckMessage.parse(datagram.payload).sequence for datagram in self.sent]


def live(body: Callable[[World], None], **rekey: Any) -> None:
    async def whole() -> None:
        world = World(**rekey)
        try:
            body(world)
        finally:
            world.rekeys.close()

    asyncio.run(whole())


@pytest.mark.requirement("ACK-4-05", "ACK-6-01")
def test_a_rekey_is_acknowledged_once_the_data_path_holds_it_and_not_before() -> None:
    def body(world: World) -> None:
        before = world.taker.held
        world.hear(world.push())
        world.passed(before)
        world.passed(failed=[GROUP])
        world.rekeys.carried_out({}, {GROUP: world.taker.held}, frozenset())
        assert world.sent == []
        world.clock.now = 0.004
        world.passed()
        assert world.acknowledged() == [1]
        state = world.rekeys.state(GROUP)
        assert (state.sequence, state.rekeys, state.acknowledged, state.switch_s) == (1, 1, 1, 0.004)
        assert state.spi == world.gckd.rekey.spi
        world.passed()
        assert world.acknowledged() == [1]
        assert world.taker.told == ["settled MISSED", "installed 1"]

    live(body)


def test_a_pass_that_knew_only_the_first_of_two_rekeys_carried_out_the_first() -> None:
    def body(world: World) -> None:
        world.hear(world.push())
        first = world.taker.held
        world.hear(world.push())
        world.passed(first)
        assert world.acknowledged() == [1]
        world.passed()
        assert world.acknowledged() == [1, 2]

    live(body)


def test_rekeys_that_no_pass_ever_carries_out_take_no_more_than_a_bound() -> None:
    def body(world: World) -> None:
        for _ in range(300):
            world.hear(world.push())
            world.passed(failed=[GROUP])
        assert len(world.rekeys._pending) == 256
        world.passed()
        assert sum(told.startswith("installed") for told in world.taker.told) == 256

    live(body)


def test_copies_under_new_numbers_are_each_acknowledged() -> None:
    def body(world: World) -> None:
        content = PushContent(data=(data_sa(0x2000, expires=9000.0),))
        for _ in range(3):
            world.hear(world.push(content))
        world.passed()
        assert world.acknowledged() == [1, 2, 3]
        assert len(world.taker.held.data) == 2

    live(body)


@pytest.mark.requirement("GKM-5.3-01")
def test_a_missed_rekey_is_a_need_and_a_lost_copy_is_none_once_copies_are_known() -> None:
    def body(world: World) -> None:
        world.push()
        content = PushContent(data=(data_sa(0x3000, expires=9000.0),))
        world.hear(world.push(content))
        assert world.taker.told == ["need MISSED"]
        world.hear(world.push(content))
        assert world.taker.told[-1] == "settled MISSED"
        world.push(content)
        world.hear(world.push())
        assert world.taker.told[-1] == "settled MISSED"
        for _ in range(2):
            world.push()
        world.hear(world.push())
        assert world.taker.told[-1] == "need MISSED"
        world.rekeys.registered(world.taker.held, world.source)
        world.hear(world.push())
        assert world.taker.told[-1] == "settled MISSED"

    live(body)


@pytest.mark.requirement("MIPSEC-4.1.3-08")
def test_what_the_gpad_forbids_is_not_taken_and_shown() -> None:
    def body(world: World) -> None:
        before = world.taker.held
        foreign = data_sa(0x2000, expires=9000.0, to="239.9.1.1")
        world.hear(world.push(PushContent(data=(foreign,))))
        assert world.taker.held is before
        assert world.taker.told == ["refused by the GPAD"]
        (problem,) = world.rekeys.problems(GROUP)
        assert "rekey 1 is refused" in problem
        world.hear(world.push())
        assert world.rekeys.problems(GROUP) == ()

    live(body)


@pytest.mark.requirement("GDOI-5.9-07")
def test_a_rekey_sa_that_is_taken_away_makes_it_register_and_is_acknowledged() -> None:
    def body(world: World) -> None:
        world.hear(world.push(PushContent(deletes_rekey=True)))
        assert "need NO_REKEY_SA" in world.taker.told
        world.passed()
        assert world.acknowledged() == [1]

    live(body)


def test_a_new_kek_is_followed_without_being_told() -> None:
    def body(world: World) -> None:
        other = a_rekey("second", **ACKED)
        world.hear(world.push(PushContent(rekey=other)))
        world.hear(world.push())
        state = world.rekeys.state(GROUP)
        assert (state.sequence, state.spi, state.rekeys) == (1, octets("second spi", 16), 2)

    live(body)


def test_a_copy_that_comes_after_the_registration_that_made_good_for_it_is_no_need() -> None:
    def body(world: World) -> None:
        other, content = a_rekey("second", **ACKED), PushContent(rekey=a_rekey("second", **ACKED))
        for _ in range(3):
            world.push(content, follow=False)
        late = world.push(content)
        world.rekeys.registered(replace(world.taker.held, rekey=other), world.source)
        world.hear(late)
        assert world.taker.told == ["settled MISSED"]
        world.push()
        world.hear(world.push())
        assert world.taker.told[-1] == "need MISSED"

    live(body)


def test_rekeys_under_a_new_kek_are_missed_like_those_before_it() -> None:
    def body(world: World) -> None:
        world.hear(world.push(PushContent(rekey=a_rekey("second", **ACKED))))
        world.push()
        world.hear(world.push())
        assert world.taker.told == ["settled MISSED", "need MISSED"]

    live(body)


def test_exclusion_is_a_need_and_noise_is_logged_at_a_bearable_rate(caplog: pytest.LogCaptureFixture) -> None:
    def body(world: World) -> None:
        world.rekeys._handle(Excluded(GROUP))
        for number in range(100):
            world.rekeys._handle(RekeyDropped(GROUP, KEY_SERVER, f"sequence number {number}"))
        assert world.taker.told == ["need EXCLUDED"]

    with caplog.at_level(logging.INFO):
        live(body)
    assert caplog.messages.count("rekey dropped") == 1


def test_a_group_forgotten_is_rekeyed_no_more() -> None:
    def body(world: World) -> None:
        world.hear(world.push())
        world.rekeys.forget(GROUP)
        held = world.taker.held
        world.passed()
        world.hear(world.push())
        assert world.taker.held is held
        assert world.sent == []
        assert world.rekeys.state(GROUP).rekeys == 0

    live(body)


def test_why_rekeys_are_not_heard_is_told_and_the_place_before_is_kept_for_a_while() -> None:
    def body(world: World) -> None:
        world.rekeys.watch(world.taker.held, replace(world.source, interface="nowhere0"))
        (problem,) = world.rekeys.problems(GROUP)
        assert "nowhere0" in problem
        moved = replace(world.gckd.rekey, destination=IPAddress("239.1.1.2"))
        world.rekeys.watch(replace(world.taker.held, rekey=moved), replace(world.source, interface="nowhere0"))
        assert len(world.rekeys.problems(GROUP)) == 2
        world.clock.now = 61.0
        world.rekeys.refresh()
        assert len(world.rekeys.problems(GROUP)) == 1

    live(body, destination=IPAddress("239.1.1.1"))


def test_a_look_after_the_end_does_not_listen_again() -> None:
    def body(world: World) -> None:
        world.rekeys.watch(world.taker.held, replace(world.source, interface="nowhere0"))
        world.rekeys.close()
        world.rekeys.refresh()
        assert world.rekeys.problems(GROUP) == ()

    live(body, destination=IPAddress("239.1.1.1"))


def test_a_rekey_sa_whose_key_is_none_of_its_signature_is_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    def body(world: World) -> None:
        world.rekeys.watch(replace(world.taker.held, rekey=a_rekey(verify_key=b"no key", **ACKED)), world.source)
        held = world.taker.held
        world.hear(world.push())
        assert world.taker.held is held

    live(body)
