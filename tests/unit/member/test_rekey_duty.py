import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.gsa.gpad import GpadRefusal, GpadRule
from agent.gsa.identity import GroupId
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from agent.member.announce import Announcer
from agent.member.keyservers import KeyServers
from agent.member.needs import Need
from agent.member.reconcile import Reconciler
from agent.member.registration import Registration
from agent.member.rekey_duty import RekeyDuty
from agent.member.setup import Setup, prepare
from agent.member.status import Instants
from agent.member.timing import Timing
from agent.service.broadcast import Subscription
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP, FakeDataPath, configuration, data_sa, group_sa
from tests.unit.service.support import FakeClock

HELD = replace(group_sa(data_sa(0x100, expires=1000.0)), rekey=rekey_sa(destination=IPAddress("239.1.1.9")))


class World:
    """A group registered with ks1, and what a RekeyDuty needs around it."""

    def __init__(self, folder: Path, *, held: bool = True, **options: Any) -> None:
        self.setup: Setup = prepare(configuration(folder, **options))
        self.clock = FakeClock()
        self.datapath = FakeDataPath()
        self.registration = Registration(GROUP, ("ks1",), Timing(1.0, 2.0), lambda: 0.0)
        if held:
            self.registration.ask(0.0)
            self.registration.succeeded(HELD, 0.0)
        self.registrations = {GROUP: self.registration}
        self.reconciler = Reconciler(self.datapath, self.clock, self.setup.gspd, self._held, lambda _: None)
        self.announcer = Announcer(lambda: Instants(self.clock.now, self.clock.utc()), lambda _: "video")
        self.soon = 0
        self.duty = RekeyDuty(
            lambda: self.setup,
            lambda: self.registrations,
            KeyServers(SystemClock(), SystemEntropy(), lambda *_: None),
            self.reconciler,
            self.announcer,
            self.clock,
            self._look,
        )

    def _held(self) -> dict[GroupId, Any]:
        return {GROUP: self.registration.held} if self.registration.held is not None else {}

    def _look(self) -> None:
        self.soon += 1


def heard(subscription: Subscription) -> list[dict[str, Any]]:
    return [dict(event) for event in subscription._events]


def live(world: World, body: Callable[[World, Subscription], object]) -> list[dict[str, Any]]:
    async def whole() -> list[dict[str, Any]]:
        subscription = world.announcer.subscribe([], keys=False)
        body(world, subscription)
        return heard(subscription)

    return asyncio.run(whole())


def test_a_rekey_is_held_told_and_on_its_way_to_the_data_path(tmp_path: Path) -> None:
    update = GsaUpdate(GROUP, 5, 0.0, data=(data_sa(0x101, expires=2000.0),), deleted=(DeletedSA(None, EVERY_SPI),))

    def body(world: World, _: Subscription) -> None:
        after = world.duty.take(update)
        assert after is world.registration.held
        assert after is not None
        assert [sa.spi for sa in after.data] == [0x100, 0x101]
        assert world.soon == 1
        world.duty.installed(GROUP, 5, 0.0041)

    world = World(tmp_path)
    rekeyed, installed = live(world, body)
    assert (rekeyed["event"], rekeyed["sequence"], rekeyed["key_server"], rekeyed["name"]) == (
        "rekeyed",
        5,
        "ks1",
        "video",
    )
    assert [sa["spi"] for sa in rekeyed["sas"]] == ["0x00000101"]
    assert rekeyed["deleted"] == [{"protocol": "iec61850", "spi": "any"}]
    assert (installed["event"], installed["switch_ms"]) == ("rekey-installed", 4.1)
    asyncio.run(world.reconciler.once())
    assert {key.spi for key in world.datapath.sad} == {0x100, 0x101}


def test_a_group_without_sas_or_unknown_is_not_rekeyed(tmp_path: Path) -> None:
    assert World(tmp_path, held=False).duty.take(GsaUpdate(GROUP, 1, 0.0)) is None
    assert World(tmp_path).duty.take(GsaUpdate(GroupId.of_number(9), 1, 0.0)) is None


@pytest.mark.requirement("GDOI-4.4-03", "GDOI-4.4-04")
def test_a_sender_without_a_sender_id_does_not_send_on_a_counter_mode_sa_and_asks_for_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.registration.held = replace(HELD, sender_ids=(), sender_id_bits=0, data=())
    live(world, lambda world, _: world.duty.take(GsaUpdate(GROUP, 1, 0.0, data=(data_sa(0x101),))))
    assert world.registration.needs == (Need.SENDER_ID,)
    asyncio.run(world.reconciler.once())
    assert [entry.template.spi for entry in world.datapath.spd.values() if entry.template] == [None], "inbound alone"


def test_needs_are_told_once_and_can_be_settled(tmp_path: Path) -> None:
    def body(world: World, _: Subscription) -> None:
        world.duty.need(GROUP, Need.MISSED)
        world.duty.need(GROUP, Need.MISSED)
        world.duty.need(GroupId.of_number(9), Need.MISSED)
        assert Need.MISSED in world.registration.needs
        world.duty.settled(GROUP, Need.MISSED)
        world.duty.settled(GROUP, Need.MISSED)
        assert not world.registration.needs
        assert world.soon == 2

    (told,) = live(World(tmp_path), body)
    assert (told["event"], told["cause"], told["text"]) == ("rekey-missed", "missed", Need.MISSED.value)


@pytest.mark.requirement("MIPSEC-4.1.3-08")
def test_each_thing_that_the_gpad_forbids_is_a_line_and_an_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = GpadRefusal(GpadRule.FLOW, "ks1", "SA 0x00000101", "flow lies outside")
    (told,) = live(World(tmp_path), lambda world, _: world.duty.refused(GROUP, "rekey 3 is refused", [refusal]))
    assert (told["event"], told["text"], told["refusals"][0]["rule"]) == ("rekey-refused", "rekey 3 is refused", "flow")
    assert "refused by the GPAD" in caplog.text


def test_who_may_rekey_is_the_key_server_that_gave_the_sas_and_after_a_reload_one_that_could_have(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    source = world.duty.source(world.registration)
    assert source is not None
    assert (source.entry.name, str(source.key_server), source.own, source.interface) == ("ks1", "127.0.0.1", None, None)
    world.registration.server = "gone"
    assert world.duty.source(world.registration) == source
    world.registration.held = replace(HELD, gcks=replace(HELD.gcks, octets=b"other.example"))
    assert world.duty.source(world.registration) is None
    assert World(tmp_path, held=False).duty.source(World(tmp_path, held=False).registration) is None
