"""X.509 as Phase 1 needs it: a chain to a configured trust anchor at a given time, and the names it vouches for.

Path validation is `cryptography`'s (RFC 5280 6): signatures, validity, basic constraints, path lengths, name
constraints, unknown critical extensions. What the web demands beyond that (a subjectAltName, an extended key usage for
TLS) is not asked for: a GDOI identity may be the subject DN alone (RFC 2407 4.6.2.1). What IKE demands is: a key usage
that lets the key sign, an extended key usage, where there is one, that names IKE (RFC 4945 5.1.3), and revocation
lists where some are configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.crypto.crl import RevocationLists, is_authority
from agent.crypto.names import der_value
from agent.crypto.quiet import legible, quiet
from agent.errors import NotAuthenticated

__all__ = [
    "MAX_CERTIFICATE_OCTETS",
    "MAX_CHAIN",
    "RevocationRule",
    "TrustStore",
    "Vouched",
    "certificates_from_pem",
    "certificates_from_pkcs7",
    "issuer_name",
    "purpose_fault",
    "subject_name",
]

MAX_CHAIN: Final = 8
"""Certificates taken from a peer: more would only keep us verifying."""
MAX_CERTIFICATE_OCTETS: Final = 8192
"""Octets of one: an RSA key and signature of 8192 bits with a page of names."""

_INVALID_CERTIFICATE = 20
_INVALID_CERT_AUTHORITY = 22
_FOR_IKE: Final = frozenset(
    {
        ExtendedKeyUsageOID.IPSEC_IKE,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        # iKEIntermediate, which deployed authorities put where RFC 4945 has id-kp-ipsecIKE.
        x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2"),
    }
)


class RevocationRule(Enum):
    """What is made of a certificate whose revocation is not known, as its issuer's list is missing or at its end.

    HARD refuses it; SOFT lets it pass. A certificate that a list names is refused by both.
    """

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a verified certificate says. `subject`: DER of the Name, octet for octet as in the certificate.

    `certificate`: DER of it; `public_key`: DER SubjectPublicKeyInfo. `dns_names`, `emails`: lower case;
    `addresses`: 4 or 16 octets each.
    """

    subject: bytes
    public_key: bytes = field(repr=False)
    dns_names: frozenset[str]
    emails: frozenset[str]
    addresses: frozenset[bytes]
    certificate: bytes = field(repr=False)


def certificates_from_pem(pem: bytes) -> tuple[bytes, ...]:
    """The DER of every certificate in a PEM file, in order. Raises ValueError when there is none or one is broken."""
    with legible():
        return tuple(map(_der, x509.load_pem_x509_certificates(pem)))


def certificates_from_pkcs7(der: bytes) -> tuple[bytes, ...]:
    """The DER of every certificate in a PKCS #7 SignedData, in its order. Raises ValueError when it is none."""
    with legible():
        return tuple(map(_der, pkcs7.load_der_pkcs7_certificates(der)))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


class TrustStore:
    """What peers' certificates are verified against; made once, used for every peer.

    `anchors`: DER certificates of trusted authorities; `known`: further ones that a peer need not send: intermediate
    authorities, and peers' own where they never send them. `crls`: DER revocation lists; none: revocation is not asked
    about; else every certificate below the anchor needs one of its issuer, as `revocation` says.
    Raises ValueError for one that does not parse.
    """

    def __init__(
        self,
        anchors: Sequence[bytes],
        *,
        known: Sequence[bytes] = (),
        crls: Sequence[bytes] = (),
        revocation: RevocationRule = RevocationRule.HARD,
    ) -> None:
        self.anchors: Final = tuple(anchors)
        self.subjects: Final = tuple(dict.fromkeys(subject_name(anchor) for anchor in anchors))
        self._lists: Final = RevocationLists(crls)
        self._revocation: Final = revocation
        with legible():
            further = [x509.load_der_x509_certificate(der) for der in known]
            self._authorities: Final = tuple(each for each in further if is_authority(each))
            self._own: Final = tuple(_vouched(each) for each in further if not is_authority(each))
            loaded = [x509.load_der_x509_certificate(anchor) for anchor in anchors]
            self._policy: Final = _policy(loaded) if loaded else None

    def peers_own(self) -> tuple[Vouched, ...]:
        """What the known certificates say that are no authority's, of peers that may send none: not verified yet."""
        return self._own

    def verify(self, chain: Sequence[bytes], utc: datetime) -> Vouched:
        """Verify `chain` (DER, in any order) up to an anchor at time `utc`.

        The peer's own is the first that is no authority's, as no order may be relied on (RFC 4945 3.3.10.3).
        Raises NotAuthenticated: 20, INVALID-CERTIFICATE, for one that is broken, revoked or not valid now; 22,
        INVALID-CERT-AUTHORITY, for one that no anchor vouches for.
        """
        if not 1 <= len(chain) <= MAX_CHAIN:
            raise _invalid(f"{len(chain)} certificates where 1 to {MAX_CHAIN} belong")
        if any(len(der) > MAX_CERTIFICATE_OCTETS for der in chain):
            raise _invalid(f"a certificate of more than {MAX_CERTIFICATE_OCTETS} octets")
        with quiet():
            return self._verified(chain, utc)

    def _verified(self, chain: Sequence[bytes], utc: datetime) -> Vouched:
        try:
            with legible():
                certificates = [x509.load_der_x509_certificate(der) for der in chain]
                leaf = next((each for each in certificates if not is_authority(each)), certificates[0])
                name = leaf.subject.rfc4514_string()
                vouched = _vouched(leaf)
                fault = _purpose_fault(leaf)
        except ValueError as error:
            raise _invalid(f"certificate does not parse: {error}") from error
        if fault is not None:
            raise _invalid(fault)
        if not leaf.not_valid_before_utc <= utc <= leaf.not_valid_after_utc:
            raise _invalid(
                f"certificate of {name} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to"
                f" {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, not at {utc:%Y-%m-%d %H:%M}"
            )
        others = [each for each in certificates if each is not leaf]
        path = self._path(leaf, name, [*others, *self._authorities], utc)
        self._require_unrevoked(path, utc)
        return vouched

    def _path(
        self, leaf: x509.Certificate, name: str, others: list[x509.Certificate], utc: datetime
    ) -> list[x509.Certificate]:
        """The certificates from the peer's own to an anchor."""
        try:
            if self._policy is None:
                raise ValueError("no trust anchor is configured")
            return self._policy.time(utc).build_client_verifier().verify(leaf, others).chain
        except (verification.VerificationError, ValueError) as error:
            raise NotAuthenticated(
                f"certificate of {name} does not lead to a trust anchor: {error}", notify=_INVALID_CERT_AUTHORITY
            ) from error

    def _require_unrevoked(self, path: list[x509.Certificate], utc: datetime) -> None:
        if not self._lists:
            return
        for certificate, issuer in pairwise(path):
            unknown = self._lists.check(certificate, issuer, utc)
            if unknown is not None and self._revocation is RevocationRule.HARD:
                subject = certificate.subject.rfc4514_string()
                raise _invalid(f"whether the certificate of {subject} was revoked is not known: {unknown}")


def _invalid(text: str) -> NotAuthenticated:
    return NotAuthenticated(text, notify=_INVALID_CERTIFICATE)


def _policy(anchors: list[x509.Certificate]) -> verification.PolicyBuilder:
    authority = (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, _names_authority)
        .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _signs_certificates)
        .may_be_present(x509.NameConstraints, verification.Criticality.AGNOSTIC, _constrains_what_is_checked)
    )
    return (
        verification.PolicyBuilder()
        .store(verification.Store(anchors))
        .extension_policies(ca_policy=authority, ee_policy=verification.ExtensionPolicy.permit_all())
    )


def _names_authority(_: object, __: object, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is no authority")


def _signs_certificates(_: object, __: object, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _constrains_what_is_checked(_: object, __: object, constraints: x509.NameConstraints | None) -> None:
    # The library checks those on alternative names, and refuses others only where the extension is critical, as
    # RFC 5280 4.2.1.10 has it. Taken lightly, one on directory names would let an issuer name whom it may not.
    if constraints is None:
        return
    subtrees = (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ()))
    if any(isinstance(subtree, x509.DirectoryName) for subtree in subtrees):
        raise ValueError("an issuer is constrained to directory names, which cannot be checked here")


def purpose_fault(der: bytes) -> str | None:
    """Why a certificate is not for Phase 1 by its key usage or extended key usage, None when it is, or names neither.

    RFC 4945 5.1.3.2 and 5.1.3.12. Raises ValueError for no certificate.
    """
    with legible():
        return _purpose_fault(x509.load_der_x509_certificate(der))


def _purpose_fault(certificate: x509.Certificate) -> str | None:
    name = certificate.subject.rfc4514_string()
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not (value.digital_signature or value.content_commitment):
            return f"certificate of {name} is not for digital signatures"
        if isinstance(value, x509.ExtendedKeyUsage) and not _FOR_IKE & set(value):
            named = ", ".join(purpose.dotted_string for purpose in value)
            return (
                f"certificate of {name} is for other purposes than IKE ({named}): have it issued without extended key"
                " usage, or with id-kp-ipsecIKE"
            )
    return None


def _vouched(certificate: x509.Certificate) -> Vouched:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    addresses = names.get_values_for_type(x509.IPAddress)
    return Vouched(
        subject=_field(certificate.tbs_certificate_bytes, _SUBJECT),
        public_key=certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        dns_names=frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        emails=frozenset(name.lower() for name in names.get_values_for_type(x509.RFC822Name)),
        addresses=frozenset(address.packed for address in addresses if hasattr(address, "packed")),
        certificate=_der(certificate),
    )


_ISSUER: Final = 2
_SUBJECT: Final = 4
"""Places in a TBSCertificate behind its optional version: serialNumber, signature, issuer, validity, subject."""


def subject_name(der: bytes) -> bytes:
    """DER of the subject's Name as the certificate has it. Raises ValueError for no certificate."""
    with legible():
        return _field(x509.load_der_x509_certificate(der).tbs_certificate_bytes, _SUBJECT)


def issuer_name(der: bytes) -> bytes:
    """DER of the issuer's Name as the certificate has it. Raises ValueError for no certificate."""
    with legible():
        return _field(x509.load_der_x509_certificate(der).tbs_certificate_bytes, _ISSUER)


def _field(tbs: bytes, place: int) -> bytes:
    """A field of a TBSCertificate that the library has parsed, in the string types it was encoded in (RFC 5280 4.1)."""
    start, _ = der_value(tbs, 0)
    if tbs[start] == 0xA0:
        start = sum(der_value(tbs, start))
    for _before in range(place):
        start = sum(der_value(tbs, start))
    return tbs[start : sum(der_value(tbs, start))]
