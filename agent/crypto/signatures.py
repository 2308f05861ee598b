"""Phase 1 signatures and public keys (RFC 2409 5.1, RFC 4754).

RSA: EMSA-PKCS1-v1_5 padding over the bare HASH, with no DigestInfo. ECDSA: HASH_I or HASH_R is the digest itself, and
the signature is r | s, each padded to the curve's size. Some peers hash HASH again before ECDSA; both readings verify.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from agent.crypto.prf import HASHES, HashAlgorithm, equal, hash_octets
from agent.crypto.quiet import quiet

__all__ = [
    "RSA_BITS",
    "PrivateKeySigner",
    "SignatureAlgorithm",
    "Signer",
    "algorithm_of_public_key",
    "ecdsa_hash",
    "load_public_key",
    "verify",
]

RSA_BITS: Final = range(2048, 8193)
"""Lengths taken: RFC 6407 6.1 and 7.1 ask for 2048 at least; a longer key than the last only burns time."""


class SignatureAlgorithm(Enum):
    """Signature algorithms of Phase 1 by name."""

    RSA = "rsa"
    ECDSA_256 = "ecdsa-256"
    ECDSA_384 = "ecdsa-384"
    ECDSA_521 = "ecdsa-521"


@dataclass(frozen=True, slots=True)
class _EcdsaFacts:
    curve: type[ec.EllipticCurve]
    octets: int
    digest: HashAlgorithm


_ECDSA: Final[dict[SignatureAlgorithm, _EcdsaFacts]] = {
    SignatureAlgorithm.ECDSA_256: _EcdsaFacts(ec.SECP256R1, 32, HashAlgorithm.SHA2_256),
    SignatureAlgorithm.ECDSA_384: _EcdsaFacts(ec.SECP384R1, 48, HashAlgorithm.SHA2_384),
    SignatureAlgorithm.ECDSA_521: _EcdsaFacts(ec.SECP521R1, 66, HashAlgorithm.SHA2_512),
}


class Signer(Protocol):
    """Holder of a private key, which may live elsewhere (a token, another process)."""

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """What kind of signatures it makes."""

    def sign(self, digest: bytes) -> bytes:
        """The SIG body over HASH_I or HASH_R."""


class PrivateKeySigner:
    """A Signer over a private key in memory. Raises ValueError for a kind or size of key Phase 1 has no use for."""

    __slots__ = ("_private", "algorithm")

    def __init__(self, private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private: Final = private_key
        self.algorithm: Final = algorithm_of_public_key(private_key.public_key())

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> PrivateKeySigner:
        """From a PEM private key, PKCS#8 or traditional. Raises ValueError without quoting the file."""
        try:
            key = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError):
            raise ValueError("not a PEM private key, or it needs a password") from None
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise ValueError("neither an RSA nor an ECDSA key")
        return cls(key)

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo of the pair, to compare with the certificate's."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, digest: bytes) -> bytes:
        """The SIG body over HASH_I or HASH_R."""
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(digest, padding.PKCS1v15(), NoDigestInfo())
        facts = _ECDSA[self.algorithm]
        r, s = decode_dss_signature(self._private.sign(digest, _deterministic(facts.digest)))
        return r.to_bytes(facts.octets) + s.to_bytes(facts.octets)


def _deterministic(algorithm: HashAlgorithm) -> ec.ECDSA:
    """ECDSA whose nonce comes from key and digest (RFC 6979): no weak generator gives the key away, and it replays."""
    prehashed = Prehashed(HASHES[algorithm].primitive)
    try:
        return ec.ECDSA(prehashed, deterministic_signing=True)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return ec.ECDSA(prehashed)


def ecdsa_hash(algorithm: SignatureAlgorithm) -> HashAlgorithm | None:
    """The hash whose HMAC makes HASH_I and HASH_R under ECDSA, whatever was negotiated; None for RSA (RFC 4754 4)."""
    facts = _ECDSA.get(algorithm)
    return facts.digest if facts else None


def load_public_key(der: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """From DER SubjectPublicKeyInfo. Raises ValueError for anything but RSA and EC."""
    with quiet():
        try:
            key = serialization.load_der_public_key(der)
        except UnsupportedAlgorithm as error:
            raise ValueError(str(error)) from error
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        raise ValueError("neither an RSA nor an EC public key")
    return key


def algorithm_of_public_key(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> SignatureAlgorithm:
    """Which Phase 1 signatures this key makes. Raises ValueError for sizes and curves out of use."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            raise ValueError(f"an RSA key of {key.key_size} bits; 2048 to 8192 are allowed")
        return SignatureAlgorithm.RSA
    for algorithm, facts in _ECDSA.items():
        if isinstance(key.curve, facts.curve):
            return algorithm
    raise ValueError(f"curve {key.curve.name}; P-256, P-384 and P-521 are allowed")


def verify(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, digest: bytes, signature: bytes) -> bool:
    """Whether `signature`, a SIG body, is over `digest`, HASH_I or HASH_R, by this key."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            return equal(digest, key.recover_data_from_signature(signature, padding.PKCS1v15(), None))
        facts = _ECDSA[algorithm_of_public_key(key)]
        if len(signature) != 2 * facts.octets or len(digest) != HASHES[facts.digest].octets:
            return False
        r, s = int.from_bytes(signature[: facts.octets]), int.from_bytes(signature[facts.octets :])
        der = encode_dss_signature(r, s)
    except (InvalidSignature, ValueError):
        return False
    primitive = HASHES[facts.digest].primitive
    for reading in (digest, hash_octets(facts.digest, digest)):
        try:
            key.verify(der, reading, ec.ECDSA(Prehashed(primitive)))
        except InvalidSignature:
            continue
        return True
    return False
