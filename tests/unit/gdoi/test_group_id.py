"""agent.gdoi.group_id: group identifiers of every ID type in the ID payload (RFC 6407 5.1, RFC 8052 2.1)."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.group_id import group_of, payload_of
from agent.gdoi.isakmp.payloads import Identification
from agent.gsa.identity import GroupId

GROUPS = {
    "1234": "0b000000000004d2",
    "0x0102030405": "0b0000000102030405",
    "ipv4:239.1.1.1": "01000000ef010101",
    "fqdn:video.example": "02000000" + b"video.example".hex(),
    "user-fqdn:v@example": "03000000" + b"v@example".hex(),
    "ipv4-subnet:239.1.0.0/16": "04000000ef010000ffff0000",
    "ipv6:ff3e::1": "05000000ff3e" + "00" * 13 + "01",
    "ipv6-subnet:ff3e::/16": "06000000ff3e" + "00" * 14 + "ffff" + "00" * 14,
    "ipv4-range:239.1.1.1-239.1.1.9": "07000000ef010101ef010109",
    "ipv6-range:ff3e::1-ff3e::2": "08000000ff3e" + "00" * 13 + "01ff3e" + "00" * 13 + "02",
    "dn:CN=video": "090000003010310e300c06035504030c05766964656f",
    "gn:0x8207766964656f2e78": "0a0000008207766964656f2e78",
    "list:0x01": "0c00000001",
    "oid:1.2.840.10070.61850.8.1.2": "0d0000000d060b2a8648ce5683e31a0801020000",
    "oid:1.2.3/0x0400": "0d0000000406022a0300020400",
}


@pytest.mark.requirement("GDOI-5.1-01", "GDOI-5.1-02", "GDOI-5.1-03", "GDOI-5.1-04", "IEC-2.1-01", "IEC-2.1-02")
@pytest.mark.parametrize(("text", "body"), GROUPS.items())
def test_every_type_goes_both_ways(text: str, body: str) -> None:
    payload = payload_of(GroupId.parse(text))
    assert payload.build().hex() == body
    assert group_of(Identification.parse(bytes.fromhex(body))) == GroupId.parse(text)


@pytest.mark.requirement("GDOI-5.1-01", "P1-2408-5.8-01")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("0b11000000000001", "not zero"),
        ("0b000350 00000001", "not zero"),
        ("0b000000 000001", "4 to 255 octets, not 3"),
        ("0b000000" + "00" * 256, "4 to 255 octets, not 256"),
        ("02000000" + "61" * 1025, "1025 octets, more than 1024"),
        ("0c000000" + "01" * 1025, "1025 octets, more than 1024"),
        ("00000000 00000001", r"ID type unknown\(0\)"),
        ("0e000000 00000001", r"ID type unknown\(14\)"),
        ("01000000 ef0101", "4 octets, not 3"),
        ("04000000 ef010101ffff0000", "no subnet"),
        ("04000000 ef010000ffff00ff", "no subnet"),
        ("07000000 ef010109ef010101", "upside down"),
        ("02000000 766900", "printable"),
        ("02000000 76c3a9", "printable"),
        ("09000000", "1 to 65527 octets"),
        ("0d000000", "1 to 65527 octets"),
        ("0d000000 00", "lengths do not fit"),
        ("0d000000 0406022a03", "lengths do not fit"),
        ("0d000000 0406022a030001", "lengths do not fit"),
        ("0d000000 0406022a8300 00", "no object identifier|ends within|do not fit"),
    ],
)
def test_what_is_no_group_identifier_is_refused(body: str, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        group_of(Identification.parse(bytes.fromhex(body)))
    assert caught.value.notify == 18
