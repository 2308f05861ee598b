"""Where datagrams come from and go to."""

from __future__ import annotations

from dataclasses import dataclass, field

from netaddr import IPAddress

__all__ = ["Datagram", "Endpoint"]


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address with its UDP port. Raises ValueError for a port outside 0 to 65535."""

    address: IPAddress
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise ValueError(f"port {self.port} is not in 0 to 65535")

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram to send: `payload` from `source`, which is ours, to `to`."""

    payload: bytes = field(repr=False)
    to: Endpoint
    source: Endpoint
