"""agent.gdoi.push_ack: an acknowledgement as its member makes it and its key server checks it (RFC 8263)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.errors import Malformed, PeerError, Unexpected
from agent.gdoi.push_ack import MAX_ACK_OCTETS, AckMessage, ack_key, base_key_of, build_ack, verify_ack
from agent.gsa.rekey import Acknowledgement
from agent.secret import Secret
from tests.unit.gdoi.rekeying import a_rekey, lkh_key

SPI = bytes(range(0xA0, 0xB0))
KEY = Secret(bytes(range(16)))
V4, V6 = IPAddress("192.0.2.9"), IPAddress("2001:db8::9")
OCTETS = build_ack(SPI, 7, V4, Acknowledgement.KEK_SHA256, KEY)


@pytest.mark.requirement(
    "ACK-2.1-01", "ACK-2.2-01", "ACK-3.1-01", "ACK-3.1-02", "ACK-3.2-01", "ACK-3.2-02", "ACK-3.3-01", "ACK-3.4-01",
    "ACK-3.4-02", "ACK-3.4-03",
)  # fmt: skip
@pytest.mark.parametrize("kind", Acknowledgement)
@pytest.mark.parametrize("address", [V4, V6], ids=["IPv4", "IPv6"])
def test_an_acknowledgement_octet_for_octet(kind: Acknowledgement, address: IPAddress) -> None:
    strong = kind.value.endswith("512")
    name, block = ("sha512", 1024) if strong else ("sha256", 512)
    key = hmac.digest(KEY.reveal(), b"GROUPKEY-PUSH ACK\0" + SPI + block.to_bytes(2), name)
    identity = bytes.fromhex("0000000c01000000c0000209" if address == V4 else "0000001805000000") + (
        b"" if address == V4 else int(address).to_bytes(16)
    )
    covered = bytes.fromhex("0500000800000007") + identity
    digest = hmac.digest(key, covered, name)
    payloads = b"\x12\0" + (4 + len(digest)).to_bytes(2) + digest + covered
    head = SPI + bytes.fromhex("0810230000000000") + (28 + len(payloads)).to_bytes(4)
    datagram = build_ack(SPI, 7, address, kind, KEY)
    assert datagram == head + payloads
    message = AckMessage.parse(datagram)
    assert (message.spi, message.sequence, message.identity) == (SPI, 7, address)
    assert verify_ack(message, kind, KEY)
    assert not verify_ack(message, kind, Secret(bytes(16)))
    assert not verify_ack(replace(message, spi=bytes(16)), kind, KEY)


def test_the_octets_counted_are_those_of_the_rfc() -> None:
    assert len(OCTETS) == 84
    assert len(build_ack(SPI, 7, V4, Acknowledgement.KEK_SHA512, KEY)) == 116


@pytest.mark.parametrize(("kind", "bits"), [(Acknowledgement.KEK_SHA256, 256), (Acknowledgement.LKH_SHA512, 512)])
def test_the_other_reading_of_l_is_taken(kind: Acknowledgement, bits: int) -> None:
    message = AckMessage.parse(build_ack(SPI, 7, V4, kind, KEY))
    name = "sha512" if "512" in kind.value else "sha256"
    digest = hmac.digest(ack_key(kind, KEY, SPI, bits).reveal(), message.covered, name)
    assert digest != message.digest
    assert verify_ack(replace(message, digest=digest), kind, KEY)
    third = hmac.digest(ack_key(kind, KEY, SPI, 128).reveal(), message.covered, name)
    assert not verify_ack(replace(message, digest=third), kind, KEY)


def test_a_hash_of_the_other_prf_does_not_hold() -> None:
    assert not verify_ack(AckMessage.parse(OCTETS), Acknowledgement.KEK_SHA512, KEY)
    cut = replace(AckMessage.parse(OCTETS), digest=b"")
    assert not verify_ack(cut, Acknowledgement.KEK_SHA256, KEY)


@pytest.mark.requirement("ACK-4-03")
def test_the_base_key_is_the_keks_or_the_leafs() -> None:
    rekey = a_rekey()
    for kind in (Acknowledgement.KEK_SHA256, Acknowledgement.KEK_SHA512):
        assert base_key_of(rekey, kind) == rekey.key
    leaf, root = lkh_key(9), replace(lkh_key(1), iv=rekey.iv, key=rekey.key)
    for kind in (Acknowledgement.LKH_SHA256, Acknowledgement.LKH_SHA512):
        assert base_key_of(rekey, kind) is None
        assert base_key_of(replace(rekey, lkh=(leaf, root)), kind) == leaf.key


def test_an_oid_names_a_member_too() -> None:
    oid = bytes.fromhex("060b2a864886f70d")
    covered = bytes.fromhex("0500000800000007") + b"\0\0" + (8 + len(oid)).to_bytes(2) + b"\x0d\0\0\0" + oid
    key = ack_key(Acknowledgement.LKH_SHA256, KEY, SPI).reveal()
    payloads = b"\x12\0\0\x24" + hmac.new(key, covered, hashlib.sha256).digest() + covered
    head = SPI + bytes.fromhex("0810230000000000") + (28 + len(payloads)).to_bytes(4)
    message = AckMessage.parse(head + payloads)
    assert message.identity == oid
    assert verify_ack(message, Acknowledgement.LKH_SHA256, KEY)


def flipped(at: int, value: int) -> bytes:
    return OCTETS[:at] + bytes([value]) + OCTETS[at + 1 :]


@pytest.mark.requirement("ACK-5-04")
@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        OCTETS[:-1],
        OCTETS + b"\0",
        bytes(16) + OCTETS[16:],
        flipped(16, 18),
        flipped(17, 0x20),
        flipped(19, 1),
        flipped(23, 1),
        flipped(28, 5),
        flipped(72, 2),
        flipped(76, 2),
        flipped(77, 17),
        flipped(79, 1),
    ],
    ids=["nothing", "short", "long", "cookies", "first payload", "version", "flags", "Message ID", "next payload",
         "last payload", "ID type", "ID protocol", "ID port"],
)  # fmt: skip
def test_what_is_no_acknowledgement_is_refused(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        AckMessage.parse(datagram)


def test_another_exchange_is_unexpected() -> None:
    with pytest.raises(Unexpected, match="GROUPKEY_PUSH,"):
        AckMessage.parse(flipped(18, 33))


def test_a_long_datagram_is_not_looked_at() -> None:
    with pytest.raises(PeerError, match="more than"):
        AckMessage.parse(OCTETS.ljust(MAX_ACK_OCTETS + 1, b"\0"))
