"""The constraints of a GPAD entry as configuration files write them (RFC 5374 4.1.3.1 to 4.1.3.4), and tolerances.

An entry is a `[[key_servers]]` table of gmd.toml; what stands here are the tables and values within it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, PlainValidator, model_validator

from agent.config.types import ProtocolName, Seconds, Table, named, text_of
from agent.gsa.address_range import AddressRange
from agent.gsa.flow_rule import ANY_PORTS, FlowRule
from agent.gsa.gpad import LifetimeBounds, OidRule, RekeyRules
from agent.gsa.identity import IdentityKind
from agent.gsa.iec61850 import IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.pad import PadId
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES

__all__ = [
    "FlowRuleTable",
    "IecTransformName",
    "KekCipherName",
    "OidRuleName",
    "PadIdTable",
    "RekeySignatureName",
    "RekeyTable",
    "TolerancesTable",
    "lifetimes",
]

Value = TypeVar("Value")


class PadIdTable(Table):
    """Whom a GPAD entry stands for: `type` and `value`, which may name many (RFC 4301 4.4.3.1).

    `value`: an identity, or for addresses a prefix or FIRST-LAST, `.example` and `@example` for every name beneath,
    `*,O=Lab` for every distinguished name beneath.
    """

    type: Annotated[IdentityKind, named(IdentityKind)]
    value: Annotated[str, Field(strict=True, min_length=1, max_length=1024)]

    @model_validator(mode="after")
    def _parses(self) -> PadIdTable:
        try:
            self.pad_id  # noqa: B018  # asked for its error alone
        except ValueError as error:
            raise ValueError(f"value {self.value!r} is no {self.type.value}: {error}") from None
        return self

    @property
    def pad_id(self) -> PadId:
        """The ID as the heart has it."""
        return PadId.parse(self.type, self.value)


def _several(what: str) -> PlainValidator:
    """One text or an array of them."""

    def validate(value: object) -> tuple[str, ...]:
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{what} in quotes, or an array of them")
        return tuple(texts)

    return PlainValidator(validate)


_Addresses = Annotated[tuple[str, ...], _several("an address, a prefix or FIRST-LAST")]


def _ports(value: object) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise ValueError('a port, or a range of ports as in "5000-5010"')


_Ports = Annotated[str, PlainValidator(_ports)]


_GROUPS: Final = tuple(AddressRange.parse(text) for text in ("224.0.0.0/4", "ff00::/8"))
"""Every multicast address."""


class FlowRuleTable(Table):
    """Flows that a GCKS may give SAs for: from one of `source` to one of `destination`.

    `source`, `destination`: an address, a prefix, FIRST-LAST or `any`, or an array of those, of IPv4 and IPv6 together.
    `port`, `source_port`: a port or FIRST-LAST; a port left out is any port.
    """

    destination: _Addresses
    source: _Addresses = ("any",)
    protocol: ProtocolName = 0
    port: _Ports | None = None
    source_port: _Ports | None = None

    @model_validator(mode="after")
    def _parses(self) -> FlowRuleTable:
        rule = self.rule
        if any(each.overlaps(groups) and not groups.covers(each) for each in rule.destinations for groups in _GROUPS):
            raise ValueError(f"a destination is multicast or unicast as a whole, got {', '.join(self.destination)}")
        if not rule.protocol and (rule.source_ports, rule.destination_ports) != (ANY_PORTS, ANY_PORTS):
            raise ValueError("ports need a protocol that has them")
        return self

    @property
    def rule(self) -> FlowRule:
        """The rule as the heart has it."""
        return FlowRule.parse(
            self.destination, self.source, protocol=self.protocol, ports=self.port, source_ports=self.source_port
        )


def _known(table: dict[str, Value], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in table:
            raise ValueError(f"{what}: one of {', '.join(table)}")
        return text

    return parse


KekCipherName = Annotated[str, text_of(_known(KEK_CIPHERS, "a cipher of the KEK"), "the name of a cipher")]
"""A cipher of the KEK by name, e.g. `aes-cbc-256` (RFC 6407 5.3.2)."""

RekeySignatureName = Annotated[
    str, text_of(_known(REKEY_SIGNATURES, "a signature of GROUPKEY-PUSH"), "the name of a signature")
]
"""How GROUPKEY-PUSH is signed, by name, e.g. `ecdsa-256` or `rsa+sha2-256` (RFC 6407 5.3.5, 5.3.6)."""

IecTransformName = Annotated[IecTransform, text_of(IecTransform.parse, "the name of a transform of IEC 61850")]
"""A transform of an IEC 61850 SA by name, e.g. `aes-gcm-128` (RFC 8052 2.2)."""


def _oid_rule(text: str) -> OidRule:
    selector = OidSelector.parse(text)
    return OidRule(selector.oid, selector.specific if "/" in text else None)


OidRuleName = Annotated[OidRule, text_of(_oid_rule, "an object identifier")]
"""IEC 61850 traffic: an OID with every OID-specific payload, or `OID/0x...` with one (RFC 8052 2.2)."""


def lifetimes(shortest_s: int | None, longest_s: int | None) -> LifetimeBounds:
    """The bounds of two keys. Raises ValueError for bounds that leave nothing."""
    return LifetimeBounds(shortest_s or 0, longest_s)


_STRONG_CIPHERS: Final = tuple(name for name, facts in KEK_CIPHERS.items() if not facts.deprecated)
_STRONG_SIGNATURES: Final = tuple(name for name, facts in REKEY_SIGNATURES.items() if not facts.deprecated)


class RekeyTable(Table):
    """What a Rekey SA of that key server may be (RFC 6407 5.3). `destinations`: none named is any."""

    ciphers: Annotated[tuple[KekCipherName, ...], Field(min_length=1)] = _STRONG_CIPHERS
    signatures: Annotated[tuple[RekeySignatureName, ...], Field(min_length=1)] = _STRONG_SIGNATURES
    min_lifetime_s: Seconds | None = None
    max_lifetime_s: Seconds | None = None
    destinations: tuple[Annotated[AddressRange, text_of(AddressRange.parse, "an address, prefix or range")], ...] = ()

    @model_validator(mode="after")
    def _parses(self) -> RekeyTable:
        self.rules  # noqa: B018  # asked for its error alone
        return self

    @property
    def rules(self) -> RekeyRules:
        """The rules as the heart has them."""
        return RekeyRules(
            frozenset(self.ciphers),
            frozenset(self.signatures),
            lifetimes(self.min_lifetime_s, self.max_lifetime_s),
            self.destinations,
        )


class TolerancesTable(Table):
    """Where a peer differs from the letter of RFC 6407.

    `id_length_octets`: of the ID data lengths sent in SAK and SAT. `signature_key`: the form in which the key of
    GROUPKEY-PUSH's signatures is sent. `ignore_private_attributes`: pass over attributes of private ranges.
    `rfc3547`: understand a peer of that older standard.
    """

    id_length_octets: Annotated[int, Field(strict=True, ge=1, le=2)] = 1
    signature_key: Literal["spki", "pkcs1", "point"] = "spki"
    ignore_private_attributes: Annotated[bool, Field(strict=True)] = False
    rfc3547: Annotated[bool, Field(strict=True)] = False
