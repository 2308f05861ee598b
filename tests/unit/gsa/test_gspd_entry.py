import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork

from agent.gsa.address_range import AddressRange
from agent.gsa.databases import Action
from agent.gsa.flow import EXACT_PORT
from agent.gsa.flow_rule import ANY_PORTS, PortRange
from agent.gsa.gspd_entry import MOST_ENTRIES, GspdEntry, Selection, entry_faults, late_entries, port_blocks
from agent.gsa.sa import AddressPreservation, Direction


def entry(
    action: Action, ports: str | None = None, direction: Direction = Direction.SYMMETRIC, **more: Any
) -> GspdEntry:
    selection = Selection(
        AddressRange.parse(more.pop("destination", "239.1.1.1")),
        protocol=17,
        destination_ports=ANY_PORTS if ports is None else PortRange.parse(ports),
    )
    return GspdEntry(more.pop("name", f"{action.value} {ports}"), direction, action, selection.flows, **more)


PROTECT, BYPASS, DISCARD = Action.PROTECT, Action.BYPASS, Action.DISCARD


@given(st.integers(0, 0xFFFF), st.integers(1, 0xFFFF))
def test_port_blocks_are_the_range_and_nothing_else(one: int, other: int) -> None:
    ports = PortRange(min(one, other), max(one, other))
    blocks = port_blocks(ports)
    if ports == ANY_PORTS:
        assert blocks == ((0, EXACT_PORT),)
        return
    ends = [(port, port | (EXACT_PORT ^ mask)) for port, mask in blocks]
    assert (ends[0][0], ends[-1][1]) == (ports.first, ports.last)
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(ends))
    assert len(blocks) <= 30


def test_port_0_alone_is_none() -> None:
    with pytest.raises(ValueError, match="port 0 is no port"):
        port_blocks(PortRange(0, 0))


@pytest.mark.requirement("ARCH-4.4-04")
def test_ranges_become_prefixes_and_masked_ports() -> None:
    selection = Selection(
        AddressRange.parse("239.1.1.1"),
        AddressRange.parse("10.9.0.1-10.9.0.3"),
        protocol=17,
        destination_ports=PortRange(5000, 5002),
    )
    flows = selection.flows
    assert {flow.source for flow in flows} == {IPNetwork("10.9.0.1/32"), IPNetwork("10.9.0.2/31")}
    assert {(flow.destination_port, flow.destination_port_mask) for flow in flows} == {(5000, 0xFFFE), (5002, 0xFFFF)}
    assert len(flows) == 4
    assert not any(one.overlaps(other) for one in flows for other in flows if one != other)


def test_what_is_no_selection() -> None:
    with pytest.raises(ValueError, match="differ in family"):
        _ = Selection(AddressRange.parse("239.1.1.1"), AddressRange.parse("fd09::1")).flows
    with pytest.raises(ValueError, match="split into 900 flows"):
        _ = Selection(AddressRange.parse("239.1.1.1"), None, 17, PortRange(1, 65534), PortRange(1, 65534)).flows


def test_what_is_no_entry() -> None:
    with pytest.raises(ValueError, match="control traffic"):
        entry(BYPASS, "848")
    with pytest.raises(ValueError, match="no group has"):
        entry(BYPASS, destination="169.254.0.1")
    with pytest.raises(ValueError, match="address preservation is for an entry that protects, and it says discard"):
        entry(DISCARD, preserve=AddressPreservation.BOTH)
    with pytest.raises(ValueError, match="selects nothing"):
        GspdEntry("none", Direction.SYMMETRIC, DISCARD, ())


def test_what_is_left_by_an_entry_that_protects_comes_after_it() -> None:
    media, rest, news = entry(PROTECT, "5000"), entry(BYPASS), entry(DISCARD, "9875")
    assert late_entries([news, media, rest]) == (rest,)
    assert late_entries([media, news]) == ()
    # An entry keeps its place behind one that is late itself.
    low = entry(BYPASS, "5000-5001")
    assert late_entries([media, low, entry(DISCARD, "5001-5002")]) == (low, entry(DISCARD, "5001-5002"))
    out = entry(BYPASS, direction=Direction.SENDER_ONLY)
    assert late_entries([entry(PROTECT, "5000", Direction.RECEIVER_ONLY), out]) == ()


def faults(*entries: GspdEntry) -> list[tuple[int, str]]:
    return list(entry_faults(entries))


@pytest.mark.requirement("ARCH-4.4-01")
def test_an_entry_that_never_applies_is_told() -> None:
    wide, narrow = entry(PROTECT, "5000-5003"), entry(PROTECT, "5000-5001")
    assert faults(narrow, wide) == []
    assert "is shadowed: entry protect 5000-5003 before it has all its packets; put" in faults(wide, narrow)[0][1]
    against = faults(entry(BYPASS), entry(PROTECT))
    assert against[0][0] == 1
    assert "has all its packets and says bypass; put it first" in against[0][1]
    both = faults(entry(BYPASS, "1-2"), entry(BYPASS, "3-4"), entry(DISCARD, "1-1"), entry(DISCARD, "3"))
    assert [index for index, _ in both] == [2, 3]


def test_each_direction_has_an_order_of_its_own() -> None:
    out, incoming = entry(BYPASS, None, Direction.SENDER_ONLY), entry(BYPASS, None, Direction.RECEIVER_ONLY)
    assert faults(out, incoming) == []
    assert faults(out, entry(PROTECT)) == []
    assert [index for index, _ in faults(out, incoming, entry(PROTECT))] == [2]


def test_what_protects_cannot_follow_what_was_left() -> None:
    media, rest, more = entry(PROTECT, "5000"), entry(BYPASS, "5000-5007"), entry(PROTECT, "5004-5010")
    found = faults(media, rest, more)
    assert [index for index, _ in found] == [2]
    assert "put all that protects before entry bypass 5000-5007" in found[0][1]


def test_there_is_a_priority_for_each() -> None:
    many = [entry(BYPASS, str(port)) for port in range(1, MOST_ENTRIES + 2)]
    assert faults(*many[:-1]) == []
    assert faults(*many) == [
        (MOST_ENTRIES, f"is one too many: {MOST_ENTRIES} entries of a group bypass or discard at most")
    ]
