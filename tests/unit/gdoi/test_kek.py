"""agent.gdoi.kek: a SAK and its key packet are one Rekey SA, or a refusal that says why."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from netaddr import IPAddress, IPNetwork

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.kek import packet_of, rekey_of, rekey_sa_of, sak_of
from agent.gdoi.sa import SAK, IdBlock
from agent.gdoi.selectors import block_of_prefix
from agent.gsa.sa import RekeySA
from agent.secret import Secret

SPI = bytes(range(16))


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


ECDSA_KEY = spki(ec.derive_private_key(7, ec.SECP256R1()).public_key())
REKEY = RekeySA(
    spi=SPI,
    source=IPAddress("192.0.2.1"),
    destination=IPAddress("239.1.1.1"),
    source_port=848,
    destination_port=848,
    key_algorithm="aes-cbc-128",
    key=Secret(b"k" * 16),
    iv=b"v" * 16,
    signature_algorithm="ecdsa-256",
    signature_hash=None,
    verify_key=ECDSA_KEY,
    sequence=5,
    expires=86500.0,
)
ALGORITHM, LENGTH, SIGNATURE = basic(2, 3), basic(3, 128), basic(6, 4)


@pytest.mark.requirement("GDOI-5.3-04", "GDOI-5.3-06", "GDOI-5.3.3-01", "GDOI-5.3.4-01", "GDOI-5.3.5-01")
@pytest.mark.parametrize(
    ("changes", "attributes"),
    [
        ({}, "80020003 80030080 0004000400015180 80060004 80070100"),
        ({"expires": None, "key_algorithm": "aes-cbc-256"}, "80020003 80030100 80060004 80070100"),
    ],
)
def test_what_a_sak_says(changes: dict[str, object], attributes: str) -> None:
    sak = sak_of(dataclasses.replace(REKEY, **changes), 100.0)  # type: ignore[arg-type]  # a table of fields
    assert b"".join(attribute.build() for attribute in sak.attributes).hex() == attributes.replace(" ", "")
    assert sak.spi == SPI


@pytest.mark.requirement("GDOI-5.6.2-01", "GDOI-5.6.2.1-01", "GDOI-5.6.2.1-02", "GDOI-5.6.2.2-01", "GDOI-5.3-03")
@pytest.mark.parametrize("bits", [128, 192, 256])
def test_a_rekey_sa_goes_both_ways(bits: int) -> None:
    sa = dataclasses.replace(REKEY, key_algorithm=f"aes-cbc-{bits}", key=Secret(b"k" * (bits // 8)))
    packet = packet_of(sa)
    assert packet.attributes[0].value.reveal() == b"v" * 16 + b"k" * (bits // 8)
    assert rekey_sa_of(rekey_of(sak_of(sa, 100.0)), packet, sequence=5, received=100.0) == sa


def test_rsa_names_its_hash() -> None:
    key = spki(rsa.generate_private_key(65537, 2048).public_key())
    sa = dataclasses.replace(REKEY, signature_algorithm="rsa", signature_hash="sha2-256", verify_key=key)
    sak = sak_of(sa, 100.0)
    assert basic(5, 3) in sak.attributes
    assert basic(7, 2048) in sak.attributes
    assert rekey_sa_of(rekey_of(sak), packet_of(sa), sequence=5, received=100.0) == sa


def sak(*attributes: Attribute, protocol: int = 17, spi: bytes = SPI, destination: str = "239.1.1.1/32") -> SAK:
    to = block_of_prefix(IPNetwork(destination), 848)
    return SAK(protocol, IdBlock(1, 848, b"\xc0\0\x02\x01"), to, spi, attributes)


@pytest.mark.requirement("GDOI-5.3-02")
def test_ports_of_zero_are_no_ports() -> None:
    any_port = dataclasses.replace(REKEY, source_port=0)
    offered = rekey_of(sak_of(any_port, 0.0))
    assert (offered.source_port, offered.destination_port) == (0, 848)


@pytest.mark.requirement("GDOI-5.3-07", "GDOI-5.3-05", "GDOI-5.3.5-01")
def test_key_management_is_ignored_and_an_ecdsa_hash_may_be_said() -> None:
    least = rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE))
    assert rekey_of(sak(basic(1, 1), ALGORITHM, LENGTH, SIGNATURE, basic(5, 3))) == least
    assert (least.lifetime_s, least.signature_key_bits, least.signature_hash) == (None, None, None)


@pytest.mark.requirement("GDOI-5.3.2-01", "GDOI-5.3-04", "GDOI-5.3.3-02", "GDOI-6.1-03", "GDOI-6.1-06")
@pytest.mark.parametrize(
    ("refused", "notify", "text"),
    [
        (sak(LENGTH, SIGNATURE), 16, "without KEK_ALGORITHM"),
        (sak(ALGORITHM, SIGNATURE), 16, "without KEK_KEY_LENGTH"),
        (sak(ALGORITHM, LENGTH), 16, "without SIG_ALGORITHM"),
        (sak(basic(2, 1), SIGNATURE), 13, "KEK_ALG_DES"),
        (sak(ALGORITHM, basic(3, 100), SIGNATURE), 13, "KEK_KEY_LENGTH 100"),
        (sak(ALGORITHM, LENGTH, basic(6, 2)), 13, "SIG_ALG_DSS"),
        (sak(ALGORITHM, LENGTH, basic(6, 1)), 16, "rsa without SIG_HASH_ALGORITHM"),
        (sak(ALGORITHM, LENGTH, basic(6, 1), basic(5, 1)), 13, "SIG_HASH_MD5"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, basic(5, 4)), 13, "sha2-384 with SIG_ALGORITHM ecdsa-256"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, basic(9, 1)), 13, "KEK_ACK_REQUESTED"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, basic(200, 1)), 13, r"unknown\(200\)"),
        (sak(ALGORITHM, basic(2, 2), LENGTH, SIGNATURE), 13, "conflicting values of KEK_ALGORITHM"),
        (sak(variable(2, b"\x03"), LENGTH, SIGNATURE), 16, "KEK_ALGORITHM in variable form"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, variable(4, bytes(5))), 16, "KEK_KEY_LIFETIME has 5 octets"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, variable(4, bytes(4))), 16, "KEK lifetime of nothing"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, protocol=6), 16, "IP protocol 6, not UDP"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, spi=bytes(16)), 11, "SPI is zero"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, destination="239.0.0.0/8"), 18, "one address belongs"),
        (sak(ALGORITHM, LENGTH, SIGNATURE, destination="ff3e::1/128"), 18, "families differ"),
    ],
)
def test_a_policy_not_understood_is_refused_with_its_notify(refused: SAK, notify: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        rekey_of(refused)
    assert caught.value.notify == notify


def packet(*pairs: tuple[int, bytes]) -> KeyPacket:
    return KeyPacket(2, SPI, tuple(KeyAttribute(type_, Secret(octets)) for type_, octets in pairs))


@pytest.mark.requirement("GDOI-5.6.2-01", "GDOI-5.6.2.1-02")
@pytest.mark.parametrize(
    ("refused", "notify", "text"),
    [
        (packet((1, bytes(16)), (2, ECDSA_KEY)), 17, "has 16 octets, not 16 of IV and 16 of key"),
        (packet((1, bytes(33)), (2, ECDSA_KEY)), 17, "has 33 octets"),
        (packet((1, bytes(32))), 16, "without SIG_ALGORITHM_KEY"),
        (packet((2, ECDSA_KEY)), 16, "without KEK_ALGORITHM_KEY"),
        (packet((1, bytes(32)), (1, bytes(32)), (2, ECDSA_KEY)), 16, "KEK_ALGORITHM_KEY twice"),
        (packet((1, bytes(32)), (2, ECDSA_KEY), (3, b"")), 16, r"unknown\(3\) twice or out of place"),
        (packet((1, bytes(32)), (2, b"no key")), 17, "SIG_ALGORITHM_KEY: "),
    ],
)
def test_keys_that_do_not_fit_are_refused(refused: KeyPacket, notify: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        rekey_sa_of(rekey_of(sak_of(REKEY, 0.0)), refused, sequence=0, received=0.0)
    assert caught.value.notify == notify


def test_a_key_of_another_length_than_said_is_refused() -> None:
    offered = rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE, basic(7, 2048)))
    with pytest.raises(Malformed, match="has 256 bits, SIG_KEY_LENGTH says 2048"):
        rekey_sa_of(offered, packet_of(REKEY), sequence=0, received=0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_algorithm": "aes-cbc-100"},
        {"key_algorithm": "3des"},
        {"signature_algorithm": "dss"},
        {"signature_hash": "md5"},
    ],
)
def test_names_without_a_number_are_our_own_error(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"algorithm|hash"):
        sak_of(dataclasses.replace(REKEY, **changes), 0.0)  # type: ignore[arg-type]  # a table of fields
