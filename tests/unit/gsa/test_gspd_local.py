"""The operator's own entries in the GSPD."""

from typing import Any

import pytest
from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.databases import OWN_PRIORITIES, Action, Databases, PolicyDirection, SpdEntry
from agent.gsa.flow import ANY_SOURCE, Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.gspd_entry import GspdEntry
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
GROUP = GroupId.of_number(7)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
ANY = Flow.parse("239.1.1.1")
MEDIA = Flow.parse("239.1.1.1", protocol=17, port=5000)
NEWS = Flow.parse("239.1.1.1", protocol=17, port=9875)


def entry(
    name: str, action: Action, *flows: Flow, direction: Direction = Direction.SYMMETRIC, **more: Any
) -> GspdEntry:
    return GspdEntry(name, direction, action, flows, **more)


def policy(*entries: GspdEntry, role: Role = Role.BOTH, group: GroupId = GROUP) -> GroupPolicy:
    traffic = tuple(flow for each in entries if each.action is Action.PROTECT for flow in each.flows)
    return GroupPolicy(group, role, traffic, (IPAddress("10.9.0.1"),), entries=entries)


def data_sa(flow: Flow = MEDIA, spi: int = 0x1000, mode: Mode = Mode.TRANSPORT, **more: Any) -> DataSA:
    keys = Secret(b"\x5a" * CBC.cipher_key_octets), Secret(b"\xa5" * CBC.integrity_key_octets)
    return DataSA(SecurityProtocol.ESP, Spi(spi), flow, mode, CBC, *keys, **more)


def desired(configured: GroupPolicy, *sas: DataSA) -> Desired:
    held = {configured.group: GroupSA(configured.group, KS, sas, received=0.0)} if sas else {}
    return Gspd([configured]).desired(held, 0.0)


def verdict(databases: Databases, direction: PolicyDirection, packet: Flow) -> SpdEntry | None:
    """What the SPD says of a packet: the first in order of priority that has it."""
    matches = [found for found in databases.spd if found.direction is direction and found.flow.covers(packet)]
    return min(matches, key=lambda found: found.priority, default=None)


def action(databases: Databases, direction: PolicyDirection, port: int) -> Action | None:
    found = verdict(databases, direction, Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, source_port=9, port=port))
    return None if found is None else found.action


PROTECTED = entry("media", Action.PROTECT, MEDIA)


@pytest.mark.requirement("ARCH-4.4-01", "ARCH-4.4-02")
def test_entries_apply_in_their_order_and_the_last_one_discards() -> None:
    result = desired(policy(entry("news", Action.BYPASS, NEWS), PROTECTED), data_sa())
    for direction in PolicyDirection:
        assert action(result.databases, direction, 9875) is Action.BYPASS
        assert action(result.databases, direction, 5000) is Action.PROTECT
        assert action(result.databases, direction, 6000) is Action.DISCARD
        assert action(result.databases, direction, 848) is Action.BYPASS
    assert all(found.priority in OWN_PRIORITIES for found in result.databases.spd)
    assert result.refusals == ()


def test_without_an_sa_what_is_to_be_protected_is_discarded() -> None:
    databases = desired(policy(PROTECTED, entry("rest", Action.BYPASS, ANY))).databases
    assert action(databases, OUT, 5000) is Action.DISCARD
    assert action(databases, IN, 5000) is Action.DISCARD
    assert action(databases, OUT, 6000) is Action.BYPASS


def test_a_rest_that_passes_lies_beneath_what_is_protected() -> None:
    result = desired(policy(PROTECTED, entry("rest", Action.BYPASS, ANY)), data_sa())
    assert [action(result.databases, OUT, port) for port in (5000, 6000)] == [Action.PROTECT, Action.BYPASS]
    wide = desired(policy(PROTECTED, entry("rest", Action.BYPASS, ANY)), data_sa(ANY))
    assert "reaches into local entry rest, which says bypass and comes first" in wide.refusals[0].reason
    assert [action(wide.databases, IN, port) for port in (5000, 6000)] == [Action.DISCARD, Action.BYPASS]


@pytest.mark.requirement("MIPSEC-4.1.1-05", "MIPSEC-4.1.1-06")
@pytest.mark.parametrize("kind", [Action.BYPASS, Action.DISCARD])
def test_bypass_and_discard_for_one_direction_are_in_that_part_alone(kind: Action) -> None:
    out = entry("out", kind, NEWS, direction=Direction.SENDER_ONLY)
    incoming = entry("in", kind, Flow.parse("239.1.1.1", protocol=17, port=9876), direction=Direction.RECEIVER_ONLY)
    databases = desired(policy(out, incoming, PROTECTED)).databases
    own = {(found.direction, found.flow.destination_port) for found in databases.spd if found.action is kind}
    assert {(OUT, 9875), (IN, 9876)} <= own
    assert (IN, 9875) not in own
    assert (OUT, 9876) not in own
    assert action(databases, IN, 9875) is Action.DISCARD  # by the last entry


@pytest.mark.requirement("MIPSEC-4.1.1-03", "MIPSEC-4.1.1-04", "OWN-08")
def test_an_entry_for_one_direction_protects_there_and_blocks_elsewhere() -> None:
    for direction, used, other in ((Direction.SENDER_ONLY, OUT, IN), (Direction.RECEIVER_ONLY, IN, OUT)):
        result = desired(policy(entry("media", Action.PROTECT, MEDIA, direction=direction)), data_sa())
        assert action(result.databases, used, 5000) is Action.PROTECT
        assert action(result.databases, other, 5000) is Action.DISCARD
        (sa,) = result.databases.sad
        assert sa.direction is used
    (sa,) = desired(policy(PROTECTED), data_sa()).databases.sad
    assert sa.direction is None


def test_the_role_limits_directions_as_entries_do() -> None:
    for role, used in ((Role.SENDER, OUT), (Role.RECEIVER, IN)):
        single = Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=5000)
        (sa,) = desired(policy(PROTECTED, role=role), data_sa(single)).databases.sad
        assert sa.direction is used
        assert sa.replay_window == (64 if used is IN else 0)


def test_one_sa_with_flows_of_different_directions_serves_both() -> None:
    other = Flow.parse("239.1.1.1", protocol=17, port=6000)
    sending = entry("media", Action.PROTECT, MEDIA, direction=Direction.SENDER_ONLY)
    receiving = entry("feedback", Action.PROTECT, other, direction=Direction.RECEIVER_ONLY)
    result = desired(policy(sending, receiving), data_sa(), data_sa(other))
    assert [action(result.databases, OUT, port) for port in (5000, 6000)] == [Action.PROTECT, Action.DISCARD]
    assert [action(result.databases, IN, port) for port in (5000, 6000)] == [Action.DISCARD, Action.PROTECT]
    (sa,) = result.databases.sad
    assert sa.direction is None
    crossing = desired(policy(sending, receiving), data_sa(ANY))
    assert "crosses local entries of different directions: media (sender-only)" in crossing.refusals[0].reason
    assert crossing.databases.sad == ()


def test_an_sa_that_a_local_entry_hides_is_refused_with_its_name() -> None:
    configured = policy(
        entry("no-news", Action.DISCARD, Flow.parse("239.1.1.1", protocol=17, port=9875)),
        entry("all", Action.PROTECT, ANY),
    )
    result = desired(configured, data_sa(NEWS))
    assert "is shadowed by local entry no-news, which says discard" in result.refusals[0].reason
    assert result.databases.sad == ()


@pytest.mark.requirement("MIPSEC-4.1.1-01", "MIPSEC-4.1.2-02")
def test_a_tunnel_preserves_the_addresses_that_an_entry_wants_preserved() -> None:
    single = Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=5000)
    configured = policy(entry("media", Action.PROTECT, single, preserve=AddressPreservation.BOTH))
    both = data_sa(single, mode=Mode.TUNNEL, address_preservation=AddressPreservation.BOTH)
    assert desired(configured, both).refusals == ()
    less = data_sa(single, mode=Mode.TUNNEL, address_preservation=AddressPreservation.DESTINATION)
    result = desired(configured, less)
    assert "is 'destination', and local entry media wants 'both'" in result.refusals[0].reason
    assert action(result.databases, OUT, 5000) is Action.DISCARD
    assert desired(configured, data_sa(single)).refusals == ()


@pytest.mark.requirement("ARCH-4.4-05")
def test_sources_of_an_sa_have_policies_each_and_others_are_discarded() -> None:
    flows = tuple(Flow.parse("239.1.1.1", f"10.9.0.{host}", protocol=17, port=5000) for host in (1, 2, 7))
    configured = policy(entry("media", Action.PROTECT, *flows), role=Role.RECEIVER)
    result = desired(configured, *(data_sa(flow) for flow in flows))
    (sa,) = result.databases.sad
    assert str(sa.selector.source) == "10.9.0.0/29"
    for host in range(1, 8):
        packet = Flow.parse("239.1.1.1", f"10.9.0.{host}", protocol=17, source_port=9, port=5000)
        found = verdict(result.databases, IN, packet)
        assert found is not None
        assert found.action is (Action.PROTECT if host in (1, 2, 7) else Action.DISCARD)


@pytest.mark.requirement("OWN-07", "MIPSEC-6.3-01")
def test_a_flow_that_two_groups_want_has_one_and_nothing_is_merged() -> None:
    mine = policy(entry("media", Action.PROTECT, Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=5000)))
    theirs = policy(
        entry("media", Action.PROTECT, Flow.parse("239.1.1.1", "10.9.0.2", protocol=17, port=6000)),
        group=GroupId.of_number(8),
    )
    held = {
        each.group: GroupSA(each.group, Identity.parse(IdentityKind.FQDN, name), (sa,), received=0.0)
        for each, name, sa in (
            (mine, "ks1.example", data_sa(Flow.parse("239.1.1.1", "10.9.0.1", protocol=17), 0x1000)),
            (theirs, "ks2.example", data_sa(Flow.parse("239.1.1.1", protocol=17, port=6000), 0x2000)),
        )
    }
    result = Gspd([mine, theirs]).desired(held, 0.0)
    (refusal,) = result.refusals
    assert (refusal.group, refusal.spi) == (theirs.group, 0x2000)
    assert "of group 7, which comes first in the configuration" in refusal.reason
    assert [sa.spi for sa in result.databases.sad] == [0x1000]


def test_another_groups_sa_stays_out_of_what_local_entries_let_pass() -> None:
    mine = policy(PROTECTED, entry("news", Action.BYPASS, NEWS))
    theirs = policy(
        entry("other", Action.PROTECT, Flow.parse("239.1.1.1", protocol=17, port=7000)), group=GroupId.of_number(8)
    )
    wide = GroupSA(theirs.group, KS, (data_sa(Flow.parse("239.1.1.1", protocol=17)),), received=0.0)
    result = Gspd([mine, theirs]).desired({theirs.group: wide}, 0.0)
    assert "reaches into the traffic configured for group 7" in result.refusals[0].reason


@pytest.mark.requirement("MIPSEC-4.1.1-02")
def test_addresses_and_ports_are_not_swapped_inbound() -> None:
    flow = Flow.parse("239.1.1.1", "10.9.0.2", protocol=17, source_port=4000, port=5000)
    databases = desired(policy(entry("media", Action.PROTECT, flow)), data_sa(flow)).databases
    assert {found.direction for found in databases.spd if found.flow == flow} == {IN, OUT}
    assert not any(found.flow.source == flow.destination for found in databases.spd)


def test_what_a_group_has_besides_is_discarded_for_multicast_alone() -> None:
    unicast = Flow.parse("192.0.2.9", protocol=17, port=5000)
    databases = desired(policy(PROTECTED, entry("feedback", Action.PROTECT, unicast))).databases
    last = [found.flow for found in databases.spd if found.flow.protocol == 0]
    assert set(last) == {Flow(ANY_SOURCE[4], MEDIA.destination)}


def test_entries_and_traffic_agree() -> None:
    with pytest.raises(ValueError, match="is not that of its entries which protect"):
        GroupPolicy(GROUP, Role.BOTH, (ANY,), entries=(PROTECTED,))
    with pytest.raises(ValueError, match="entry again is shadowed"):
        policy(PROTECTED, entry("again", Action.PROTECT, MEDIA))
