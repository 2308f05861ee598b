"""The attribute table: each XFRMA_* number with its codec, and the set of attributes a message carries.

A set keeps every attribute as it came, in order, unknown ones too, so that parse and build is the identity; a known one
is decoded when it is asked for by its row (`attributes.get(MARK)`), which also gives it its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

from xfrm import control_structs, structs
from xfrm.codecs import (
    AeadCodec,
    AlgorithmCodec,
    AuthCodec,
    Codec,
    FlagCodec,
    ReplayEsnCodec,
    ScalarCodec,
    SecurityContextCodec,
    StructArrayCodec,
    StructCodec,
)
from xfrm.constants import AttributeType, SadAttributeType, SpdAttributeType, name_of
from xfrm.errors import DecodeError, EncodeError
from xfrm.frame import ATTRIBUTE_HEADER
from xfrm.record import field, record

__all__ = [
    "ADDRESS_FILTER",
    "ALG_AEAD",
    "ALG_AUTH",
    "ALG_AUTH_TRUNC",
    "ALG_COMP",
    "ALG_CRYPT",
    "ATTRIBUTES",
    "COADDR",
    "ENCAP",
    "ETIMER_THRESH",
    "IF_ID",
    "IPTFS_DONT_FRAG",
    "IPTFS_DROP_TIME",
    "IPTFS_INIT_DELAY",
    "IPTFS_MAX_QSIZE",
    "IPTFS_PKT_SIZE",
    "IPTFS_REORDER_WINDOW",
    "KMADDRESS",
    "LASTUSED",
    "LTIME_VAL",
    "MARK",
    "MAX_TEMPLATES",
    "MIGRATE",
    "MTIMER_THRESH",
    "NAT_KEEPALIVE_INTERVAL",
    "OFFLOAD_DEV",
    "POLICY",
    "POLICY_TYPE",
    "PROTO",
    "REPLAY_ESN_VAL",
    "REPLAY_THRESH",
    "REPLAY_VAL",
    "SA",
    "SAD_ATTRIBUTES",
    "SAD_CNT",
    "SAD_HINFO",
    "SA_DIR",
    "SA_EXTRA_FLAGS",
    "SA_PCPU",
    "SEC_CTX",
    "SET_MARK",
    "SET_MARK_MASK",
    "SPD_ATTRIBUTES",
    "SPD_HINFO",
    "SPD_INFO",
    "SPD_IPV4_HTHRESH",
    "SPD_IPV6_HTHRESH",
    "SRCADDR",
    "TFCPAD",
    "TMPL",
    "Attribute",
    "AttributeSet",
    "RawAttribute",
    "encode_attribute",
    "numbers_of",
]

MAX_TEMPLATES: Final = 6
"""Templates of a policy, and addresses of a migration: XFRM_MAX_DEPTH of the kernel."""
_NLA_TYPE_MASK: Final = 0x3FFF
_NLA_MAX_OCTETS: Final = 0xFFFF - 4
_pack_header: Final = ATTRIBUTE_HEADER.pack
_unpack_header: Final = ATTRIBUTE_HEADER.unpack_from

T = TypeVar("T")


@record
class Attribute(Generic[T]):
    """A row of an attribute table: number and codec. `secret`: its payload holds a key."""

    number: IntEnum
    codec: Codec[T]
    secret: bool = False

    def encode(self, value: T) -> bytes:
        """The attribute with its header and padding. Raises EncodeError."""
        return encode_attribute(self.number, self.codec.encode(value))

    def __repr__(self) -> str:
        return f"<Attribute {self.number.name}>"


@record
class RawAttribute:
    """An attribute as it came: `type` with its flag bits, `payload` without header and padding."""

    type: int
    payload: bytes = field(repr=False)

    @property
    def number(self) -> int:
        """The type without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
        return self.type & _NLA_TYPE_MASK

    def encode(self) -> bytes:
        """The attribute with its header and padding. Raises EncodeError."""
        return encode_attribute(self.type, self.payload)

    def __str__(self) -> str:
        return name_of(AttributeType, self.number)


def encode_attribute(type_: int, payload: bytes) -> bytes:
    """An attribute of a payload: with its header and padding. Raises EncodeError where it is too long."""
    octets = len(payload)
    if octets > _NLA_MAX_OCTETS:
        raise EncodeError(f"an attribute holds at most {_NLA_MAX_OCTETS} octets, not {octets}")
    head = _pack_header(ATTRIBUTE_HEADER.size + octets, type_)
    return head + payload + bytes(-octets & 3) if octets & 3 else head + payload


_A: Final = AttributeType
_U8: Final = ScalarCodec("B")
_U16: Final = ScalarCodec("H")
_U32: Final = ScalarCodec("I")
_U64: Final = ScalarCodec("Q")

ALG_AUTH: Final = Attribute(_A.XFRMA_ALG_AUTH, AlgorithmCodec(), secret=True)
ALG_CRYPT: Final = Attribute(_A.XFRMA_ALG_CRYPT, AlgorithmCodec(), secret=True)
ALG_COMP: Final = Attribute(_A.XFRMA_ALG_COMP, AlgorithmCodec(), secret=True)
ENCAP: Final = Attribute(_A.XFRMA_ENCAP, StructCodec(structs.ENCAP_TMPL))
TMPL: Final = Attribute(_A.XFRMA_TMPL, StructArrayCodec(structs.USER_TMPL, MAX_TEMPLATES))
SA: Final = Attribute(_A.XFRMA_SA, StructCodec(structs.USERSA_INFO))
POLICY: Final = Attribute(_A.XFRMA_POLICY, StructCodec(structs.USERPOLICY_INFO))
SEC_CTX: Final = Attribute(_A.XFRMA_SEC_CTX, SecurityContextCodec())
LTIME_VAL: Final = Attribute(_A.XFRMA_LTIME_VAL, StructCodec(structs.LIFETIME_CUR))
REPLAY_VAL: Final = Attribute(_A.XFRMA_REPLAY_VAL, StructCodec(structs.REPLAY_STATE))
REPLAY_THRESH: Final = Attribute(_A.XFRMA_REPLAY_THRESH, _U32)
ETIMER_THRESH: Final = Attribute(_A.XFRMA_ETIMER_THRESH, _U32)
SRCADDR: Final = Attribute(_A.XFRMA_SRCADDR, StructCodec(structs.ADDRESS))
COADDR: Final = Attribute(_A.XFRMA_COADDR, StructCodec(structs.ADDRESS))
LASTUSED: Final = Attribute(_A.XFRMA_LASTUSED, _U64)
POLICY_TYPE: Final = Attribute(_A.XFRMA_POLICY_TYPE, StructCodec(structs.USERPOLICY_TYPE))
MIGRATE: Final = Attribute(_A.XFRMA_MIGRATE, StructArrayCodec(control_structs.USER_MIGRATE, MAX_TEMPLATES))
ALG_AEAD: Final = Attribute(_A.XFRMA_ALG_AEAD, AeadCodec(), secret=True)
KMADDRESS: Final = Attribute(_A.XFRMA_KMADDRESS, StructCodec(control_structs.USER_KMADDRESS))
ALG_AUTH_TRUNC: Final = Attribute(_A.XFRMA_ALG_AUTH_TRUNC, AuthCodec(), secret=True)
MARK: Final = Attribute(_A.XFRMA_MARK, StructCodec(structs.MARK))
TFCPAD: Final = Attribute(_A.XFRMA_TFCPAD, _U32)
REPLAY_ESN_VAL: Final = Attribute(_A.XFRMA_REPLAY_ESN_VAL, ReplayEsnCodec())
SA_EXTRA_FLAGS: Final = Attribute(_A.XFRMA_SA_EXTRA_FLAGS, _U32)
PROTO: Final = Attribute(_A.XFRMA_PROTO, _U8)
ADDRESS_FILTER: Final = Attribute(_A.XFRMA_ADDRESS_FILTER, StructCodec(control_structs.ADDRESS_FILTER))
OFFLOAD_DEV: Final = Attribute(_A.XFRMA_OFFLOAD_DEV, StructCodec(control_structs.USER_OFFLOAD))
SET_MARK: Final = Attribute(_A.XFRMA_SET_MARK, _U32)
SET_MARK_MASK: Final = Attribute(_A.XFRMA_SET_MARK_MASK, _U32)
IF_ID: Final = Attribute(_A.XFRMA_IF_ID, _U32)
MTIMER_THRESH: Final = Attribute(_A.XFRMA_MTIMER_THRESH, _U32)
SA_DIR: Final = Attribute(_A.XFRMA_SA_DIR, _U8)
NAT_KEEPALIVE_INTERVAL: Final = Attribute(_A.XFRMA_NAT_KEEPALIVE_INTERVAL, _U32)
SA_PCPU: Final = Attribute(_A.XFRMA_SA_PCPU, _U32)
IPTFS_DROP_TIME: Final = Attribute(_A.XFRMA_IPTFS_DROP_TIME, _U32)
IPTFS_REORDER_WINDOW: Final = Attribute(_A.XFRMA_IPTFS_REORDER_WINDOW, _U16)
IPTFS_DONT_FRAG: Final = Attribute(_A.XFRMA_IPTFS_DONT_FRAG, FlagCodec())
IPTFS_INIT_DELAY: Final = Attribute(_A.XFRMA_IPTFS_INIT_DELAY, _U32)
IPTFS_MAX_QSIZE: Final = Attribute(_A.XFRMA_IPTFS_MAX_QSIZE, _U32)
IPTFS_PKT_SIZE: Final = Attribute(_A.XFRMA_IPTFS_PKT_SIZE, _U32)

ATTRIBUTES: Final[dict[int, Attribute[Any]]] = {
    row.number: row
    for row in (
        *(ALG_AUTH, ALG_CRYPT, ALG_COMP, ENCAP, TMPL, SA, POLICY, SEC_CTX, LTIME_VAL, REPLAY_VAL, REPLAY_THRESH),
        *(ETIMER_THRESH, SRCADDR, COADDR, LASTUSED, POLICY_TYPE, MIGRATE, ALG_AEAD, KMADDRESS, ALG_AUTH_TRUNC, MARK),
        *(TFCPAD, REPLAY_ESN_VAL, SA_EXTRA_FLAGS, PROTO, ADDRESS_FILTER, OFFLOAD_DEV, SET_MARK, SET_MARK_MASK, IF_ID),
        *(MTIMER_THRESH, SA_DIR, NAT_KEEPALIVE_INTERVAL, SA_PCPU, IPTFS_DROP_TIME, IPTFS_REORDER_WINDOW),
        *(IPTFS_DONT_FRAG, IPTFS_INIT_DELAY, IPTFS_MAX_QSIZE, IPTFS_PKT_SIZE),
    )
}
"""The table of XFRMA_* by number."""

SAD_CNT: Final = Attribute(SadAttributeType.XFRMA_SAD_CNT, _U32)
SAD_HINFO: Final = Attribute(SadAttributeType.XFRMA_SAD_HINFO, StructCodec(control_structs.SAD_HINFO))
SAD_ATTRIBUTES: Final[dict[int, Attribute[Any]]] = {row.number: row for row in (SAD_CNT, SAD_HINFO)}
"""The table of XFRMA_SAD_* by number."""

SPD_INFO: Final = Attribute(SpdAttributeType.XFRMA_SPD_INFO, StructCodec(control_structs.SPD_INFO))
SPD_HINFO: Final = Attribute(SpdAttributeType.XFRMA_SPD_HINFO, StructCodec(control_structs.SPD_HINFO))
SPD_IPV4_HTHRESH: Final = Attribute(SpdAttributeType.XFRMA_SPD_IPV4_HTHRESH, StructCodec(control_structs.SPD_HTHRESH))
SPD_IPV6_HTHRESH: Final = Attribute(SpdAttributeType.XFRMA_SPD_IPV6_HTHRESH, StructCodec(control_structs.SPD_HTHRESH))
SPD_ATTRIBUTES: Final[dict[int, Attribute[Any]]] = {
    row.number: row for row in (SPD_INFO, SPD_HINFO, SPD_IPV4_HTHRESH, SPD_IPV6_HTHRESH)
}
"""The table of XFRMA_SPD_* by number."""


def numbers_of(rows: Iterable[Attribute[Any]]) -> frozenset[int]:
    """The numbers of some rows, and XFRMA_PAD, which is filling only: what a decoder has dealt with."""
    return frozenset({int(row.number) for row in rows} | {int(AttributeType.XFRMA_PAD)})


class AttributeSet:
    """The attributes of one message, in order. Where one comes twice the last counts, as in the kernel."""

    __slots__ = ("_by_number", "_parts")

    def __init__(self, raw: Iterable[RawAttribute] = ()) -> None:
        self._parts: Final = [(attribute.type, attribute.payload) for attribute in raw]
        self._by_number: Final = {type_ & _NLA_TYPE_MASK: payload for type_, payload in self._parts}

    @classmethod
    def parse(cls, data: bytes, offset: int = 0) -> AttributeSet:
        """From the octets at `offset` to the end. Raises DecodeError where a length contradicts what is there."""
        found = cls()
        by_number, parts = found._by_number, found._parts
        end = len(data)
        while offset < end:
            if end - offset < ATTRIBUTE_HEADER.size:
                raise DecodeError(f"{end - offset} octets are left of the attributes", offset=offset)
            length, type_ = _unpack_header(data, offset)
            if not ATTRIBUTE_HEADER.size <= length <= end - offset:
                raise DecodeError(f"an attribute says it has {length} octets, {end - offset} left", offset=offset)
            payload = data[offset + 4 : offset + length]
            parts.append((type_, payload))
            by_number[type_ & _NLA_TYPE_MASK] = payload
            offset += length + 3 & ~3
        return found

    @property
    def raw(self) -> tuple[RawAttribute, ...]:
        """Each as it came."""
        return tuple([RawAttribute(type_, payload) for type_, payload in self._parts])

    def get(self, row: Attribute[T]) -> T | None:
        """The value of this row's attribute, None where there is none. Raises DecodeError."""
        payload = self._by_number.get(row.number)
        return None if payload is None else row.codec.decode(payload)

    def every(self, row: Attribute[T]) -> list[T]:
        """The values of all attributes of this row, in order. Raises DecodeError."""
        return [row.codec.decode(payload) for type_, payload in self._parts if type_ & _NLA_TYPE_MASK == row.number]

    def within(self, numbers: frozenset[int]) -> bool:
        """Whether all have one of these numbers (`numbers_of`)."""
        return self._by_number.keys() <= numbers

    def without(self, numbers: frozenset[int]) -> tuple[RawAttribute, ...]:
        """The attributes whose numbers are none of these (`numbers_of`)."""
        if self.within(numbers):
            return ()
        return tuple([RawAttribute(*part) for part in self._parts if part[0] & _NLA_TYPE_MASK not in numbers])

    def excluding(self, row: Attribute[Any]) -> AttributeSet:
        """The set without this row."""
        return AttributeSet(self.without(frozenset((int(row.number),))))

    def encode(self) -> bytes:
        """The attributes with headers and padding, as they came."""
        return b"".join([attribute.encode() for attribute in self.raw])

    def __contains__(self, row: Attribute[Any]) -> bool:
        return row.number in self._by_number

    def __iter__(self) -> Iterator[RawAttribute]:
        return iter(self.raw)

    def __repr__(self) -> str:
        return f"<AttributeSet {' '.join(str(attribute) for attribute in self.raw)}>"
