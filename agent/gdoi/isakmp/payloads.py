"""The payloads of ISAKMP (RFC 2408 3.7 to 3.16), and the contexts Phase 1 and Informational.

A payload is a frozen value with TYPE, `parse(body)` and `build()`; a body has no generic header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from agent.gdoi.isakmp.chain import (
    FRAMES,
    MAX_PAYLOADS,
    PRIVATE_PAYLOADS,
    Chain,
    Context,
    ParsedPayload,
    Payload,
    TypedPayload,
    Unknown,
    build_chain,
    interpret,
    parse_chain,
    split_frames,
)
from agent.gdoi.isakmp.constants import PayloadType
from agent.gdoi.isakmp.proposal import Proposal, SecurityAssociation, Transform
from agent.wire.layout import U8, U16, U32, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = [
    "FRAMES",
    "INFORMATIONAL",
    "MAX_DELETED_SPIS",
    "MAX_PAYLOADS",
    "PHASE_1",
    "Certificate",
    "CertificateRequest",
    "Chain",
    "Context",
    "Delete",
    "Hash",
    "Identification",
    "KeyExchange",
    "NatDetection",
    "Nonce",
    "Notification",
    "ParsedPayload",
    "Payload",
    "Proposal",
    "SecurityAssociation",
    "Signature",
    "Transform",
    "TypedPayload",
    "Unknown",
    "VendorId",
    "build_chain",
    "interpret",
    "parse_chain",
    "split_frames",
]

MAX_DELETED_SPIS: Final = 1024
"""SPIs in one Delete payload: more than SAs that one peer has with us."""

_ID = Layout(
    "ID",
    (
        Row("id_type", U8, "IdType"),
        Row("protocol", U8, "IP protocol, 0 for none; first DOI-specific octet"),
        Row("port", U16, "0 for none; other DOI-specific octets"),
    ),
)
_CERTIFICATE = Layout("CERT", (Row("encoding", U8, "CertEncoding"),))
_REQUEST = Layout("CR", (Row("encoding", U8, "CertEncoding"),))
_NOTIFICATION = Layout(
    "Notification",
    (
        Row("doi", U32, "Doi"),
        Row("protocol", U8, "Protocol-Id"),
        Row("spi_size", U8, "octets of the SPI"),
        Row("notify_type", U16, "NotifyType"),
    ),
)
_DELETE = Layout(
    "Delete",
    (
        Row("doi", U32, "Doi"),
        Row("protocol", U8, "Protocol-Id; under GDOI the SAT's, 0 for the Rekey SA"),
        Row("spi_size", U8, "octets of each SPI"),
        Row("count", U16, "# of SPIs"),
    ),
)


@dataclass(frozen=True, slots=True)
class _Opaque:
    """A payload whose body is one field."""

    data: bytes

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body."""
        return cls(body.rest() if isinstance(body, Reader) else body)

    def build(self) -> bytes:
        """The body."""
        return self.data


@dataclass(frozen=True, slots=True)
class KeyExchange(_Opaque):
    """KE (RFC 2408 3.7): `data` is the Diffie-Hellman public value, padded to the group's size (RFC 2409 5)."""

    TYPE: ClassVar = PayloadType.KE


@dataclass(frozen=True, slots=True)
class Hash(_Opaque):
    """HASH (RFC 2408 3.11): `data` is a prf output."""

    TYPE: ClassVar = PayloadType.HASH


@dataclass(frozen=True, slots=True)
class Signature(_Opaque):
    """SIG (RFC 2408 3.12)."""

    TYPE: ClassVar = PayloadType.SIG


@dataclass(frozen=True, slots=True)
class Nonce(_Opaque):
    """Nonce (RFC 2408 3.13): 8 to 256 octets in Phase 1 (RFC 2409 5), 8 to 128 in PULL (RFC 6407 5.8)."""

    TYPE: ClassVar = PayloadType.NONCE


@dataclass(frozen=True, slots=True)
class VendorId(_Opaque):
    """Vendor ID (RFC 2408 3.16)."""

    TYPE: ClassVar = PayloadType.VID


@dataclass(frozen=True, slots=True)
class NatDetection(_Opaque):
    """NAT-D (RFC 3947 3.2): `data` is a hash over both cookies, an address and a port."""

    TYPE: ClassVar = PayloadType.NAT_D


@dataclass(frozen=True, slots=True)
class Identification:
    """ID (RFC 2408 3.8, RFC 2407 4.6.2): `protocol` and `port` are DOI-specific and 0 in GDOI (RFC 6407 5.1)."""

    TYPE: ClassVar = PayloadType.ID

    id_type: int
    protocol: int
    port: int
    data: bytes

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "ID") as reader:
            id_type, protocol, port = _ID.read(reader)
            return cls(id_type, protocol, port, reader.rest())

    def build(self) -> bytes:
        """The body: IDii_b or IDir_b in Phase 1."""
        return _ID.build(self.id_type, self.protocol, self.port) + self.data


@dataclass(frozen=True, slots=True)
class Certificate:
    """CERT (RFC 2408 3.9). `encoding`: CertEncoding."""

    TYPE: ClassVar = PayloadType.CERT

    encoding: int
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "CERT") as reader:
            (encoding,) = _CERTIFICATE.read(reader)
            return cls(encoding, reader.rest())

    def build(self) -> bytes:
        """The body."""
        return _CERTIFICATE.build(self.encoding) + self.data


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """CR (RFC 2408 3.10). `authority`: DER of the issuer's Name, or empty."""

    TYPE: ClassVar = PayloadType.CR

    encoding: int
    authority: bytes

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "CR") as reader:
            (encoding,) = _REQUEST.read(reader)
            return cls(encoding, reader.rest())

    def build(self) -> bytes:
        """The body."""
        return _REQUEST.build(self.encoding) + self.authority


@dataclass(frozen=True, slots=True)
class Notification:
    """N (RFC 2408 3.14). `notify_type`: NotifyType."""

    TYPE: ClassVar = PayloadType.NOTIFY

    doi: int
    protocol: int
    notify_type: int
    spi: bytes = b""
    data: bytes = b""

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "Notification") as reader:
            doi, protocol, spi_size, notify_type = _NOTIFICATION.read(reader)
            spi = reader.take(spi_size, "SPI of a notification")
            return cls(doi, protocol, notify_type, spi, reader.rest())

    def build(self) -> bytes:
        """The body."""
        return _NOTIFICATION.build(self.doi, self.protocol, len(self.spi), self.notify_type) + self.spi + self.data


@dataclass(frozen=True, slots=True)
class Delete:
    """D (RFC 2408 3.15): the SPIs of one protocol, all of `spi_size` octets.

    Raises ValueError for SPIs of another size.
    """

    TYPE: ClassVar = PayloadType.DELETE

    doi: int
    protocol: int
    spi_size: int
    spis: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if any(len(spi) != self.spi_size for spi in self.spis):
            raise ValueError(f"an SPI is not of {self.spi_size} octets")

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "Delete") as reader:
            doi, protocol, spi_size, count = _DELETE.read(reader)
            if count > MAX_DELETED_SPIS:
                raise reader.malformed(f"{count} SPIs, more than {MAX_DELETED_SPIS}")
            return cls(doi, protocol, spi_size, tuple(reader.take(spi_size, "SPI") for _ in range(count)))

    def build(self) -> bytes:
        """The body."""
        return _DELETE.build(self.doi, self.protocol, self.spi_size, len(self.spis)) + b"".join(self.spis)


PHASE_1: Final = Context(
    "Phase 1",
    {
        PayloadType.SA: SecurityAssociation.parse,
        PayloadType.KE: KeyExchange.parse,
        PayloadType.ID: Identification.parse,
        PayloadType.CERT: Certificate.parse,
        PayloadType.CR: CertificateRequest.parse,
        PayloadType.HASH: Hash.parse,
        PayloadType.SIG: Signature.parse,
        PayloadType.NONCE: Nonce.parse,
        PayloadType.NOTIFY: Notification.parse,
        PayloadType.DELETE: Delete.parse,
        PayloadType.VID: VendorId.parse,
        PayloadType.NAT_D: NatDetection.parse,
    },
    PRIVATE_PAYLOADS | {int(PayloadType.NAT_OA)},
)
"""Main and Aggressive Mode: payload 1 is the ISAKMP form of the SA."""

INFORMATIONAL: Final = Context(
    "Informational",
    {
        PayloadType.HASH: Hash.parse,
        PayloadType.NOTIFY: Notification.parse,
        PayloadType.DELETE: Delete.parse,
        PayloadType.VID: VendorId.parse,
    },
)
"""Informational exchanges (RFC 2408 4.8, RFC 2409 5.7)."""
