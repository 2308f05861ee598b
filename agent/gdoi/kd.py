"""The Key Download and Sequence Number payloads (RFC 6407 5.6, 5.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from agent.gdoi.constants import KdType
from agent.gdoi.isakmp.attributes import MAX_ATTRIBUTES, Attribute
from agent.gdoi.isakmp.constants import PayloadType
from agent.secret import Secret
from agent.wire.layout import U8, U16, U32, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = ["KD", "MAX_KEY_PACKETS", "MAX_LKH_ATTRIBUTES", "SEQ", "KeyAttribute", "KeyPacket"]

MAX_KEY_PACKETS: Final = 2048
"""Key packets in one KD: one for each SAT an SA may have, and as many again."""
MAX_LKH_ATTRIBUTES: Final = 1024
"""Attributes of an LKH packet: as many LKH_UPDATE_ARRAYs as the largest datagram holds, each of one key."""

_KD = Layout("KD", (Row("count", U16, "Number of Key Packets"), Row("RESERVED2", U16, constant=0)))
_PACKET = Layout(
    "key packet",
    (
        Row("kd_type", U8, "KdType"),
        Row("RESERVED", U8, constant=0),
        Row("length", U16, "octets of the packet, this header included"),
        Row("spi_size", U8, "TEK 4, KEK and LKH 16, SID 0"),
    ),
)
_SEQ = Layout("SEQ", (Row("number", U32, "last Sequence Number used with the KEK"),))


@dataclass(frozen=True, slots=True)
class KeyAttribute:
    """A data attribute of a key packet; its value is held as a Secret, two octets long in the Basic form."""

    type: int
    value: Secret
    basic: bool = False

    @property
    def number(self) -> int:
        """The value as an unsigned number; for what is no key. Raises Malformed."""
        return Attribute(self.type, self.value.reveal(), False).number

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """The next attribute. Raises Malformed."""
        attribute = Attribute.parse(reader)
        return cls(attribute.type, Secret(attribute.octets), attribute.basic)

    def build(self) -> bytes:
        """TV or TLV. Raises ValueError for a value that does not fit."""
        octets = self.value.reveal()
        return Attribute(self.type, int.from_bytes(octets) if self.basic else octets, self.basic).build()


@dataclass(frozen=True, slots=True)
class KeyPacket:
    """One key packet (RFC 6407 5.6).

    `kd_type`: KdType, which also says whose numbers the attributes have. `spi`: the TEK's in 4 octets, the Rekey SA's
    in 16, nothing in a SID packet.
    """

    kd_type: int
    spi: bytes
    attributes: tuple[KeyAttribute, ...]

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """The next packet. Raises Malformed."""
        start = reader.remaining
        kd_type, length, spi_size = _PACKET.read(reader)
        if length < _PACKET.size + spi_size:
            raise reader.malformed(f"key packet length {length} is shorter than its header and SPI")
        with reader.block(length - (start - reader.remaining), "key packet") as inner:
            spi = inner.take(spi_size, "SPI of a key packet")
            attributes: list[KeyAttribute] = []
            most = MAX_LKH_ATTRIBUTES if kd_type == KdType.LKH else MAX_ATTRIBUTES
            while inner.remaining:
                if len(attributes) == most:
                    raise inner.malformed(f"more than {most} attributes")
                attributes.append(KeyAttribute.parse(inner))
        return cls(kd_type, spi, tuple(attributes))

    def build(self) -> bytes:
        """The octets. Raises ValueError for a packet over 65535 octets."""
        attributes = b"".join(attribute.build() for attribute in self.attributes)
        length = _PACKET.size + len(self.spi) + len(attributes)
        return _PACKET.build(self.kd_type, length, len(self.spi)) + self.spi + attributes


@dataclass(frozen=True, slots=True)
class KD:
    """Key Download (RFC 6407 5.6)."""

    TYPE: ClassVar = PayloadType.KD

    packets: tuple[KeyPacket, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed when the count is not that of the packets."""
        with reading(body, "KD") as reader:
            (count,) = _KD.read(reader)
            if count > MAX_KEY_PACKETS:
                raise reader.malformed(f"{count} key packets, more than {MAX_KEY_PACKETS}")
            return cls(tuple(KeyPacket.parse(reader) for _ in range(count)))

    def build(self) -> bytes:
        """The body."""
        return _KD.build(len(self.packets)) + b"".join(packet.build() for packet in self.packets)


@dataclass(frozen=True, slots=True)
class SEQ:
    """Sequence Number (RFC 6407 5.7): in message 4 the last one used with the KEK, 0 if none was."""

    TYPE: ClassVar = PayloadType.SEQ

    number: int

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body, which has 4 octets. Raises Malformed."""
        with reading(body, "SEQ") as reader:
            (number,) = _SEQ.read(reader)
            return cls(number)

    def build(self) -> bytes:
        """The body."""
        return _SEQ.build(self.number)
