"""A bounded reader: lengths are checked against what is left before they are used.

All integers are in network byte order. Every failure is a Malformed that names the octet where it was seen, counted
from the start of the outermost buffer.
"""

from __future__ import annotations

import struct
from typing import Any

from agent.errors import Malformed

__all__ = ["Bounded", "Reader", "reading"]


class Reader:
    """Octets with a position and an end that cannot be passed.

    `octets`: what may be read; `base`: the offset of its first octet in the outermost buffer, for messages only.
    """

    __slots__ = ("_base", "_end", "_octets", "_position")

    def __init__(self, octets: bytes, base: int = 0) -> None:
        self._octets = octets
        self._base = base
        self._position = 0
        self._end = len(octets)

    @property
    def remaining(self) -> int:
        """Octets left inside the current bound."""
        return self._end - self._position

    @property
    def offset(self) -> int:
        """The position, counted from the start of the outermost buffer."""
        return self._base + self._position

    def take(self, count: int, what: str = "field") -> bytes:
        """The next `count` octets. Raises Malformed when fewer are left."""
        start = self._position
        end = start + count
        if count < 0 or end > self._end:
            raise self.malformed(f"{what} wants {count} octets, {self.remaining} are left")
        self._position = end
        return self._octets[start:end]

    def unpack(self, fields: struct.Struct, what: str) -> tuple[Any, ...]:
        """The next fields, as the struct has them. Raises Malformed when fewer octets are left."""
        start = self._position
        end = start + fields.size
        if end > self._end:
            raise self.malformed(f"{what} wants {fields.size} octets, {self.remaining} are left")
        self._position = end
        return fields.unpack_from(self._octets, start)

    def rest(self) -> bytes:
        """All octets left inside the current bound."""
        start, self._position = self._position, self._end
        return self._octets[start : self._end]

    def ahead(self) -> bytes:
        """All octets left inside the current bound, which stay there to be read."""
        return self._octets[self._position : self._end]

    def u8(self, what: str = "field") -> int:
        """An unsigned integer of one octet. Raises Malformed."""
        return self.take(1, what)[0]

    def u16(self, what: str = "field") -> int:
        """An unsigned integer of two octets. Raises Malformed."""
        return int.from_bytes(self.take(2, what))

    def u32(self, what: str = "field") -> int:
        """An unsigned integer of four octets. Raises Malformed."""
        return int.from_bytes(self.take(4, what))

    def block(self, count: int, what: str = "block") -> Bounded:
        """Bound the next `count` octets; they must be consumed when the block ends. Raises Malformed."""
        return Bounded(self.inner(count, what), what)

    def inner(self, count: int, what: str = "block") -> Reader:
        """A reader of the next `count` octets, which this one passes over. Raises Malformed."""
        base = self._base + self._position
        return Reader(self.take(count, what), base)

    def end(self, what: str = "block") -> None:
        """Raise Malformed unless everything inside the bound was consumed."""
        if self._position != self._end:
            raise self.malformed(f"{what} has {self.remaining} octets too many")

    def malformed(self, text: str, *, notify: int | None = None) -> Malformed:
        """The error to raise for what was found here."""
        return Malformed(f"octet {self.offset}: {text}", notify=notify)


class Bounded:
    """A `with` block around a reader that must be consumed when the block ends well."""

    __slots__ = ("_reader", "_what")

    def __init__(self, reader: Reader, what: str) -> None:
        self._reader = reader
        self._what = what

    def __enter__(self) -> Reader:
        return self._reader

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._reader.end(self._what)


def reading(body: Reader | bytes, what: str) -> Bounded:
    """A reader over `body` that must be consumed when the block ends: the frame of every `parse`. Raises Malformed."""
    return Bounded(body if isinstance(body, Reader) else Reader(body), what)
