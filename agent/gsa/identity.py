"""Who is who: identities of GCKSs and GMs, and group identifiers.

Identity types are the six of the PAD (RFC 4301 4.4.3.1) and of RFC 2407 4.6.2. Group identifiers are of type Key ID,
4 to 255 octets (RFC 5374 4.1.3.3), four octets in GDOI (RFC 6407 5.1); they may be of any other ID type (RFC 8052 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import total_ordering
from typing import Final, Literal, Self

from netaddr import AddrFormatError, IPAddress, IPNetwork

from agent.gsa.oid import OidSelector

__all__ = ["GroupId", "GroupIdKind", "Identity", "IdentityKind"]


class IdentityKind(Enum):
    """Identity types by the names configuration files use."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    FQDN = "fqdn"
    USER_FQDN = "user-fqdn"
    DN = "dn"
    KEY_ID = "key-id"


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity, authenticated or asserted: `octets` is the wire form of its type's data.

    IPV4 4 octets, IPV6 16, FQDN and USER_FQDN ASCII without terminator, DN the DER of a Name as the certificate
    has it, KEY_ID opaque. Compared octet for octet, names without regard to ASCII case (RFC 4301 4.4.3.1).
    """

    kind: IdentityKind
    octets: bytes

    def __post_init__(self) -> None:
        lengths = {IdentityKind.IPV4: 4, IdentityKind.IPV6: 16}
        want = lengths.get(self.kind)
        if want is not None and len(self.octets) != want:
            raise ValueError(f"an identity of type {self.kind.value} has {want} octets, not {len(self.octets)}")
        if not self.octets:
            raise ValueError("an identity is not empty")
        if self.kind in (IdentityKind.FQDN, IdentityKind.USER_FQDN):
            if not self.octets.isascii() or not self.octets.decode("ascii", "replace").isprintable():
                raise ValueError("a name is printable ASCII")
            object.__setattr__(self, "octets", self.octets.lower())

    @classmethod
    def of_address(cls, address: IPAddress) -> Identity:
        """The identity that is an address."""
        kind = IdentityKind.IPV4 if address.version == 4 else IdentityKind.IPV6
        return cls(kind, address.packed)

    @classmethod
    def parse(cls, kind: IdentityKind, text: str) -> Identity:
        """From a configuration file: addresses and names as text; DN (DER) and KEY_ID as hex after `0x`.

        A KEY_ID without `0x` is taken as its ASCII octets. Raises ValueError.
        """
        if kind in (IdentityKind.IPV4, IdentityKind.IPV6):
            try:
                identity = cls.of_address(IPAddress(text))
            except AddrFormatError as error:
                raise ValueError(f"{text!r} is no address") from error
            if identity.kind is not kind:
                raise ValueError(f"{text!r} is no {kind.value} address")
            return identity
        if text.startswith("0x") and kind in (IdentityKind.DN, IdentityKind.KEY_ID):
            return cls(kind, bytes.fromhex(text[2:]))
        if kind is IdentityKind.DN:
            from cryptography import x509  # deferred: most hosts name no DN, and x509 is slow to load

            try:
                octets = x509.Name.from_rfc4514_string(text).public_bytes()
                x509.Name.from_bytes(octets)  # the library writes more than it reads: a country with an umlaut
            except ValueError as error:
                raise ValueError(f"{text!r} is no distinguished name like CN=gcks,O=Example,C=DE") from error
            return cls(kind, octets)
        return cls(kind, text.encode("ascii", "strict"))

    def __str__(self) -> str:
        if self.kind in (IdentityKind.IPV4, IdentityKind.IPV6):
            value = str(IPAddress(int.from_bytes(self.octets), 4 if len(self.octets) == 4 else 6))
        elif self.kind in (IdentityKind.FQDN, IdentityKind.USER_FQDN):
            value = self.octets.decode("ascii")
        elif self.kind is IdentityKind.KEY_ID and self.octets.isascii() and self.octets.decode().isprintable():
            value = self.octets.decode()
        else:
            value = "0x" + self.octets.hex()
        return f"{self.kind.value}:{value}"


class GroupIdKind(Enum):
    """ID types of a group identifier (RFC 6407 5.1, RFC 8052 4) by the names configuration files use."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    KEY_ID = "key-id"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    IPV4_SUBNET = "ipv4-subnet"
    IPV6_SUBNET = "ipv6-subnet"
    IPV4_RANGE = "ipv4-range"
    IPV6_RANGE = "ipv6-range"
    FQDN = "fqdn"
    USER_FQDN = "user-fqdn"
    DN = "dn"
    GN = "gn"
    LIST = "list"
    OID = "oid"


_NUMBER_OCTETS: Final = 4
_LENGTHS: Final = {
    GroupIdKind.IPV4: 4,
    GroupIdKind.IPV6: 16,
    GroupIdKind.IPV4_SUBNET: 8,
    GroupIdKind.IPV6_SUBNET: 32,
    GroupIdKind.IPV4_RANGE: 8,
    GroupIdKind.IPV6_RANGE: 32,
}
_SUBNETS: Final = frozenset({GroupIdKind.IPV4_SUBNET, GroupIdKind.IPV6_SUBNET})
_NAMES: Final = frozenset({GroupIdKind.FQDN, GroupIdKind.USER_FQDN})
_MAX_OCTETS: Final = 0xFFFF - 8
"""What an ID payload of ISAKMP holds besides its header."""


@total_ordering
@dataclass(frozen=True, slots=True)
class GroupId:
    """A group identifier: `octets` is what an ID payload of type `kind` has as its data, compared octet for octet.

    GDOI's mandatory form is a Key ID of 4 octets and prints as a number. `str()` gives what `parse` reads, and no two
    identifiers have one text. Raises ValueError for octets that the type cannot have.
    """

    octets: bytes
    kind: GroupIdKind = GroupIdKind.KEY_ID

    def __post_init__(self) -> None:
        if self.kind is GroupIdKind.KEY_ID and not 4 <= len(self.octets) <= 255:
            raise ValueError(f"a group identifier has 4 to 255 octets, not {len(self.octets)}")
        want = _LENGTHS.get(self.kind)
        if want is not None and len(self.octets) != want:
            raise ValueError(f"a group identifier of type {self.kind.value} has {want} octets, not {len(self.octets)}")
        if want is not None:
            _addresses(self.kind, self.octets)
        if not 0 < len(self.octets) <= _MAX_OCTETS:
            raise ValueError(f"a group identifier has 1 to {_MAX_OCTETS} octets, not {len(self.octets)}")
        if self.kind in _NAMES and not (self.octets.isascii() and self.octets.decode("ascii").isprintable()):
            raise ValueError("a name is printable ASCII")
        if self.kind is GroupIdKind.OID:
            OidSelector.of_octets(self.octets)

    @classmethod
    def of_number(cls, number: int) -> Self:
        """The 4-octet identifier of a number, 0 to 2**32 - 1 (RFC 6407 5.1)."""
        return cls(number.to_bytes(_NUMBER_OCTETS))

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """From a configuration file. Raises ValueError.

        A number is the 4-octet Key ID, `0x` and hexadecimal digits are a Key ID of any length. All others have their
        type before a colon: `ipv4:239.1.1.1`, `ipv4-subnet:239.1.0.0/16`, `ipv6-range:ff3e::1-ff3e::9`,
        `fqdn:video.example`, `dn:CN=video,O=Example`, `oid:1.2.840.10070.61850.8.1.2/0x0404e9fc0001`; `dn`, `gn` and
        `list` also in hexadecimal.
        """
        text = str(text)
        if text.isascii() and text.isdecimal():
            if int(text) >= 1 << 8 * _NUMBER_OCTETS:
                raise ValueError(f"group {text} is more than 4294967295")
            return cls.of_number(int(text))
        if text.startswith("0x"):
            return cls(_unhexlify(text))
        name, colon, value = text.partition(":")
        try:
            kind = GroupIdKind(name)
        except ValueError:
            kind = None
        if kind is None or not colon:
            kinds = ", ".join(kind.value for kind in GroupIdKind)
            raise ValueError(f"{text!r} is no number, no 0x... and no TYPE:VALUE with a TYPE of {kinds}")
        return cls(_group_octets(kind, value), kind)

    def __lt__(self, other: GroupId) -> bool:
        return (self.kind.value, self.octets) < (other.kind.value, other.octets)

    def __str__(self) -> str:
        octets = self.octets
        if self.kind is GroupIdKind.KEY_ID:
            return str(int.from_bytes(octets)) if len(octets) == _NUMBER_OCTETS else f"0x{octets.hex()}"
        if self.kind in _LENGTHS:
            value = _address_text(self.kind, octets)
        elif self.kind in _NAMES:
            value = octets.decode("ascii")
        elif self.kind is GroupIdKind.OID:
            value = str(OidSelector.of_octets(octets))
        else:
            value = f"0x{octets.hex()}"
        return f"{self.kind.value}:{value}"


def _unhexlify(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise ValueError(f"{text!r} is no row of octets in hexadecimal") from None


def _group_octets(kind: GroupIdKind, value: str) -> bytes:
    """The data of a type from its text. Raises ValueError."""
    if kind in _LENGTHS:
        return _address_octets(kind, value)
    if kind in _NAMES:
        return value.encode("ascii")
    if kind is GroupIdKind.OID:
        return OidSelector.parse(value).octets
    if kind is GroupIdKind.DN and not value.startswith("0x"):
        return Identity.parse(IdentityKind.DN, value).octets
    return _unhexlify(value)


def _address_octets(kind: GroupIdKind, value: str) -> bytes:
    family, _, form = kind.value.partition("-")
    try:
        if form == "subnet":
            prefix = IPNetwork(value)
            found = [prefix.network, prefix.netmask]
            if prefix.ip != prefix.network:
                raise ValueError(f"{value} has host bits set")
        else:
            found = [IPAddress(part) for part in (value.split("-") if form == "range" else [value])]
    except AddrFormatError as error:
        raise ValueError(f"{value!r} is no {kind.value}: {error}") from error
    octets = b"".join(address.packed for address in found)
    if any(f"ipv{address.version}" != family for address in found) or len(octets) != _LENGTHS[kind]:
        raise ValueError(f"{value!r} is no {kind.value}")
    return octets


def _addresses(kind: GroupIdKind, octets: bytes) -> list[IPAddress]:
    """The address, the address and mask, or the ends of the range. Raises ValueError when two do not go together."""
    version: Literal[4, 6] = 4 if kind.value.startswith("ipv4") else 6
    size = 4 if version == 4 else 16
    found = [IPAddress(int.from_bytes(octets[at : at + size]), version) for at in range(0, len(octets), size)]
    if kind in _SUBNETS and (not found[1].is_netmask() or found[0] & found[1] != found[0]):
        raise ValueError(f"{found[0]} with mask {found[1]} is no subnet")
    if found[0] > found[-1] and kind not in _SUBNETS:
        raise ValueError(f"range {found[0]} to {found[-1]} is upside down")
    return found


def _address_text(kind: GroupIdKind, octets: bytes) -> str:
    found = _addresses(kind, octets)
    return f"{found[0]}/{found[1].netmask_bits()}" if kind in _SUBNETS else "-".join(map(str, found))
