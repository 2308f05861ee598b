"""The space of Sender-IDs of a group's counter-mode SAs (RFC 6407 3.5, 5.6.4, RFC 6054 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SID_BITS", "SenderIdSpace"]

SID_BITS: Final = range(1, 33)
"""Widths that there may be: half of the 64-bit IV stays for the SSIV. Every GM takes 8, 12 and 16 (RFC 6054 3)."""


@dataclass(frozen=True, slots=True)
class SenderIdSpace:
    """SIDs `bits` wide. Raises ValueError for a width that there is not."""

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in SID_BITS:
            raise ValueError(f"SIDs of {self.bits} bits; {SID_BITS.start} to {SID_BITS.stop - 1} are allowed")

    @property
    def capacity(self) -> int:
        """How many SIDs there are for one generation of SAs."""
        return 1 << self.bits

    def octets(self, sid: int) -> bytes:
        """A SID as SID_VALUE: as few octets as hold the width. Raises ValueError for a SID outside the space."""
        if not 0 <= sid < self.capacity:
            raise ValueError(f"a SID does not fit {self.bits} bits")
        return sid.to_bytes(-(-self.bits // 8))
