"""Selectors: which packets a policy or an SA is for (RFC 4301 4.4.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

from xfrm.address import Address, Prefix
from xfrm.constants import Family
from xfrm.errors import DecodeError, EncodeError
from xfrm.structs import XfrmSelector

__all__ = ["Selector"]

_EXACT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Selector:
    """struct xfrm_selector: prefixes of one family, upper protocol and ports, interface and user.

    `protocol`: IP protocol number, 0 for any. `source_port`, `destination_port`: None for any; for ICMP they are type
    and code; `*_port_mask`: which bits of the port count. `ifindex`: 0 for any; `user`: uid, 0 for any.
    Raises EncodeError where the families differ.
    """

    source: Prefix
    destination: Prefix
    protocol: int = 0
    source_port: int | None = None
    destination_port: int | None = None
    source_port_mask: int = _EXACT
    destination_port_mask: int = _EXACT
    ifindex: int = 0
    user: int = 0

    def __post_init__(self) -> None:
        if self.source.family is not self.destination.family:
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")

    @classmethod
    def of(cls, source: str, destination: str, protocol: int = 0, *, destination_port: int | None = None) -> Selector:
        """From text: prefixes or addresses. Raises EncodeError."""
        return cls(Prefix.of(source), Prefix.of(destination), protocol, destination_port=destination_port)

    @property
    def family(self) -> Family:
        """AF_INET or AF_INET6."""
        return self.destination.family

    def to_uapi(self) -> XfrmSelector:
        """The uapi record."""
        has_source, has_destination = self.source_port is not None, self.destination_port is not None
        return XfrmSelector(
            self.destination.address.octets,
            self.source.address.octets,
            self.destination_port or 0,
            self.destination_port_mask if has_destination else 0,
            self.source_port or 0,
            self.source_port_mask if has_source else 0,
            self.family,
            self.destination.length,
            self.source.length,
            self.protocol,
            self.ifindex,
            self.user,
        )

    @classmethod
    def from_uapi(cls, record: XfrmSelector, family: int = Family.AF_UNSPEC) -> Selector:
        """From the uapi record; `family` is taken where the record has none. Raises DecodeError."""
        family = record.family or family
        try:
            source = Prefix(Address.from_wire(family, record.saddr), record.prefixlen_s)
            destination = Prefix(Address.from_wire(family, record.daddr), record.prefixlen_d)
        except EncodeError as error:
            raise DecodeError(f"struct xfrm_selector: {error}") from None
        return cls(
            source,
            destination,
            record.proto,
            record.sport if record.sport_mask else None,
            record.dport if record.dport_mask else None,
            record.sport_mask or _EXACT,
            record.dport_mask or _EXACT,
            record.ifindex,
            record.user,
        )

    def __str__(self) -> str:
        parts = [f"src {self.source} dst {self.destination}"]
        if self.protocol:
            parts.append(f"proto {self.protocol}")
        if self.source_port is not None:
            parts.append(f"sport {self.source_port}")
        if self.destination_port is not None:
            parts.append(f"dport {self.destination_port}")
        return " ".join(parts)
