from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.gsa.databases import SadEntry, SaUsage
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.member.demand import GroupDemand, demand_of, within
from agent.secret import Secret
from tests.unit.member.support import GCM, GROUP

HERE, THERE, OTHER = (IPAddress(f"10.2.0.{number}") for number in (1, 2, 3))


def sa(to: IPAddress, packets: int | None, spi: int = 0x1000) -> SadEntry:
    return SadEntry(
        to,
        Spi(spi),
        SecurityProtocol.ESP,
        None,
        Mode.TRANSPORT,
        0x4D43_0001,
        GCM,
        Secret(bytes(20)),
        Secret(b""),
        Flow.parse(str(to)),
        usage=None if packets is None else SaUsage(packets * 60, packets),
    )


@pytest.mark.requirement("MIPSEC-4.1.1-08")
def test_a_packet_that_waits_asks_once_for_its_destination() -> None:
    asked = GroupDemand(GROUP, 30.0)
    assert asked.first_packet(HERE, THERE, 0.0)
    assert not asked.first_packet(HERE, THERE, 1.0)
    assert asked.demand() == {Demand(HERE, THERE)}
    assert (asked.waited, asked.sends_to) == (2, 1)


def test_what_is_not_in_use_goes() -> None:
    asked = GroupDemand(GROUP, 30.0)
    asked.first_packet(HERE, THERE, 0.0)
    asked.first_packet(HERE, OTHER, 0.0)
    asked.count([sa(THERE, 1), sa(OTHER, 1)], 5.0)
    assert asked.drop_idle(29.9) == ()
    asked.count([sa(THERE, 2), sa(OTHER, 1)], 30.0)
    assert asked.drop_idle(36.0) == (OTHER,)
    assert asked.demand() == {Demand(HERE, THERE)}
    assert asked.drop_idle(60.0) == (THERE,)
    assert asked.demand() == frozenset()


def test_a_packet_that_waits_again_is_a_use() -> None:
    asked = GroupDemand(GROUP, 30.0)
    asked.first_packet(HERE, THERE, 0.0)
    asked.first_packet(HERE, THERE, 20.0)
    assert asked.drop_idle(40.0) == ()
    assert asked.drop_idle(50.0) == (THERE,)


def test_a_rollover_is_no_use() -> None:
    asked = GroupDemand(GROUP, 30.0)
    asked.first_packet(HERE, THERE, 0.0)
    asked.count([sa(THERE, 7)], 1.0)
    asked.count([sa(THERE, 7), sa(THERE, 0, spi=0x1001)], 20.0)
    asked.count([sa(THERE, 0, spi=0x1001), sa(OTHER, None)], 25.0)
    assert asked.drop_idle(31.0) == (THERE,)


def test_the_group_is_in_use_while_any_of_its_sas_is() -> None:
    asked = GroupDemand(GROUP, 30.0)
    asked.count([sa(OTHER, 3)], 10.0)
    assert asked.used == 10.0
    asked.count([sa(OTHER, 3)], 20.0)
    assert not asked.idle(39.0)
    assert asked.idle(40.0)
    assert not replace(asked, used=20.0).idle(40.0)


def test_there_is_room_for_so_many_destinations() -> None:
    asked = GroupDemand(GROUP, 30.0, most=1)
    assert asked.first_packet(HERE, THERE, 0.0)
    assert not asked.first_packet(HERE, OTHER, 0.0)
    assert asked.refused == 1
    asked.drop_idle(30.0)
    assert asked.first_packet(HERE, OTHER, 31.0)


def test_where_there_is_no_room_what_was_unused_for_long_gives_way() -> None:
    asked = GroupDemand(GROUP, 30.0, most=2)
    asked.first_packet(HERE, THERE, 0.0)
    asked.first_packet(HERE, OTHER, 1.0)
    asked.count([sa(THERE, 1), sa(OTHER, 0)], 14.0)
    assert not asked.first_packet(HERE, HERE, 15.9), "nothing is unused for half of its time yet"
    assert asked.first_packet(HERE, HERE, 16.0)
    assert asked.demand() == {Demand(HERE, THERE), Demand(HERE, HERE)}, "what is in use stays"
    assert not asked.first_packet(HERE, OTHER, 28.9)
    assert asked.refused == 2


def test_own_addresses_and_memberships_stand_as_long_as_they_are_there() -> None:
    asked = GroupDemand(GROUP, 30.0)
    assert asked.stand({HERE})
    assert not asked.stand({HERE})
    assert asked.demand() == {Demand(None, HERE)}
    assert asked.drop_idle(1000.0) == ()
    assert asked.stand(())
    assert demand_of({GROUP: asked}) == {GROUP: frozenset()}


def test_what_is_within_the_flows() -> None:
    flows = (Flow.parse("10.2.0.0/31"), Flow.parse("ff3e::/32"))
    assert within([HERE, THERE, IPAddress("ff3e::1"), IPAddress("ff3f::1")], flows) == {HERE, IPAddress("ff3e::1")}
