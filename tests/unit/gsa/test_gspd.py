from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress, IPNetwork

from agent.gsa.algorithms import CIPHERS, TRANSFORMS, Transform
from agent.gsa.databases import OWN_PRIORITIES, OWN_REQIDS, Action, Databases, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.identity import GroupId, GroupIdKind, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
GROUP, OTHER = GroupId.of_number(1234), GroupId.of_number(99)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
GCM = Transform.parse("aes-gcm-16-128")
TRAFFIC = Flow.parse("239.1.1.1", protocol=17, port=5000)
SINGLE = Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=5000)
TRAFFIC6 = Flow.parse("ff3e::8000:1", protocol=17, port=5000)
HERE, HERE6 = IPAddress("10.9.0.1"), IPAddress("fd09::1")


def data_sa(flow: Flow = TRAFFIC, spi: int = 0x1000, **more: Any) -> DataSA:
    transform = more.pop("transform", CBC)
    protocol = more.pop("protocol", SecurityProtocol.ESP)
    return DataSA(
        protocol,
        Spi(spi),
        flow,
        more.pop("mode", Mode.TRANSPORT),
        transform,
        Secret(b"\x5a" * transform.cipher_key_octets),
        Secret(b"\xa5" * transform.integrity_key_octets),
        **more,
    )


def group_sa(*sas: DataSA, group: GroupId = GROUP, sender_ids: tuple[int, ...] = ()) -> GroupSA:
    return GroupSA(group, KS, sas, received=0.0, sender_ids=sender_ids, sender_id_bits=16 if sender_ids else 0)


def policy(*traffic: Flow, role: Role = Role.BOTH, group: GroupId = GROUP, **more: Any) -> GroupPolicy:
    return GroupPolicy(group, role, traffic or (TRAFFIC,), addresses=(HERE, HERE6), **more)


def desired(configured: GroupPolicy, *sas: DataSA, now: float = 0.0, sender_ids: tuple[int, ...] = ()) -> Desired:
    return Gspd([configured]).desired({GROUP: group_sa(*sas, sender_ids=sender_ids)}, now)


def entry(databases: Databases, direction: PolicyDirection, flow: Flow) -> SpdEntry:
    return next(found for found in databases.spd if found.direction is direction and found.flow == flow)


def sad(databases: Databases) -> dict[int, SadEntry]:
    return {found.spi: found for found in databases.sad}


def out_spi(result: Desired, flow: Flow = TRAFFIC) -> int | None:
    template = entry(result.databases, OUT, flow).template
    return None if template is None else template.spi


@pytest.mark.requirement("OWN-01")
def test_traffic_is_blocked_before_anything_was_registered() -> None:
    databases = Gspd([policy(role=Role.RECEIVER)]).desired({}, 0.0).databases
    assert databases.sad == ()
    assert entry(databases, IN, TRAFFIC).action is Action.DISCARD
    assert entry(databases, OUT, TRAFFIC).action is Action.DISCARD


@pytest.mark.requirement("MIPSEC-6.3-02")
def test_a_single_source_groups_other_sources_are_blocked_beneath_everything() -> None:
    databases = Gspd([policy(SINGLE)]).desired({}, 0.0).databases
    others = entry(databases, IN, TRAFFIC)
    assert others.action is Action.DISCARD
    assert others.priority > entry(databases, IN, SINGLE).priority
    assert entry(databases, OUT, TRAFFIC).action is Action.DISCARD


@pytest.mark.requirement("ARCH-5.2-02")
def test_control_traffic_passes_above_everything() -> None:
    whole = Flow.parse("239.1.1.1")
    databases = desired(policy(whole), data_sa(whole)).databases
    for direction in PolicyDirection:
        for control in (Flow.parse("239.1.1.1", protocol=2), Flow.parse("239.1.1.1", protocol=17, port=848)):
            bypass = entry(databases, direction, control)
            assert bypass.action is Action.BYPASS
            assert all(bypass.priority < found.priority for found in databases.spd if found.action != Action.BYPASS)


def test_of_icmpv6_only_group_membership_passes() -> None:
    databases = desired(policy(Flow.parse("ff3e::8000:1"))).databases
    types = {found.flow.icmp_type for found in databases.spd if found.flow.protocol == 58}
    assert types == {130, 131, 132}


def test_neighbour_discovery_passes_where_it_is_sent() -> None:
    databases = desired(policy(Flow.parse("ff02::/16"))).databases
    types = {found.flow.icmp_type for found in databases.spd if found.flow.protocol == 58}
    assert types == {130, 131, 132, 133, 134, 135, 136, 137, 143}


def test_nothing_is_let_pass_that_is_not_blocked() -> None:
    databases = desired(policy(TRAFFIC)).databases
    assert {found.action for found in databases.spd} == {Action.DISCARD}
    gdoi_only = desired(policy(Flow.parse("239.1.1.1", protocol=17))).databases
    bypassed = {found.flow.destination_port for found in gdoi_only.spd if found.action is Action.BYPASS}
    assert bypassed == {848, 4500}


@pytest.mark.requirement("MIPSEC-4.1.1-07", "MIPSEC-4.1.1-02")
def test_a_member_that_does_both_sends_on_one_sa_and_receives_on_any_of_the_group() -> None:
    result = desired(policy(), data_sa())
    assert result.refusals == ()
    outbound, inbound = (entry(result.databases, direction, TRAFFIC) for direction in (OUT, IN))
    assert outbound.template is not None
    assert inbound.template is not None
    assert (outbound.template.spi, inbound.template.spi) == (0x1000, None)
    assert outbound.template.reqid == inbound.template.reqid == Gspd([policy()]).reqid(GROUP)
    assert outbound.template.reqid == sad(result.databases)[0x1000].reqid
    assert outbound.flow == inbound.flow


@pytest.mark.requirement("MIPSEC-4.1.1-03", "OWN-08", "MIPSEC-A.1-01", "GDOI-5.5.1.1.2-02")
@pytest.mark.parametrize(
    ("role", "direction", "actions"),
    [
        (Role.BOTH, Direction.SYMMETRIC, ("protect", "protect")),
        (Role.BOTH, Direction.SENDER_ONLY, ("discard", "protect")),
        (Role.BOTH, Direction.RECEIVER_ONLY, ("protect", "discard")),
        (Role.RECEIVER, Direction.SYMMETRIC, ("protect", "discard")),
        (Role.RECEIVER, Direction.RECEIVER_ONLY, ("protect", "discard")),
        (Role.RECEIVER, Direction.SENDER_ONLY, ("discard", "discard")),
        (Role.SENDER, Direction.SYMMETRIC, ("discard", "protect")),
        (Role.SENDER, Direction.RECEIVER_ONLY, ("discard", "discard")),
    ],
)
def test_role_and_direction_say_what_is_protected_and_the_rest_is_blocked(
    role: Role, direction: Direction, actions: tuple[str, str]
) -> None:
    databases = desired(policy(role=role), data_sa(direction=direction)).databases
    assert tuple(entry(databases, way, TRAFFIC).action.value for way in (IN, OUT)) == actions
    assert bool(databases.sad) == ("protect" in actions)


@pytest.mark.requirement("MIPSEC-A.3-01", "MIPSEC-A.3-02")
def test_an_any_source_sa_is_shared_without_replay_service() -> None:
    held = sad(desired(policy(), data_sa()).databases)[0x1000]
    assert (held.source, held.replay_window, held.selector) == (None, 0, TRAFFIC)


@pytest.mark.requirement("MIPSEC-A.2-03", "ESP-3.4-02", "ESP-3.4-03", "ARCH-4.4-05")
def test_a_single_source_sa_checks_source_and_replay() -> None:
    held = sad(desired(policy(SINGLE), data_sa(SINGLE)).databases)[0x1000]
    assert (held.source, held.replay_window, held.selector) == (HERE, 64, SINGLE)
    assert sad(desired(policy(SINGLE, replay_window=0), data_sa(SINGLE)).databases)[0x1000].replay_window == 0
    # There is no transform without integrity that the check could rest on.
    assert all(
        transform.integrity or CIPHERS[transform.cipher].combined for transform in TRANSFORMS if transform.cipher
    )


@pytest.mark.requirement("MIPSEC-A.2-09")
def test_many_senders_each_have_an_sa_with_replay_state_of_its_own() -> None:
    flows = [replace(TRAFFIC, source=IPNetwork(f"10.9.0.{host}/32")) for host in range(1, 33)]
    result = desired(policy(), *(data_sa(flow, 0x1000 + place) for place, flow in enumerate(flows)))
    assert result.refusals == ()
    assert {(held.source, held.replay_window) for held in result.databases.sad} == {(f.source.ip, 64) for f in flows}


def test_senders_of_a_prefix_share_the_sa_without_replay_service() -> None:
    some = Flow.parse("239.1.1.1", "10.9.0.0/24")
    held = sad(desired(policy(some), data_sa(some)).databases)[0x1000]
    assert (held.source, held.replay_window, held.selector) == (None, 0, some)


@pytest.mark.requirement("MIPSEC-4.2.1-05", "MIPSEC-4.2.1-06", "MSA-4.2.1-03")
def test_rollover_receives_on_both_and_switches_the_sender_once_at_atd() -> None:
    older = data_sa(spi=0x1001, expires=100.0)
    newer = data_sa(spi=0x1002, expires=200.0, send_from=60.0)
    for now, spi, held in ((0.0, 0x1001, 2), (59.9, 0x1001, 2), (60.0, 0x1002, 2), (100.0, 0x1002, 1)):
        result = desired(policy(), older, newer, now=now)
        assert (out_spi(result), len(result.databases.sad)) == (spi, held)
        assert entry(result.databases, IN, TRAFFIC).action is Action.PROTECT


def test_a_sender_does_not_wait_for_atd_when_nothing_else_serves() -> None:
    first, second = data_sa(spi=0x1001, send_from=30.0), data_sa(spi=0x1002, send_from=60.0)
    assert out_spi(desired(policy(), second, first)) == 0x1001


def test_a_sender_is_on_the_newest_whatever_its_lifetime() -> None:
    longer, shorter = data_sa(spi=0x1001, expires=500.0), data_sa(spi=0x1002, expires=100.0)
    assert out_spi(desired(policy(), longer, shorter)) == 0x1002
    assert out_spi(desired(policy(), shorter, longer)) == 0x1001
    assert out_spi(desired(policy(), data_sa(spi=0x1001), data_sa(spi=0x1003))) == 0x1003


@pytest.mark.requirement("ARCH-5.1-01")
def test_the_flow_of_an_expired_sa_is_blocked_even_where_only_the_gcks_named_it() -> None:
    wider = Flow.parse("239.1.1.1")
    before = desired(policy(), data_sa(wider, expires=10.0), now=9.0).databases
    after = desired(policy(), data_sa(wider, expires=10.0), now=10.0).databases
    for direction in PolicyDirection:
        assert entry(before, direction, wider).action is Action.PROTECT
        assert entry(after, direction, wider).action is Action.DISCARD
        assert entry(after, direction, TRAFFIC).action is Action.DISCARD
    assert after.sad == ()


def test_the_next_change_is_an_expiry_or_an_atd() -> None:
    gspd = Gspd([policy()])
    held = {GROUP: group_sa(data_sa(expires=100.0), data_sa(spi=0x1001, send_from=60.0)), OTHER: group_sa()}
    assert gspd.next_change(held, 0.0) == 60.0
    assert gspd.next_change(held, 60.0) == 100.0
    assert gspd.next_change(held, 100.0) is None
    assert gspd.next_change({}, 0.0) is None


@pytest.mark.requirement("GDOI-4.4-03", "5374:GDOI-4-01")
def test_a_counter_mode_sender_without_sender_id_receives_only() -> None:
    result = desired(policy(), data_sa(transform=GCM))
    assert entry(result.databases, OUT, TRAFFIC).action is Action.DISCARD
    assert entry(result.databases, IN, TRAFFIC).action is Action.PROTECT
    assert "needs a Sender-ID" in str(result.refusals[0])
    assert str(result.refusals[0]).startswith("group 1234, SA 0x00001000: ")
    allowed = desired(policy(), data_sa(transform=GCM), sender_ids=(5,))
    assert (out_spi(allowed), allowed.refusals) == (0x1000, ())
    assert desired(policy(role=Role.SENDER), data_sa(transform=GCM)).databases.sad == ()
    assert desired(policy(role=Role.RECEIVER), data_sa(transform=GCM)).refusals == ()


def test_a_tunnel_never_has_the_wildcard_as_its_own_outer_source() -> None:
    result = desired(policy(), data_sa(mode=Mode.TUNNEL))
    assert sad(result.databases)[0x1000].source == HERE
    from_here = replace(TRAFFIC, source=IPNetwork("10.9.0.1/32"))
    outbound = entry(result.databases, OUT, from_here)
    assert outbound.template is not None
    assert (outbound.template.source, outbound.template.destination) == (HERE, IPAddress("239.1.1.1"))
    assert entry(result.databases, OUT, TRAFFIC).action is Action.DISCARD
    inbound = entry(result.databases, IN, TRAFFIC).template
    assert inbound is not None
    assert (inbound.source, inbound.destination) == (None, IPAddress("239.1.1.1"))


def test_a_tunnel_that_preserves_the_destination_only_serves_every_own_source() -> None:
    result = desired(policy(), data_sa(mode=Mode.TUNNEL, address_preservation=AddressPreservation.DESTINATION))
    outbound = entry(result.databases, OUT, TRAFFIC)
    assert outbound.template is not None
    assert outbound.template.source == HERE


def test_a_tunnel_receiver_takes_any_source_and_a_sender_without_address_is_told() -> None:
    receiver = desired(policy(role=Role.RECEIVER), data_sa(mode=Mode.TUNNEL))
    assert sad(receiver.databases)[0x1000].source is None
    nowhere = GroupPolicy(GROUP, Role.BOTH, (TRAFFIC,))
    result = desired(nowhere, data_sa(mode=Mode.TUNNEL))
    assert "needs an own address within 0.0.0.0/0" in result.refusals[0].reason
    assert entry(result.databases, OUT, TRAFFIC).action is Action.DISCARD
    assert entry(result.databases, IN, TRAFFIC).action is Action.PROTECT


def test_a_single_source_tunnel_takes_the_source_of_its_flow() -> None:
    single6 = Flow.parse("ff3e::8000:1", "fd09::1")
    result = desired(policy(single6), data_sa(single6, mode=Mode.TUNNEL))
    assert sad(result.databases)[0x1000].source == HERE6
    assert out_spi(result, single6) == 0x1000


@pytest.mark.parametrize(
    ("sa", "why"),
    [
        (
            data_sa(Flow.parse("239.1.0.0/16"), mode=Mode.TUNNEL, address_preservation=AddressPreservation.SOURCE),
            "preservation 'source'",
        ),
        (
            data_sa(Flow.parse("239.1.0.0/16"), mode=Mode.TUNNEL, address_preservation=AddressPreservation.NONE),
            "preservation 'none'",
        ),
    ],
)
def test_what_a_host_cannot_do_is_refused_with_its_reason_and_stays_blocked(sa: DataSA, why: str) -> None:
    result = desired(policy(), sa)
    assert len(result.refusals) == 1
    assert why in result.refusals[0].reason
    assert result.databases.sad == ()
    for direction in PolicyDirection:
        assert entry(result.databases, direction, sa.flow).action is Action.DISCARD


def test_a_flow_outside_the_configured_traffic_is_refused_and_not_touched() -> None:
    result = desired(policy(), data_sa(Flow.parse("239.1.1.2")))
    assert "no part of the traffic configured" in result.refusals[0].reason
    assert all(found.flow.destination.ip != IPAddress("239.1.1.2") for found in result.databases.spd)


def test_of_two_modes_for_one_flow_the_newer_serves_and_what_becomes_of_the_older_is_told() -> None:
    result = desired(policy(), data_sa(), data_sa(spi=0x1001, mode=Mode.TUNNEL))
    assert "0x00001001, serves the flow by esp in tunnel mode, not by esp in transport mode" in str(result.refusals[0])
    assert list(sad(result.databases)) == [0x1001]


def test_another_mode_is_held_at_once_and_takes_over_at_atd_in_both_directions() -> None:
    older, newer = data_sa(), data_sa(spi=0x1001, mode=Mode.TUNNEL, send_from=60.0, rekeyed=1.0)
    for now, mode, spi in ((1.0, Mode.TRANSPORT, 0x1000), (60.0, Mode.TUNNEL, 0x1001)):
        result = desired(policy(), older, newer, now=now)
        inbound, outbound = (entry(result.databases, direction, TRAFFIC).template for direction in (IN, OUT))
        assert inbound is not None
        assert inbound.mode is mode
        assert 0x1001 in sad(result.databases)
        if mode is Mode.TRANSPORT:
            assert (outbound and outbound.spi) == spi
            assert result.refusals == ()


def test_the_first_sa_of_a_flow_that_a_rekey_brought_is_not_sent_on_before_its_time() -> None:
    fresh = data_sa(send_from=60.0, rekeyed=1.0)
    early = desired(policy(), fresh, now=1.0)
    assert entry(early.databases, OUT, TRAFFIC).action is Action.DISCARD
    assert entry(early.databases, IN, TRAFFIC).action is Action.PROTECT
    assert out_spi(desired(policy(), fresh, now=60.0)) == 0x1000
    assert out_spi(desired(policy(), data_sa(spi=0x999, expires=5.0), fresh, now=10.0)) == 0x1000


@pytest.mark.requirement("OWN-04")
def test_an_identity_in_use_is_refused() -> None:
    other_flow = Flow.parse("239.1.1.1", protocol=17, port=6000)
    other_key = replace(data_sa(other_flow), integrity_key=Secret(bytes(32)))
    same_group = desired(policy(TRAFFIC, other_flow), data_sa(), other_key)
    assert "same SPI and destination" in same_group.refusals[0].reason
    gspd = Gspd([policy(), policy(other_flow, group=OTHER)])
    held = {GROUP: group_sa(data_sa()), OTHER: group_sa(data_sa(other_flow), group=OTHER)}
    result = gspd.desired(held, 0.0)
    assert [refusal.group for refusal in result.refusals] == [OTHER]
    assert entry(result.databases, OUT, other_flow).action is Action.DISCARD
    assert entry(result.databases, OUT, TRAFFIC).action is Action.PROTECT


AH: dict[str, Any] = {"protocol": SecurityProtocol.AH, "transform": Transform.parse("hmac-sha2-256")}


def test_ah_serves_a_flow_as_esp_does() -> None:
    result = desired(policy(), data_sa(**AH), data_sa(spi=0x1001, send_from=5.0, **AH))
    assert result.refusals == ()
    assert {found.protocol for found in result.databases.sad} == {SecurityProtocol.AH}
    template = entry(result.databases, OUT, TRAFFIC).template
    assert template is not None
    assert (template.protocol, template.spi) == (SecurityProtocol.AH, 0x1000)


@pytest.mark.requirement("ARCH-4.1-04")
def test_ah_and_esp_are_no_two_sas_under_one_spi_nor_for_one_flow() -> None:
    other_flow = Flow.parse("239.1.1.1", protocol=17, port=6000)
    twins = desired(policy(TRAFFIC, other_flow), data_sa(), data_sa(other_flow, **AH))
    assert "which name one SA of a group: esp SA 0x00001000" in twins.refusals[0].reason
    mixed = desired(policy(), data_sa(), data_sa(spi=0x1001, **AH))
    assert "serves the flow by ah in transport mode, not by esp" in mixed.refusals[0].reason
    assert {held.protocol for held in mixed.databases.sad} == {SecurityProtocol.AH}


class TestSeveralFlowsOfOneSa:
    """Several SATs of one SPI (GET VPN): one entry of the SAD where the destination is one, policies for each flow."""

    PORT = Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=6000)
    ELSEWHERE = Flow.parse("239.1.1.2", "10.9.0.1", protocol=17, port=5000)
    CONFIGURED = policy(SINGLE, PORT, ELSEWHERE)

    def test_to_one_destination_the_selector_covers_them_all(self) -> None:
        result = desired(self.CONFIGURED, data_sa(SINGLE), data_sa(self.PORT))
        assert result.refusals == ()
        (sa,) = result.databases.sad
        assert sa.selector == Flow.parse("239.1.1.1", "10.9.0.1", protocol=17)
        assert (sa.source, sa.replay_window) == (HERE, 64)
        for flow in (SINGLE, self.PORT):
            assert out_spi(result, flow) == 0x1000
            assert entry(result.databases, IN, flow).action is Action.PROTECT

    def test_to_two_destinations_they_are_two_entries(self) -> None:
        result = desired(self.CONFIGURED, data_sa(SINGLE), data_sa(self.ELSEWHERE))
        assert result.refusals == ()
        assert [found.destination for found in result.databases.sad] == [IPAddress("239.1.1.1"), IPAddress("239.1.1.2")]

    def test_in_counter_mode_the_member_sends_to_one_of_them_only(self) -> None:
        """Each entry of the SAD counts its IVs from the start."""
        sas = [data_sa(flow, transform=GCM) for flow in (SINGLE, self.ELSEWHERE)]
        result = desired(self.CONFIGURED, *sas, sender_ids=(7,))
        (refusal,) = result.refusals
        assert refusal.reason == (
            "aes-gcm-16-128 under one key to two destinations would repeat its IVs;"
            " this member sends to esp SA 0x00001000 to 239.1.1.1"
        )
        assert entry(result.databases, OUT, SINGLE).action is Action.PROTECT
        assert entry(result.databases, OUT, self.ELSEWHERE).action is Action.DISCARD
        assert entry(result.databases, IN, self.ELSEWHERE).action is Action.PROTECT
        assert (
            desired(
                policy(SINGLE, self.PORT),
                *(data_sa(flow, transform=GCM) for flow in (SINGLE, self.PORT)),
                sender_ids=(7,),
            ).refusals
            == ()
        )


@pytest.mark.requirement("OWN-07")
def test_a_flow_that_two_groups_claim_goes_to_the_first_configured() -> None:
    wide = Flow.parse("239.1.1.1")
    gspd = Gspd([policy(), policy(wide, group=OTHER)])
    held = {GROUP: group_sa(data_sa()), OTHER: group_sa(data_sa(wide, spi=0x2000), group=OTHER)}
    result = gspd.desired(held, 0.0)
    assert [refusal.group for refusal in result.refusals] == [OTHER]
    assert "of group 1234, which comes first" in result.refusals[0].reason
    assert out_spi(result) == 0x1000
    assert list(sad(result.databases)) == [0x1000]


@pytest.mark.requirement("OWN-07")
@pytest.mark.parametrize("first", [GROUP, OTHER])
def test_an_sa_never_carries_the_traffic_of_a_group_that_waits_for_its_own(first: GroupId) -> None:
    mine, theirs, wide = TRAFFIC, Flow.parse("239.1.1.1", protocol=17, port=6000), Flow.parse("239.1.1.1")
    groups = [policy(mine), policy(theirs, group=OTHER)]
    gspd = Gspd(groups if first is GROUP else groups[::-1])
    result = gspd.desired({GROUP: group_sa(data_sa(wide))}, 0.0)
    assert "reaches into the traffic configured for group 99" in result.refusals[0].reason
    assert result.databases.sad == ()
    assert all(found.action is not Action.PROTECT for found in result.databases.spd)
    alone = Gspd([policy(mine)]).desired({GROUP: group_sa(data_sa(wide))}, 0.0)
    assert out_spi(alone, wide) == 0x1000


def test_groups_are_independent_of_each_other() -> None:
    gspd = Gspd([policy(), policy(TRAFFIC6, group=OTHER)])
    held = {OTHER: group_sa(data_sa(TRAFFIC6), group=OTHER)}
    result = gspd.desired(held, 0.0)
    assert entry(result.databases, OUT, TRAFFIC).action is Action.DISCARD
    assert out_spi(result, TRAFFIC6) == 0x1000
    assert gspd.desired({GroupId.of_number(5): group_sa(data_sa())}, 0.0).databases.sad == ()


def test_the_narrower_flow_is_looked_at_first() -> None:
    wide, any_port = Flow.parse("239.1.1.1"), Flow.parse("239.1.1.1", protocol=17)
    result = desired(
        policy(wide),
        data_sa(wide, 0x1000),
        data_sa(any_port, 0x1001),
        data_sa(TRAFFIC, 0x1002),
        data_sa(SINGLE, 0x1003),
    )
    priorities = [entry(result.databases, IN, flow).priority for flow in (SINGLE, TRAFFIC, any_port, wide)]
    assert priorities == sorted(set(priorities))
    assert all(found.priority in OWN_PRIORITIES for found in result.databases.spd)


def test_reqids_are_stable_and_never_shared() -> None:
    groups = [GroupId.of_number(number) for number in range(2000)]
    groups += [GroupId(GroupId.of_number(7).octets, GroupIdKind.IPV4), GroupId.parse("oid:1.2.3")]
    gspd = Gspd([policy(group=group) for group in groups])
    again = Gspd([policy(group=group) for group in reversed(groups)])
    reqids = [gspd.reqid(group) for group in groups]
    assert reqids == [again.reqid(group) for group in groups]
    assert len(set(reqids)) == len(groups)
    assert all(reqid in OWN_REQIDS for reqid in reqids)
    with pytest.raises(ValueError, match="group 1234 is configured twice"):
        Gspd([policy(), policy()])


def test_what_is_no_group_policy() -> None:
    with pytest.raises(ValueError, match="has no traffic"):
        GroupPolicy(GROUP, Role.BOTH, ())
    for destination in ("127.0.0.1", "0.0.0.0/0"):
        with pytest.raises(ValueError, match="no group protects"):
            policy(Flow.parse(destination))
    with pytest.raises(ValueError, match="udp port 848 is control traffic, which always passes in clear"):
        policy(Flow.parse("239.1.1.1", "10.9.0.1", protocol=17, port=848))


@pytest.mark.requirement("GDOI-5.5.2-02")
def test_an_sa_for_unicast_is_refused_and_blocks_no_unicast() -> None:
    for size, destination in ((1, "10.9.0.2"), (2**32, "0.0.0.0/0")):
        result = desired(policy(), data_sa(Flow.parse(destination)))
        assert ("is no part of the traffic" if size == 1 else "that no group protects") in result.refusals[0].reason
        assert all(found.flow.destination.is_multicast() for found in result.databases.spd)
