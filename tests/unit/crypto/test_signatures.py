from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from agent.crypto.prf import HASHES, HashAlgorithm
from agent.crypto.signatures import (
    PrivateKeySigner,
    SignatureAlgorithm,
    algorithm_of_public_key,
    ecdsa_hash,
    load_public_key,
    verify,
)

KINDS = list(SignatureAlgorithm)


@cache
def key_of(kind: SignatureAlgorithm) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if kind is SignatureAlgorithm.RSA:
        return rsa.generate_private_key(65537, 2048)
    curves: dict[SignatureAlgorithm, Callable[[], ec.EllipticCurve]] = {
        SignatureAlgorithm.ECDSA_256: ec.SECP256R1,
        SignatureAlgorithm.ECDSA_384: ec.SECP384R1,
        SignatureAlgorithm.ECDSA_521: ec.SECP521R1,
    }
    return ec.generate_private_key(curves[kind]())


def digest_for(kind: SignatureAlgorithm) -> bytes:
    return b"\x5a" * HASHES[ecdsa_hash(kind) or HashAlgorithm.SHA2_512].octets


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_holds_and_no_changed_one_does(kind: SignatureAlgorithm) -> None:
    key, digest = key_of(kind), digest_for(kind)
    signature = PrivateKeySigner(key).sign(digest)
    public = key.public_key()
    assert verify(public, digest, signature)
    assert not verify(public, digest[:-1] + b"\0", signature)
    assert not verify(public, digest, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not verify(public, digest, signature[:-1])
    assert not verify(public, digest, signature + b"\0")
    assert not verify(public, digest, b"")
    assert not verify(public, digest, bytes(len(signature)))


@pytest.mark.requirement("P1-2409-5.1-01")
def test_rsa_signs_the_bare_hash_without_digest_info() -> None:
    key = key_of(SignatureAlgorithm.RSA)
    assert isinstance(key, rsa.RSAPrivateKey)
    digest = b"\x5a" * 32
    signature = PrivateKeySigner(key).sign(digest)
    numbers = key.public_key().public_numbers()
    block = pow(int.from_bytes(signature), numbers.e, numbers.n).to_bytes(256)
    assert block == b"\0\1" + b"\xff" * (256 - 3 - 32) + b"\0" + digest
    with_info = key.sign(digest, padding.PKCS1v15(), hashes.SHA256())
    assert not verify(key.public_key(), digest, with_info)


@pytest.mark.requirement("P1-4754-7-01")
@pytest.mark.parametrize(
    ("kind", "octets"),
    [(SignatureAlgorithm.ECDSA_256, 64), (SignatureAlgorithm.ECDSA_384, 96), (SignatureAlgorithm.ECDSA_521, 132)],
)
def test_ecdsa_is_r_and_s_padded_over_the_hash_as_digest(kind: SignatureAlgorithm, octets: int) -> None:
    """RFC 4754 7."""
    signer = PrivateKeySigner(key_of(kind))
    assert {len(signer.sign(digest_for(kind))) for _ in range(20)} == {octets}


def test_ecdsa_is_deterministic_where_the_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    signer, digest = PrivateKeySigner(key_of(SignatureAlgorithm.ECDSA_256)), digest_for(SignatureAlgorithm.ECDSA_256)
    assert signer.sign(digest) == signer.sign(digest)
    whole = ec.ECDSA

    def older(algorithm: Prehashed, deterministic_signing: bool = False) -> ec.ECDSA:
        if deterministic_signing:
            raise UnsupportedAlgorithm("deterministic ECDSA")
        return whole(algorithm)

    monkeypatch.setattr(ec, "ECDSA", older)
    signed = signer.sign(digest)
    monkeypatch.undo()
    assert signed != signer.sign(digest)
    assert verify(key_of(SignatureAlgorithm.ECDSA_256).public_key(), digest, signed)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not SignatureAlgorithm.RSA])
def test_ecdsa_over_the_hash_of_the_hash_verifies_too(kind: SignatureAlgorithm) -> None:
    key, digest = key_of(kind), digest_for(kind)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    algorithm = ecdsa_hash(kind)
    assert algorithm is not None
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(HASHES[algorithm].primitive)))
    octets = len(PrivateKeySigner(key).sign(digest)) // 2
    assert verify(key.public_key(), digest, r.to_bytes(octets) + s.to_bytes(octets))


def test_a_digest_of_another_length_is_no_ecdsa_digest() -> None:
    key = key_of(SignatureAlgorithm.ECDSA_256)
    assert not verify(key.public_key(), b"\x5a" * 48, bytes(64))


@pytest.mark.parametrize("kind", KINDS)
def test_pem_and_public_key_come_back_as_the_same_kind(kind: SignatureAlgorithm) -> None:
    key = key_of(kind)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signer = PrivateKeySigner.from_pem(pem)
    assert signer.algorithm is kind
    assert algorithm_of_public_key(load_public_key(signer.public_key)) is kind


def test_keys_of_no_use_are_refused_without_being_quoted() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="neither an RSA nor an ECDSA key"):
        PrivateKeySigner.from_pem(pem)
    with pytest.raises(ValueError, match="not a PEM private key") as caught:
        PrivateKeySigner.from_pem(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(ValueError, match="curve secp256k1"):
        PrivateKeySigner(ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(ValueError, match="1024 bits"):
        PrivateKeySigner(rsa.generate_private_key(65537, 1024))  # noqa: S505  # the weakness is what is refused
    nobody_knows = "300a300506032a0304030100"
    with pytest.raises(ValueError, match="Unknown key type"):
        load_public_key(bytes.fromhex(nobody_knows))
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ValueError, match="neither an RSA nor an EC"):
        load_public_key(
            edwards.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
