"""Data attributes (RFC 2408 3.3): Basic as type and value (TV), variable as type, length and value (TLV)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from agent.errors import Malformed
from agent.wire.reader import Reader

__all__ = ["MAX_ATTRIBUTES", "Attribute", "basic", "build_attributes", "parse_attributes", "variable"]

MAX_ATTRIBUTES: Final = 64
"""Attributes in one payload: more than any registry defines, few enough to be read in no time."""

_AF: Final = 0x8000
_HEAD: Final = struct.Struct("!HH")
_MAX_NUMBER_OCTETS = 8
"""A variable attribute read as a number: 64 bits hold every lifetime anyone means."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One data attribute.

    `type`: 15-bit class number. `basic`: the AF bit; then `value` is an int of 16 bits, else octets up to 65535.
    Raises ValueError when value and form do not fit.
    """

    type: int
    value: bytes | int
    basic: bool

    def __post_init__(self) -> None:
        value = self.value
        number = isinstance(value, int)
        if not 0 <= self.type < _AF:
            raise ValueError(f"attribute type {self.type} does not fit 15 bits")
        if self.basic != number:
            raise ValueError("a Basic attribute has a number, a variable one octets")
        if not 0 <= (value if isinstance(value, int) else len(value)) <= 0xFFFF:
            raise ValueError(f"the value of attribute {self.type} does not fit 16 bits of value or length")

    @property
    def number(self) -> int:
        """The value as an unsigned number, in either form. Raises Malformed for no octets or more than 8."""
        if isinstance(self.value, int):
            return self.value
        if not 1 <= len(self.value) <= _MAX_NUMBER_OCTETS:
            raise Malformed(f"attribute {self.type} has {len(self.value)} octets, a number has 1 to 8")
        return int.from_bytes(self.value)

    @property
    def octets(self) -> bytes:
        """The value as octets; two for the Basic form."""
        return self.value.to_bytes(2) if isinstance(self.value, int) else self.value

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """The next attribute. Raises Malformed."""
        word, second = _HEAD.unpack(reader.take(_HEAD.size, "attribute type with value or length"))
        if word & _AF:
            return cls(word & ~_AF, second, True)
        return cls(word, reader.take(second, "attribute value"), False)

    def build(self) -> bytes:
        """TV or TLV."""
        if isinstance(self.value, int):
            return _HEAD.pack(self.type | _AF, self.value)
        return _HEAD.pack(self.type, len(self.value)) + self.value


def basic(type_: int, value: int) -> Attribute:
    """A Basic attribute (TV). Raises ValueError for a value over 16 bits."""
    return Attribute(int(type_), int(value), True)


def variable(type_: int, value: bytes) -> Attribute:
    """A variable attribute (TLV)."""
    return Attribute(int(type_), value, False)


def parse_attributes(reader: Reader) -> tuple[Attribute, ...]:
    """All attributes up to the reader's bound. Raises Malformed."""
    found: list[Attribute] = []
    while reader.remaining:
        if len(found) == MAX_ATTRIBUTES:
            raise reader.malformed(f"more than {MAX_ATTRIBUTES} attributes")
        found.append(Attribute.parse(reader))
    return tuple(found)


def build_attributes(attributes: Iterable[Attribute]) -> bytes:
    """The attributes one after the other; there is no padding between them."""
    return b"".join(attribute.build() for attribute in attributes)
