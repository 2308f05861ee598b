"""From key and certificate files, as a configuration names them, to what can authenticate with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.config.files import PublicFile, SecretFile
from agent.crypto.crl import crls_from_file, is_authority
from agent.crypto.signatures import PrivateKeySigner
from agent.crypto.x509 import MAX_CHAIN, certificates_from_pem, purpose_fault

__all__ = ["KeyPair", "certificates_of", "crls_of", "key_pair", "trust_anchors", "warnings_of"]

_EXPIRES_SOON: Final = timedelta(days=14)
"""Time enough to have a certificate issued anew."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and what signs for it. `chain`: DER, the certificate first, then intermediate ones in order."""

    chain: tuple[bytes, ...] = field(repr=False)
    signer: PrivateKeySigner = field(repr=False)


def key_pair(certificate: PublicFile, private_key: SecretFile) -> KeyPair:
    """Our certificate with its chain and what signs for it.

    Raises ValueError, with the file and what to do, when one is no PEM, the two do not belong together, or the
    certificates behind the first are no chain from it upwards.
    """
    chain = certificates_of(certificate)
    try:
        signer = PrivateKeySigner.from_pem(private_key.content.reveal())
    except ValueError as error:
        raise ValueError(f"{private_key.path}: {error}: name an unencrypted PEM private key") from None
    if _public_key(chain[0]) != signer.public_key:
        raise ValueError(
            f"{private_key.path} is not the key of the first certificate in {certificate.path}: name a pair"
        )
    return KeyPair(_ordered(chain, certificate), signer)


def _ordered(chain: tuple[bytes, ...], file: PublicFile) -> tuple[bytes, ...]:
    """The certificate and its issuers in order, whatever order the file has; without the anchor, which peers hold."""
    rest = [x509.load_der_x509_certificate(der) for der in chain[1:]]
    ordered = [x509.load_der_x509_certificate(chain[0])]
    while rest:
        issuer = next((each for each in rest if each.subject == ordered[-1].issuer), None)
        if issuer is None:
            strays = ", ".join(each.subject.rfc4514_string() for each in rest)
            raise ValueError(
                f"{file.path} holds certificates that are no issuers of its first one: {strays}; leave them out, or"
                " name those between"
            )
        rest.remove(issuer)
        ordered.append(issuer)
    kept = [each for each in ordered if each is ordered[0] or each.subject != each.issuer]
    if len(kept) > MAX_CHAIN:
        raise ValueError(f"{file.path} holds a chain of {len(kept)} certificates; peers take {MAX_CHAIN}")
    return tuple(each.public_bytes(serialization.Encoding.DER) for each in kept)


def trust_anchors(file: PublicFile) -> tuple[bytes, ...]:
    """The DER of each trust anchor of a PEM file.

    Raises ValueError, with the file and what to do, when it has none, or one that is no authority's.
    """
    anchors = certificates_of(file)
    for der in anchors:
        certificate = x509.load_der_x509_certificate(der)
        if not is_authority(certificate):
            raise ValueError(
                f"{file.path}: {certificate.subject.rfc4514_string()} is no authority's certificate: name those of the"
                " authorities that issue your peers' certificates"
            )
    return anchors


def certificates_of(file: PublicFile) -> tuple[bytes, ...]:
    """The DER of each certificate of a PEM file. Raises ValueError, with the file and what to do, when it has none."""
    try:
        return certificates_from_pem(file.content)
    except ValueError:
        raise ValueError(f"{file.path} holds no certificate that can be read: name a PEM file") from None


def crls_of(files: Sequence[PublicFile]) -> tuple[bytes, ...]:
    """The DER of each revocation list of the files. Raises ValueError, with the file and what to do."""
    found: list[bytes] = []
    for file in files:
        try:
            found += crls_from_file(file.content)
        except ValueError:
            raise ValueError(f"{file.path} holds no revocation list that can be read: name a PEM or DER file") from None
    return tuple(found)


def warnings_of(pair: KeyPair, utc: datetime) -> Iterator[str]:
    """What peers refuse, or will soon, about our own certificates, one sentence each."""
    for der in pair.chain:
        certificate = x509.load_der_x509_certificate(der)
        name, end = certificate.subject.rfc4514_string(), certificate.not_valid_after_utc
        if utc < certificate.not_valid_before_utc:
            yield f"certificate of {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        elif utc > end:
            yield f"certificate of {name} ended at {end:%Y-%m-%d %H:%M} UTC: have it issued anew"
        elif utc > end - _EXPIRES_SOON:
            yield f"certificate of {name} ends at {end:%Y-%m-%d %H:%M} UTC: have it issued anew"
    fault = purpose_fault(pair.chain[0])
    if fault is not None:
        yield fault


def _public_key(der: bytes) -> bytes:
    return (
        x509.load_der_x509_certificate(der)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
