"""The table compiler: a uapi struct written as a NamedTuple becomes a codec.

A struct is declared once, field by field, with the uapi's types::

    class XfrmId(NamedTuple):
        daddr: InAddr
        spi: BE32
        proto: U8

    XFRM_ID = Layout(XfrmId, size=24)

Padding follows the C rules of LP64 ABIs and is written out in `Layout.format`; the size is asserted against the
uapi's sizeof. Records are flat or hold other records; integers are in host order in the record and in the table's
order on the wire; octet fields are filled with zeros on the right.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from socket import htonl, htons
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_type_hints

from xfrm.errors import DecodeError, EncodeError

__all__ = ["BE16", "BE32", "S32", "U8", "U16", "U32", "U64", "InAddr", "Kind", "Layout", "Name64", "Row"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A uapi type. `code`: its struct format character(s); `size`, `align`: octets; `big_endian`: a __beNN."""

    code: str
    size: int
    align: int
    big_endian: bool = False

    def fits(self, value: object) -> bool:
        """Whether a value can be packed as this type."""
        try:
            struct.pack("=" + self.code, value)
        except struct.error:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.size} octets" if self.code.endswith("s") else f"a number of {8 * self.size} bits"


U8 = Annotated[int, Kind("B", 1, 1)]
U16 = Annotated[int, Kind("H", 2, 2)]
U32 = Annotated[int, Kind("I", 4, 4)]
U64 = Annotated[int, Kind("Q", 8, 8)]
S32 = Annotated[int, Kind("i", 4, 4)]
BE16 = Annotated[int, Kind("H", 2, 2, big_endian=True)]
BE32 = Annotated[int, Kind("I", 4, 4, big_endian=True)]
InAddr = Annotated[bytes, Kind("16s", 16, 4)]
Name64 = Annotated[bytes, Kind("64s", 64, 1)]

_SWAP: Final[dict[int, Callable[[int], int]]] = {2: htons, 4: htonl}

R = TypeVar("R", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Row:
    """A field of the flat struct: `path` (dotted), its `kind`, its `offset`, and `pad` octets after it."""

    path: str
    kind: Kind
    offset: int
    pad: int = 0

    @property
    def is_octets(self) -> bool:
        """Whether it holds octets, not a number."""
        return self.kind.code.endswith("s")


class Layout(Generic[R]):
    """The codec of one struct. `name`: of the uapi; `size`: octets; `rows`: its flat table; `format`: pads written out.

    Raises TypeError at definition where a field has no uapi type or the size is not the uapi's.
    """

    __slots__ = ("_get", "_make", "_octets", "_struct", "_swaps", "align", "format", "name", "record", "rows", "size")

    def __init__(self, record: type[R], *, size: int, name: str) -> None:
        rows, end, self.align = _flatten(record)
        tail = -end % self.align
        if tail:
            last = rows[-1]
            rows[-1] = Row(last.path, last.kind, last.offset, tail)
        if end + tail != size:
            raise TypeError(f"struct {name} comes out with {end + tail} octets, the uapi has {size}")
        self.name: Final = name
        self.record: Final = record
        self.rows: Final = tuple(rows)
        self.size: Final = size
        self.format: Final = "=" + "".join(f"{row.kind.code}{row.pad}x" if row.pad else row.kind.code for row in rows)
        self._struct: Final = struct.Struct(self.format)
        getter = attrgetter(*(row.path for row in rows))
        self._get: Callable[[R], Sequence[Any]] = getter if len(rows) > 1 else lambda value: (getter(value),)
        self._make: Callable[[Sequence[Any]], R] = _builder(record)[0]
        self._octets: Final = tuple((i, row.kind.size) for i, row in enumerate(rows) if row.is_octets)
        self._swaps: Final = (
            tuple((i, _SWAP[row.kind.size]) for i, row in enumerate(rows) if row.kind.big_endian)
            if sys.byteorder == "little"
            else ()
        )

    def pack(self, value: R) -> bytes:
        """The struct's octets. Raises EncodeError where a field is out of its type's range."""
        values: Sequence[Any] = self._get(value)
        try:
            for index, limit in self._octets:
                if len(values[index]) > limit:
                    raise EncodeError(f"struct {self.name}: {self.rows[index].path} is longer than {limit} octets")
            if self._swaps:
                swapped = list(values)
                for index, swap in self._swaps:
                    swapped[index] = swap(swapped[index])
                values = swapped
            return self._struct.pack(*values)
        except (struct.error, OverflowError, TypeError) as error:
            raise EncodeError(f"struct {self.name}: {self._blame(value)}") from error

    def unpack(self, data: bytes | memoryview, offset: int = 0) -> R:
        """The record at `offset`; octets after it are the caller's. Raises DecodeError where data ends early."""
        try:
            values: Sequence[Any] = self._struct.unpack_from(data, offset)
        except struct.error:
            left = max(0, len(data) - offset)
            raise DecodeError(f"struct {self.name} has {self.size} octets, {left} left", offset=offset) from None
        if self._swaps:
            swapped = list(values)
            for index, swap in self._swaps:
                swapped[index] = swap(swapped[index])
            values = swapped
        return self._make(values)

    def _blame(self, value: R) -> str:
        # Found field by field only after a failure, so that the hot path packs once.
        fields = zip(self.rows, self._get(value), strict=True)
        return ", ".join(f"{row.path} does not fit {row.kind}" for row, field in fields if not row.kind.fits(field))

    def __repr__(self) -> str:
        return f"<Layout of struct {self.name}, {self.size} octets>"


def _flatten(record: type[tuple[Any, ...]]) -> tuple[list[Row], int, int]:
    """Rows with C offsets, the end of the last field, and the struct's alignment."""
    rows: list[Row] = []
    end, align = 0, 1
    for name, hint in get_type_hints(record, include_extras=True).items():
        nested, field_align = _nested_rows(name, hint)
        gap = -end % field_align
        if gap:
            last = rows[-1]
            rows[-1] = Row(last.path, last.kind, last.offset, last.pad + gap)
        start = end + gap
        rows.extend(Row(row.path, row.kind, start + row.offset, row.pad) for row in nested)
        last = rows[-1]
        end = last.offset + last.kind.size + last.pad
        align = max(align, field_align)
    return rows, end, align


def _nested_rows(name: str, hint: Any) -> tuple[list[Row], int]:
    kinds = [extra for extra in get_args(hint)[1:] if isinstance(extra, Kind)]
    if kinds:
        return [Row(name, kinds[0], 0)], kinds[0].align
    if isinstance(hint, type) and issubclass(hint, tuple):
        rows, end, align = _flatten(hint)
        tail = -end % align
        inner = [Row(f"{name}.{row.path}", row.kind, row.offset, row.pad) for row in rows]
        last = inner[-1]
        inner[-1] = Row(last.path, last.kind, last.offset, last.pad + tail)
        return inner, align
    raise TypeError(f"field {name} has no uapi type")


def _builder(record: type[R]) -> tuple[Callable[[Sequence[Any]], R], int]:
    """What makes the record of its flat values, and how many it takes."""
    make: Callable[[Any], R] = partial(tuple.__new__, record)
    parts: list[tuple[Callable[[Sequence[Any]], Any] | None, int, int]] = []
    at = 0
    for hint in get_type_hints(record, include_extras=True).values():
        if isinstance(hint, type):
            child: Callable[[Sequence[Any]], Any]
            child, count = _builder(hint)
            parts.append((child, at, at + count))
            at += count
        else:
            parts.append((None, at, at + 1))
            at += 1
    if all(child is None for child, _, _ in parts):
        return make, at

    def build(values: Sequence[Any]) -> R:
        return make([values[start] if child is None else child(values[start:stop]) for child, start, stop in parts])

    return build, at
