"""Keys of one length by small numbers, packed: a million of them cost little more than their octets."""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["MAX_HANDLE", "KeySlab"]

MAX_HANDLE: Final = 0xFFFFFFFF
"""The greatest handle; 32 bits, as on every wire that knows handles."""
# Pages of their own, because a buffer that grows in one piece leaves copies of the keys behind.
_PAGE_KEYS: Final = 256
_HANDLES: Final = "I"


class KeySlab:
    """Keys of `key_octets` octets, each with its handle: 1 and more, 0 says that there is none."""

    __slots__ = ("_handles", "_pages", "key_octets")

    def __init__(self, key_octets: int) -> None:
        self.key_octets: Final = key_octets
        self._handles: Final = array(_HANDLES)
        self._pages: Final[list[bytearray]] = []

    def handle(self, number: int) -> int:
        """The handle of the key there, 0 for none."""
        return self._handles[number] if number < len(self._handles) else 0

    def octets(self, number: int) -> bytes:
        """The key there; zeros where there is none. Raises IndexError beyond all that there ever were."""
        begin = number % _PAGE_KEYS * self.key_octets
        return bytes(self._pages[number // _PAGE_KEYS][begin : begin + self.key_octets])

    def put(self, number: int, handle: int, octets: bytes) -> None:
        """Have this key there; the one that was there is overwritten. Raises ValueError for another length."""
        if len(octets) != self.key_octets:
            raise ValueError(f"a key of {len(octets)} octets among those of {self.key_octets}")
        while number >= len(self._handles):
            self._pages.append(bytearray(_PAGE_KEYS * self.key_octets))
            self._handles.extend([0] * _PAGE_KEYS)
        self._handles[number] = handle
        self._write(number, octets)

    def drop(self, number: int) -> None:
        """Have no key there; the one that was there is overwritten."""
        if self.handle(number):
            self._handles[number] = 0
            self._write(number, bytes(self.key_octets))

    def _write(self, number: int, octets: bytes) -> None:
        begin = number % _PAGE_KEYS * self.key_octets
        self._pages[number // _PAGE_KEYS][begin : begin + self.key_octets] = octets

    def wipe(self) -> None:
        """Overwrite all keys, and have none."""
        for page in self._pages:
            page[:] = bytes(len(page))
        self._pages.clear()
        del self._handles[:]

    def __repr__(self) -> str:
        return f"<KeySlab of keys of {self.key_octets} octets>"
