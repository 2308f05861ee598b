"""Tables of fixed fields, each compiled at import to one struct.Struct.

A table has the rows of the RFC's box, in order. Codec, check of constant fields, text form and test strategies read
the same rows. Network byte order; what has a variable length follows the layout and is read by its codec.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from agent.wire.reader import Reader

__all__ = ["U8", "U16", "U32", "Kind", "Layout", "Row", "octets"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field is encoded: a struct format character or string, and its size in octets."""

    code: str
    size: int


U8: Final = Kind("B", 1)
"""An unsigned integer of one octet."""
U16: Final = Kind("H", 2)
"""An unsigned integer of two octets."""
U32: Final = Kind("I", 4)
"""An unsigned integer of four octets."""


def octets(count: int) -> Kind:
    """A field of `count` opaque octets."""
    return Kind(f"{count}s", count)


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a table.

    `note`: what the field says, in the standard's words. `constant`: the only value allowed; such a field is
    written and checked by the layout and is not among the values; `notify`: what to answer when it differs.
    """

    name: str
    kind: Kind
    note: str = ""
    constant: int | None = None
    notify: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A table of fixed fields under its name.

    `values` are the fields that are no constants, in the order of the rows.
    """

    name: str
    rows: tuple[Row, ...]
    size: int = field(init=False, compare=False)
    _struct: struct.Struct = field(init=False, repr=False, compare=False)
    _values: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _constants: tuple[tuple[int, Row], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the rows: `size` is the octets that the fields take."""
        compiled = struct.Struct("!" + "".join(row.kind.code for row in self.rows))
        object.__setattr__(self, "_struct", compiled)
        object.__setattr__(self, "size", compiled.size)
        places = range(len(self.rows))
        object.__setattr__(self, "_values", tuple(at for at in places if self.rows[at].constant is None))
        constants = tuple((at, self.rows[at]) for at in places if self.rows[at].constant is not None)
        object.__setattr__(self, "_constants", constants)

    def read(self, reader: Reader) -> tuple[Any, ...]:
        """The values, read and checked against the constants. Raises Malformed."""
        found = self._struct.unpack(reader.take(self.size, self.name))
        if not self._constants:
            return found
        for at, row in self._constants:
            if found[at] != row.constant:
                start = reader.offset - self.size
                raise reader.malformed(
                    f"{self.name} at octet {start}: {row.name} is {found[at]}, not {row.constant}", notify=row.notify
                )
        return tuple([found[at] for at in self._values])

    def build(self, *values: int | bytes) -> bytes:
        """The octets of the fields. Raises ValueError for values that do not fit: ours, never a peer's."""
        fields = list(values)
        for at, row in self._constants:
            fields.insert(at, row.constant or 0)
        try:
            return self._struct.pack(*fields)
        except struct.error as error:
            raise ValueError(f"{self.name} does not take {len(values)} values like these: {error}") from error

    def box(self) -> str:
        """The table as text: offset, length, field, note; for documentation."""
        lines, offset = [f"{self.name}, {self.size} octets"], 0
        for row in self.rows:
            fixed = f" = {row.constant}" if row.constant is not None else ""
            lines.append(f"{offset:3} {row.kind.size:3}  {row.name}{fixed}  {row.note}".rstrip())
            offset += row.kind.size
        return "\n".join(lines)
