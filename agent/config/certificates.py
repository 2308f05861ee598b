"""From key and certificate files, as a configuration names them, to what can authenticate with them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.config.files import PublicFile, SecretFile
from agent.crypto.signatures import PrivateKeySigner
from agent.crypto.x509 import certificates_from_pem

__all__ = ["KeyPair", "key_pair", "trust_anchors"]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and what signs for it. `chain`: DER, the certificate first, then intermediate ones in order."""

    chain: tuple[bytes, ...] = field(repr=False)
    signer: PrivateKeySigner = field(repr=False)


def key_pair(certificate: PublicFile, private_key: SecretFile) -> KeyPair:
    """Our certificate with its chain and what signs for it.

    Raises ValueError, with the file and what to do, when one is no PEM or the two do not belong together.
    """
    chain = trust_anchors(certificate)
    try:
        signer = PrivateKeySigner.from_pem(private_key.content.reveal())
    except ValueError as error:
        raise ValueError(f"{private_key.path}: {error}: name an unencrypted PEM private key") from None
    if _public_key(chain[0]) != signer.public_key:
        raise ValueError(
            f"{private_key.path} is not the key of the first certificate in {certificate.path}: name a pair"
        )
    return KeyPair(chain, signer)


def trust_anchors(file: PublicFile) -> tuple[bytes, ...]:
    """The DER of each certificate of a PEM file. Raises ValueError, with the file and what to do, when it has none."""
    try:
        return certificates_from_pem(file.content)
    except ValueError:
        raise ValueError(f"{file.path} holds no certificate that can be read: name a PEM file") from None


def _public_key(der: bytes) -> bytes:
    return (
        x509.load_der_x509_certificate(der)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
