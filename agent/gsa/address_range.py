"""Address ranges: one address, a prefix or any two ends (RFC 4301 4.4.1.1, 4.4.3.1), in one text form for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from netaddr import AddrFormatError, IPAddress, IPNetwork

__all__ = ["AddressRange", "merged"]


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """Every address from `first` to `last`, both of one family. Raises ValueError when they are not, or upside down."""

    first: IPAddress
    last: IPAddress

    def __post_init__(self) -> None:
        if self.first.version != self.last.version:
            raise ValueError(f"{self.first} and {self.last} differ in family")
        if self.first > self.last:
            raise ValueError(f"{self.first} is behind {self.last}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `192.0.2.1`, `192.0.2.0/24` or `192.0.2.1-192.0.2.9`, IPv6 likewise. Raises ValueError."""
        try:
            first, dash, last = text.partition("-")
            if dash:
                return cls(IPAddress(first.strip()), IPAddress(last.strip()))
            prefix = IPNetwork(text)
        except AddrFormatError as error:
            raise ValueError(f"{text!r} is no address, prefix or FIRST-LAST: {error}") from error
        if prefix.ip != prefix.network:
            raise ValueError(f"{text} has host bits set")
        return cls.of_prefix(prefix)

    @classmethod
    def of_prefix(cls, prefix: IPNetwork) -> Self:
        """All addresses of a prefix."""
        return cls(IPAddress(prefix.first, prefix.version), IPAddress(prefix.last, prefix.version))

    @classmethod
    def of_address(cls, address: IPAddress) -> Self:
        """The trivial range."""
        return cls(address, address)

    def covers(self, other: AddressRange) -> bool:
        """Whether every address of `other` is in this range."""
        return self.first.version == other.first.version and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: AddressRange) -> bool:
        """Whether some address is in both."""
        return self.first.version == other.first.version and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def merged(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """The same addresses in as few ranges as there can be, so that what two adjoining ones cover together one does."""
    result: list[AddressRange] = []
    for item in sorted(ranges, key=lambda item: (item.first.version, int(item.first))):
        held = result[-1] if result else None
        if held is not None and held.first.version == item.first.version and int(item.first) <= int(held.last) + 1:
            result[-1] = AddressRange(held.first, max(held.last, item.last))
        else:
            result.append(item)
    return tuple(result)
