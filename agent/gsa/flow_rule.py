"""Data flows that a GCKS is authorised for (RFC 5374 4.1.3.4): sets of address ranges, ports from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from agent.gsa.address_range import AddressRange, merged
from agent.gsa.flow import ANY_PORT, ANY_PROTOCOL, ANY_SOURCE, Flow

__all__ = ["ANY_PORTS", "FlowRule", "PortRange"]

_ANYWHERE: Final = tuple(AddressRange.of_prefix(prefix) for prefix in ANY_SOURCE.values())


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`. Raises ValueError for ports that there are not, or upside down."""

    first: int = 0
    last: int = 0xFFFF

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= 0xFFFF:
            raise ValueError(f"ports {self.first} to {self.last} are no range within 0 to 65535")

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """From `5000` or `5000-5010`. Raises ValueError."""
        first, dash, last = str(text).partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise ValueError(f"{text!r} is no port and no range FIRST-LAST of ports")
        return cls(int(first), int(last if dash else first))

    def covers(self, port: int) -> bool:
        """Whether a flow's port is within; any port is within all ports only."""
        return self == ANY_PORTS if port == ANY_PORT else self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


ANY_PORTS: Final = PortRange()
"""Every port."""


@dataclass(frozen=True, slots=True)
class FlowRule:
    """Flows that may be: each from an address of `sources` to one of `destinations`, IPv4 and IPv6 side by side.

    `protocol`: 0 for any. Raises ValueError without sources or destinations.
    """

    destinations: tuple[AddressRange, ...]
    sources: tuple[AddressRange, ...] = _ANYWHERE
    protocol: int = ANY_PROTOCOL
    source_ports: PortRange = field(default=ANY_PORTS)
    destination_ports: PortRange = field(default=ANY_PORTS)

    def __post_init__(self) -> None:
        if not self.destinations or not self.sources:
            raise ValueError("a flow has at least one source and one destination")
        object.__setattr__(self, "destinations", merged(self.destinations))
        object.__setattr__(self, "sources", merged(self.sources))

    @classmethod
    def parse(
        cls,
        destinations: Sequence[str],
        sources: Sequence[str] = ("any",),
        *,
        protocol: int = ANY_PROTOCOL,
        ports: str | int | None = None,
        source_ports: str | int | None = None,
    ) -> Self:
        """From text: addresses, prefixes and ranges; `any` is every address of both families. Raises ValueError."""
        return cls(
            _ranges(destinations),
            _ranges(sources),
            protocol,
            ANY_PORTS if source_ports is None else PortRange.parse(source_ports),
            ANY_PORTS if ports is None else PortRange.parse(ports),
        )

    def covers(self, flow: Flow) -> bool:
        """Whether every packet of a flow may be."""
        source, destination = AddressRange.of_prefix(flow.source), AddressRange.of_prefix(flow.destination)
        return (
            any(mine.covers(source) for mine in self.sources)
            and any(mine.covers(destination) for mine in self.destinations)
            and self.protocol in (ANY_PROTOCOL, flow.protocol)
            and self.source_ports.covers(flow.source_port)
            and self.destination_ports.covers(flow.destination_port)
        )


def _ranges(texts: Sequence[str]) -> tuple[AddressRange, ...]:
    found: list[AddressRange] = []
    for text in texts:
        found.extend(_ANYWHERE if text == "any" else (AddressRange.parse(text),))
    return tuple(found)
