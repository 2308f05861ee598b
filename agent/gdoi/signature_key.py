"""The public key of GROUPKEY-PUSH signatures, SIG_ALGORITHM_KEY (RFC 6407 5.6.2.2).

The standard gives no encoding. DER SubjectPublicKeyInfo is sent unless a peer wants another form; taken are also PKCS#1
RSAPublicKey and, for ECDSA, the X9.62 point and bare x | y.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.crypto.signatures import RSA_BITS, load_public_key
from agent.gdoi.tolerances import SignatureKeyForm

__all__ = ["CURVES", "encoded", "key_bits", "subject_public_key_info"]

CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "ecdsa-256": ec.SECP256R1(),
    "ecdsa-384": ec.SECP384R1(),
    "ecdsa-521": ec.SECP521R1(),
}
"""The curve of each ECDSA signature (RFC 6407 5.3.6)."""

_UNCOMPRESSED = b"\x04"
_POINT_FORMS: Final = frozenset({b"\x02", b"\x03", _UNCOMPRESSED})
"""First octet of an X9.62 point; DER begins with 0x30."""


def subject_public_key_info(algorithm: str, octets: bytes) -> bytes:
    """The key as DER SubjectPublicKeyInfo. Raises ValueError for what is no key of that algorithm."""
    curve = CURVES.get(algorithm)
    if curve is not None and len(octets) == 2 * -(-curve.key_size // 8):
        octets = _UNCOMPRESSED + octets
    if curve is not None and octets[:1] in _POINT_FORMS:
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = ec.EllipticCurvePublicKey.from_encoded_point(curve, octets)
    else:
        key = load_public_key(octets)
    if curve is None:
        fits = isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS
    else:
        fits = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == curve.name
    if not fits:
        raise ValueError(f"no public key for {algorithm}")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_bits(verify_key: bytes) -> int:
    """SIG_KEY_LENGTH of a DER SubjectPublicKeyInfo: the modulus or the field, in bits. Raises ValueError."""
    return load_public_key(verify_key).key_size


def encoded(verify_key: bytes, form: SignatureKeyForm) -> bytes:
    """A DER SubjectPublicKeyInfo in the form to be sent; PKCS#1 for every RSA key that is not to go as it is.

    Raises ValueError for octets that are no public key.
    """
    if form is SignatureKeyForm.SPKI:
        return verify_key
    key = load_public_key(verify_key)
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if form is SignatureKeyForm.POINT:
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return verify_key
