"""A bounded reader: lengths are checked against what is left before they are used.

All integers are in network byte order. Every failure is a Malformed that names the octet where it was seen, counted
from the start of the outermost buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import Malformed

__all__ = ["Reader", "reading"]


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
        if count < 0 or count > self.remaining:
            raise self.malformed(f"{what} wants {count} octets, {self.remaining} are left")
        start = self._position
        self._position += count
        return self._octets[start : self._position]

    def rest(self) -> bytes:
        """All octets left inside the current bound."""
        return self.take(self.remaining)

    def u8(self, what: str = "field") -> int:
        """An unsigned integer of one octet. Raises Malformed."""
        return self.take(1, what)[0]

    def u16(self, what: str = "field") -> int:
        """An unsigned integer of two octets. Raises Malformed."""
        return int.from_bytes(self.take(2, what))

    def u32(self, what: str = "field") -> int:
        """An unsigned integer of four octets. Raises Malformed."""
        return int.from_bytes(self.take(4, what))

    @contextmanager
    def block(self, count: int, what: str = "block") -> Iterator[Reader]:
        """Bound the next `count` octets; they must be consumed when the block ends. Raises Malformed."""
        inner = self.inner(count, what)
        yield inner
        inner.end(what)

    def inner(self, count: int, what: str = "block") -> Reader:
        """A reader of the next `count` octets, which this one passes over. Raises Malformed."""
        base = self.offset
        return Reader(self.take(count, what), base)

    def end(self, what: str = "block") -> None:
        """Raise Malformed unless everything inside the bound was consumed."""
        if self.remaining:
            raise self.malformed(f"{what} has {self.remaining} octets too many")

    def malformed(self, text: str, *, notify: int | None = None) -> Malformed:
        """The error to raise for what was found here."""
        return Malformed(f"octet {self.offset}: {text}", notify=notify)


@contextmanager
def reading(body: Reader | bytes, what: str) -> Iterator[Reader]:
    """A reader over `body` that must be consumed when the block ends: the frame of every `parse`. Raises Malformed."""
    reader = body if isinstance(body, Reader) else Reader(body)
    yield reader
    reader.end(what)
