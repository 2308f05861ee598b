"""The Sender-IDs of a group's counter-mode SAs, and the rule of their exhaustion (RFC 6407 3.5, RFC 6054 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SID_BITS", "SenderIdSpace"]

SID_BITS: Final = range(1, 33)
"""Widths that there may be: half of the 64-bit IV stays for the SSIV. Every GM takes 8, 12 and 16 (RFC 6054 3)."""
_IV_BITS: Final = 64


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

    @property
    def packets_per_sid(self) -> int:
        """How many packets a sender sends on one SA with one SID: the SSIVs (RFC 6054 3)."""
        return 1 << (_IV_BITS - self.bits)

    def octets(self, sid: int) -> bytes:
        """A SID as SID_VALUE: as few octets as hold the width. Raises ValueError for a SID outside the space."""
        if not 0 <= sid < self.capacity:
            raise ValueError(f"a SID does not fit {self.bits} bits")
        return sid.to_bytes(-(-self.bits // 8))

    def take(self, given: int, wanted: int) -> range | None:
        """The next SIDs, one at least, in sequence after those `given`; None when there are not so many left.

        None is exhaustion: before any further SID the group's counter-mode SAs are deleted and made anew, and the
        count begins at 0 (RFC 6407 3.5). Never is one given twice before that, to whomever (RFC 6054 4).
        Raises ValueError for a request that no space of this width could ever serve.
        """
        count = max(1, wanted)
        if count > self.capacity:
            raise ValueError(f"{count} SIDs are asked for; {self.bits} bits hold {self.capacity}")
        return range(given, given + count) if given + count <= self.capacity else None
