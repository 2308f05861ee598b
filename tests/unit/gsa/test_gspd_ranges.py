"""The GSPD's ranges of destinations ("any to any"), its unicast traffic, and packets that ask for an SA."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from agent.datapath.plan import plan
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SpdEntry
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, SecurityProtocol
from tests.unit.gsa.test_gspd import CBC, GCM, GROUP, IN, OTHER, OUT, data_sa, entry, group_sa

SITES = Flow.parse("10.2.0.0/16", "10.2.0.0/16")
SITES6 = Flow.parse("fd09::/64", "fd09::/64")
GROUPS = Flow.parse("239.1.0.0/16")
_AH = Transform.parse("hmac-sha2-256")
HERE, THERE, ELSEWHERE = (IPAddress(f"10.2.0.{number}") for number in (1, 2, 3))
SERVER = IPAddress("10.2.9.9")
G1, G2 = IPAddress("239.1.0.1"), IPAddress("239.1.0.2")


def policy(*traffic: Flow, group: GroupId = GROUP, **more: Any) -> GroupPolicy:
    return GroupPolicy(group, more.pop("role", Role.BOTH), traffic or (SITES,), addresses=(HERE,), **more)


def desired(
    configured: GroupPolicy, *sas: DataSA, demand: Iterable[Demand] = (), now: float = 0.0, sids: tuple[int, ...] = ()
) -> Desired:
    gspd = Gspd([configured], {GROUP: frozenset(demand)})
    return gspd.desired({GROUP: group_sa(*sas, sender_ids=sids)} if sas else {}, now)


def to(flow: Flow, destination: IPAddress, source: IPAddress | None = None) -> Flow:
    narrowed = replace(flow, destination=IPNetwork(destination))
    return narrowed if source is None else replace(narrowed, source=IPNetwork(source))


def found(databases: Databases, direction: PolicyDirection, flow: Flow) -> SpdEntry | None:
    return next((each for each in databases.spd if (each.direction, each.flow) == (direction, flow)), None)


def is_trap(policy_entry: SpdEntry) -> bool:
    template = policy_entry.template
    return template is not None and template.spi is None and (template.source, template.destination) == (None, None)


@pytest.mark.requirement("MIPSEC-4.1.1-01", "MIPSEC-4.1.1-08")
def test_of_a_range_nobody_asked_for_there_is_what_asks_outbound_and_a_block_inbound() -> None:
    result = desired(policy(), data_sa(SITES))
    assert result.refusals == ()
    assert result.databases.sad == ()
    assert is_trap(entry(result.databases, OUT, SITES))
    assert entry(result.databases, IN, SITES).action is Action.DISCARD


@pytest.mark.requirement("MIPSEC-4.1.1-01", "MIPSEC-5.1-01")
def test_a_tunnel_that_preserves_addresses_has_an_sa_to_each_destination_asked_for() -> None:
    sa = data_sa(SITES, mode=Mode.TUNNEL)
    result = desired(policy(), sa, demand=(Demand(HERE, THERE), Demand(HERE, ELSEWHERE), Demand(None, HERE)))
    assert result.refusals == ()
    assert {(each.source, each.destination) for each in result.databases.sad} == {
        (HERE, THERE),
        (HERE, ELSEWHERE),
        (None, HERE),
    }
    for each in result.databases.sad:
        assert (each.spi, each.cipher_key, each.replay_window) == (sa.spi, sa.cipher_key, 0)
    sending = entry(result.databases, OUT, to(SITES, THERE, HERE))
    assert sending.template is not None
    assert (sending.template.source, sending.template.destination, sending.template.spi) == (HERE, THERE, sa.spi)
    receiving = entry(result.databases, IN, to(SITES, HERE))
    assert receiving.template is not None
    assert (receiving.template.source, receiving.template.destination) == (None, HERE)
    trap = entry(result.databases, OUT, SITES)
    assert is_trap(trap)
    assert sending.priority < trap.priority < entry(result.databases, IN, SITES).priority
    assert found(result.databases, OUT, to(SITES, HERE)) is None
    assert found(result.databases, IN, to(SITES, THERE)) is None


@pytest.mark.requirement("MIPSEC-3-01")
@pytest.mark.parametrize("flow", [SITES, SITES6, GROUPS])
@pytest.mark.parametrize("protocol", list(SecurityProtocol))
def test_transport_mode_serves_ranges_too(flow: Flow, protocol: SecurityProtocol) -> None:
    there = flow.destination.ip + 7
    here = HERE if flow.any_source else flow.source.ip + 1
    sa = data_sa(flow, protocol=protocol, transform=_AH if protocol is SecurityProtocol.AH else CBC)
    result = desired(policy(flow), sa, demand=(Demand(here, there),))
    assert result.refusals == ()
    (held,) = result.databases.sad
    assert (held.destination, held.source, held.protocol) == (there, None, protocol)
    trap = entry(result.databases, OUT, flow)
    assert trap.template is not None
    assert trap.template.protocol is protocol


def test_a_group_of_a_range_is_sent_to_and_received_at_on_one_sa() -> None:
    result = desired(policy(GROUPS), data_sa(GROUPS), demand=(Demand(None, G1), Demand(HERE, G1), Demand(HERE, G2)))
    assert {each.destination for each in result.databases.sad} == {G1, G2}
    assert entry(result.databases, IN, to(GROUPS, G1)).action is Action.PROTECT
    assert entry(result.databases, OUT, to(GROUPS, G1)).action is Action.PROTECT
    assert entry(result.databases, OUT, to(GROUPS, G2)).action is Action.PROTECT
    assert found(result.databases, IN, to(GROUPS, G2)) is None


@pytest.mark.requirement("CTR-3-02", "5374:CTR-3-02")
def test_no_member_sends_where_ivs_would_come_again_and_it_receives_all_the_same() -> None:
    demand = (Demand(HERE, THERE), Demand(None, HERE))
    result = desired(policy(), data_sa(SITES, transform=GCM), demand=demand, sids=(1,))
    assert ["repeat its IVs" in refusal.reason for refusal in result.refusals] == [True]
    assert [each.destination for each in result.databases.sad] == [HERE]
    assert entry(result.databases, OUT, SITES).action is Action.DISCARD
    assert entry(result.databases, IN, to(SITES, HERE)).action is Action.PROTECT


@pytest.mark.requirement("MIPSEC-A.2-03")
def test_a_range_of_one_source_is_not_sent_to_and_is_received_with_a_replay_window() -> None:
    mine, theirs = Flow.parse("239.1.0.0/16", "10.2.0.1"), Flow.parse("239.1.0.0/16", "10.2.0.2")
    sent = desired(policy(mine), data_sa(mine), demand=(Demand(HERE, G1),))
    assert ["counts from 1" in refusal.reason for refusal in sent.refusals] == [True]
    assert sent.databases.sad == ()
    heard = desired(
        policy(theirs), data_sa(theirs, direction=Direction.RECEIVER_ONLY), demand=(Demand(None, G1), Demand(None, G2))
    )
    assert heard.refusals == ()
    assert [each.replay_window for each in heard.databases.sad] == [64, 64]


@pytest.mark.requirement("MIPSEC-A.2-01", "MIPSEC-A.2-04", "MIPSEC-A.2-05")
def test_feedback_to_the_one_sender_is_unicast_without_a_replay_window() -> None:
    feedback = Flow.parse("10.2.0.1", "10.2.0.0/16", protocol=17, port=6000)
    at_the_sender = desired(policy(feedback), data_sa(feedback), demand=(Demand(None, HERE),))
    (held,) = at_the_sender.databases.sad
    assert (held.destination, held.replay_window) == (HERE, 0)
    assert entry(at_the_sender.databases, IN, feedback).action is Action.PROTECT
    assert entry(at_the_sender.databases, OUT, feedback).action is Action.DISCARD
    at_a_receiver = desired(policy(feedback), data_sa(feedback))
    assert entry(at_a_receiver.databases, OUT, feedback).action is Action.PROTECT
    assert entry(at_a_receiver.databases, IN, feedback).action is Action.DISCARD


def test_a_tunnel_to_one_address_keeps_its_source_whoever_asks_and_whoever_stops_asking() -> None:
    """Another source would be another SA of the same key in the place of a live one."""
    flow = Flow.parse("239.1.0.1", "10.2.0.0/16")
    sa = data_sa(flow, mode=Mode.TUNNEL, transform=GCM)
    member = replace(policy(flow, on_demand=True), addresses=(HERE, THERE))

    def made(*demand: Demand) -> Databases:
        gspd = Gspd([member], {GROUP: frozenset(demand)})
        return gspd.desired({GROUP: group_sa(sa, sender_ids=(1,))}, 0.0).databases

    asked, idle = made(Demand(THERE, G1)), made()
    assert {entry.source for entry in asked.sad} == {HERE}
    assert plan(idle, asked) == []


@pytest.mark.requirement("5374:GDOI-5.5-01")
@pytest.mark.parametrize("preservation", list(AddressPreservation))
@pytest.mark.parametrize("flow", [Flow.parse("239.1.1.1"), Flow.parse("239.1.1.1", "10.2.0.1"), Flow.parse("10.2.0.2")])
def test_a_tunnel_to_one_address_goes_there_whatever_is_preserved(
    preservation: AddressPreservation, flow: Flow
) -> None:
    result = desired(policy(flow), data_sa(flow, mode=Mode.TUNNEL, address_preservation=preservation))
    assert result.refusals == ()
    (sending,) = (each for each in result.databases.spd if each.direction is OUT and each.action is Action.PROTECT)
    assert sending.template is not None
    assert (sending.template.source, sending.template.destination) == (HERE, flow.destination.ip)
    preserved = preservation in (AddressPreservation.SOURCE, AddressPreservation.BOTH)
    assert sending.flow.single_source is (preserved or flow.single_source)


@pytest.mark.parametrize("preservation", [AddressPreservation.NONE, AddressPreservation.SOURCE])
def test_a_tunnel_to_a_range_that_names_no_destination_is_refused(preservation: AddressPreservation) -> None:
    result = desired(policy(), data_sa(SITES, mode=Mode.TUNNEL, address_preservation=preservation))
    assert ["names no tunnel destination" in refusal.reason for refusal in result.refusals] == [True]
    assert entry(result.databases, OUT, SITES).action is Action.DISCARD


def test_what_the_key_server_names_by_itself_is_no_part_of_its_range() -> None:
    one = Flow.parse("239.1.0.1")
    sas = (data_sa(GROUPS, 0x2000), data_sa(one, 0x1000, expires=10.0))
    demand = (Demand(HERE, G1), Demand(HERE, G2))
    at_first = desired(policy(GROUPS), *sas, demand=demand)
    assert {(each.destination, each.spi) for each in at_first.databases.sad} == {(G1, 0x1000), (G2, 0x2000)}
    later = desired(policy(GROUPS), *sas, demand=demand, now=10.0)
    assert {(each.destination, each.spi) for each in later.databases.sad} == {(G2, 0x2000)}
    assert entry(later.databases, OUT, one).action is Action.DISCARD


def test_of_ranges_within_each_other_the_narrower_serves() -> None:
    narrow = Flow.parse("239.1.0.0/24")
    sas = (data_sa(GROUPS, 0x2000), data_sa(narrow, 0x1000))
    result = desired(policy(GROUPS), *sas, demand=(Demand(HERE, G1), Demand(HERE, IPAddress("239.1.9.9"))))
    assert {(str(each.destination), each.spi) for each in result.databases.sad} == {
        ("239.1.0.1", 0x1000),
        ("239.1.9.9", 0x2000),
    }


@pytest.mark.requirement("OWN-07")
def test_a_range_does_not_reach_into_another_groups_traffic() -> None:
    theirs = Flow.parse("239.1.5.0/24")
    gspd = Gspd([policy(GROUPS), policy(theirs, group=OTHER)], {OTHER: {Demand(HERE, IPAddress("239.1.5.1"))}})
    held = {GROUP: group_sa(data_sa(GROUPS)), OTHER: group_sa(data_sa(theirs, 0x2000), group=OTHER)}
    result = gspd.desired(held, 0.0)
    assert [(each.group, "overlaps" in each.reason) for each in result.refusals] == [(OTHER, True)]
    wide = Gspd([policy(Flow.parse("239.1.0.0/24")), policy(theirs, group=OTHER)]).desired(
        {GROUP: group_sa(data_sa(GROUPS))}, 0.0
    )
    assert ["reaches into" in each.reason for each in wide.refusals] == [True]


def test_an_sa_of_a_range_that_may_not_stand_is_refused_once_whatever_number_of_destinations_is_asked_for() -> None:
    ours, theirs = (replace(GROUPS, protocol=17, destination_port=port) for port in (5000, 6000))
    demand = frozenset(Demand(HERE, to) for to in (G1, G2))
    gspd = Gspd([policy(ours), policy(theirs, group=OTHER)], {GROUP: demand, OTHER: demand})
    held = {GROUP: group_sa(data_sa(ours)), OTHER: group_sa(data_sa(theirs), group=OTHER)}
    result = gspd.desired(held, 0.0)
    assert [(each.group, "same SPI and destination" in each.reason) for each in result.refusals] == [(OTHER, True)]
    for to_one in (G1, G2):
        assert entry(result.databases, OUT, to(ours, to_one)).action is Action.PROTECT
        assert found(result.databases, OUT, to(theirs, to_one)) is None
    assert entry(result.databases, OUT, theirs).action is not Action.BYPASS


def test_a_rollover_of_a_range_is_one_of_each_destination() -> None:
    old, new = data_sa(SITES, 0x1000), data_sa(SITES, 0x2000, send_from=10.0)
    for now, spi in ((0.0, 0x1000), (10.0, 0x2000)):
        result = desired(policy(), old, new, demand=(Demand(HERE, THERE),), now=now)
        assert {each.spi for each in result.databases.sad} == {0x1000, 0x2000}
        template = entry(result.databases, OUT, to(SITES, THERE)).template
        assert template is not None
        assert template.spi == spi


@pytest.mark.requirement("ARCH-5.2-02")
def test_what_finds_neighbours_and_keys_passes_unicast_traffic() -> None:
    ours = policy(SITES6, SITES, key_servers=((SERVER, 848), (SERVER, 4500)))
    databases = desired(ours, data_sa(SITES)).databases
    passing = {(each.direction, each.flow) for each in databases.spd if each.action is Action.BYPASS}
    for direction in PolicyDirection:
        assert {flow.icmp_type for at, flow in passing if at is direction and flow.family == 6} - {None} == set(
            range(133, 138)
        )
        ports = {
            flow.destination_port for at, flow in passing if at is direction and flow.destination == SITES.destination
        }
        assert ports - {0} == {500, 848, 4500}
    answers = Flow(IPNetwork(SERVER), SITES.destination, 17, source_port=848)
    assert (IN, answers) in passing
    assert (OUT, answers) not in passing
    assert (OUT, Flow.parse("10.2.9.9", protocol=17, port=848)) in passing


def test_a_key_server_on_this_host_answers_through_unicast_traffic() -> None:
    databases = desired(policy(key_servers=((HERE, 848),))).databases
    answers = Flow(IPNetwork(HERE), SITES.destination, 17, source_port=848)
    assert entry(databases, OUT, answers).action is Action.BYPASS


@pytest.mark.requirement("MIPSEC-4.1.1-08")
def test_traffic_of_a_group_that_waits_asks_for_an_sa_until_one_is_there() -> None:
    flow = Flow.parse("239.1.1.1", protocol=17, port=5000)
    waiting = policy(flow, on_demand=True)
    sa = data_sa(flow, expires=10.0)
    for result in (desired(waiting), desired(waiting, sa, now=10.0)):
        assert is_trap(entry(result.databases, OUT, flow))
        assert entry(result.databases, IN, flow).action is Action.DISCARD
    served = entry(desired(waiting, sa).databases, OUT, flow)
    assert served.template is not None
    assert served.template.spi == sa.spi
    silent = desired(policy(flow, on_demand=True, role=Role.RECEIVER))
    assert entry(silent.databases, OUT, flow).action is Action.DISCARD


demands = st.builds(
    Demand,
    st.none() | st.sampled_from([HERE, IPAddress("10.2.0.9")]),
    st.integers(0x0A020001, 0x0A020004).map(IPAddress),
)


@given(st.frozensets(demands, max_size=6), st.frozensets(demands, max_size=6), st.sampled_from(list(Mode)))
def test_whoever_is_asked_for_nothing_of_the_range_is_ever_in_clear(
    before: frozenset[Demand], after: frozenset[Demand], mode: Mode
) -> None:
    sa = data_sa(SITES, mode=mode)
    first, then = (desired(policy(), sa, demand=demand).databases for demand in (before, after))
    for databases in (first, then):
        assert is_trap(entry(databases, OUT, SITES))
        assert entry(databases, IN, SITES).action is Action.DISCARD
        keys = {(each.destination, each.spi) for each in databases.sad}
        for each in databases.spd:
            if each.direction is OUT and each.template is not None and each.template.spi is not None:
                assert (each.flow.destination.ip, each.template.spi) in keys
    assert plan(first, first) == []
    changed = {str(operation).partition(" policy ")[2] for operation in plan(first, then)}
    assert not any(word.startswith(str(SITES) + " ") for word in changed), "what lies beneath stays as it is"
