"""Certificates for both ends of a case, made anew for each run: nothing of them is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["Issued", "authority", "end_entity", "intermediate"]

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ecdsa-256": ec.SECP256R1,
    "ecdsa-384": ec.SECP384R1,
    "ecdsa-521": ec.SECP521R1,
}
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8, in clear."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def subject(self) -> bytes:
        """The subject's DN in DER."""
        return self.certificate.subject.public_bytes()


def _key(method: str) -> Key:
    if method == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(_CURVES[method]())


def _issue(
    key: Key, common_name: str, issuer: Issued | None, extensions: list[tuple[x509.ExtensionType, bool]], days: int
) -> Issued:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Interop"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    signing = issuer.key if issuer is not None else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * _DAY)
        .not_valid_after(now + days * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(signing, hashes.SHA256()), key)


@cache
def authority(name: str = "CA") -> Issued:
    """A CA of that name."""
    return _issue(_key("ecdsa-256"), name, None, [(x509.BasicConstraints(ca=True, path_length=None), True)], 30)


@cache
def intermediate() -> Issued:
    """A CA below the usual one."""
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    return _issue(_key("ecdsa-256"), "Intermediate CA", authority(), [(constraints, True)], 30)


@cache
def end_entity(method: str, fqdn: str, issuer: Issued | None = None, *, days: int = 30) -> Issued:
    """A host's certificate with a key of the method's kind; `days` from now until it ends."""
    names = x509.SubjectAlternativeName([x509.DNSName(fqdn)])
    return _issue(_key(method), fqdn, issuer or authority(), [(names, False)], days)
