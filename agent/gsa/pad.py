"""IDs of PAD entries and how they match an asserted identity (RFC 4301 4.4.3.1, RFC 5374 4.1.3.1).

The text of an ID says whom it names; names below another are asked for as the standard suggests:

    ipv4, ipv6   an address, a prefix, or FIRST-LAST
    fqdn         gcks.example, or .example for every name beneath
    user-fqdn    a@b.example, or @b.example for everybody there
    dn           CN=ks,O=Lab,C=DE; *,O=Lab,C=DE for every name beneath; CN=*,O=Lab,C=DE for any value of one attribute
    key-id       exactly that one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from netaddr import IPAddress

from agent.gsa.address_range import AddressRange
from agent.gsa.identity import Identity, IdentityKind

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["PadId"]

_ADDRESSES: Final = {IdentityKind.IPV4: 4, IdentityKind.IPV6: 6}
_BENEATH: Final = {IdentityKind.FQDN: ".", IdentityKind.USER_FQDN: "@"}
_ANY_VALUE: Final = "*"
_SUBTREE: Final = "*,"

_Rdn = frozenset[tuple[str, str]]
"""A relative distinguished name: each attribute's type in dotted form, and its value made comparable."""


class _Rule(Protocol):
    """What an ID asks of the octets of an identity of its type."""

    def matches(self, octets: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Exactly:
    octets: bytes

    def matches(self, octets: bytes) -> bool:
        return octets == self.octets


@dataclass(frozen=True, slots=True)
class _Within:
    range: AddressRange

    def matches(self, octets: bytes) -> bool:
        address = IPAddress(int.from_bytes(octets), 4 if len(octets) == 4 else 6)
        return self.range.covers(AddressRange.of_address(address))


@dataclass(frozen=True, slots=True)
class _Beneath:
    suffix: bytes

    def matches(self, octets: bytes) -> bool:
        return octets.endswith(self.suffix) and len(octets) > len(self.suffix)


@dataclass(frozen=True, slots=True)
class _Name:
    """`rdns`: from the top of the tree down, as DER has them. `subtree`: names with more below match, too."""

    rdns: tuple[_Rdn, ...]
    subtree: bool

    def matches(self, octets: bytes) -> bool:
        try:
            asserted = _rdns_of_der(octets)
        except ValueError:
            return False
        if len(asserted) < len(self.rdns) or (len(asserted) > len(self.rdns) and not self.subtree):
            return False
        return all(_rdn_matches(mine, theirs) for mine, theirs in zip(self.rdns, asserted, strict=False))


@dataclass(frozen=True, slots=True)
class PadId:
    """The ID of a PAD or GPAD entry: one identity, or all of a sub-tree or range. `text`: as the operator wrote it."""

    kind: IdentityKind
    text: str
    _rule: _Rule

    @classmethod
    def parse(cls, kind: IdentityKind, text: str) -> Self:
        """From a configuration file. Raises ValueError."""
        return cls(kind, text, _rule_of(kind, text))

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """The ID that names one identity, octet for octet."""
        return cls(identity.kind, str(identity).partition(":")[2], _Exactly(identity.octets))

    def matches(self, identity: Identity) -> bool:
        """Whether an authenticated identity is one of those named."""
        return identity.kind is self.kind and self._rule.matches(identity.octets)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.text}"


def _rule_of(kind: IdentityKind, text: str) -> _Rule:
    if kind in _ADDRESSES:
        found = AddressRange.parse(text)
        if found.first.version != _ADDRESSES[kind]:
            raise ValueError(f"{text!r} is no {kind.value} address, prefix or range")
        return _Within(found)
    mark = _BENEATH.get(kind)
    if mark is not None and text.startswith(mark):
        return _Beneath(mark.encode() + Identity.parse(kind, text[1:]).octets)
    if mark is not None and _ANY_VALUE in text:
        raise ValueError(f"{text!r}: write {mark}example for every name of example, without {_ANY_VALUE}")
    if kind is IdentityKind.DN and not text.startswith("0x"):
        subtree = text.startswith(_SUBTREE)
        return _Name(_rdns_of_text(text.removeprefix(_SUBTREE)), subtree)
    return _Exactly(Identity.parse(kind, text).octets)


def _rdn_matches(mine: _Rdn, theirs: _Rdn) -> bool:
    if sorted(name for name, _ in mine) != sorted(name for name, _ in theirs):
        return False
    return all(value == _ANY_VALUE or (name, value) in theirs for name, value in mine)


def _rdns_of_text(text: str) -> tuple[_Rdn, ...]:
    from cryptography import x509  # deferred: most hosts name no DN, and x509 is slow to load

    try:
        rdns = _comparable(x509.Name.from_rfc4514_string(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no distinguished name like CN=gcks,O=Example,C=DE") from error
    if not rdns:
        raise ValueError("a distinguished name that names nobody")
    return rdns


def _rdns_of_der(der: bytes) -> tuple[_Rdn, ...]:
    from cryptography import x509  # deferred, as above

    from agent.crypto.quiet import legible

    with legible():
        return _comparable(x509.Name.from_bytes(der))


def _comparable(name: x509.Name) -> tuple[_Rdn, ...]:
    """Values without regard to case, inner spaces and string type, as RFC 5280 7.1 compares names."""
    return tuple(frozenset((item.oid.dotted_string, _folded(item.value)) for item in rdn) for rdn in name.rdns)


def _folded(value: str | bytes) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else " ".join(value.split()).casefold()
