import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress, IPNetwork

from agent.config.loader import load
from agent.config.member import MemberConfig
from agent.datapath.port import FirstPacket
from agent.gsa.databases import Action, Databases, PolicyDirection, SpdEntry, Template
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, Mode, SecurityProtocol, Spi
from agent.member.demand_duty import DemandDuty
from agent.member.interfaces import HostMembership
from agent.member.registration import Registration
from agent.member.timing import Timing
from tests.unit.member.support import GROUP, FakeDataPath, configuration, data_sa, group_sa, group_table
from tests.unit.member.test_demand import sa

HERE, THERE = IPAddress("10.2.0.1"), IPAddress("10.2.0.2")
REQID = 0x4D43_0001
SITES = '[{ destination = "10.2.0.0/16", source = "10.2.0.0/16" }]'
RANGE = Flow.parse("10.2.0.0/16", "10.2.0.0/16")
WAITING = FirstPacket(RANGE, REQID, HERE, THERE)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        raise AssertionError("nobody asks for it")


class World:
    """A duty with one group, whose registration is real, and a host that says what it is told to."""

    def __init__(self, folder: Path, traffic: str = SITES, *, role: str = "both", extra: str = "") -> None:
        text = group_table(1234, "239.1.1.1", role=role, extra=extra)
        text = text.replace('[{ destination = "239.1.1.1" }]', traffic)
        self.tables = load(configuration(folder, groups=text), MemberConfig).groups
        self.clock = Clock()
        self.registration = Registration(GROUP, ("ks1",), Timing(2.0, 300.0), lambda: 0.0)
        self.datapath = FakeDataPath()
        self.memberships: list[HostMembership] | None = []
        self.addresses: list[IPAddress] | None = []
        self.calls: list[str] = []
        self.dropped: tuple[DataSA, ...] = ()
        self.duty = DemandDuty(
            lambda: self.tables,
            lambda: {GROUP: self.registration},
            lambda: {REQID: GROUP},
            self.datapath,
            self.clock,
            changed=lambda: self.calls.append("changed"),
            advance=lambda: self.calls.append("advance"),
            rested=self.rested,
            memberships=lambda: self.memberships,
            addresses=lambda: self.addresses,
            index_of=lambda name: {"eth0": 2}[name] if name == "eth0" else self.missing(),
        )
        self.duty.configure()

    def missing(self) -> int:
        raise OSError

    def rested(self, group: GroupId, dropped: Sequence[DataSA]) -> None:
        assert group == GROUP
        self.dropped = tuple(dropped)

    def register(self, flow: Flow = RANGE) -> None:
        assert self.registration.ask(self.clock.now) == "ks1"
        held = group_sa(replace(data_sa(0x1000), flow=flow))
        self.registration.succeeded(held, self.clock.now)
        self.duty.registered(GROUP)

    @property
    def demand(self) -> frozenset[Demand]:
        return self.duty.demand()[GROUP]

    def look(self, at: float) -> None:
        self.clock.now = at
        asyncio.run(self.duty.count())
        self.duty.look()


@pytest.mark.requirement("MIPSEC-4.1.1-08")
def test_a_packet_starts_the_registration_of_a_group_that_rests(tmp_path: Path) -> None:
    world = World(tmp_path, extra='register = "first-packet"')
    world.registration.rest(0.0)
    world.duty.first_packet(WAITING)
    assert world.calls == ["advance"]
    assert world.registration.ask(0.0) == "ks1"
    assert world.demand == {Demand(HERE, THERE)}


def test_packets_that_follow_do_not_register_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.registration.rest(0.0)
    world.duty.first_packet(WAITING)
    world.register()
    world.duty.first_packet(WAITING)
    assert world.calls == ["advance"]


def test_a_packet_to_another_destination_of_a_range_makes_an_sa_and_no_registration(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register()
    world.duty.first_packet(WAITING)
    world.duty.first_packet(WAITING)
    assert world.calls == ["changed"]
    assert world.demand == {Demand(HERE, THERE)}
    found = world.duty.of(GROUP)
    assert found is not None
    assert found.waited == 2


def test_the_operator_hears_once_that_destinations_are_too_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.register()
    found = world.duty.of(GROUP)
    assert found is not None
    found.most = 1
    with caplog.at_level("WARNING"):
        for number in range(2, 6):
            world.duty.first_packet(replace(WAITING, destination=IPAddress(f"10.2.0.{number}")))
    assert world.demand == {Demand(HERE, THERE)}
    assert len([record for record in caplog.records if "shorten idle_s" in record.message]) == 1


def test_a_packet_of_traffic_without_a_range_registers_anew(tmp_path: Path) -> None:
    world = World(tmp_path, '[{ destination = "239.1.1.1" }]')
    world.register(Flow.parse("239.1.1.1"))
    world.duty.first_packet(FirstPacket(Flow.parse("239.1.1.1"), REQID))
    assert world.calls == ["advance"]
    world.duty.first_packet(FirstPacket(Flow.parse("239.1.1.1"), REQID + 1))
    assert world.calls == ["advance"]


def test_own_addresses_and_joined_groups_are_received_at(tmp_path: Path) -> None:
    world = World(tmp_path, '[{ destination = "10.2.0.0/16" }, { destination = "239.1.0.0/16" }]')
    world.register()
    world.calls.clear()
    joined, other = IPAddress("239.1.0.7"), IPAddress("239.9.0.7")
    world.memberships = [(2, joined, None), (2, other, None)]
    world.addresses = [HERE, IPAddress("192.0.2.1")]
    world.look(1.0)
    world.look(2.0)
    assert world.calls == ["changed"]
    assert world.demand == {Demand(None, HERE), Demand(None, joined)}
    world.memberships = []
    world.look(3.0)
    assert world.demand == {Demand(None, HERE)}


def test_what_the_host_does_not_say_in_time_stays_as_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, '[{ destination = "10.2.0.0/16" }, { destination = "239.1.0.0/16" }]')
    world.register()
    joined = IPAddress("239.1.0.7")
    world.memberships, world.addresses = [(2, joined, None)], [HERE]
    world.look(1.0)
    world.calls.clear()
    world.memberships, world.addresses = None, None
    world.look(2.0)
    assert world.calls == []
    assert world.demand == {Demand(None, HERE), Demand(None, joined)}


def test_a_membership_counts_on_the_groups_interface(tmp_path: Path) -> None:
    traffic = '[{ destination = "239.1.0.0/16" }]'
    world = World(tmp_path, traffic, extra='interface = "eth0"')
    world.memberships = [(3, IPAddress("239.1.0.7"), None)]
    world.look(1.0)
    assert world.demand == frozenset()
    world.memberships = [(2, IPAddress("239.1.0.7"), None)]
    world.look(2.0)
    assert world.demand == {Demand(None, IPAddress("239.1.0.7"))}
    gone = World(tmp_path, traffic, extra='interface = "eth9"')
    gone.memberships = world.memberships
    gone.look(1.0)
    assert gone.demand == frozenset()


def test_a_sender_receives_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, role="sender")
    world.addresses = [HERE]
    world.look(1.0)
    assert world.demand == frozenset()


@pytest.mark.requirement("MIPSEC-4.1.1-09")
def test_a_join_starts_the_registration_and_more_of_it_does_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, '[{ destination = "239.1.1.1" }]', extra='register = "join"')
    world.registration.rest(0.0)
    world.look(1.0)
    assert world.registration.resting
    world.memberships = [(2, IPAddress("239.1.1.1"), None)]
    world.look(2.0)
    world.look(3.0)
    assert world.calls.count("advance") == 1
    assert world.registration.ask(3.0) == "ks1"


@pytest.mark.requirement("MIPSEC-4.1.1-10")
def test_the_group_is_let_go_of_when_nobody_uses_it(tmp_path: Path) -> None:
    extra = 'register = "join"\nleave = "deregister"\nidle_s = 20'
    world = World(tmp_path, '[{ destination = "239.1.1.1" }]', extra=extra)
    world.memberships = [(2, IPAddress("239.1.1.1"), None)]
    world.look(1.0)
    world.register(Flow.parse("239.1.1.1"))
    world.look(30.0)
    world.memberships = []
    entry = replace(sa(IPAddress("239.1.1.1"), 5), reqid=REQID)
    world.datapath.sad = {entry.key: entry}
    world.look(40.0)
    world.look(59.0)
    assert not world.registration.resting
    world.look(60.0)
    assert world.registration.resting
    assert [sa.spi for sa in world.dropped] == [0x1000]


def test_a_group_that_is_kept_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, extra='register = "first-packet"\nidle_s = 20')
    world.register()
    world.look(1000.0)
    assert world.registration.held is not None


def test_destinations_that_are_idle_go_and_those_in_use_stay(tmp_path: Path) -> None:
    world = World(tmp_path, extra="idle_s = 20")
    world.register()
    world.duty.first_packet(WAITING)
    entry = replace(sa(THERE, 5), reqid=REQID)
    world.datapath.sad = {entry.key: entry}
    world.look(10.0)
    world.look(25.0)
    assert world.demand == {Demand(HERE, THERE)}
    world.look(30.0)
    assert world.demand == frozenset()
    assert world.calls == ["changed", "changed"]


def test_a_reload_keeps_what_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register()
    world.duty.first_packet(WAITING)
    world.duty.configure()
    assert world.demand == {Demand(HERE, THERE)}
    world.tables = ()
    world.duty.configure()
    assert world.duty.demand() == {}
    world.duty.first_packet(WAITING)


def test_a_process_that_comes_back_asks_on_for_what_the_one_before_left(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.addresses = [IPAddress("192.0.2.1"), HERE]

    def outbound(flow: Flow, reqid: int = REQID, **template: Any) -> SpdEntry:
        asks = Template(SecurityProtocol.ESP, Mode.TUNNEL, reqid, **({"spi": Spi(0x1000)} | template))
        return SpdEntry(PolicyDirection.OUT, flow, Action.PROTECT, 0x4D40, asks)

    to, other = (replace(RANGE, destination=IPNetwork(f"10.2.0.{number}")) for number in (2, 3))
    left = [
        outbound(replace(to, source=IPNetwork("10.2.0.9")), source=IPAddress("10.2.0.9"), destination=THERE),
        outbound(other),
        outbound(RANGE, spi=None),
        outbound(replace(to, destination=IPNetwork("10.2.0.4")), REQID + 1),
        outbound(Flow.parse("239.1.1.1")),
        replace(outbound(replace(to, destination=IPNetwork("10.2.0.5"))), direction=PolicyDirection.IN),
        SpdEntry(PolicyDirection.OUT, to, Action.DISCARD, 0x4D80),
    ]
    world.duty.adopt(Databases.of((), left))
    assert world.demand == {Demand(IPAddress("10.2.0.9"), THERE), Demand(HERE, IPAddress("10.2.0.3"))}


def test_a_loop_goes_on_while_the_data_path_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.member.demand_duty._LOOK_S", 0.01)
    world = World(tmp_path, extra="idle_s = 1")
    world.register()
    world.duty.first_packet(WAITING)
    world.datapath.broken = True
    world.clock.now = 10.0

    async def run() -> None:
        async with asyncio.timeout(0.3):
            await world.duty.run()

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert world.demand == {Demand(HERE, THERE)}, "what it carried is not known"
