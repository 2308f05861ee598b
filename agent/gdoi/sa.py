"""The SA payload of GDOI and the SA attribute payloads in it: SAK, GAP, SAT (RFC 6407 5.2 to 5.5).

Codecs only: what an attribute means is `agent.gdoi.tek`, `agent.gdoi.iec61850` and `agent.gdoi.kek`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self, TypeVar

from agent.errors import Malformed
from agent.gdoi.constants import REKEY_SPI_OCTETS, SatProtocol
from agent.gdoi.isakmp.attributes import Attribute, build_attributes, parse_attributes
from agent.gdoi.isakmp.chain import build_frames, framed
from agent.gdoi.isakmp.constants import Doi, IdType, NotifyType, PayloadType, name_of
from agent.wire.layout import U8, U16, U32, Layout, Row, octets
from agent.wire.reader import Reader, reading

__all__ = [
    "ANY_SOURCE_DATA",
    "GAP",
    "MAX_SATS",
    "SAK",
    "SAT",
    "GroupSecurityAssociation",
    "IdBlock",
    "Iec61850Policy",
    "IpsecPolicy",
]

MAX_SATS: Final = 1024
"""SATs in one SA payload: about as many as its 16 bits of length hold, and a bound on what one message makes us build.

A rekey of a group with a thousand TEKs comes in a few messages, of some 600 SATs with their keys each.
"""

_SA = Layout(
    "GDOI SA",
    (
        Row("DOI", U32, "2", constant=Doi.GDOI, notify=NotifyType.DOI_NOT_SUPPORTED),
        Row("Situation", U32, constant=0, notify=NotifyType.SITUATION_NOT_SUPPORTED),
        Row("sa_attribute_next_payload", U16, "15 SAK, 22 GAP or 16 SAT"),
        Row("RESERVED2", U16, constant=0),
    ),
)
_PROTOCOL = Layout("protocol", (Row("protocol", U8, "IP protocol; 0 in a SAT: any"),))
_SAT = Layout("SAT", (Row("protocol_id", U8, "SatProtocol"),))
_ID_BLOCK = Layout(
    "ID block",
    (
        Row("id_type", U8, "IdType"),
        Row("port", U16, "0: any, or to be ignored"),
        Row("length", U8, "octets of the identification data"),
    ),
)
_WIDE_ID_BLOCK = Layout("ID block with a length of two octets", (*_ID_BLOCK.rows[:2], Row("length", U16, "the same")))
_ID_BLOCKS: Final = {1: _ID_BLOCK, 2: _WIDE_ID_BLOCK}
_SAK_SPI = Layout(
    "SAK SPI",
    (
        Row("spi", octets(REKEY_SPI_OCTETS), "cookie pair"),
        Row("RESERVED2", U32, "0; of RFC 3547: POP Algorithm and POP Key Length"),
    ),
)
_OID = Layout("OID", (Row("length", U8, "octets of the OID"),))
_SPECIFIC = Layout("OID-Specific Payload", (Row("length", U16, "octets of the OID-Specific payload, 0 without one"),))
_IEC_POLICY = Layout(
    "IEC 61850 policy",
    (
        Row("spi", U32, "KeyID"),
        Row("authentication", U16, "IecAuthenticationValue"),
        Row("confidentiality", U16, "IecConfidentialityValue"),
        Row("lifetime_s", U32, "Remaining Lifetime; 0: it does not expire"),
    ),
)
_IPSEC_SPI = Layout("SAT SPI", (Row("transform_id", U8, "EspTransform or AhTransform"), Row("spi", U32)))


@dataclass(frozen=True, slots=True)
class IdBlock:
    """SRC or DST of a SAK or SAT: ID type, port and identification data (RFC 6407 5.3, 5.5.1)."""

    id_type: int
    port: int
    data: bytes

    @classmethod
    def parse(cls, reader: Reader, length_octets: int = 1) -> Self:
        """The next block, its length field of 1 or 2 octets. Raises Malformed."""
        id_type, port, length = _ID_BLOCKS[length_octets].read(reader)
        return cls(id_type, port, reader.take(length, "identification data"))

    def build(self, length_octets: int = 1) -> bytes:
        """The octets. Raises ValueError for more data than the length field can say."""
        return _ID_BLOCKS[length_octets].build(self.id_type, self.port, len(self.data)) + self.data

    @property
    def plausible(self) -> bool:
        """Whether the type is an address, subnet or range, and the data as long as that is."""
        return len(self.data) == _ID_LENGTHS.get(self.id_type)


ANY_SOURCE_DATA: Final = frozenset({b"", bytes(3)})
"""What stands for any source where all senders share a TEK: "3 octets or zero" is read both ways (RFC 6407 5.5.1)."""
_ID_LENGTHS: Final[dict[int, int]] = {
    IdType.IPV4_ADDR: 4,
    IdType.IPV4_ADDR_SUBNET: 8,
    IdType.IPV4_ADDR_RANGE: 8,
    IdType.IPV6_ADDR: 16,
    IdType.IPV6_ADDR_SUBNET: 32,
    IdType.IPV6_ADDR_RANGE: 32,
}


class _WithIds(Protocol):
    """A SAK, or what a SAT says for ESP and AH."""

    @property
    def source(self) -> IdBlock: ...

    @property
    def destination(self) -> IdBlock: ...


W = TypeVar("W", bound=_WithIds)

_FIRST_LENGTH: Final = 4
"""Offset of the source's length in a SAK, and in what a SAT says for ESP and AH."""


def _in_either_width(reader: Reader, parse: Callable[[Reader, int], W]) -> W:
    """All that is left, with ID data lengths of one octet, or of two where only that gives sense. Raises Malformed.

    Some deployed peers write two, of which the first is 0; RFC 6407 5.3 and 5.5.1 have one.
    """
    base, data = reader.offset, reader.rest()
    if data[_FIRST_LENGTH : _FIRST_LENGTH + 1] == b"\0":
        try:
            found = parse(Reader(data, base), 2)
        except Malformed:
            pass
        else:
            any_source = found.source.data in ANY_SOURCE_DATA
            if (any_source or found.source.plausible) and found.destination.plausible:
                return found
    return parse(Reader(data, base), 1)


@dataclass(frozen=True, slots=True)
class SAK:
    """SA KEK: the policy of the Rekey SA (RFC 6407 5.3).

    `protocol`: IP protocol of the GROUPKEY-PUSH datagram, whose addresses and ports `source` and `destination` are.
    `spi`: 16 octets, initiator cookie then responder cookie of the GROUPKEY-PUSH header.
    `reserved`: RESERVED2, which is 0 but with peers of RFC 3547. `id_length_octets`: of both ID data lengths, 1 or 2.
    """

    TYPE: ClassVar = PayloadType.SAK

    protocol: int
    source: IdBlock
    destination: IdBlock
    spi: bytes
    attributes: tuple[Attribute, ...]
    reserved: int = 0
    id_length_octets: int = 1

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "SAK") as reader:
            return _in_either_width(reader, cls._parse)

    @classmethod
    def _parse(cls, reader: Reader, width: int) -> Self:
        (protocol,) = _PROTOCOL.read(reader)
        source, destination = IdBlock.parse(reader, width), IdBlock.parse(reader, width)
        spi, reserved = _SAK_SPI.read(reader)
        return cls(protocol, source, destination, spi, parse_attributes(reader), reserved, width)

    def build(self) -> bytes:
        """The body."""
        return (
            _PROTOCOL.build(self.protocol)
            + self.source.build(self.id_length_octets)
            + self.destination.build(self.id_length_octets)
            + _SAK_SPI.build(self.spi, self.reserved)
            + build_attributes(self.attributes)
        )


@dataclass(frozen=True, slots=True)
class GAP:
    """Group Associated Policy (RFC 6407 5.4): in the SA of message 2, or a payload of message 3."""

    TYPE: ClassVar = PayloadType.GAP

    attributes: tuple[Attribute, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "GAP") as reader:
            return cls(parse_attributes(reader))

    def build(self) -> bytes:
        """The body."""
        return build_attributes(self.attributes)


@dataclass(frozen=True, slots=True)
class IpsecPolicy:
    """What a SAT says for ESP and AH (RFC 6407 5.5.1).

    `protocol`: next protocol selector, 0 for any. `source`, `destination`: the traffic's selectors.
    `transform_id`: EspTransform or AhTransform. `spi`: of the Data-Security SA.
    `id_length_octets`: of both ID data lengths, 1 or 2.
    """

    protocol: int
    source: IdBlock
    destination: IdBlock
    transform_id: int
    spi: int
    attributes: tuple[Attribute, ...]
    id_length_octets: int = 1

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """From the protocol-specific part of a SAT, all of it. Raises Malformed."""
        return _in_either_width(reader, cls._parse)

    @classmethod
    def _parse(cls, reader: Reader, width: int) -> Self:
        (protocol,) = _PROTOCOL.read(reader)
        source, destination = IdBlock.parse(reader, width), IdBlock.parse(reader, width)
        transform_id, spi = _IPSEC_SPI.read(reader)
        return cls(protocol, source, destination, transform_id, spi, parse_attributes(reader), width)

    def build(self) -> bytes:
        """The octets."""
        return (
            _PROTOCOL.build(self.protocol)
            + self.source.build(self.id_length_octets)
            + self.destination.build(self.id_length_octets)
            + _IPSEC_SPI.build(self.transform_id, self.spi)
            + build_attributes(self.attributes)
        )


@dataclass(frozen=True, slots=True)
class Iec61850Policy:
    """What a SAT says for IEC 61850 (RFC 8052 2.2).

    `oid`, `specific`: DER, both as sent; `spi`: the KeyID; `authentication`, `confidentiality`: values of
    IecAuthenticationValue and IecConfidentialityValue; `lifetime_s`: 0 for no end.
    """

    oid: bytes
    specific: bytes
    spi: int
    authentication: int
    confidentiality: int
    lifetime_s: int
    attributes: tuple[Attribute, ...]

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """From the protocol-specific part of a SAT, all of it. Raises Malformed."""
        (length,) = _OID.read(reader)
        oid = reader.take(length, "OID")
        (length,) = _SPECIFIC.read(reader)
        specific = reader.take(length, "OID-Specific payload")
        spi, authentication, confidentiality, lifetime_s = _IEC_POLICY.read(reader)
        return cls(oid, specific, spi, authentication, confidentiality, lifetime_s, parse_attributes(reader))

    def build(self) -> bytes:
        """The octets. Raises ValueError for lengths that do not fit."""
        return (
            _OID.build(len(self.oid))
            + self.oid
            + _SPECIFIC.build(len(self.specific))
            + self.specific
            + _IEC_POLICY.build(self.spi, self.authentication, self.confidentiality, self.lifetime_s)
            + build_attributes(self.attributes)
        )


_IPSEC_PROTOCOLS: Final = frozenset({SatProtocol.GDOI_PROTO_IPSEC_ESP, SatProtocol.GDOI_PROTO_IPSEC_AH})


@dataclass(frozen=True, slots=True)
class SAT:
    """SA TEK: the policy of a Data-Security SA (RFC 6407 5.5).

    `protocol_id`: SatProtocol. `policy`: IpsecPolicy for ESP and AH, Iec61850Policy for IEC 61850; for every other
    protocol the octets as they came.
    """

    TYPE: ClassVar = PayloadType.SAT

    protocol_id: int
    policy: IpsecPolicy | Iec61850Policy | bytes

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "SAT") as reader:
            (protocol_id,) = _SAT.read(reader)
            if protocol_id in _IPSEC_PROTOCOLS:
                return cls(protocol_id, IpsecPolicy.parse(reader))
            if protocol_id == SatProtocol.GDOI_PROTO_IEC_61850:
                return cls(protocol_id, Iec61850Policy.parse(reader))
            return cls(protocol_id, reader.rest())

    def build(self) -> bytes:
        """The body."""
        policy = self.policy if isinstance(self.policy, bytes) else self.policy.build()
        return _SAT.build(self.protocol_id) + policy


@dataclass(frozen=True, slots=True)
class GroupSecurityAssociation:
    """The SA payload of GROUPKEY-PULL and GROUPKEY-PUSH with the SA attribute payloads it covers (RFC 6407 5.2).

    DOI 2 and situation 0 are the only ones there are. Order on the wire: SAK, GAP, SATs; at least one SAK or SAT.
    Raises ValueError for neither.
    """

    TYPE: ClassVar = PayloadType.SA

    sak: SAK | None
    gap: GAP | None
    sats: tuple[SAT, ...]

    def __post_init__(self) -> None:
        if self.sak is None and not self.sats:
            raise ValueError("an SA has at least one SAK or SAT")

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed for a wrong DOI, situation, count or order (RFC 6407 5.2.1)."""
        with reading(body, "GDOI SA") as reader:
            (first,) = _SA.read(reader)
            sak: SAK | None = None
            gap: GAP | None = None
            sats: list[SAT] = []
            for type_, inner in _attribute_payloads(first, reader):
                if type_ == PayloadType.SAK:
                    sak = SAK.parse(inner)
                elif type_ == PayloadType.GAP:
                    gap = GAP.parse(inner)
                else:
                    sats.append(SAT.parse(inner))
            if sak is None and not sats:
                raise reader.malformed("SA has neither SAK nor SAT")
            return cls(sak, gap, tuple(sats))

    def build(self) -> bytes:
        """The body, SA attribute payloads included."""
        parts: list[SAK | GAP | SAT] = [part for part in (self.sak, self.gap) if part is not None]
        parts += self.sats
        return _SA.build(parts[0].TYPE) + build_frames([(part.TYPE, part.build()) for part in parts])


_FOLLOWERS: Final[dict[int, frozenset[int]]] = {
    PayloadType.SAK: frozenset({PayloadType.GAP, PayloadType.SAT, PayloadType.NONE}),
    PayloadType.GAP: frozenset({PayloadType.SAT, PayloadType.NONE}),
    PayloadType.SAT: frozenset({PayloadType.SAT, PayloadType.NONE}),
}
"""What may follow each SA attribute payload: the order and the counts of RFC 6407 5.2.1."""


def _attribute_payloads(first: int, reader: Reader) -> list[tuple[int, Reader]]:
    """The types and bodies of the SA attribute payloads, in an order the standard allows. Raises Malformed."""
    found: list[tuple[int, Reader]] = []
    type_, allowed = first, frozenset(_FOLLOWERS)
    while True:
        if type_ not in allowed:
            raise reader.malformed(f"SA attribute payload {name_of(PayloadType, type_)} is out of place")
        if type_ == PayloadType.NONE:
            return found
        if len(found) == MAX_SATS + 2:
            raise reader.malformed(f"more than {MAX_SATS} SATs")
        following, body = framed(reader, name_of(PayloadType, type_))
        found.append((type_, body))
        allowed, type_ = _FOLLOWERS[type_], following
