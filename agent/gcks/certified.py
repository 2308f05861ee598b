"""Authorization by what a member's certificate says: subject, issuer, alternative names (RFC 6407 3.1, RFC 4945 5).

The certificate is the one that Phase 1 verified, so all of it is vouched for by a trust anchor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from cryptography import x509
from cryptography.x509.oid import NameOID
from netaddr import AddrFormatError, IPAddress, IPNetwork

from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.role import Role

__all__ = ["SUBJECT_ATTRIBUTES", "CertificateRule", "MemberCertificate", "identities_of"]

SUBJECT_ATTRIBUTES: Final = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "serialNumber": NameOID.SERIAL_NUMBER,
}
"""Attribute types of a subject by their names of RFC 4514 3, as configuration files use them."""


@dataclass(frozen=True, slots=True)
class MemberCertificate:
    """What rules ask about a certificate. Names in lower case; `subject`: pairs of attribute type and value."""

    subject: frozenset[tuple[x509.ObjectIdentifier, str]]
    issuer: x509.Name
    dns: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()

    @classmethod
    def of(cls, der: bytes) -> Self:
        """From the DER that Phase 1 verified. Raises ValueError for one that does not parse all the same."""
        certificate = x509.load_der_x509_certificate(der)
        names = _alternative_names(certificate)
        return cls(
            frozenset((each.oid, str(each.value)) for each in certificate.subject),
            certificate.issuer,
            tuple(name.lower() for name in names.get_values_for_type(x509.DNSName)),
            tuple(name.lower() for name in names.get_values_for_type(x509.RFC822Name)),
            tuple(IPAddress(str(address)) for address in names.get_values_for_type(x509.IPAddress)),
        )


def identities_of(der: bytes) -> frozenset[Identity]:
    """Every identity that its owner may assert in Phase 1 with a certificate that was verified (RFC 4945 3.1).

    None at all of one that does not parse, which no rule lets in either.
    """
    try:
        facts, subject = MemberCertificate.of(der), x509.load_der_x509_certificate(der).subject.public_bytes()
        return frozenset(
            (
                Identity(IdentityKind.DN, subject),
                *(Identity(IdentityKind.FQDN, name.encode("ascii")) for name in facts.dns),
                *(Identity(IdentityKind.USER_FQDN, name.encode("ascii")) for name in facts.emails),
                *map(Identity.of_address, facts.addresses),
            )
        )
    except ValueError:
        return frozenset()


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """Gives `role` to every member whose certificate has all that is named here; what is left out is not asked.

    `subject`: attribute types of SUBJECT_ATTRIBUTES with their values, exactly; `issuer`: the whole name.
    `dns`, `email`: an alternative name, where a first label or a mailbox `*` stands for any one; `network`: holds an
    alternative name that is an address. Raises ValueError when nothing is asked.
    """

    role: Role
    subject: tuple[tuple[str, str], ...] = ()
    issuer: x509.Name | None = None
    dns: str | None = None
    email: str | None = None
    network: IPNetwork | None = None

    def __post_init__(self) -> None:
        if not self.subject and (self.issuer, self.dns, self.email, self.network) == (None,) * 4:
            raise ValueError("a rule asks for subject, issuer, dns, email or network: without one anybody would match")

    @classmethod
    def parse(
        cls,
        role: Role,
        *,
        subject: Mapping[str, str] | None = None,
        issuer: str | None = None,
        dns: str | None = None,
        email: str | None = None,
        network: str | None = None,
    ) -> Self:
        """From a configuration file. Raises ValueError, saying what is allowed."""
        for key in subject or {}:
            if key not in SUBJECT_ATTRIBUTES:
                raise ValueError(f"subject: one of {', '.join(SUBJECT_ATTRIBUTES)}, got {key!r}")
        for name, wild in ((dns, "*."), (email, "*@")):
            if name is not None and "*" in name.removeprefix(wild):
                raise ValueError(f"{name!r}: * stands for a whole first part alone, as in {wild}example")
        try:
            prefix = None if network is None else IPNetwork(network)
        except AddrFormatError:
            raise ValueError(f"network: a prefix, got {network!r}") from None
        return cls(
            role,
            tuple((subject or {}).items()),
            None if issuer is None else x509.Name.from_rfc4514_string(issuer),
            dns,
            email,
            prefix,
        )

    def matches(self, certificate: MemberCertificate) -> bool:
        """Whether the certificate has all that the rule asks for."""
        return (
            all((SUBJECT_ATTRIBUTES[key], value) in certificate.subject for key, value in self.subject)
            and self.issuer in (None, certificate.issuer)
            and (self.dns is None or any(_fits(self.dns, name, ".") for name in certificate.dns))
            and (self.email is None or any(_fits(self.email, name, "@") for name in certificate.emails))
            and (self.network is None or any(address in self.network for address in certificate.addresses))
        )


def _fits(pattern: str, name: str, separator: str) -> bool:
    """Whether a name is the pattern's; `*` before the first separator stands for any one label, or mailbox."""
    pattern = pattern.lower()
    if not pattern.startswith("*" + separator):
        return name == pattern
    first, _, rest = name.partition(separator)
    return bool(first) and first != "*" and rest == pattern[2:]
