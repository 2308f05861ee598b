"""Selectors: which packets a policy or an SA is for (RFC 4301 4.4.1.1)."""

from __future__ import annotations

from functools import cache
from typing import Final

from xfrm.address import AF_OF_OCTETS, Address, Prefix
from xfrm.constants import Family
from xfrm.control_structs import XfrmAddressFilter
from xfrm.errors import DecodeError, EncodeError
from xfrm.record import record
from xfrm.structs import SELECTOR, XfrmSelector

__all__ = ["AddressFilter", "Selector"]

_EXACT = 0xFFFF


@record
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
        if len(self.source.address.octets) != len(self.destination.address.octets):
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
        return SELECTOR.unpack(self.encode())

    def encode(self) -> bytes:
        """The octets of the struct. Raises EncodeError."""
        source, destination = self.source, self.destination
        source_octets, destination_octets = source.address.octets, destination.address.octets
        source_port, destination_port = self.source_port, self.destination_port
        return _pack_selector()(
            destination_octets,
            source_octets,
            destination_port or 0,
            0 if destination_port is None else self.destination_port_mask,
            source_port or 0,
            0 if source_port is None else self.source_port_mask,
            AF_OF_OCTETS[len(destination_octets)],
            destination.length,
            source.length,
            self.protocol,
            self.ifindex,
            self.user,
        )

    @classmethod
    def from_uapi(cls, record: XfrmSelector, family: int = Family.AF_UNSPEC) -> Selector:
        """From the uapi record; `family` is taken where the record has none. Raises DecodeError."""
        daddr, saddr, dport, dport_mask, sport, sport_mask, own_family, bits_d, bits_s, proto, ifindex, user = record
        family = own_family or family
        try:
            source = Prefix(Address.from_wire(family, saddr), bits_s)
            destination = Prefix(Address.from_wire(family, daddr), bits_d)
        except EncodeError as error:
            raise DecodeError(f"struct xfrm_selector: {error}") from None
        return cls(
            source,
            destination,
            proto,
            sport if sport_mask else None,
            dport if dport_mask else None,
            sport_mask or _EXACT,
            dport_mask or _EXACT,
            ifindex,
            user,
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


_pack_selector: Final = cache(SELECTOR.packer)


@record
class AddressFilter:
    """struct xfrm_address_filter: a dump shows SAs whose source and destination are in these prefixes only.

    Raises EncodeError where the families differ.
    """

    source: Prefix
    destination: Prefix

    def __post_init__(self) -> None:
        if len(self.source.address.octets) != len(self.destination.address.octets):
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")

    @classmethod
    def of(cls, source: str, destination: str) -> AddressFilter:
        """From text: prefixes or addresses. Raises EncodeError."""
        return cls(Prefix.of(source), Prefix.of(destination))

    def to_uapi(self) -> XfrmAddressFilter:
        """The uapi record."""
        source, destination = self.source, self.destination
        return XfrmAddressFilter(
            source.address.octets, destination.address.octets, destination.family, source.length, destination.length
        )

    @classmethod
    def from_uapi(cls, record: XfrmAddressFilter) -> AddressFilter:
        """From the uapi record. Raises DecodeError."""
        try:
            source = Prefix(Address.from_wire(record.family, record.saddr), record.splen)
            destination = Prefix(Address.from_wire(record.family, record.daddr), record.dplen)
        except EncodeError as error:
            raise DecodeError(f"struct xfrm_address_filter: {error}") from None
        return cls(source, destination)

    def __str__(self) -> str:
        return f"src {self.source} dst {self.destination}"
