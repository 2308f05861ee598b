"""agent.gdoi.sa: GDOI's SA payload and the payloads it covers (RFC 6407 5.2 to 5.5)."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import basic, variable
from agent.gdoi.isakmp.chain import build_frames
from agent.gdoi.sa import GAP, MAX_SATS, SAK, SAT, GroupSecurityAssociation, IdBlock, Iec61850Policy, IpsecPolicy

HOST = IdBlock(1, 848, b"\xc0\0\x02\x01")
GROUP = IdBlock(1, 848, b"\xef\x01\x01\x01")
SAK_VALUE = SAK(17, HOST, GROUP, bytes(range(16)), (basic(2, 3),))
GAP_VALUE = GAP((basic(1, 5),))
SAT_VALUE = SAT(1, IpsecPolicy(17, HOST, GROUP, 20, 0xC0FFEE01, (basic(4, 2),)))
IEC_61850 = SAT(3, Iec61850Policy(b"\x06\x01\x2a", b"\x04\x01\x00", 1, 2, 2, 3600, (variable(1, bytes(4)),)))
PRIVATE = SAT(128, b"\x0d\x06\x0b")

BODIES = {15: SAK_VALUE.build(), 22: GAP_VALUE.build(), 16: SAT_VALUE.build()}
LEGAL_ORDERS = {
    (15,),
    (16,),
    (15, 16),
    (15, 22),
    (22, 16),
    (16, 16),
    (15, 16, 16),
    (16, 16, 16),
    (15, 22, 16),
    (22, 16, 16),
}
SA_HEADER = bytes.fromhex("0000000200000000")


def sa_octets(order: tuple[int, ...], last: int = 0) -> bytes:
    first = order[0] if order else last
    return SA_HEADER + first.to_bytes(2) + bytes(2) + build_frames([(type_, BODIES[type_]) for type_ in order], last)


@pytest.mark.requirement("GDOI-5.2-05", "GDOI-5.2.1-03", "GDOI-5.4-02", "GDOI-5.4-03", "GDOI-5.2-03", "GDOI-5.2-04")
@pytest.mark.parametrize("sak", [None, SAK_VALUE])
@pytest.mark.parametrize("gap", [None, GAP_VALUE])
@pytest.mark.parametrize("sats", [(), (SAT_VALUE,), (SAT_VALUE, IEC_61850, PRIVATE)])
def test_every_legal_composition_goes_both_ways(sak: SAK | None, gap: GAP | None, sats: tuple[SAT, ...]) -> None:
    if sak is None and not sats:
        with pytest.raises(ValueError, match="at least one SAK or SAT"):
            GroupSecurityAssociation(sak, gap, sats)
        return
    value = GroupSecurityAssociation(sak, gap, sats)
    assert GroupSecurityAssociation.parse(value.build()) == value
    first = 15 if sak else 22 if gap else 16
    assert value.build().startswith(SA_HEADER + bytes([0, first, 0, 0]))


@pytest.mark.requirement("GDOI-5.2.1-01", "GDOI-5.2.1-02", "GDOI-5.2.1-04", "GDOI-5.5-01")
@pytest.mark.parametrize(
    "order", [order for count in (0, 1, 2, 3) for order in itertools.product((15, 22, 16), repeat=count)]
)
def test_order_and_counts_are_those_of_the_standard(order: tuple[int, ...]) -> None:
    if order in LEGAL_ORDERS:
        assert GroupSecurityAssociation.parse(sa_octets(order)).build() == sa_octets(order)
    else:
        with pytest.raises(Malformed, match=r"out of place|neither SAK nor SAT"):
            GroupSecurityAssociation.parse(sa_octets(order))


@pytest.mark.requirement("GDOI-5.2.1-04", "GDOI-2.1-01")
@pytest.mark.parametrize(
    ("offset", "value", "notify", "text"),
    [
        (3, 1, 2, "DOI is 1"),
        (7, 1, 3, "Situation is 1"),
        (8, 1, 16, "out of place"),
        (9, 17, 16, "KD is out of place"),
        (11, 1, 16, "RESERVED2 is 1"),
        (13, 1, 16, "RESERVED is 1"),
        (15, 3, 16, "shorter than its header"),
    ],
)
def test_a_wrong_field_of_the_sa_is_refused(offset: int, value: int, notify: int, text: str) -> None:
    octets = bytearray(sa_octets((15, 16)))
    octets[offset] = value
    with pytest.raises(Malformed, match=text) as caught:
        GroupSecurityAssociation.parse(bytes(octets))
    assert caught.value.notify == notify


def test_an_sa_attribute_payload_must_not_end_with_one_announced() -> None:
    with pytest.raises(Malformed, match="generic payload header wants 4"):
        GroupSecurityAssociation.parse(sa_octets((15,), last=16))


def test_sats_are_bounded() -> None:
    most = GroupSecurityAssociation(SAK_VALUE, GAP_VALUE, (SAT_VALUE,) * MAX_SATS)
    assert GroupSecurityAssociation.parse(most.build()) == most
    more = GroupSecurityAssociation(SAK_VALUE, GAP_VALUE, (SAT_VALUE,) * (MAX_SATS + 1))
    with pytest.raises(Malformed, match=f"more than {MAX_SATS} SATs"):
        GroupSecurityAssociation.parse(more.build())


@pytest.mark.requirement("GDOI-5.3-01", "GDOI-5.3-03")
def test_the_sak_s_reserved_word_is_zero_and_kept_as_it_comes() -> None:
    octets = bytearray(SAK_VALUE.build())
    place = 1 + 8 + 8 + 16
    assert octets[place : place + 4] == bytes(4)
    octets[place + 3] = 1
    assert SAK.parse(bytes(octets)) == dataclasses.replace(SAK_VALUE, reserved=1)


@pytest.mark.parametrize("source", [HOST, IdBlock(4, 0, bytes(8)), IdBlock(1, 0, b""), IdBlock(4, 0, bytes(3))])
def test_id_lengths_of_two_octets_are_seen(source: IdBlock) -> None:
    """As DigiCert TrustCore writes both payloads and Wireshark 4.0 reads the SAT."""
    for length_octets in (1, 2):
        sak = dataclasses.replace(SAK_VALUE, source=source, id_length_octets=length_octets)
        assert SAK.parse(sak.build()) == sak
        policy = IpsecPolicy(17, source, GROUP, 20, 0xC0FFEE01, (basic(4, 2),), length_octets)
        assert SAT.parse(SAT(2, policy).build()) == SAT(2, policy)
    wide = bytes.fromhex("1101 0350 0004 c000020101 0350 0004 ef010101")
    assert SAK.parse(wide + bytes(range(16)) + bytes(4) + b"\x80\2\0\3") == dataclasses.replace(
        SAK_VALUE, id_length_octets=2
    )


def test_where_neither_width_gives_sense_the_standard_s_is_read() -> None:
    named = dataclasses.replace(SAK_VALUE, source=IdBlock(2, 0, b"gcks.example"))
    assert SAK.parse(named.build()) == named
    with pytest.raises(Malformed, match="identification data wants 255"):
        SAK.parse(bytes.fromhex("11 01 0350 ff c0000201"))


@pytest.mark.requirement("IEC-2-01", "IEC-2.1-02", "IEC-2.2-01", "IEC-2.2.4-01")
@pytest.mark.parametrize("octets", ["", "03", "0306012a", "0306012a0001", "0306012a0000" + "00" * 11, "ff06012a"])
def test_a_truncated_iec_61850_sat_is_malformed(octets: str) -> None:
    assert SAT.parse(IEC_61850.build()) == IEC_61850
    whole = SAT.parse(bytes.fromhex("030306012a0000000000010001000400000000")).policy
    assert whole == Iec61850Policy(b"\x06\x01\x2a", b"", 1, 1, 4, 0, ())
    with pytest.raises(Malformed):
        SAT.parse(b"\3" + bytes.fromhex(octets))


@pytest.mark.requirement("GDOI-6.2-01")
@pytest.mark.parametrize("octets", ["", "01", "0111", "01110103500", "0111010350ff00"])
def test_a_truncated_sat_is_malformed(octets: str) -> None:
    with pytest.raises(Malformed):
        SAT.parse(bytes.fromhex(octets[: len(octets) // 2 * 2]))


def test_sats_of_other_protocols_are_kept_as_they_came() -> None:
    assert SAT.parse(PRIVATE.build()) == PRIVATE


def test_an_id_block_holds_255_octets_at_most() -> None:
    with pytest.raises(ValueError, match="ID block does not take"):
        IdBlock(1, 0, bytes(256)).build()
