"""agent.gdoi.kek: a SAK and its key packet are one Rekey SA, or a refusal that says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
from agent.gdoi.tolerances import SignatureKeyForm, Tolerances
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES, Acknowledgement, KekCipher, LkhKey, RekeySignature
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa

SPI = bytes(range(16))


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


RSA_KEY = rsa.generate_private_key(65537, 2048).public_key()
ECDSA_KEY = spki(ec.derive_private_key(7, ec.SECP256R1()).public_key())
REKEY = rekey_sa(spi=SPI, verify_key=ECDSA_KEY, sequence=5, expires=86500.0)
ALGORITHM, LENGTH, SIGNATURE = basic(2, 3), basic(3, 128), basic(6, 4)


@pytest.mark.requirement(
    "GDOI-5.3-04", "GDOI-5.3-06", "GDOI-5.3.3-01", "GDOI-5.3.3-03", "GDOI-5.3.4-01", "GDOI-5.3.5-01"
)
@pytest.mark.parametrize(
    ("changes", "attributes"),
    [
        ({}, "80020003 80030080 0004000400015180 80060004 80070100"),
        (
            {"expires": None, "key_algorithm": "aes-cbc-256", "key": Secret(bytes(32))},
            "80020003 80030100 80060004 80070100",
        ),
        (
            {"expires": None, "key_algorithm": "3des-cbc", "key": Secret(bytes(24)), "iv": bytes(8)},
            "80020002 80060004 80070100",
        ),
        (
            {"expires": None, "acknowledgement": Acknowledgement.LKH_SHA512},
            "80020003 80030080 80060004 80070100 80090004",
        ),
    ],
)
def test_what_a_sak_says(changes: dict[str, object], attributes: str) -> None:
    sak = sak_of(dataclasses.replace(REKEY, **changes), 100.0)  # type: ignore[arg-type]  # a table of fields
    assert b"".join(attribute.build() for attribute in sak.attributes).hex() == attributes.replace(" ", "")
    assert sak.spi == SPI


@pytest.mark.requirement("GDOI-5.6.2-01", "GDOI-5.6.2.1-01", "GDOI-5.6.2.2-01", "GDOI-5.3-03")
@pytest.mark.parametrize("cipher", KEK_CIPHERS.values(), ids=lambda cipher: cipher.name)
def test_a_rekey_sa_goes_both_ways(cipher: KekCipher) -> None:
    key, iv = b"k" * cipher.key_octets, b"v" * cipher.block_octets
    sa = dataclasses.replace(REKEY, key_algorithm=cipher.name, key=Secret(key), iv=iv)
    packet = packet_of(sa)
    assert packet.attributes[0].value.reveal() == iv + key
    assert rekey_sa_of(rekey_of(sak_of(sa, 100.0)), [packet], sequence=5, received=100.0) == sa


@pytest.mark.requirement("ACK-2-01", "GDOI-5.3-05")
@pytest.mark.parametrize("acknowledgement", [None, *Acknowledgement])
def test_an_acknowledgement_is_asked_for_by_type(acknowledgement: Acknowledgement | None) -> None:
    sa = dataclasses.replace(REKEY, acknowledgement=acknowledgement)
    assert rekey_sa_of(rekey_of(sak_of(sa, 100.0)), [packet_of(sa)], sequence=5, received=100.0) == sa


@pytest.mark.requirement("ACK-4-03")
def test_an_acknowledgement_of_an_unknown_type_is_gone_without() -> None:
    assert rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE, basic(9, 5))).acknowledgement is None
    assert rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE, basic(9, 3))).acknowledgement is Acknowledgement.KEK_SHA512


CURVES = {"ecdsa-256": ec.SECP256R1(), "ecdsa-384": ec.SECP384R1(), "ecdsa-521": ec.SECP521R1()}


@pytest.mark.requirement("GDOI-6.1-04", "GDOI-6.1-05", "GDOI-6.1-07", "GDOI-5.6.2.2-01")
@pytest.mark.parametrize("signature", REKEY_SIGNATURES.values(), ids=str)
@pytest.mark.parametrize("form", SignatureKeyForm)
def test_every_signature_with_its_key_in_every_form(signature: RekeySignature, form: SignatureKeyForm) -> None:
    curve = CURVES.get(signature.algorithm)
    key = ec.derive_private_key(7, curve).public_key() if curve is not None else RSA_KEY
    sa = dataclasses.replace(
        REKEY, signature_algorithm=signature.algorithm, signature_hash=signature.hash, verify_key=spki(key)
    )
    packet = packet_of(sa, Tolerances(signature_key=form))
    sent = packet.attributes[1].value.reveal()
    assert (sent == sa.verify_key) == (
        form is SignatureKeyForm.SPKI or (curve is not None and form is SignatureKeyForm.PKCS1)
    )
    assert rekey_sa_of(rekey_of(sak_of(sa, 100.0)), [packet], sequence=5, received=100.0) == sa


PATH = (LkhKey(12, 1, b"1" * 16, Secret(b"a" * 16)), LkhKey(1, 2, b"v" * 16, Secret(b"k" * 16), 1, 2))


@pytest.mark.requirement("GDOI-3.3-06", "GDOI-5.6.3-01", "GDOI-5.6.3.1-02", "GDOI-5.6.2.2-01", "GDOI-6.1-01")
def test_of_a_hierarchy_the_whole_path_arrives_and_its_root_is_the_kek() -> None:
    sa = dataclasses.replace(REKEY, lkh=PATH)
    packet = packet_of(sa)
    assert (packet.kd_type, [attribute.type for attribute in packet.attributes]) == (3, [1, 3])
    offered = rekey_of(sak_of(sa, 100.0))
    assert rekey_sa_of(offered, [packet], sequence=5, received=100.0) == sa
    beside = packet_of(dataclasses.replace(sa, lkh=()))
    assert rekey_sa_of(offered, [beside, packet], sequence=5, received=100.0) == sa
    other = packet_of(dataclasses.replace(REKEY, key=Secret(b"x" * 16)))
    with pytest.raises(Malformed, match="is not the root"):
        rekey_sa_of(offered, [other, packet], sequence=5, received=100.0)


@pytest.mark.requirement("GDOI-5.6.3-01", "GDOI-5.6.3.1-04")
@pytest.mark.parametrize(
    ("change", "notify", "text"),
    [
        (lambda pairs: pairs[1:], 16, "without LKH_DOWNLOAD_ARRAY"),
        (lambda pairs: pairs[:1], 16, "0 different SIG_ALGORITHM_KEYs"),
        (lambda pairs: [*pairs, pairs[0]], 16, "LKH_DOWNLOAD_ARRAY twice"),
        (lambda pairs: [*pairs, KeyAttribute(2, Secret(b""))], 16, "LKH_UPDATE_ARRAY in a GROUPKEY-PULL"),
        (lambda pairs: [*pairs, KeyAttribute(4, Secret(b""))], 16, r"unknown\(4\) twice or out of place"),
        (lambda pairs: [KeyAttribute(1, Secret(b"\1\0\0\0")), pairs[1]], 16, "0 LKH keys"),
    ],
)
def test_an_lkh_packet_that_is_not_whole_is_refused(
    change: Callable[[list[KeyAttribute]], list[KeyAttribute]], notify: int, text: str
) -> None:
    sa = dataclasses.replace(REKEY, lkh=PATH)
    wrong = KeyPacket(3, SPI, tuple(change(list(packet_of(sa).attributes))))
    with pytest.raises(Malformed, match=text) as caught:
        rekey_sa_of(rekey_of(sak_of(sa, 0.0)), [wrong], sequence=0, received=0.0)
    assert caught.value.notify == notify


def test_rsa_names_its_hash() -> None:
    sa = dataclasses.replace(REKEY, signature_algorithm="rsa", signature_hash="sha2-256", verify_key=spki(RSA_KEY))
    sak = sak_of(sa, 100.0)
    assert basic(5, 3) in sak.attributes
    assert basic(7, 2048) in sak.attributes
    assert rekey_sa_of(rekey_of(sak), [packet_of(sa)], sequence=5, received=100.0) == sa


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
        (sak(ALGORITHM, LENGTH, SIGNATURE, basic(8, 1)), 13, r"unknown\(8\)"),
        (sak(basic(2, 2), LENGTH, SIGNATURE), 13, "KEK_KEY_LENGTH 128 with KEK_ALG_3DES"),
        (sak(ALGORITHM, LENGTH, basic(6, 3)), 13, "SIG_ALG_ECDSS"),
        (dataclasses.replace(sak(ALGORITHM, LENGTH, SIGNATURE), reserved=1), 16, "RESERVED2 is 1"),
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
        rekey_sa_of(rekey_of(sak_of(REKEY, 0.0)), [refused], sequence=0, received=0.0)
    assert caught.value.notify == notify


def test_a_key_of_another_length_than_said_is_refused() -> None:
    offered = rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE, basic(7, 2048)))
    with pytest.raises(Malformed, match="has 256 bits, SIG_KEY_LENGTH says 2048"):
        rekey_sa_of(offered, [packet_of(REKEY)], sequence=0, received=0.0)


def test_addresses_of_two_families_are_our_own_error() -> None:
    with pytest.raises(ValueError, match="families differ"):
        sak_of(dataclasses.replace(REKEY, source=IPAddress("fd00::1")), 0.0)


def test_a_private_attribute_is_passed_over_where_that_is_set() -> None:
    private = sak(ALGORITHM, LENGTH, SIGNATURE, basic(200, 1))
    assert rekey_of(private, Tolerances(ignore_private_attributes=True)) == rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE))
    with pytest.raises(Malformed, match=r"unknown\(10\)"):
        rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE, basic(10, 1)), Tolerances(ignore_private_attributes=True))


def test_of_a_peer_of_rfc_3547_the_pop_fields_are_ignored_and_it_is_asked_for_no_acknowledgement() -> None:
    old = Tolerances(rfc3547=True)
    value = dataclasses.replace(sak(ALGORITHM, LENGTH, SIGNATURE), reserved=0x00010800)
    assert rekey_of(value, old) == rekey_of(sak(ALGORITHM, LENGTH, SIGNATURE))
    asking = dataclasses.replace(REKEY, acknowledgement=Acknowledgement.KEK_SHA256)
    assert sak_of(asking, 0.0, old) == sak_of(REKEY, 0.0)
