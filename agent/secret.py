"""Key material that does not show itself: not in repr, str, format, pickle or a dataclass's repr."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

__all__ = ["Secret"]


class Secret:
    """Octets of a key. Equality is constant-time; `reveal()` is the one way out; `wipe()` zeroes them.

    Python may have copied the octets handed in: wiping shortens the exposure, it does not end it.
    """

    __slots__ = ("_octets",)
    __hash__ = None  # type: ignore[assignment]  # a hash table would compare in variable time

    def __init__(self, octets: bytes | bytearray | memoryview) -> None:
        self._octets: Final = bytearray(octets)

    def reveal(self) -> bytes:
        """The octets, for the primitive that needs them; keep them in no variable longer than that."""
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrite the octets with zeros; the length stays."""
        self._octets[:] = bytes(len(self._octets))

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __repr__(self) -> str:
        return f"<Secret {len(self._octets)} octets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
