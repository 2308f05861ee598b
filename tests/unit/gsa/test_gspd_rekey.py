"""agent.gsa.gspd about rekeys: their datagrams pass in clear, and where a sender begins an SA."""

from __future__ import annotations

from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.gsa.databases import OWN_PRIORITIES, Action, PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, RekeySA
from agent.gsa.sequence import FirstSequence
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP, data_sa, group_sa

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
OTHER = GroupId.of_number(99)
WHOLE = Flow.parse("239.1.1.0/24")
PORT = 1848
REKEYS = Flow.parse("239.1.1.1", "192.0.2.1", protocol=17, port=PORT)
FROM_GCKS = replace(REKEYS, source_port=848)
"""What may leave this host: a key server's own, from a port that no other program is given."""
SINGLE = Flow.parse("239.1.1.1", "192.0.2.10")
RESUME = FirstSequence()


def desired(traffic: Flow, rekey: RekeySA, *data: DataSA) -> Desired:
    policy = GroupPolicy(GROUP, Role.BOTH, (traffic,))
    return Gspd([policy]).desired({GROUP: replace(group_sa(*data), rekey=rekey)}, 0.0)


def bypassed(result: Desired, port: int = PORT) -> set[tuple[PolicyDirection, Flow]]:
    return {
        (found.direction, found.flow)
        for found in result.databases.spd
        if found.action is Action.BYPASS and found.flow.destination_port == port
    }


@pytest.mark.requirement("ARCH-5.2-02")
def test_rekeys_within_the_groups_traffic_pass_above_its_block_and_its_sas() -> None:
    result = desired(Flow.parse("239.1.1.1"), rekey_sa(destination_port=PORT), data_sa(0x1001))
    assert bypassed(result) == {(IN, REKEYS), (OUT, FROM_GCKS)}
    (bypass, *_) = (found for found in result.databases.spd if found.flow == REKEYS)
    assert all(found.priority > bypass.priority for found in result.databases.spd if found.action is not Action.BYPASS)
    assert bypass.priority in OWN_PRIORITIES
    assert result.refusals == ()


def test_a_prefix_that_holds_the_rekey_address_does_not_block_it() -> None:
    assert bypassed(desired(WHOLE, rekey_sa(destination_port=PORT))) == {(IN, REKEYS), (OUT, FROM_GCKS)}


def test_rekeys_of_any_source_come_in_but_nothing_goes_out_by_it() -> None:
    result = desired(WHOLE, rekey_sa(source=IPAddress("0.0.0.0"), destination_port=PORT))
    assert bypassed(result) == {(IN, replace(REKEYS, source=Flow.parse("239.1.1.1").source))}


@pytest.mark.requirement("OWN-01")
def test_a_rekey_sa_that_names_this_host_lets_none_of_its_traffic_out() -> None:
    """A key server names the source and the port of its rekeys; they may be those of an application here."""
    assert bypassed(desired(WHOLE, rekey_sa(source_port=5000, destination_port=PORT))) == {(IN, REKEYS)}
    assert bypassed(desired(WHOLE, rekey_sa(source_port=4500, destination_port=PORT))) == {
        (IN, REKEYS),
        (OUT, replace(REKEYS, source_port=4500)),
    }


@pytest.mark.requirement("OWN-01")
def test_a_key_server_opens_no_hole_in_another_groups_traffic() -> None:
    policies = [
        GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.1.1"),)),
        GroupPolicy(OTHER, Role.BOTH, (Flow.parse("239.1.1.2"),)),
    ]
    held = {OTHER: replace(group_sa(group=OTHER), rekey=rekey_sa(destination_port=PORT))}
    result = Gspd(policies).desired(held, 0.0)
    assert bypassed(result) == set()
    (refusal,) = result.refusals
    assert str(refusal) == (
        "group 99, Rekey SA: its rekeys, 192.0.2.1/32 -> 239.1.1.1/32 udp port 1848, would pass in clear through the"
        " traffic of group 1234: let its key server send them to port 848"
    )


@pytest.mark.parametrize("port", [848, 4500])
def test_gdois_own_ports_pass_as_ever(port: int) -> None:
    everyone = {(direction, Flow.parse("239.1.1.0/24", protocol=17, port=port)) for direction in (IN, OUT)}
    assert bypassed(desired(WHOLE, rekey_sa(destination_port=port)), port) == everyone


@pytest.mark.parametrize(
    "rekey",
    [
        rekey_sa(destination=IPAddress("239.9.9.9"), destination_port=PORT),
        rekey_sa(destination=IPAddress("192.0.2.7"), destination_port=PORT),
        rekey_sa(destination_port=0),
    ],
    ids=["outside", "unicast", "no port"],
)
def test_what_nothing_blocks_needs_no_bypass(rekey: RekeySA) -> None:
    result = desired(WHOLE, rekey)
    assert {found.flow.destination_port for found in result.databases.spd if found.action is Action.BYPASS} <= {
        *(0, 848, 4500)
    }


@pytest.mark.requirement("OWN-01")
def test_a_port_that_is_protected_by_its_number_stays_protected() -> None:
    """A key server does not open a hole in what the operator, or a TEK of its own, protects."""
    result = desired(Flow.parse("239.1.1.1", protocol=17, port=PORT), rekey_sa(destination_port=PORT))
    assert bypassed(result) == set()
    (refusal,) = result.refusals
    assert str(refusal) == (
        "group 1234, Rekey SA: its rekeys, 192.0.2.1/32 -> 239.1.1.1/32 udp port 1848, would pass in clear where that"
        " very port is protected"
    )


def test_groups_may_share_a_rekey_address() -> None:
    policies = [
        GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.1.1"),)),
        GroupPolicy(OTHER, Role.BOTH, (Flow.parse("239.1.1.2"),)),
    ]
    rekey = rekey_sa(destination_port=PORT)
    held = {group: replace(group_sa(group=group), rekey=rekey) for group in (GROUP, OTHER)}
    result = Gspd(policies).desired(held, 0.0)
    assert bypassed(result) == {(IN, REKEYS), (OUT, FROM_GCKS)}
    assert result.refusals == ()


@pytest.mark.parametrize(
    ("role", "resume", "flow", "first"),
    [
        (Role.SENDER, RESUME, SINGLE, RESUME.at(1000)),
        (Role.BOTH, RESUME, SINGLE, RESUME.at(1000)),
        (Role.RECEIVER, RESUME, SINGLE, 1),
        (Role.SENDER, None, SINGLE, 1),
        (Role.SENDER, RESUME, Flow.parse("239.1.1.1"), 1),
    ],
)
def test_a_sender_of_a_single_source_group_begins_where_the_tek_stands(
    role: Role, resume: FirstSequence | None, flow: Flow, first: int
) -> None:
    policy = GroupPolicy(GROUP, role, (flow,), resume=resume)
    sa = replace(data_sa(0x1001, expires=1500.0), flow=flow)
    (entry,) = Gspd([policy]).desired({GROUP: group_sa(sa)}, 500.0).databases.sad
    assert entry.first_sequence == first


@pytest.mark.requirement("ESP-2.2-01")
def test_a_tek_that_a_rekey_brought_begins_at_one() -> None:
    policy = GroupPolicy(GROUP, Role.SENDER, (SINGLE,), resume=RESUME)
    sa = replace(data_sa(0x1001, expires=1500.0), flow=SINGLE, rekeyed=500.0)
    for now, first in ((500.0, 1), (600.0, RESUME.at(900))):
        (entry,) = Gspd([policy]).desired({GROUP: group_sa(sa)}, now).databases.sad
        assert entry.first_sequence == first


def test_an_sa_that_is_there_goes_on_counting() -> None:
    policy = GroupPolicy(GROUP, Role.SENDER, (SINGLE,), resume=RESUME)
    sa = replace(data_sa(0x1001, expires=1500.0), flow=SINGLE)
    one, later = (Gspd([policy]).desired({GROUP: group_sa(sa)}, now).databases for now in (0.0, 700.0))
    assert one.sad[0].first_sequence != later.sad[0].first_sequence
    assert one == later, "so the plan has nothing to do"
