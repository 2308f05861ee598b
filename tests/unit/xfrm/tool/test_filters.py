"""Filters: what they let through."""

from typing import Any

import pytest

from tests.unit.xfrm.tool.entries import ECHO_POLICY, GROUP_SA, OUT_POLICY, UNICAST_SA
from xfrm import (
    Acquire,
    Address,
    Aevent,
    AeventReport,
    Change,
    Event,
    Expire,
    Mapping,
    Mark,
    Mode,
    Origin,
    Overrun,
    PolicyChange,
    PolicyExpire,
    Prefix,
    SaChange,
    SaFlush,
    SaMigrated,
    SaMigration,
)
from xfrm.tool.filters import Filter, MarkFilter

ORIGIN = Origin(0, 0)


def wanted(**fields: Any) -> Filter:
    source, destination = (fields.pop(name, None) for name in ("source", "destination"))
    return Filter(source and Prefix.of(source), destination and Prefix.of(destination), **fields)


@pytest.mark.parametrize(
    ("fields", "group", "unicast"),
    [
        ({}, True, True),
        ({"destination": "239.0.0.0/8"}, True, False),
        ({"destination": "239.1.1.1"}, True, False),
        ({"destination": "239.1.1.2"}, False, False),
        ({"source": "10.9.0.1"}, True, False),
        ({"source": "0.0.0.0/0"}, True, False),
        ({"source": "::/0"}, False, True),
        ({"source": "2001:db8::/127"}, False, True),
        ({"protocol": 50}, True, True),
        ({"protocol": 51}, False, False),
        ({"spi": 0x1234}, True, False),
        ({"reqid": 7}, True, False),
        ({"if_id": 9}, True, False),
        ({"if_id": 0}, False, True),
        ({"mode": Mode.TUNNEL}, True, False),
        ({"direction": "out"}, True, False),
        ({"direction": "in"}, False, False),
        ({"mark": MarkFilter(5)}, True, False),
        ({"mark": MarkFilter(5, 0xFF)}, True, False),
        ({"mark": MarkFilter(5, 0xF)}, False, False),
        ({"mark": MarkFilter(0)}, False, True),
        ({"spi": 0x1234, "reqid": 8}, False, False),
    ],
)
def test_sas(fields: dict[str, Any], group: bool, unicast: bool) -> None:
    chosen = wanted(**fields)
    assert (chosen.takes_sa(GROUP_SA), chosen.takes_sa(UNICAST_SA)) == (group, unicast)


@pytest.mark.parametrize(
    ("fields", "out", "echo"),
    [
        ({}, True, True),
        ({"destination": "239.1.1.1"}, True, False),
        ({"destination": "2001:db8:1::/48"}, False, True),
        ({"destination": "2001::/16"}, False, True),
        ({"source": "10.1.2.3"}, True, False),
        ({"source": "11.0.0.0/8"}, False, False),
        ({"protocol": 51}, True, False),
        ({"protocol": 108}, False, False),
        ({"spi": 0x1234}, True, False),
        ({"spi": 0x1234, "protocol": 51}, False, False),
        ({"reqid": 7, "mode": Mode.TUNNEL}, True, False),
        ({"mark": MarkFilter(5)}, True, False),
        ({"if_id": 9}, False, True),
        ({"direction": "in"}, False, True),
    ],
)
def test_policies_by_their_selector_and_templates(fields: dict[str, Any], out: bool, echo: bool) -> None:
    chosen = wanted(**fields)
    assert (chosen.takes_policy(OUT_POLICY), chosen.takes_policy(ECHO_POLICY)) == (out, echo)


ID = GROUP_SA.id
NEW = Address.of("10.9.0.9")
EVENTS: dict[str, Event] = {
    "added": SaChange(Change.ADDED, ID, GROUP_SA, ORIGIN),
    "deleted, name only": SaChange(Change.DELETED, ID, None, ORIGIN),
    "expired": Expire(GROUP_SA, hard=True),
    "acquire": Acquire(ID, GROUP_SA.source, OUT_POLICY.selector, OUT_POLICY, 1),
    "aevent": AeventReport(Aevent(ID, GROUP_SA.source), ORIGIN),
    "mapping": Mapping(ID, 7, GROUP_SA.source, 1, NEW, 2),
    "migrated": SaMigrated(SaMigration(ID, NEW, ID.destination), ORIGIN),
    "policy": PolicyChange(Change.ADDED, 1, OUT_POLICY.selector, OUT_POLICY, ORIGIN),
    "policy expired": PolicyExpire(OUT_POLICY, hard=False),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_events_by_what_they_are_about(event: Event) -> None:
    assert wanted(destination="239.1.1.1", spi=0x1234).takes_event(event)
    assert not wanted(destination="239.1.1.2").takes_event(event)
    assert not wanted(mark=MarkFilter(6)).takes_event(event)


def test_what_concerns_no_entry_is_always_shown() -> None:
    for event in (Overrun(1), SaFlush(50, ORIGIN), PolicyChange(Change.DELETED, 1, OUT_POLICY.selector, None, ORIGIN)):
        assert wanted(spi=1).takes_event(event)


def test_a_mark_that_is_not_there_is_zero() -> None:
    assert MarkFilter(0, 0).takes(None)
    assert not MarkFilter(0, 1).takes(None)
    assert MarkFilter(1).takes(Mark(1))
