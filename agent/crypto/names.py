"""Distinguished names as DER: what is in one, and when two of them are the same (RFC 5280 7.1).

The library has no way from the DER of a Name alone to its attributes, so the few kinds of values it is made of are
read here: SEQUENCE OF SET OF SEQUENCE { OBJECT IDENTIFIER, string }.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Rdn", "der_value", "rdns_of", "same_name"]

Rdn: TypeAlias = frozenset[tuple[bytes, str | bytes]]
"""A relative name: DER of each attribute's type, and its value: text as RFC 5280 7.1 compares it, else DER."""

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OID: Final = 0x06
_ENCODINGS: Final = {
    0x0C: "utf-8",
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, as it is used
    0x16: "ascii",  # IA5String
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


@dataclass(frozen=True, slots=True)
class _Value:
    tag: int
    contents: bytes
    whole: bytes


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two Names say the same, string types, case and superfluous spaces set aside; what is no Name does not."""
    if one == other:
        return True
    try:
        return rdns_of(one) == rdns_of(other)
    except ValueError:
        return False


def rdns_of(der: bytes) -> tuple[Rdn, ...]:
    """The relative names of a Name, the most general first. Raises ValueError for what is none."""
    return tuple(frozenset(_attribute(each) for each in _inside(rdn, _SET)) for rdn in _inside(_sole(der), _SEQUENCE))


def _attribute(value: _Value) -> tuple[bytes, str | bytes]:
    parts = _inside(value, _SEQUENCE)
    if len(parts) != 2 or parts[0].tag != _OID:
        raise ValueError("an attribute of a Name is a type and a value")
    return parts[0].whole, _comparable(parts[1])


def _comparable(value: _Value) -> str | bytes:
    encoding = _ENCODINGS.get(value.tag)
    if encoding is None:
        return value.whole
    return " ".join(value.contents.decode(encoding).split()).casefold()


def _sole(der: bytes) -> _Value:
    values = _values(der)
    if len(values) != 1:
        raise ValueError("a Name is one DER value")
    return values[0]


def _inside(value: _Value, tag: int) -> list[_Value]:
    if value.tag != tag:
        raise ValueError(f"DER tag 0x{value.tag:02x} where 0x{tag:02x} belongs")
    return _values(value.contents)


def _values(der: bytes) -> list[_Value]:
    found, start = [], 0
    while start < len(der):
        begin, length = der_value(der, start)
        found.append(_Value(der[start], der[begin : begin + length], der[start : begin + length]))
        start = begin + length
    return found


def der_value(der: bytes, start: int) -> tuple[int, int]:
    """Where the contents of the DER value at `start` begin, and how long they are. Raises ValueError past the end."""
    if start + 2 > len(der):
        raise ValueError("DER ends within a value")
    first, begin = der[start + 1], start + 2
    length = first
    if first >= 0x80:
        begin += first & 0x7F
        length = int.from_bytes(der[start + 2 : begin])
    if begin + length > len(der):
        raise ValueError("DER ends within a value")
    return begin, length
