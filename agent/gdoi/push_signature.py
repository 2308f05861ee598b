"""Signatures of GROUPKEY-PUSH (RFC 6407 4, 5.3.5, 5.3.6): over the octets "rekey", header and payloads before SIG.

RSA: EMSA-PKCS1-v1_5 with a DigestInfo of SIG_HASH_ALGORITHM, unlike Phase 1. ECDSA: the hash that the algorithm's name
implies, and r | s, each padded to the curve's size (RFC 4754 7).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from agent.crypto.prf import HASHES, HashAlgorithm
from agent.crypto.signatures import load_public_key
from agent.gdoi.signature_key import CURVES
from agent.gsa.rekey import RekeySignature
from agent.secret import Secret

__all__ = ["RekeySigner", "RekeyVerifier"]

_IMPLIED: Final = {
    "ecdsa-256": HashAlgorithm.SHA2_256,
    "ecdsa-384": HashAlgorithm.SHA2_384,
    "ecdsa-521": HashAlgorithm.SHA2_512,
}
"""The hash of each ECDSA signature (RFC 6407 5.3.6)."""


def _primitive(signature: RekeySignature) -> hashes.HashAlgorithm:
    named = _IMPLIED.get(signature.algorithm) or HashAlgorithm(signature.hash)
    return HASHES[named].primitive


def _coordinate_octets(curve: ec.EllipticCurve) -> int:
    return -(-curve.key_size // 8)


def _deterministic(primitive: hashes.HashAlgorithm) -> ec.ECDSA:
    """ECDSA whose nonce comes from key and message (RFC 6979): a message that is built again is signed alike."""
    try:
        return ec.ECDSA(primitive, deterministic_signing=True)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return ec.ECDSA(primitive)


class RekeySigner:
    """The key server's half: signs with the private key of a Rekey SA.

    `octets`: length of each signature, which the header's Length counts before there is one. Raises ValueError for a
    key that is none of that signature's.
    """

    __slots__ = ("_private", "octets", "signature")

    def __init__(self, signing_key_pkcs8: Secret, signature: RekeySignature) -> None:
        """`signing_key_pkcs8`: PKCS#8 DER; `signature`: algorithm and hash that the SAK names."""
        private = serialization.load_der_private_key(signing_key_pkcs8.reveal(), None)
        curve = CURVES.get(signature.algorithm)
        if curve is not None and isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == curve.name:
            self.octets = 2 * _coordinate_octets(private.curve)
        elif curve is None and isinstance(private, rsa.RSAPrivateKey):
            self.octets = private.key_size // 8
        else:
            raise ValueError(f"the signing key is none for {signature}")
        self._private: Final[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = private
        self.signature: Final = signature

    def sign(self, octets: bytes) -> bytes:
        """The SIG body over `octets`."""
        primitive = _primitive(self.signature)
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(octets, padding.PKCS1v15(), primitive)
        r, s = decode_dss_signature(self._private.sign(octets, _deterministic(primitive)))
        width = self.octets // 2
        return r.to_bytes(width) + s.to_bytes(width)


class RekeyVerifier:
    """The member's half: checks with the public key of a Rekey SA, which is read once.

    Raises ValueError for octets that are no key of that signature.
    """

    __slots__ = ("_primitive", "_public", "signature")

    def __init__(self, verify_key: bytes, signature: RekeySignature) -> None:
        """`verify_key`: DER SubjectPublicKeyInfo; `signature`: algorithm and hash that the SAK names."""
        public = load_public_key(verify_key)
        curve = CURVES.get(signature.algorithm)
        if curve is None:
            fits = isinstance(public, rsa.RSAPublicKey)
        else:
            fits = isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == curve.name
        if not fits:
            raise ValueError(f"the public key is none for {signature}")
        self._public: Final[rsa.RSAPublicKey | ec.EllipticCurvePublicKey] = public
        self._primitive: Final = _primitive(signature)
        self.signature: Final = signature

    def holds(self, octets: bytes, signature: bytes) -> bool:
        """Whether `signature`, a SIG body, is over `octets` by this key."""
        try:
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(signature, octets, padding.PKCS1v15(), self._primitive)
            else:
                width = _coordinate_octets(self._public.curve)
                if len(signature) != 2 * width:
                    return False
                r, s = int.from_bytes(signature[:width]), int.from_bytes(signature[width:])
                self._public.verify(encode_dss_signature(r, s), octets, ec.ECDSA(self._primitive))
        except InvalidSignature:
            return False
        return True
