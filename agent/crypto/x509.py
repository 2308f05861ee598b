"""X.509 as Phase 1 needs it: a chain to a configured trust anchor at a given time, and the names it vouches for.

Path validation is `cryptography`'s (RFC 5280 6). What the web demands beyond that (a subjectAltName, an extended key
usage for TLS) is not asked for: a GDOI identity may be the subject DN alone (RFC 2407 4.6.2.1).
Revocation lists are not consulted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification

from agent.crypto.quiet import quiet
from agent.errors import NotAuthenticated

__all__ = ["MAX_CHAIN", "Vouched", "certificates_from_pem", "subject_name", "verify_chain"]

MAX_CHAIN = 8
"""Certificates taken from a peer: more would only keep us verifying."""

_BROKEN = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""All that the library raises over a certificate it cannot read."""

_INVALID_CERTIFICATE = 20
_INVALID_CERT_AUTHORITY = 22


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a verified certificate says. `subject`: DER of the Name, octet for octet as in the certificate.

    `public_key`: DER SubjectPublicKeyInfo. `dns_names`, `emails`: lower case; `addresses`: 4 or 16 octets each.
    """

    subject: bytes
    public_key: bytes = field(repr=False)
    dns_names: frozenset[str]
    emails: frozenset[str]
    addresses: frozenset[bytes]


def certificates_from_pem(pem: bytes) -> tuple[bytes, ...]:
    """The DER of every certificate in a PEM file, in order. Raises ValueError when there is none or one is broken."""
    return tuple(
        certificate.public_bytes(serialization.Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)
    )


def verify_chain(chain: Sequence[bytes], anchors: Sequence[bytes], utc: datetime) -> Vouched:
    """Verify `chain` (DER, in any order) up to one of `anchors` at time `utc`.

    The peer's own is the first that is no authority's, as no order may be relied on (RFC 4945 3.3.10.3).
    Raises NotAuthenticated: 20, INVALID-CERTIFICATE, for one that is broken or not valid now; 22,
    INVALID-CERT-AUTHORITY, for one that no anchor vouches for.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise NotAuthenticated(f"{len(chain)} certificates where 1 to {MAX_CHAIN} belong", notify=_INVALID_CERTIFICATE)
    with quiet():
        return _verified(chain, anchors, utc)


def _verified(chain: Sequence[bytes], anchors: Sequence[bytes], utc: datetime) -> Vouched:
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        leaf = next((each for each in certificates if not _is_authority(each)), certificates[0])
        name = leaf.subject.rfc4514_string()
        vouched = _vouched(leaf)
    except _BROKEN as error:
        raise NotAuthenticated(f"certificate does not parse: {error}", notify=_INVALID_CERTIFICATE) from error
    if not leaf.not_valid_before_utc <= utc <= leaf.not_valid_after_utc:
        raise NotAuthenticated(
            f"certificate of {name} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to"
            f" {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, not at {utc:%Y-%m-%d %H:%M}",
            notify=_INVALID_CERTIFICATE,
        )
    if not _may_sign(leaf):
        raise NotAuthenticated(f"certificate of {name} is not for digital signatures", notify=_INVALID_CERTIFICATE)
    try:
        _verifier(anchors, utc).verify(leaf, [each for each in certificates if each is not leaf])
    except (verification.VerificationError, ValueError) as error:
        raise NotAuthenticated(
            f"certificate of {name} does not lead to a trust anchor: {error}", notify=_INVALID_CERT_AUTHORITY
        ) from error
    return vouched


def _verifier(anchors: Sequence[bytes], utc: datetime) -> verification.ClientVerifier:
    """A verifier of RFC 5280 paths. Raises ValueError without anchors."""
    authority = (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, _names_authority)
        .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _signs_certificates)
    )
    store = verification.Store([x509.load_der_x509_certificate(anchor) for anchor in anchors])
    return (
        verification.PolicyBuilder()
        .store(store)
        .time(utc)
        .extension_policies(ca_policy=authority, ee_policy=verification.ExtensionPolicy.permit_all())
        .build_client_verifier()
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names_authority(_: object, __: object, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is no authority")


def _signs_certificates(_: object, __: object, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether the key usage, where there is one, has digitalSignature or nonRepudiation (RFC 4945 5.1.3.2)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature or usage.content_commitment


def _vouched(certificate: x509.Certificate) -> Vouched:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    addresses = names.get_values_for_type(x509.IPAddress)
    return Vouched(
        subject=_subject(certificate.tbs_certificate_bytes),
        public_key=certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        dns_names=frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        emails=frozenset(name.lower() for name in names.get_values_for_type(x509.RFC822Name)),
        addresses=frozenset(address.packed for address in addresses if hasattr(address, "packed")),
    )


def subject_name(der: bytes) -> bytes:
    """DER of the subject's Name as the certificate has it. Raises ValueError for no certificate."""
    return _subject(x509.load_der_x509_certificate(der).tbs_certificate_bytes)


def _subject(tbs: bytes) -> bytes:
    """The subject of a TBSCertificate that the library has parsed, with the string types it was encoded in.

    version [0] (optional), serialNumber, signature, issuer, validity, subject (RFC 5280 4.1).
    """
    start, _ = _contents(tbs, 0)
    if tbs[start] == 0xA0:
        start = sum(_contents(tbs, start))
    for _field in ("serialNumber", "signature", "issuer", "validity"):
        start = sum(_contents(tbs, start))
    return tbs[start : sum(_contents(tbs, start))]


def _contents(der: bytes, start: int) -> tuple[int, int]:
    """Where the contents of the DER value at `start` begin, and how long they are."""
    first = der[start + 1]
    if first < 0x80:
        return start + 2, first
    octets = first & 0x7F
    return start + 2 + octets, int.from_bytes(der[start + 2 : start + 2 + octets])
