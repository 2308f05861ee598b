"""agent.gdoi.push_signature: what is signed holds under its own key and algorithm, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from agent.gdoi.push_signature import RekeySigner, RekeyVerifier
from agent.gsa.rekey import REKEY_SIGNATURES, RekeySignature
from tests.unit.gdoi.rekeying import signer_of, signing_key, verify_key

_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def verifier_of(signature: RekeySignature, seed: int = 7) -> RekeyVerifier:
    return RekeyVerifier(verify_key(signing_key(signature.algorithm, seed)), signature)


@pytest.mark.requirement("GDOI-5.3.6.1-01", "GDOI-5.3.6.4-01", "GDOI-6.1-04", "GDOI-6.1-07")
@pytest.mark.parametrize("signature", REKEY_SIGNATURES.values(), ids=str)
def test_a_signature_holds_over_its_octets_alone(signature: RekeySignature) -> None:
    signer, verifier = signer_of(signature), verifier_of(signature)
    signed = signer.sign(b"rekey and more")
    assert len(signed) == signer.octets
    assert verifier.holds(b"rekey and more", signed)
    assert not verifier.holds(b"rekey and mora", signed)
    assert not verifier.holds(b"rekey and more", signed[:-1] + bytes([signed[-1] ^ 1]))
    assert not verifier_of(signature, 8).holds(b"rekey and more", signed)


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(63), bytes(64), b"\xff" * 64, bytes(65), bytes(256)])
@pytest.mark.parametrize("name", ["rsa+sha2-256", "ecdsa-256"])
def test_octets_that_are_no_signature_do_not_hold(name: str, octets: bytes) -> None:
    assert not verifier_of(REKEY_SIGNATURES[name]).holds(b"rekey", octets)


def test_rsa_has_the_digest_info_of_its_hash() -> None:
    signed = signer_of(REKEY_SIGNATURES["rsa+sha2-256"]).sign(b"rekey")
    public = load_der_public_key(verify_key(signing_key("rsa", 7)))
    assert isinstance(public, rsa.RSAPublicKey)
    number = pow(int.from_bytes(signed), public.public_numbers().e, public.public_numbers().n).to_bytes(256)
    assert number.endswith(b"\xff\x00" + _SHA256_DIGEST_INFO + hashlib.sha256(b"rekey").digest())
    assert number.startswith(b"\x00\x01\xff")


def test_the_hash_is_the_one_that_the_sak_names() -> None:
    signed = signer_of(REKEY_SIGNATURES["rsa+sha2-256"]).sign(b"rekey")
    assert not verifier_of(REKEY_SIGNATURES["rsa+sha2-384"]).holds(b"rekey", signed)


def test_the_same_message_is_signed_alike() -> None:
    signer = signer_of(REKEY_SIGNATURES["ecdsa-256"])
    assert signer.sign(b"rekey") == signer.sign(b"rekey")


@pytest.mark.parametrize(("key", "name"), [("rsa", "ecdsa-256"), ("ecdsa-256", "ecdsa-384"), ("ecdsa-256", "rsa+sha1")])
def test_a_key_of_another_algorithm_is_refused(key: str, name: str) -> None:
    pair = signing_key(key, 7)
    with pytest.raises(ValueError, match="none for"):
        RekeySigner(pair, REKEY_SIGNATURES[name])
    with pytest.raises(ValueError, match="none for"):
        RekeyVerifier(verify_key(pair), REKEY_SIGNATURES[name])
