"""Who is who: identities of GCKSs and GMs, and group identifiers.

Identity types are the six of the PAD (RFC 4301 4.4.3.1) and of RFC 2407 4.6.2; group identifiers are of type Key ID,
4 to 255 octets (RFC 5374 4.1.3.3), four octets in GDOI (RFC 6407 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from netaddr import AddrFormatError, IPAddress

__all__ = ["GroupId", "Identity", "IdentityKind"]


class IdentityKind(Enum):
    """Identity types by the names configuration files use."""

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

            return cls(kind, x509.Name.from_rfc4514_string(text).public_bytes())
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


@dataclass(frozen=True, slots=True, order=True)
class GroupId:
    """A group identifier of type Key ID. GDOI's mandatory form is 4 octets and prints as a number."""

    octets: bytes

    def __post_init__(self) -> None:
        if not 4 <= len(self.octets) <= 255:
            raise ValueError(f"a group identifier has 4 to 255 octets, not {len(self.octets)}")

    @classmethod
    def of_number(cls, number: int) -> GroupId:
        """The 4-octet identifier of a number, 0 to 2**32 - 1 (RFC 6407 5.1)."""
        return cls(number.to_bytes(4))

    def __str__(self) -> str:
        if len(self.octets) == 4:
            return str(int.from_bytes(self.octets))
        return "0x" + self.octets.hex()
