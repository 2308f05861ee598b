"""agent.gdoi.isakmp.attributes: TV and TLV."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import (
    MAX_ATTRIBUTES,
    Attribute,
    basic,
    build_attributes,
    parse_attributes,
    variable,
)
from agent.wire.reader import Reader


@pytest.mark.requirement("IEC-2.2.4-01")
def test_both_forms() -> None:
    both = (basic(14, 128), variable(12, b"\0\x01\x51\x80"))
    octets = bytes.fromhex("800e0080000c000400015180")
    assert build_attributes(both) == octets
    assert parse_attributes(Reader(octets)) == both
    assert [attribute.number for attribute in both] == [128, 86400]
    assert [attribute.octets for attribute in both] == [b"\0\x80", b"\0\x01\x51\x80"]


@pytest.mark.parametrize("octets", ["80", "800e00", "000c", "000c0005aabbccdd", "000c0001"])
def test_a_truncated_attribute_is_malformed(octets: str) -> None:
    with pytest.raises(Malformed):
        parse_attributes(Reader(bytes.fromhex(octets)))


def test_attributes_are_bounded() -> None:
    octets = basic(1, 1).build()
    assert len(parse_attributes(Reader(octets * MAX_ATTRIBUTES))) == MAX_ATTRIBUTES
    with pytest.raises(Malformed, match="more than 64 attributes"):
        parse_attributes(Reader(octets * (MAX_ATTRIBUTES + 1)))


@pytest.mark.parametrize("value", [b"", bytes(9)])
def test_a_number_has_1_to_8_octets(value: bytes) -> None:
    with pytest.raises(Malformed, match="a number has 1 to 8"):
        _ = variable(2, value).number


@pytest.mark.parametrize(
    ("type_", "value", "is_basic"),
    [(0x8000, 1, True), (-1, 1, True), (1, 0x10000, True), (1, -1, True), (1, b"", True), (1, 5, False)],
)
def test_what_does_not_fit_is_our_own_error(type_: int, value: int | bytes, is_basic: bool) -> None:
    with pytest.raises(ValueError, match="attribute"):
        Attribute(type_, value, is_basic)


def test_a_value_longer_than_its_length_field_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="does not fit 16 bits"):
        variable(1, bytes(0x10000))
