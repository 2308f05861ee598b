"""agent.gdoi.signature_key: every encoding of SIG_ALGORITHM_KEY that a peer may choose (digest E10)."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.gdoi.signature_key import key_bits, subject_public_key_info

CURVES: dict[str, ec.EllipticCurve] = {
    "ecdsa-256": ec.SECP256R1(),
    "ecdsa-384": ec.SECP384R1(),
    "ecdsa-521": ec.SECP521R1(),
}

# The prime of RFC 2409 6.2.
OAKLEY_2 = bytes.fromhex(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff"
)


@cache
def rsa_key(bits: int) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, bits).public_key()


@pytest.mark.requirement("GDOI-5.6.2.2-01")
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_rsa_in_both_forms(form: PublicFormat) -> None:
    key = rsa_key(2048)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert subject_public_key_info("rsa", key.public_bytes(Encoding.DER, form)) == spki
    assert key_bits(spki) == 2048


@pytest.mark.parametrize("algorithm", CURVES)
def test_ecdsa_in_every_form(algorithm: str) -> None:
    key = ec.generate_private_key(CURVES[algorithm]).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    for form in (spki, point, compressed, point[1:]):
        assert subject_public_key_info(algorithm, form) == spki
    assert key_bits(spki) == CURVES[algorithm].key_size


def test_bare_coordinates_that_begin_like_der_are_still_a_point() -> None:
    # One x in 256 begins with the tag of a SEQUENCE: the length tells the forms apart.
    scalar = next(
        scalar
        for scalar in range(1, 5000)
        if ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers().x >> 248 == 0x30
    )
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    bare = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert subject_public_key_info("ecdsa-256", bare) == spki


@pytest.mark.parametrize("algorithm", ["rsa", "ecdsa-256"])
def test_what_is_no_key_of_the_algorithm_is_refused(algorithm: str) -> None:
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    foreign = ed25519.Ed25519PrivateKey.generate().public_key()
    octets = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (other_curve, foreign)]
    octets += [b"", b"\x30", b"\x04" * 65, bytes(64), b"\x30\x0b" + bytes(9)]
    octets.append(rsa_key(1024).public_bytes(Encoding.DER, PublicFormat.PKCS1))
    for form in octets:
        with pytest.raises(ValueError, match=r"."):
            subject_public_key_info(algorithm, form)


def der(tag: int, value: bytes) -> bytes:
    length = len(value)
    head = bytes([length]) if length < 128 else bytes([0x81, length]) if length < 256 else b"\x82" + length.to_bytes(2)
    return bytes([tag]) + head + value


def test_a_key_of_another_kind_is_refused_without_a_warning() -> None:
    # SubjectPublicKeyInfo of Diffie-Hellman with the Second Oakley Group: loading one warns.
    prime, generator, public = der(2, b"\0" + OAKLEY_2), der(2, b"\2"), der(2, b"\3")
    algorithm = der(6, bytes.fromhex("2a864886f70d010301")) + der(0x30, prime + generator)
    with pytest.raises(ValueError, match="neither an RSA nor an EC"):
        subject_public_key_info("rsa", der(0x30, der(0x30, algorithm) + der(3, b"\0" + public)))


def test_a_curve_nobody_knows_is_refused() -> None:
    known = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = known.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    p256, other = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")
    with pytest.raises(ValueError, match="not supported"):
        subject_public_key_info("ecdsa-256", spki.replace(p256, other))


def test_a_key_that_signs_nothing_has_no_length() -> None:
    spki = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ValueError, match="neither an RSA nor an EC"):
        key_bits(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
