"""Addresses and prefixes that know their family.

The kernel's xfrm_address_t has 16 octets and no family: that comes from another field, and is passed here, never
guessed from zero octets (2001:db8:: would read as IPv4).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from xfrm.constants import Family
from xfrm.errors import DecodeError, EncodeError
from xfrm.record import record

__all__ = ["AF_OF_OCTETS", "Address", "HasPacked", "Prefix", "demand_one_family"]

_OCTETS: Final[dict[int, int]] = {Family.AF_INET: 4, Family.AF_INET6: 16}
AF_OF_OCTETS: Final[dict[int, Family]] = {4: Family.AF_INET, 16: Family.AF_INET6}
"""Families by the octets of their addresses."""


class HasPacked(Protocol):
    """An address object of another library (ipaddress, netaddr): `packed` is 4 or 16 octets, network order."""

    @property
    def packed(self) -> bytes:
        """The address's octets."""


@record(order=True)
class Address:
    """An IPv4 or IPv6 address: `octets`, 4 or 16, network order. Raises EncodeError for any other length."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) not in AF_OF_OCTETS:
            raise EncodeError(f"an address has 4 or 16 octets, not {len(self.octets)}")

    @classmethod
    def of(cls, value: str | HasPacked | Address) -> Address:
        """From text or from another library's address object. Raises EncodeError for text that is no address."""
        if isinstance(value, Address):
            return value
        if not isinstance(value, str):
            return cls(value.packed)
        from socket import inet_pton  # not at the top, for socket loads much that only sockets need

        try:
            return cls(inet_pton(Family.AF_INET6 if ":" in value else Family.AF_INET, value))
        except (OSError, ValueError):
            raise EncodeError(f"{value!r} is no IPv4 or IPv6 address") from None

    @classmethod
    def any(cls, family: int) -> Address:
        """The unspecified address of a family, 0.0.0.0 or ::. Raises EncodeError for other families."""
        size = _OCTETS.get(family)
        if size is None:
            raise EncodeError(f"address family {family} is neither AF_INET nor AF_INET6")
        return cls(bytes(size))

    @classmethod
    def from_wire(cls, family: int, octets: bytes) -> Address:
        """From an xfrm_address_t and the family that came with it. Raises DecodeError for other families."""
        return _from_wire(family, octets)

    @property
    def family(self) -> Family:
        """AF_INET or AF_INET6."""
        return AF_OF_OCTETS[len(self.octets)]

    @property
    def bits(self) -> int:
        """The address's width, 32 or 128."""
        return 8 * len(self.octets)

    @property
    def is_any(self) -> bool:
        """Whether it is the unspecified address."""
        return not any(self.octets)

    @property
    def is_multicast(self) -> bool:
        """Whether it is in 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291 2.7)."""
        first = self.octets[0]
        return first >> 4 == 0xE if len(self.octets) == 4 else first == 0xFF

    def __str__(self) -> str:
        from socket import inet_ntop

        return inet_ntop(self.family, self.octets)

    def __repr__(self) -> str:
        return f"Address.of('{self}')"


def demand_one_family(**addresses: Address) -> None:
    """Raise EncodeError where the addresses, given by what they are, differ in family: one of them would be misread."""
    (first, one), *others = addresses.items()
    for name, other in others:
        if len(other.octets) != len(one.octets):
            raise EncodeError(f"{first} {one} and {name} {other} differ in family")


# An entry names its addresses twice, and the entries of a database have many addresses in common.
@lru_cache(maxsize=1024)
def _from_wire(family: int, octets: bytes) -> Address:
    size = _OCTETS.get(family)
    if size is None:
        raise DecodeError(f"address family {family} is neither AF_INET nor AF_INET6")
    return Address(octets[:size])


@record(order=True)
class Prefix:
    """An address prefix: `length` bits of `address`. Host bits are kept as given: the kernel ignores them.

    Raises EncodeError where the length is not in the family's range.
    """

    address: Address
    length: int

    def __post_init__(self) -> None:
        if not 0 <= self.length <= 8 * len(self.address.octets):
            raise EncodeError(f"a prefix of {self.address} has 0 to {self.address.bits} bits, not {self.length}")

    @classmethod
    def of(cls, text: str) -> Prefix:
        """From `address/length`, or an address alone for the whole of it. Raises EncodeError."""
        before, slash, after = text.partition("/")
        address = Address.of(before)
        if not slash:
            return cls.host(address)
        if not (after.isascii() and after.isdigit()):
            raise EncodeError(f"{text!r} is no prefix")
        return cls(address, int(after))

    @classmethod
    def host(cls, address: Address) -> Prefix:
        """The prefix that holds this address only."""
        return cls(address, address.bits)

    @classmethod
    def any(cls, family: int) -> Prefix:
        """The prefix of all addresses of a family. Raises EncodeError for other families."""
        return cls(Address.any(family), 0)

    @property
    def family(self) -> Family:
        """AF_INET or AF_INET6."""
        return self.address.family

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"
