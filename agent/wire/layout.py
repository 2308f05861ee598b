"""Tables of fixed fields, each compiled at import to one struct.Struct.

A table has the rows of the RFC's box, in order. Codec, check of constant fields, text form and test strategies read
the same rows. Network byte order; what has a variable length follows the layout and is read by its codec.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from agent.errors import Malformed
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


_CODE: Final = """
def read(reader):
    found = {fields}= reader.unpack(STRUCT, NAME)
    if {wrong}:
        raise refusal(reader, found)
    return ({values})

def build(*values):
    try:
        {values}= values
        return PACK({packed})
    except (UNPACKABLE, ValueError) as cause:
        raise misfit(values, cause) from cause
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table of fixed fields under its name; `size`: the octets that they take.

    `read(reader)` gives the values, checked against the constants, and raises Malformed. `build(*values)` gives the
    octets, and raises ValueError for values that do not fit: ours, never a peer's. The values are the fields that are
    no constants, in the order of the rows. Both are made of the table, one straight line of code each: a registration
    calls them a hundred times.
    """

    name: str
    rows: tuple[Row, ...]
    size: int = field(init=False, compare=False)
    read: Callable[[Reader], tuple[Any, ...]] = field(init=False, repr=False, compare=False)
    build: Callable[..., bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the rows."""
        compiled = struct.Struct("!" + "".join(row.kind.code for row in self.rows))
        names: dict[str, Any] = {
            "STRUCT": compiled,
            "NAME": self.name,
            "PACK": compiled.pack,
            "UNPACKABLE": struct.error,
            "refusal": self._refusal,
            "misfit": self._misfit,
        }
        places = range(len(self.rows))
        constants = {at: self.rows[at].constant for at in places if self.rows[at].constant is not None}
        code = _CODE.format(
            fields="".join(f"v{at}, " for at in places),
            values="".join(f"v{at}, " for at in places if at not in constants),
            packed=", ".join(str(constants.get(at, f"v{at}")) for at in places),
            wrong=" or ".join(f"v{at} != {value}" for at, value in constants.items()) or "False",
        )
        exec(compile(code, f"<layout {self.name}>", "exec"), names)  # noqa: S102  # made of the table alone
        object.__setattr__(self, "size", compiled.size)
        object.__setattr__(self, "read", names["read"])
        object.__setattr__(self, "build", names["build"])

    def _refusal(self, reader: Reader, found: tuple[Any, ...]) -> Malformed:
        at, row = next(
            (at, row) for at, row in enumerate(self.rows) if row.constant is not None and found[at] != row.constant
        )
        return reader.malformed(
            f"{self.name} at octet {reader.offset - self.size}: {row.name} is {found[at]}, not {row.constant}",
            notify=row.notify,
        )

    def _misfit(self, values: tuple[Any, ...], cause: Exception) -> ValueError:
        return ValueError(f"{self.name} does not take {len(values)} values like these: {cause}")

    def box(self) -> str:
        """The table as text: offset, length, field, note; for documentation."""
        lines, offset = [f"{self.name}, {self.size} octets"], 0
        for row in self.rows:
            fixed = f" = {row.constant}" if row.constant is not None else ""
            lines.append(f"{offset:3} {row.kind.size:3}  {row.name}{fixed}  {row.note}".rstrip())
            offset += row.kind.size
        return "\n".join(lines)
