"""The table compiler: a uapi struct written as a Struct becomes a codec.

A struct is declared once, field by field, with the uapi's types::

    class XfrmId(Struct):
        daddr: InAddr
        spi: BE32
        proto: U8

    XFRM_ID = Layout(XfrmId, size=24, name="xfrm_id")

Padding follows the C rules of LP64 ABIs and is written out in `Layout.format`; the size is held against the
uapi's sizeof. Records are flat or hold other records; integers are in host order in the record and in the table's
order on the wire; octet fields are filled with zeros on the right.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import count, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Protocol, TypeVar, get_args, get_type_hints

from xfrm.errors import DecodeError, EncodeError
from xfrm.record import record

__all__ = ["BE16", "BE32", "S32", "U8", "U16", "U32", "U64", "InAddr", "Kind", "Layout", "Name64", "Row"]


@record
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

_SWAP: Final = {2: "htons", 4: "htonl"}

R = TypeVar("R", bound=tuple[Any, ...])
S = TypeVar("S", bound=tuple[Any, ...], covariant=True)


@record
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


if TYPE_CHECKING:

    class Unpack(Protocol[S]):
        """What reads a record of some octets."""

        def __call__(self, data: bytes | memoryview, offset: int = 0) -> S:
            """The record at `offset`. Raises DecodeError."""


class Layout(Generic[R]):
    """The codec of one struct. `name`: of the uapi; `size`: octets; `record`: its Struct, a named tuple.

    `pack(record)` gives the struct's octets; it raises EncodeError where a field is out of its type's range.
    `unpack(data, offset=0)` gives the record at an offset; octets after it are the caller's. It raises DecodeError
    where data ends early. Both are made of the table when one of them is first called, one straight line of code each;
    look them up where they are used. A table that has a field without a uapi type, or whose size is not the uapi's,
    raises TypeError then, or when `rows` is first asked for.
    """

    __slots__ = ("_table", "name", "pack", "record", "size", "unpack")

    pack: Callable[[R], bytes]
    unpack: Unpack[R]

    def __init__(self, record: type[R], *, size: int, name: str) -> None:
        self.name: Final = name
        self.record: Final = record
        self.size: Final = size
        self._table: tuple[tuple[Row, ...], int] | None = None
        self.pack = self._first_pack
        self.unpack = self._first_unpack

    @property
    def rows(self) -> tuple[Row, ...]:
        """The flat table. Raises TypeError."""
        return self._flat()[0]

    @property
    def align(self) -> int:
        """The struct's alignment, octets. Raises TypeError."""
        return self._flat()[1]

    @property
    def format(self) -> str:
        """For the struct module, pads written out. Raises TypeError."""
        return _format(self.rows)

    def _flat(self) -> tuple[tuple[Row, ...], int]:
        if self._table is None:
            rows, end, align = _flatten(self.record)
            tail = -end % align
            if tail:
                last = rows[-1]
                rows[-1] = Row(last.path, last.kind, last.offset, tail)
            if end + tail != self.size:
                raise TypeError(f"struct {self.name} comes out with {end + tail} octets, the uapi has {self.size}")
            self._table = tuple(rows), align
        return self._table

    def packer(self, *, octets: Container[str] = (), zeros: Container[str] = ()) -> Callable[..., bytes]:
        """`pack` for values that are at hand without a record: it takes them one by one, in the table's order.

        Structs inside are flattened, but those named in `octets` are taken as octets of their size, and those in
        `zeros` are left out, to be zeros. Make it once. Raises TypeError as `rows` does.
        """
        rows = _coarse(self, octets, zeros)
        name, (written, pack) = self.name, _writer(rows)
        taken = [row for row in rows if row.kind.code]
        parameters = ", ".join(f"v{i}" for i in range(len(taken)))
        names: dict[str, Any] = {"UNPACKED": _UNPACKED, **pack}
        names["misfit"] = lambda *values: _misfit(name, taken, values)
        code = _PACKER.format(parameters=parameters, written=written, too_long=_too_long(taken))
        exec(compile(code, f"<struct {name}>", "exec"), names)  # noqa: S102  (made of the table alone)
        packer: Callable[..., bytes] = names["pack"]
        return packer

    def _first_pack(self, value: R) -> bytes:
        self._compile()
        return self.pack(value)

    def _first_unpack(self, data: bytes | memoryview, offset: int = 0) -> R:
        self._compile()
        return self.unpack(data, offset)

    def _compile(self) -> None:
        # As namedtuple does for its __new__: what is known once need not be looked up for each of thousands.
        written, pack = _writer(self.rows)
        names: dict[str, Any] = {
            "UNPACK": struct.Struct(self.format).unpack_from,
            "NEW": tuple.__new__,
            "UNPACKABLE": struct.error,
            "UNPACKED": _UNPACKED,
            "misfit": self._misfit,
            "short": self._short,
            **_swaps(),
            **pack,
        }
        shape, made = _shape(self.record, iter(range(len(self.rows))), names)
        code = _CODE.format(
            shape=shape,
            made=made,
            flat="".join(f"v{i}, " for i in range(len(self.rows))),
            written=written,
            too_long=_too_long(self.rows),
        )
        exec(compile(code, f"<struct {self.name}>", "exec"), names)  # noqa: S102  (made of the table alone)
        self.pack, self.unpack = names["pack"], names["unpack"]

    def _misfit(self, value: R) -> EncodeError:
        return _misfit(self.name, self.rows, [attrgetter(row.path)(value) for row in self.rows])

    def _short(self, data: bytes | memoryview, offset: int) -> DecodeError:
        left = max(0, len(data) - offset)
        return DecodeError(f"struct {self.name} has {self.size} octets, {left} left", offset=offset)

    def __repr__(self) -> str:
        return f"<Layout of struct {self.name}, {self.size} octets>"


_UNPACKED: Final = (struct.error, OverflowError, TypeError)
_PACKER: Final = """
def pack({parameters}):
    try:
        if {too_long}:
            raise TypeError
        return PACK({written})
    except UNPACKED as error:
        raise misfit({parameters}) from error
"""
_CODE: Final = """
def pack(value):
    try:
        {shape} = value
        if {too_long}:
            raise TypeError
        return PACK({written})
    except UNPACKED as error:
        raise misfit(value) from error

def unpack(data, offset=0):
    try:
        {flat} = UNPACK(data, offset)
    except UNPACKABLE:
        raise short(data, offset) from None
    return {made}
"""


def _swaps() -> dict[str, Callable[[int], int]]:
    from socket import htonl, htons  # not at the top, for socket loads much that only sockets need

    return {"htons": htons, "htonl": htonl}


def _format(rows: Sequence[Row]) -> str:
    return "=" + _codes(rows)


def _codes(rows: Sequence[Row]) -> str:
    return "".join(f"{row.kind.code}{row.pad}x" if row.pad else row.kind.code for row in rows)


def _too_long(rows: Sequence[Row]) -> str:
    """The condition under which the struct module would cut octets without a word."""
    return " or ".join(f"len(v{i}) > {row.kind.size}" for i, row in enumerate(rows) if row.is_octets) or "False"


def _misfit(name: str, rows: Sequence[Row], values: Sequence[object]) -> EncodeError:
    # Found field by field only after a failure, so that the hot path packs once.
    words = []
    for row, value in zip(rows, values, strict=True):
        if row.is_octets and isinstance(value, bytes) and len(value) > row.kind.size:
            words.append(f"{row.path} is longer than {row.kind.size} octets")
        elif not row.kind.fits(value):
            words.append(f"{row.path} does not fit {row.kind}")
    return EncodeError(f"struct {name}: {', '.join(words)}")


def _coarse(layout: Layout[Any], octets: Container[str], zeros: Container[str]) -> list[Row]:
    """The table with some structs taken whole; a row of zeros has no code of its own and pads only."""
    rows: list[Row] = []
    for path, inside in groupby(layout.rows, key=lambda row: row.path.partition(".")[0]):
        if path not in octets and path not in zeros:
            rows.extend(inside)
            continue
        parts = list(inside)
        size = sum(row.kind.size + row.pad for row in parts)
        align = max(row.kind.align for row in parts)
        whole = Kind(f"{size}s", size, align) if path in octets else Kind("", 0, align)
        rows.append(Row(path, whole, parts[0].offset, 0 if path in octets else size))
    return rows


def _writer(rows: Sequence[Row]) -> tuple[str, dict[str, Callable[..., bytes]]]:
    """The arguments of `PACK`, and it with what else they name.

    A run of integers in network order is packed by a struct of its own, which is quicker than to swap each.
    """
    codes, arguments = ["="], []
    names: dict[str, Callable[..., bytes]] = {}
    places = count()
    for in_network_order, run in groupby(rows, key=lambda row: row.kind.big_endian):
        fields = list(run)
        values = [f"v{next(places)}" for row in fields if row.kind.code]
        if in_network_order:
            network = struct.Struct(">" + _codes(fields))
            name = f"NETWORK{len(names)}"
            names[name] = network.pack
            codes.append(f"{network.size}s")
            arguments.append(f"{name}({', '.join(values)})")
        else:
            codes.append(_codes(fields))
            arguments += values
    return ", ".join(arguments), {"PACK": struct.Struct("".join(codes)).pack, **names}


def _shape(record: type[Any], numbers: Iterator[int], names: dict[str, Any]) -> tuple[str, str]:
    """The record's fields as a target of assignment, and as the expression that makes it."""
    targets, values = [], []
    for hint in get_type_hints(record, include_extras=True).values():
        kinds = get_args(hint)
        if not kinds:
            target, value = _shape(hint, numbers, names)
        else:
            target = value = f"v{next(numbers)}"
            if kinds[1].big_endian and sys.byteorder == "little":
                value = f"{_SWAP[kinds[1].size]}({value})"
        targets.append(target)
        values.append(value)
    names[record.__name__] = record
    return f"({', '.join(targets)},)", f"NEW({record.__name__}, ({', '.join(values)},))"


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
