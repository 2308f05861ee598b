"""agent.gdoi.kd: key packets and sequence numbers (RFC 6407 5.6, 5.7); keys stay inside."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.kd import KD, MAX_KEY_PACKETS, SEQ, KeyAttribute, KeyPacket
from agent.secret import Secret

TEK = KeyPacket(1, b"\xc0\xff\xee\x01", (KeyAttribute(1, Secret(b"k" * 20)),))
SID = KeyPacket(4, b"", (KeyAttribute(1, Secret(b"\0\x08"), basic=True), KeyAttribute(2, Secret(b"\x05"))))


@pytest.mark.requirement("GDOI-5.6-01", "GDOI-5.6.4-01")
def test_packets_go_both_ways() -> None:
    value = KD((TEK, SID))
    octets = value.build()
    assert octets.hex() == ("000200000100002104c0ffee0100010014" + b"k".hex() * 20 + "0400000e00800100080002000105")
    assert KD.parse(octets) == value


def test_numbers_are_read_in_either_form() -> None:
    assert [attribute.number for attribute in SID.attributes] == [8, 5]


def test_no_key_shows_in_a_repr() -> None:
    assert "kkk" not in repr(KD((TEK,)))
    assert "6b6b" not in repr(KD((TEK,)))


@pytest.mark.requirement("GDOI-5.6-01")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("", "KD wants 4"),
        ("00010000", "key packet wants 5"),
        ("000000000100000500", "KD has 5 octets too many"),
        ("00000001", "RESERVED2 is 1"),
        ("000100000101000500", "RESERVED is 1"),
        ("000100000100000400", "shorter than its header and SPI"),
        ("000100000100000804c0ffee", "shorter than its header and SPI"),
        ("000100000100000904c0ffee", "wants 4 octets, 3 are left"),
        ("000100000100000a04c0ffee0180", "attribute type with value or length wants 4"),
        ("000100000100000904c0ffee0100", "KD has 1 octets too many"),
        ("ffff0000", "65535 key packets, more than 2048"),
    ],
)
def test_what_is_no_kd_is_refused(octets: str, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        KD.parse(bytes.fromhex(octets))


def test_attributes_of_a_packet_and_packets_are_bounded() -> None:
    many = KeyPacket(4, b"", SID.attributes[:1] * 65)
    with pytest.raises(Malformed, match="more than 64 attributes"):
        KD.parse(KD((many,)).build())
    most = KD((SID,) * MAX_KEY_PACKETS)
    assert KD.parse(most.build()) == most


@pytest.mark.requirement("GDOI-5.7-01")
def test_seq_has_four_octets() -> None:
    assert SEQ(0xFFFFFFFF).build() == b"\xff" * 4
    assert SEQ.parse(b"\0\0\0\x07") == SEQ(7)
    for octets in (bytes(3), bytes(5)):
        with pytest.raises(Malformed):
            SEQ.parse(octets)
