"""agent.gdoi.isakmp.payloads: bodies of the simple payloads, and which context knows them."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.chain import TypedPayload
from agent.gdoi.isakmp.payloads import (
    INFORMATIONAL,
    MAX_DELETED_SPIS,
    PHASE_1,
    Certificate,
    CertificateRequest,
    Delete,
    Hash,
    Identification,
    KeyExchange,
    Nonce,
    Notification,
    Signature,
    VendorId,
    build_chain,
    parse_chain,
)

BODIES: list[tuple[TypedPayload, str]] = [
    (KeyExchange(b"\x01\x02"), "0102"),
    (Hash(b"\x03"), "03"),
    (Signature(b"\x04"), "04"),
    (Nonce(b"\x05" * 8), "0505050505050505"),
    (VendorId(b""), ""),
    (Identification(11, 0, 0, b"\0\0\0\x07"), "0b00000000000007"),
    (Identification(1, 17, 848, b"\xc0\0\x02\x01"), "01110350c0000201"),
    (Certificate(4, b"\x30"), "0430"),
    (CertificateRequest(4, b""), "04"),
    (Notification(2, 1, 24, b"ab", b"why"), "00000002010200186162776879"),
    (Delete(0, 1, 2, (b"ab", b"cd")), "000000000102000261626364"),
    (Delete(2, 0, 4, ()), "0000000200040000"),
]


@pytest.mark.parametrize(("payload", "body"), BODIES)
def test_bodies_go_both_ways(payload: TypedPayload, body: str) -> None:
    assert payload.build().hex() == body
    first, octets = build_chain([payload])
    assert first == payload.TYPE
    assert parse_chain(first, octets, PHASE_1)[0].payload == payload


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Identification, "0b0000"),
        (Certificate, ""),
        (CertificateRequest, ""),
        (Notification, "00000002010200186"[:16]),
        (Delete, "000000000102000261626364aa"),
        (Delete, "0000000001020002616263"),
    ],
)
def test_truncated_and_overlong_bodies_are_malformed(
    kind: type[Identification | Certificate | CertificateRequest | Notification | Delete], body: str
) -> None:
    with pytest.raises(Malformed):
        kind.parse(bytes.fromhex(body))


@pytest.mark.requirement("P1-2408-3.15-01")
def test_deleted_spis_are_bounded_and_of_one_size() -> None:
    with pytest.raises(Malformed, match="1025 SPIs, more than 1024"):
        Delete.parse(Delete(0, 1, 0, (b"",) * (MAX_DELETED_SPIS + 1)).build())
    with pytest.raises(ValueError, match="not of 4 octets"):
        Delete(2, 1, 4, (b"abc",))


def test_an_informational_exchange_carries_no_key_exchange() -> None:
    first, octets = build_chain([KeyExchange(b"x")])
    with pytest.raises(Malformed, match="KE does not belong to Informational") as caught:
        parse_chain(first, octets, INFORMATIONAL)
    assert caught.value.notify == 1


@pytest.mark.requirement("P1-2408-3.16-01")
def test_vendor_ids_and_nat_payloads_of_phase_1_need_not_be_understood() -> None:
    octets = bytes.fromhex("14000008deadbeef00000006cafe")
    chain = parse_chain(13, octets, PHASE_1)
    assert chain.types == (13, 20)
    assert chain.one(VendorId) == VendorId(b"\xde\xad\xbe\xef")
