"""The SA payload of GDOI and the SA attribute payloads in it: SAK, GAP, SAT (RFC 6407 5.2 to 5.5).

Codecs only: what an attribute means is `agent.gdoi.tek` and `agent.gdoi.kek`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from agent.gdoi.constants import REKEY_SPI_OCTETS, SatProtocol
from agent.gdoi.isakmp.attributes import Attribute, build_attributes, parse_attributes
from agent.gdoi.isakmp.chain import GENERIC_HEADER, build_frames
from agent.gdoi.isakmp.constants import Doi, NotifyType, PayloadType, name_of
from agent.wire.layout import U8, U16, U32, Layout, Row, octets
from agent.wire.reader import Reader, reading

__all__ = [
    "GAP",
    "MAX_SATS",
    "SAK",
    "SAT",
    "GroupSecurityAssociation",
    "IdBlock",
    "IpsecPolicy",
]

MAX_SATS: Final = 256
"""SATs in one SA payload: far more flows than a group has, and a bound on what one message makes us build."""

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
_SAK_SPI = Layout("SAK SPI", (Row("spi", octets(REKEY_SPI_OCTETS), "cookie pair"), Row("RESERVED2", U32, constant=0)))
_IPSEC_SPI = Layout("SAT SPI", (Row("transform_id", U8, "EspTransform or AhTransform"), Row("spi", U32)))


@dataclass(frozen=True, slots=True)
class IdBlock:
    """SRC or DST of a SAK or SAT: ID type, port and identification data (RFC 6407 5.3, 5.5.1)."""

    id_type: int
    port: int
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """The next block. Raises Malformed."""
        id_type, port, length = _ID_BLOCK.read(reader)
        return cls(id_type, port, reader.take(length, "identification data"))

    def build(self) -> bytes:
        """The octets. Raises ValueError for more than 255 octets of data."""
        return _ID_BLOCK.build(self.id_type, self.port, len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class SAK:
    """SA KEK: the policy of the Rekey SA (RFC 6407 5.3).

    `protocol`: IP protocol of the GROUPKEY-PUSH datagram, whose addresses and ports `source` and `destination` are.
    `spi`: 16 octets, initiator cookie then responder cookie of the GROUPKEY-PUSH header.
    """

    TYPE: ClassVar = PayloadType.SAK

    protocol: int
    source: IdBlock
    destination: IdBlock
    spi: bytes
    attributes: tuple[Attribute, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "SAK") as reader:
            (protocol,) = _PROTOCOL.read(reader)
            source, destination = IdBlock.parse(reader), IdBlock.parse(reader)
            (spi,) = _SAK_SPI.read(reader)
            return cls(protocol, source, destination, spi, parse_attributes(reader))

    def build(self) -> bytes:
        """The body."""
        return (
            _PROTOCOL.build(self.protocol)
            + self.source.build()
            + self.destination.build()
            + _SAK_SPI.build(self.spi)
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
    """

    protocol: int
    source: IdBlock
    destination: IdBlock
    transform_id: int
    spi: int
    attributes: tuple[Attribute, ...]

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """From the protocol-specific part of a SAT, all of it. Raises Malformed."""
        (protocol,) = _PROTOCOL.read(reader)
        source, destination = IdBlock.parse(reader), IdBlock.parse(reader)
        transform_id, spi = _IPSEC_SPI.read(reader)
        return cls(protocol, source, destination, transform_id, spi, parse_attributes(reader))

    def build(self) -> bytes:
        """The octets."""
        return (
            _PROTOCOL.build(self.protocol)
            + self.source.build()
            + self.destination.build()
            + _IPSEC_SPI.build(self.transform_id, self.spi)
            + build_attributes(self.attributes)
        )


_IPSEC_PROTOCOLS: Final = frozenset({SatProtocol.GDOI_PROTO_IPSEC_ESP, SatProtocol.GDOI_PROTO_IPSEC_AH})


@dataclass(frozen=True, slots=True)
class SAT:
    """SA TEK: the policy of a Data-Security SA (RFC 6407 5.5).

    `protocol_id`: SatProtocol. `policy`: IpsecPolicy for ESP and AH; for every other protocol the octets as they came.
    """

    TYPE: ClassVar = PayloadType.SAT

    protocol_id: int
    policy: IpsecPolicy | bytes

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "SAT") as reader:
            (protocol_id,) = _SAT.read(reader)
            if protocol_id in _IPSEC_PROTOCOLS:
                return cls(protocol_id, IpsecPolicy.parse(reader))
            return cls(protocol_id, reader.rest())

    def build(self) -> bytes:
        """The body."""
        policy = self.policy if isinstance(self.policy, bytes) else self.policy.build()
        return _SAT.build(self.protocol_id) + policy


@dataclass(frozen=True, slots=True)
class GroupSecurityAssociation:
    """The SA payload of GROUPKEY-PULL with the SA attribute payloads it covers (RFC 6407 5.2).

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
        following, length = GENERIC_HEADER.read(reader)
        if length < GENERIC_HEADER.size:
            raise reader.malformed(f"payload length {length} is shorter than its header")
        found.append((type_, reader.inner(length - GENERIC_HEADER.size, name_of(PayloadType, type_))))
        allowed, type_ = _FOLLOWERS[type_], following
