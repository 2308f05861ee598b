from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.databases import (
    OWN_PRIORITIES,
    OWN_REQIDS,
    Action,
    Databases,
    PolicyDirection,
    SadEntry,
    SaUsage,
    SpdEntry,
    Template,
)
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

FLOW = Flow.parse("239.1.1.1")
SA = SadEntry(
    destination=IPAddress("239.1.1.1"),
    spi=Spi(0x1000),
    protocol=SecurityProtocol.ESP,
    source=None,
    mode=Mode.TRANSPORT,
    reqid=OWN_REQIDS[7],
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x5a" * 20),
    integrity_key=Secret(b""),
    selector=FLOW,
)
BLOCK = SpdEntry(PolicyDirection.OUT, FLOW, Action.DISCARD, OWN_PRIORITIES[0x80])


def test_counters_and_lifetimes_are_no_difference_and_keys_are() -> None:
    assert replace(SA, expires=5.0, lifetime_kilobytes=1, usage=SaUsage(1, 1)) == SA
    assert replace(SA, cipher_key=Secret(b"\x5b" + b"\x5a" * 19)) != SA
    assert "5a5a" not in repr(SA)


def test_the_source_is_no_part_of_an_sas_identity() -> None:
    assert replace(SA, source=IPAddress("10.0.0.1")).key == SA.key
    assert replace(SA, spi=Spi(0x1001)).key != SA.key
    assert str(SA.key) == "esp SA 0x00001000 to 239.1.1.1"
    assert str(BLOCK.key) == "out policy any -> 239.1.1.1/32"


def test_protection_has_a_template_and_nothing_else_has() -> None:
    template = Template(SecurityProtocol.ESP, Mode.TRANSPORT, OWN_REQIDS[0])
    assert replace(BLOCK, action=Action.PROTECT, template=template).template is template
    with pytest.raises(ValueError, match="do not fit"):
        replace(BLOCK, template=template)
    with pytest.raises(ValueError, match="do not fit"):
        replace(BLOCK, action=Action.PROTECT)


def test_databases_are_equal_whatever_the_order() -> None:
    other_sa = replace(SA, spi=Spi(0x1001))
    inbound = replace(BLOCK, direction=PolicyDirection.IN)
    one = Databases.of([SA, other_sa], [BLOCK, inbound], [BLOCK.key, SA.key])
    two = Databases.of([other_sa, SA], [inbound, BLOCK], [SA.key, BLOCK.key])
    assert one == two
    assert one.sad_by_key()[SA.key] is SA
    assert one.spd_by_key()[BLOCK.key] is BLOCK


def test_two_entries_of_one_key_are_no_databases() -> None:
    with pytest.raises(ValueError, match="same key"):
        Databases.of([SA, SA], [])
    with pytest.raises(ValueError, match="same key"):
        Databases.of([], [BLOCK, replace(BLOCK, priority=OWN_PRIORITIES[1])])
