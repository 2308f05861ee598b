"""The attribute table: each XFRMA_* number with its codec, and the set of attributes a message carries.

A set keeps every attribute as it came, in order, unknown ones too, so that parse and build is the identity; a known one
is decoded when it is asked for by its row (`attributes.get(MARK)`), which also gives it its type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from xfrm import structs
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.constants import AttributeType, name_of
from xfrm.errors import DecodeError, EncodeError
from xfrm.frame import ATTRIBUTE_HEADER, aligned
from xfrm.layout import Layout

__all__ = [
    "ALG_AEAD",
    "ALG_AUTH",
    "ALG_AUTH_TRUNC",
    "ALG_COMP",
    "ALG_CRYPT",
    "ATTRIBUTES",
    "COADDR",
    "ENCAP",
    "IF_ID",
    "LASTUSED",
    "LTIME_VAL",
    "MARK",
    "MAX_TEMPLATES",
    "POLICY",
    "POLICY_TYPE",
    "PROTO",
    "REPLAY_ESN_VAL",
    "REPLAY_VAL",
    "SA",
    "SA_DIR",
    "SA_EXTRA_FLAGS",
    "SET_MARK",
    "SET_MARK_MASK",
    "SRCADDR",
    "TFCPAD",
    "TMPL",
    "AeadCodec",
    "AlgorithmCodec",
    "Attribute",
    "AttributeSet",
    "AuthCodec",
    "Codec",
    "RawAttribute",
    "ReplayEsn",
    "ReplayEsnCodec",
    "ScalarCodec",
    "StructArrayCodec",
    "StructCodec",
    "numbers_of",
]

MAX_TEMPLATES: Final = 6
"""Templates of a policy, XFRM_MAX_DEPTH of the kernel."""
_REPLAY_ESN_MAX_WORDS: Final = 4096 // 32
"""Words of a replay bitmap, XFRMA_REPLAY_ESN_MAX packets."""
_NLA_TYPE_MASK: Final = 0x3FFF
_NLA_MAX_OCTETS: Final = 0xFFFF - 4

T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])


class Codec(Protocol[T]):
    """How an attribute's value is written and read."""

    def encode(self, value: T) -> bytes:
        """The payload. Raises EncodeError."""

    def decode(self, data: bytes) -> T:
        """The value; the payload must be consumed. Raises DecodeError."""


@dataclass(frozen=True, slots=True)
class ScalarCodec:
    """An unsigned integer, native order; `code`: its struct format character."""

    code: str

    def encode(self, value: int) -> bytes:
        """The payload. Raises EncodeError where it is out of range."""
        try:
            return struct.pack("=" + self.code, value)
        except struct.error as error:
            raise EncodeError(f"a number that does not fit {8 * self.size} bits") from error

    def decode(self, data: bytes) -> int:
        """The number. Raises DecodeError for any other length."""
        _demand(len(data) == self.size, f"a number has {self.size} octets, not {len(data)}")
        return int(struct.unpack("=" + self.code, data)[0])

    @property
    def size(self) -> int:
        """Octets."""
        return struct.calcsize("=" + self.code)


@dataclass(frozen=True, slots=True)
class StructCodec(Generic[R]):
    """One struct."""

    layout: Layout[R]

    def encode(self, value: R) -> bytes:
        """The payload. Raises EncodeError."""
        return self.layout.pack(value)

    def decode(self, data: bytes) -> R:
        """The record. Raises DecodeError for any other length."""
        _demand(
            len(data) == self.layout.size, f"struct {self.layout.name} has {self.layout.size} octets, not {len(data)}"
        )
        return self.layout.unpack(data)


@dataclass(frozen=True, slots=True)
class StructArrayCodec(Generic[R]):
    """Up to `limit` structs one after the other."""

    layout: Layout[R]
    limit: int

    def encode(self, value: tuple[R, ...]) -> bytes:
        """The payload. Raises EncodeError where there are too many."""
        if len(value) > self.limit:
            raise EncodeError(f"at most {self.limit} of struct {self.layout.name}, not {len(value)}")
        return b"".join([self.layout.pack(item) for item in value])

    def decode(self, data: bytes) -> tuple[R, ...]:
        """The records. Raises DecodeError where the length is no multiple or there are too many."""
        count, rest = divmod(len(data), self.layout.size)
        _demand(rest == 0, f"{len(data)} octets are no multiple of struct {self.layout.name}")
        _demand(count <= self.limit, f"at most {self.limit} of struct {self.layout.name}, not {count}")
        return tuple(self.layout.unpack(data, i * self.layout.size) for i in range(count))


@dataclass(frozen=True, slots=True)
class AlgorithmCodec:
    """struct xfrm_algo and the key after it."""

    layout: Layout[structs.XfrmAlgo] = structs.ALGO

    def encode(self, value: Algorithm) -> bytes:
        """The payload. Raises EncodeError."""
        value.check()
        return self.layout.pack(structs.XfrmAlgo(value.name.encode("ascii"), 8 * len(value.key))) + value.key.reveal()

    def decode(self, data: bytes) -> Algorithm:
        """The algorithm. Raises DecodeError."""
        head = self.layout.unpack(data)
        return Algorithm(_name(head.alg_name), _key(data, self.layout.size, head.alg_key_len))


@dataclass(frozen=True, slots=True)
class AuthCodec:
    """struct xfrm_algo_auth and the key after it."""

    layout: Layout[structs.XfrmAlgoAuth] = structs.ALGO_AUTH

    def encode(self, value: AuthAlgorithm) -> bytes:
        """The payload. Raises EncodeError."""
        value.check()
        head = structs.XfrmAlgoAuth(value.name.encode("ascii"), 8 * len(value.key), value.icv_bits)
        return self.layout.pack(head) + value.key.reveal()

    def decode(self, data: bytes) -> AuthAlgorithm:
        """The algorithm. Raises DecodeError."""
        head = self.layout.unpack(data)
        key = _key(data, self.layout.size, head.alg_key_len)
        return AuthAlgorithm(_name(head.alg_name), key, head.alg_trunc_len)


@dataclass(frozen=True, slots=True)
class AeadCodec:
    """struct xfrm_algo_aead and the key after it."""

    layout: Layout[structs.XfrmAlgoAead] = structs.ALGO_AEAD

    def encode(self, value: AeadAlgorithm) -> bytes:
        """The payload. Raises EncodeError."""
        value.check()
        head = structs.XfrmAlgoAead(value.name.encode("ascii"), 8 * len(value.key), value.icv_bits)
        return self.layout.pack(head) + value.key.reveal()

    def decode(self, data: bytes) -> AeadAlgorithm:
        """The algorithm. Raises DecodeError."""
        head = self.layout.unpack(data)
        key = _key(data, self.layout.size, head.alg_key_len)
        return AeadAlgorithm(_name(head.alg_name), key, head.alg_icv_len)


@dataclass(frozen=True, slots=True)
class ReplayEsn:
    """struct xfrm_replay_state_esn with its bitmap: 32-bit words, least significant packet first."""

    state: structs.XfrmReplayStateEsn
    bitmap: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReplayEsnCodec:
    """struct xfrm_replay_state_esn and the words after it."""

    layout: Layout[structs.XfrmReplayStateEsn] = structs.REPLAY_STATE_ESN

    def encode(self, value: ReplayEsn) -> bytes:
        """The payload. Raises EncodeError where `bmp_len` is not the bitmap's length or a word does not fit."""
        count = len(value.bitmap)
        if value.state.bmp_len != count or count > _REPLAY_ESN_MAX_WORDS:
            raise EncodeError(f"a bitmap of {count} words does not fit bmp_len {value.state.bmp_len}")
        try:
            return self.layout.pack(value.state) + struct.pack(f"={count}I", *value.bitmap)
        except struct.error as error:
            raise EncodeError("a word of the replay bitmap does not fit 32 bits") from error

    def decode(self, data: bytes) -> ReplayEsn:
        """The state. Raises DecodeError."""
        state = self.layout.unpack(data)
        size = self.layout.size
        fits = state.bmp_len <= _REPLAY_ESN_MAX_WORDS and len(data) == size + 4 * state.bmp_len
        _demand(fits, f"bmp_len {state.bmp_len} does not fit {len(data) - size} octets", size)
        return ReplayEsn(state, struct.unpack_from(f"={state.bmp_len}I", data, size))


def _demand(holds: bool, message: str, offset: int = 0) -> None:
    if not holds:
        raise DecodeError(message, offset=offset)


def _name(octets: bytes) -> str:
    name, zero, rest = octets.partition(b"\0")
    _demand(bool(name) and bool(zero) and name.isascii() and not any(rest), "an algorithm's name is no ASCII string")
    return name.decode("ascii")


def _key(data: bytes, offset: int, bits: int) -> Key:
    # Not every algorithm's key is whole octets in principle: the kernel rounds up.
    octets = (bits + 7) // 8
    _demand(bits % 8 == 0 and len(data) == offset + octets, f"a key of {bits} bits does not fit", offset)
    return Key(data[offset:])


@dataclass(frozen=True, slots=True)
class Attribute(Generic[T]):
    """A row of the attribute table: number and codec. `secret`: its payload holds a key."""

    number: AttributeType
    codec: Codec[T]
    secret: bool = False

    def encode(self, value: T) -> bytes:
        """The attribute with its header and padding. Raises EncodeError."""
        return _nlattr(self.number, self.codec.encode(value))

    def __repr__(self) -> str:
        return f"<Attribute {self.number.name}>"


@dataclass(frozen=True, slots=True)
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
        return _nlattr(self.type, self.payload)

    def __str__(self) -> str:
        return name_of(AttributeType, self.number)


def _nlattr(type_: int, payload: bytes) -> bytes:
    if len(payload) > _NLA_MAX_OCTETS:
        raise EncodeError(f"an attribute holds at most {_NLA_MAX_OCTETS} octets, not {len(payload)}")
    return ATTRIBUTE_HEADER.pack(ATTRIBUTE_HEADER.size + len(payload), type_) + payload + bytes(-len(payload) & 3)


ALG_AUTH: Final = Attribute(AttributeType.XFRMA_ALG_AUTH, AlgorithmCodec(), secret=True)
ALG_CRYPT: Final = Attribute(AttributeType.XFRMA_ALG_CRYPT, AlgorithmCodec(), secret=True)
ALG_COMP: Final = Attribute(AttributeType.XFRMA_ALG_COMP, AlgorithmCodec(), secret=True)
ENCAP: Final = Attribute(AttributeType.XFRMA_ENCAP, StructCodec(structs.ENCAP_TMPL))
TMPL: Final = Attribute(AttributeType.XFRMA_TMPL, StructArrayCodec(structs.USER_TMPL, MAX_TEMPLATES))
SA: Final = Attribute(AttributeType.XFRMA_SA, StructCodec(structs.USERSA_INFO))
POLICY: Final = Attribute(AttributeType.XFRMA_POLICY, StructCodec(structs.USERPOLICY_INFO))
LTIME_VAL: Final = Attribute(AttributeType.XFRMA_LTIME_VAL, StructCodec(structs.LIFETIME_CUR))
REPLAY_VAL: Final = Attribute(AttributeType.XFRMA_REPLAY_VAL, StructCodec(structs.REPLAY_STATE))
SRCADDR: Final = Attribute(AttributeType.XFRMA_SRCADDR, StructCodec(structs.ADDRESS))
COADDR: Final = Attribute(AttributeType.XFRMA_COADDR, StructCodec(structs.ADDRESS))
LASTUSED: Final = Attribute(AttributeType.XFRMA_LASTUSED, ScalarCodec("Q"))
POLICY_TYPE: Final = Attribute(AttributeType.XFRMA_POLICY_TYPE, StructCodec(structs.USERPOLICY_TYPE))
ALG_AEAD: Final = Attribute(AttributeType.XFRMA_ALG_AEAD, AeadCodec(), secret=True)
ALG_AUTH_TRUNC: Final = Attribute(AttributeType.XFRMA_ALG_AUTH_TRUNC, AuthCodec(), secret=True)
MARK: Final = Attribute(AttributeType.XFRMA_MARK, StructCodec(structs.MARK))
TFCPAD: Final = Attribute(AttributeType.XFRMA_TFCPAD, ScalarCodec("I"))
REPLAY_ESN_VAL: Final = Attribute(AttributeType.XFRMA_REPLAY_ESN_VAL, ReplayEsnCodec())
SA_EXTRA_FLAGS: Final = Attribute(AttributeType.XFRMA_SA_EXTRA_FLAGS, ScalarCodec("I"))
PROTO: Final = Attribute(AttributeType.XFRMA_PROTO, ScalarCodec("B"))
SET_MARK: Final = Attribute(AttributeType.XFRMA_SET_MARK, ScalarCodec("I"))
SET_MARK_MASK: Final = Attribute(AttributeType.XFRMA_SET_MARK_MASK, ScalarCodec("I"))
IF_ID: Final = Attribute(AttributeType.XFRMA_IF_ID, ScalarCodec("I"))
SA_DIR: Final = Attribute(AttributeType.XFRMA_SA_DIR, ScalarCodec("B"))

ATTRIBUTES: Final[dict[int, Attribute[Any]]] = {
    row.number: row
    for row in (
        *(ALG_AUTH, ALG_CRYPT, ALG_COMP, ENCAP, TMPL, SA, POLICY, LTIME_VAL, REPLAY_VAL, SRCADDR, COADDR, LASTUSED),
        *(POLICY_TYPE, ALG_AEAD, ALG_AUTH_TRUNC, MARK, TFCPAD, REPLAY_ESN_VAL, SA_EXTRA_FLAGS, PROTO, SET_MARK),
        *(SET_MARK_MASK, IF_ID, SA_DIR),
    )
}
"""The table by number."""


def numbers_of(rows: Iterable[Attribute[Any]]) -> frozenset[int]:
    """The numbers of some rows, and XFRMA_PAD, which is filling only: what a decoder has dealt with."""
    return frozenset({int(row.number) for row in rows} | {int(AttributeType.XFRMA_PAD)})


class AttributeSet:
    """The attributes of one message, in order. Where one comes twice the last counts, as in the kernel."""

    __slots__ = ("_by_number", "raw")

    def __init__(self, raw: Iterable[RawAttribute] = ()) -> None:
        self.raw: Final = tuple(raw)
        self._by_number: Final = {attribute.number: attribute.payload for attribute in self.raw}

    @classmethod
    def parse(cls, data: bytes, offset: int = 0) -> AttributeSet:
        """From the octets at `offset` to the end. Raises DecodeError where a length contradicts what is there."""
        found: list[RawAttribute] = []
        end = len(data)
        while offset < end:
            if end - offset < ATTRIBUTE_HEADER.size:
                raise DecodeError(f"{end - offset} octets are left of the attributes", offset=offset)
            length, type_ = ATTRIBUTE_HEADER.unpack_from(data, offset)
            if not ATTRIBUTE_HEADER.size <= length <= end - offset:
                raise DecodeError(f"an attribute says it has {length} octets, {end - offset} left", offset=offset)
            found.append(RawAttribute(type_, data[offset + ATTRIBUTE_HEADER.size : offset + length]))
            offset += aligned(length)
        return cls(found)

    def get(self, row: Attribute[T]) -> T | None:
        """The value of this row's attribute, None where there is none. Raises DecodeError."""
        payload = self._by_number.get(row.number)
        return None if payload is None else row.codec.decode(payload)

    def without(self, numbers: frozenset[int]) -> tuple[RawAttribute, ...]:
        """The attributes whose numbers are none of these (`numbers_of`)."""
        return tuple([attribute for attribute in self.raw if attribute.type & _NLA_TYPE_MASK not in numbers])

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
