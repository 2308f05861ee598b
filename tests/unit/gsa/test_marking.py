"""SAs of several sources with one SPI and destination, from the GSPD to entries with marks and rules."""

from typing import Any

import pytest
from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SadKey
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.marking import Ingress, marked, unmarked, why_not_beside
from agent.gsa.marks import OWN_MARK, MarkRule, marks_of
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction, SecurityProtocol, Spi
from agent.secret import Secret
from tests.unit.gsa.test_gspd import GROUP, OTHER, data_sa, group_sa

ONE, TWO, THREE = (IPAddress(text) for text in ("10.9.0.1", "10.9.0.9", "10.9.0.7"))
TRAFFIC = Flow.parse("239.1.1.1")
SPI = Spi(0x1234)
AH = Transform.parse("hmac-sha2-256")


def sa_of(source: IPAddress, key: int = 0, **more: Any) -> DataSA:
    """The SA of a source; each has its own key, unless one says `key`."""
    flow = more.pop("flow", Flow.parse("239.1.1.1", str(source)))
    made = data_sa(flow, SPI, **more)
    return DataSA(
        made.protocol,
        SPI,
        flow,
        made.mode,
        made.transform,
        Secret(bytes([key or int(source) & 0xFF]) * made.transform.cipher_key_octets),
        made.integrity_key,
        direction=made.direction,
    )


def desired(
    *sas: DataSA,
    role: Role = Role.BOTH,
    addresses: tuple[IPAddress, ...] = (),
    interface: str | None = "eth0",
    why_no_marks: str | None = None,
) -> Desired:
    policy = GroupPolicy(GROUP, role, (TRAFFIC,), addresses, interface=interface)
    return Gspd([policy], why_no_marks=why_no_marks).desired({GROUP: group_sa(*sas)}, 0.0)


def marks(found: Desired) -> dict[IPAddress, int | None]:
    return {entry.selector.source.ip: entry.mark for entry in found.databases.sad}


@pytest.mark.requirement("ARCH-4.1-01", "ESP-2.1-01")
def test_two_sources_with_one_spi_are_two_entries_with_marks_and_rules() -> None:
    found = desired(sa_of(ONE), sa_of(TWO))
    assert found.refusals == ()
    assert marks(found) == marks_of([ONE, TWO])
    assert {rule.mark for rule in found.databases.marks} == set(marks_of([ONE, TWO]).values())
    assert {(rule.interface, rule.source, rule.spi) for rule in found.databases.marks} == {
        ("eth0", ONE, SPI),
        ("eth0", TWO, SPI),
    }
    keys = {entry.selector.source.ip: entry.cipher_key for entry in found.databases.sad}
    assert keys[ONE].reveal() != keys[TWO].reveal()
    inbound = [
        entry.flow.source.ip
        for entry in found.databases.spd
        if entry.direction is PolicyDirection.IN and entry.action is Action.PROTECT
    ]
    assert set(inbound) == {ONE, TWO}


@pytest.mark.parametrize("one_alone", [True, False])
def test_an_spi_that_needs_no_marks_has_none(one_alone: bool) -> None:
    other = data_sa(Flow.parse("239.1.1.1", str(TWO)), 0x2000)
    found = desired(*((sa_of(ONE),) if one_alone else (sa_of(ONE), other)))
    assert found.refusals == ()
    assert found.databases.marks == ()
    assert set(marks(found).values()) == {None}


def test_the_own_source_is_not_marked_and_sent_on() -> None:
    found = desired(sa_of(ONE), sa_of(TWO), addresses=(TWO,))
    assert found.refusals == ()
    assert marks(found) == {ONE: marks_of([ONE])[ONE], TWO: OWN_MARK}
    assert [rule.source for rule in found.databases.marks] == [ONE]


def test_a_third_source_changes_nothing_for_the_two() -> None:
    two, three = desired(sa_of(ONE), sa_of(TWO)), desired(sa_of(THREE), sa_of(ONE), sa_of(TWO))
    assert marks(two).items() <= marks(three).items()
    assert set(two.databases.marks) < set(three.databases.marks)


def test_several_flows_of_each_of_the_two_are_one_entry_each() -> None:
    flows = [Flow.parse("239.1.1.1", str(ONE), protocol=17, port=port) for port in (5000, 5001)]
    found = desired(sa_of(ONE, flow=flows[0]), sa_of(TWO), sa_of(ONE, flow=flows[1]))
    assert found.refusals == ()
    assert marks(found) == marks_of([ONE, TWO])


def test_groups_may_share_an_spi_too() -> None:
    policies = [
        GroupPolicy(group, Role.RECEIVER, (Flow.parse("239.1.1.1", str(source)),), interface=interface)
        for group, source, interface in ((GROUP, ONE, "eth0"), (OTHER, TWO, "eth1"))
    ]
    held = {GROUP: group_sa(sa_of(ONE)), OTHER: group_sa(sa_of(TWO), group=OTHER)}
    found = Gspd(policies).desired(held, 0.0)
    assert found.refusals == ()
    assert {(rule.interface, rule.source) for rule in found.databases.marks} == {("eth0", ONE), ("eth1", TWO)}
    one, other = found.databases.sad
    assert one.reqid != other.reqid


REFUSED = {
    "any source": (desired(sa_of(ONE, flow=TRAFFIC), sa_of(TWO)), "only SAs of one source each"),
    "one source twice": (desired(sa_of(ONE), sa_of(ONE, key=7)), "both are of source 10.9.0.1"),
    "two own": (desired(sa_of(ONE), sa_of(TWO), addresses=(ONE, TWO)), "are this host's own"),
    "no interface": (desired(sa_of(ONE), sa_of(TWO), interface=None), "set interface"),
    "no filters": (desired(sa_of(ONE), sa_of(TWO), why_no_marks="no clsact here"), "no clsact here"),
    "of more sources": (desired(sa_of(ONE), sa_of(TWO), sa_of(THREE, key=1)), "only SAs of one source each"),
    "beside more sources": (desired(sa_of(ONE), sa_of(THREE, key=1), sa_of(TWO)), "only SAs of one source each"),
    "two protocols": (
        desired(sa_of(ONE), sa_of(TWO, protocol=SecurityProtocol.AH, transform=AH)),
        "another SA has the same SPI and destination, which name one SA of a group",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_marks_cannot_tell_apart_is_refused_and_the_first_goes_on(case: str) -> None:
    found, reason = REFUSED[case]
    (refusal,) = found.refusals
    assert reason in refusal.reason
    assert "another SA has the same SPI and destination" in refusal.reason
    held = {entry.selector.source.ip for entry in found.databases.sad}
    first = {"any source": "0.0.0.0", "beside more sources": "10.9.0.0"}
    assert held >= {IPAddress(first.get(case, "10.9.0.1"))}
    # What is refused is blocked, like everything that no SA serves.
    blocked = {entry.flow for entry in found.databases.spd if entry.action is Action.DISCARD}
    assert blocked & {TRAFFIC, Flow.parse("239.1.1.1", str(TWO))}


def test_own_sources_need_no_interface_but_the_others_do() -> None:
    flows = [Flow.parse("239.1.1.1", str(source)) for source in (ONE, TWO)]
    own, known = Ingress(None, (ONE,)), Ingress("eth0")
    assert why_not_beside((flows[0], own), (flows[1], known)) is None
    assert why_not_beside((flows[0], known), (flows[1], own)) == why_not_beside((flows[1], own), (flows[0], known))
    assert "set interface" in (why_not_beside((flows[0], known), (flows[1], Ingress(None))) or "")


def test_marks_of_before_are_not_looked_at() -> None:
    both = desired(sa_of(ONE), sa_of(TWO)).databases
    one = next(entry for entry in both.sad if entry.selector.source.ip == ONE)
    ((alone,), rules) = marked([one], {})
    assert (alone.mark, rules) == (None, ())
    again, rules = marked(both.sad, {one.reqid: Ingress("eth7")})
    assert Databases.of(again, ()).sad == both.sad
    assert {rule.interface for rule in rules} == {"eth7"}
    assert marked(both.sad, {})[1] == ()
    with pytest.raises(ValueError, match="two SAs of one source"):
        marked([one, one], {})


def test_a_key_with_a_mark_says_so() -> None:
    key = SadKey(IPAddress("239.1.1.1"), SPI, SecurityProtocol.ESP, 0x10000)
    assert str(key) == "esp SA 0x00001234 to 239.1.1.1, mark 0x00010000"
    assert str(unmarked(key)) == "esp SA 0x00001234 to 239.1.1.1"


def test_a_receiver_needs_a_rule_for_each_source_in_each_direction_it_has() -> None:
    found = desired(sa_of(ONE, direction=Direction.RECEIVER_ONLY), sa_of(TWO), role=Role.RECEIVER)
    rules: tuple[MarkRule, ...] = found.databases.marks
    assert [rule.source for rule in rules] == [ONE, TWO]
