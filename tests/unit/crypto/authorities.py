"""Authorities and certificates of the tests, with what their issuers may want to say."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.unit.gdoi.pair import UTC_NOW, Authority, authority, private_key


def usage(*, sign: bool, certify: bool, commit: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, commit, not sign, False, False, certify, False, False, False)


def under(
    parent: Authority,
    common_name: str,
    *,
    ca: bool = True,
    key_usage: x509.KeyUsage | None = None,
    path_length: int | None = None,
    also: x509.ExtensionType | None = None,
    days: int = 1,
    critical: bool = True,
) -> Authority:
    """An intermediate authority. `also`: one extension more, critical or not; `days`: until its end."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
        .issuer_name(parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - timedelta(days=9))
        .not_valid_after(UTC_NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    for extension, is_critical in ((key_usage, True), (also, critical)):
        if extension is not None:
            builder = builder.add_extension(extension, critical=is_critical)
    return Authority(builder.sign(parent.key, hashes.SHA256()), key)


def end_entity(
    extension: x509.ExtensionType,
    *,
    critical: bool,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None = None,
) -> bytes:
    """A certificate that is no authority's, of two days, with one extension."""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gm")]))
        .issuer_name(authority().certificate.subject)
        .public_key((key or private_key("ecdsa-256", "leaf")).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(UTC_NOW - timedelta(days=1))
        .not_valid_after(UTC_NOW + timedelta(days=1))
        .add_extension(extension, critical=critical)
        .sign(authority().key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)
