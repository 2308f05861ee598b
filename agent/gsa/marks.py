"""Marks: how an SAD that looks up by SPI and destination tells SAs of several sources apart (RFC 4301 4.1, RFC 5374).

A multicast SA is named by {SPI, destination, source}, so two senders of a group whose key servers do not know each
other may have one SPI. A kernel that leaves the source out of its lookup compares a packet's mark as well: rules set it
by the packet's source, and the SAs that share SPI and destination carry it. SAs that share with nobody have no mark,
and there is no rule for them. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from netaddr import IPAddress

from agent.gsa.sa import SecurityProtocol, Spi

__all__ = ["MARK_MASK", "OWN_MARK", "MarkRule", "marks_of"]

MARK_MASK: Final = 0xFFFF_0000
"""The bits of a packet's mark that tell sources apart; the others stay as they are."""
OWN_MARK: Final = 0
"""What the SA of this host's own source carries: what it sends is not marked, nor what comes back of that."""
_SHIFT: Final = 16
_VALUES: Final = range(1, 2**16)


@dataclass(frozen=True, slots=True)
class MarkRule:
    """Packets that come in by `interface`, from `source`, on the SA of that protocol, destination and SPI: `mark`.

    Raises ValueError for a mark outside of `MARK_MASK`, one that is `OWN_MARK`, or addresses of two IP versions.
    """

    interface: str
    protocol: SecurityProtocol
    source: IPAddress
    destination: IPAddress
    spi: Spi
    mark: int

    def __post_init__(self) -> None:
        if self.mark == OWN_MARK or self.mark & ~MARK_MASK:
            raise ValueError(f"a mark is made of the bits 0x{MARK_MASK:08x}, got 0x{self.mark:08x}")
        if self.source.version != self.destination.version:
            raise ValueError(f"source {self.source} and destination {self.destination} are of one IP version")

    @property
    def matches(self) -> tuple[str, str, int, int, int, int]:
        """The packets that it marks, as what sorts: of two rules with the same, one is too many."""
        ends = self.destination.version, int(self.destination), int(self.source)
        return self.interface, self.protocol.value, *ends, self.spi

    def __str__(self) -> str:
        sa = f"{self.protocol.value} SA 0x{self.spi:08x} from {self.source} to {self.destination}"
        return f"{sa} at {self.interface}: mark 0x{self.mark:08x}"


def marks_of(sources: Iterable[IPAddress], own: Collection[IPAddress] = ()) -> Mapping[IPAddress, int]:
    """The mark of each of the sources that share SPI and destination: different ones; `OWN_MARK` of this host's own.

    A source's mark follows from its address alone, so that it has the same after a restart, and whoever comes or goes;
    only where two fall together, one in 65,535, the higher address gives way. Raises ValueError for two own sources,
    and for more of them than there are marks.
    """
    found: dict[IPAddress, int] = {}
    taken: set[int] = set()
    for source in sorted(set(sources)):
        if source in own:
            if OWN_MARK in found.values():
                raise ValueError(f"{source} is a second own source of one SPI and destination")
            found[source] = OWN_MARK
            continue
        if len(taken) == len(_VALUES):
            raise ValueError(f"there are {len(_VALUES)} marks, and more sources")
        value = _preferred(source)
        while value in taken:
            value = value % len(_VALUES) + _VALUES.start
        taken.add(value)
        found[source] = value << _SHIFT
    return found


def _preferred(source: IPAddress) -> int:
    digest = blake2b(source.packed, digest_size=8).digest()
    return _VALUES[int.from_bytes(digest, "big") % len(_VALUES)]
