"""Certificate revocation lists from files (RFC 5280 5, 6.3): which of them speaks of a certificate, and what it says.

Taken are complete lists by the issuer itself. A delta list, an indirect one, one for some reasons only, or one with a
critical extension that is not known here says nothing, so that a certificate may go uncovered, never falsely cleared.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from agent.crypto.quiet import legible
from agent.errors import NotAuthenticated

__all__ = ["RevocationLists", "crls_from_file", "is_authority"]

_INVALID_CERTIFICATE = 20
_KNOWN_CRITICAL: Final = frozenset({x509.IssuingDistributionPoint.oid, x509.AuthorityKeyIdentifier.oid})
_PEM_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_PEM_END: Final = b"-----END X509 CRL-----"


def crls_from_file(content: bytes) -> tuple[bytes, ...]:
    """The DER of every list in a file: PEM, one or more, or one list as DER. Raises ValueError when one is broken."""
    with legible():
        if _PEM_BEGIN not in content:
            return (_der(x509.load_der_x509_crl(content)),)
        blocks = [block.partition(_PEM_END)[0] for block in content.split(_PEM_BEGIN)[1:]]
        return tuple(_der(x509.load_pem_x509_crl(_PEM_BEGIN + block + _PEM_END + b"\n")) for block in blocks)


def _der(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(serialization.Encoding.DER)


class RevocationLists:
    """Lists as configured. Raises ValueError for one that does not parse."""

    def __init__(self, crls: Sequence[bytes]) -> None:
        with legible():
            self._lists: Final = tuple(_List(x509.load_der_x509_crl(der)) for der in crls)

    def __bool__(self) -> bool:
        return bool(self._lists)

    def check(self, certificate: x509.Certificate, issuer: x509.Certificate, utc: datetime) -> str | None:
        """Why it is not known whether the issuer has revoked a certificate, None when it has not.

        Raises NotAuthenticated, 20, for one that any list of the issuer names, a stale list too (RFC 4945 5.2.1).
        """
        applicable = [each for each in self._lists if each.speaks_of(certificate, issuer)]
        name = issuer.subject.rfc4514_string()
        for each in applicable:
            if certificate.serial_number in each.serials:
                subject = certificate.subject.rfc4514_string()
                raise NotAuthenticated(
                    f"certificate of {subject} was revoked by {name}{each.day_of(certificate)}",
                    notify=_INVALID_CERTIFICATE,
                )
        if not applicable:
            return f"no revocation list of {name} is configured"
        ends = [each.crl.next_update_utc for each in applicable if each.crl.last_update_utc <= utc]
        if any(end is None or utc <= end for end in ends):
            return None
        latest = max((end for end in ends if end is not None), default=None)
        when = f"ended at {latest:%Y-%m-%d %H:%M} UTC" if latest is not None else "has not begun"
        return f"the revocation list of {name} {when}"


class _List:
    """One list. `serials`: all that it names, as the library looks through the whole list for one."""

    __slots__ = ("_genuine", "crl", "serials")

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self.crl: Final = crl
        self.serials: Final = frozenset(revoked.serial_number for revoked in crl)
        self._genuine: Final[dict[x509.Certificate, bool]] = {}

    def speaks_of(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        if self.crl.issuer != issuer.subject or not _in_scope(self.crl, certificate):
            return False
        # A signature is verified once for each certificate that an issuer of that name has.
        genuine = self._genuine.get(issuer)
        if genuine is None:
            genuine = self._genuine[issuer] = _may_sign_lists(issuer) and _signed_by(self.crl, issuer)
        return genuine

    def day_of(self, certificate: x509.Certificate) -> str:
        revoked = self.crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        return f" on {revoked.revocation_date_utc:%Y-%m-%d %H:%M} UTC" if revoked is not None else ""


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        public = issuer.public_key()
        return crl.is_signature_valid(public)  # type: ignore[arg-type]  # another kind of key raises TypeError
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _in_scope(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether a list is complete for this certificate, by its own extensions (RFC 5280 5.2)."""
    try:
        extensions = list(crl.extensions)
    except (ValueError, x509.DuplicateExtension):
        return False
    if any(extension.critical and extension.oid not in _KNOWN_CRITICAL for extension in extensions):
        return False
    points = [each.value for each in extensions if isinstance(each.value, x509.IssuingDistributionPoint)]
    return all(_covers(point, certificate) for point in points)


def _covers(point: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    if point.indirect_crl or point.only_some_reasons or point.only_contains_attribute_certs:
        return False
    authority = is_authority(certificate)
    if (point.only_contains_user_certs and authority) or (point.only_contains_ca_certs and not authority):
        return False
    if point.full_name is None and point.relative_name is None:
        return True
    # The names must be identical, else another list of the same issuer could stand in for this one (RFC 4945 5.1.3.13).
    return any(
        (point.full_name is not None and each.full_name is not None and set(point.full_name) & set(each.full_name))
        or (point.relative_name is not None and each.relative_name == point.relative_name)
        for each in _distribution_points(certificate)
    )


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate is an authority's, by its basic constraints (RFC 5280 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _distribution_points(certificate: x509.Certificate) -> Sequence[x509.DistributionPoint]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value)
    except x509.ExtensionNotFound:
        return ()
