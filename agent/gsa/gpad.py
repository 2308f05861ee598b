"""The Group Peer Authorization Database (GPAD, RFC 5374 4.1.3): what each GCKS may say to this member.

Used in order: look the authenticated GCKS up, with the method by which it proved itself; check that its entry lists the
group before the group is named to it; check every SA it gives against the entry. What the entry does not allow is
thrown away, and the refusal, a value, goes to the audit log. The data that a GCKS proves itself by (key, trust anchor)
is with the key management protocol's credentials, which belong to one key server as its entry does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from agent.gsa.address_range import AddressRange
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.iec61850 import AUTHENTICATING_IEC_TRANSFORMS, Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.pad import PadId
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES
from agent.gsa.sa import DataSA, GroupSA, Mode, RekeySA

__all__ = [
    "Covering",
    "Gpad",
    "GpadEntry",
    "GpadRefusal",
    "GpadRule",
    "LifetimeBounds",
    "OidRule",
    "PeerMethod",
    "RekeyRules",
]

_LIFETIME_TOLERANCE_S = 1.0


class PeerMethod(Enum):
    """How a GCKS authenticates (RFC 4301 4.4.3.2), by the name in configuration files."""

    PRE_SHARED_KEY = "psk"
    RSA = "rsa"
    ECDSA = "ecdsa"

    @classmethod
    def of(cls, name: str) -> PeerMethod:
        """The method by a key management protocol's name for it, which may end in a key's size: `ecdsa-256`.

        Raises ValueError for any other.
        """
        return cls(name.partition("-")[0])


class GpadRule(Enum):
    """Which rule of the GPAD was broken."""

    GCKS = "gcks"
    METHOD = "method"
    GROUP = "group"
    FLOW = "flow"
    TRANSFORM = "transform"
    MODE = "mode"
    LIFETIME = "lifetime"
    SELECTOR = "selector"
    REKEY_CIPHER = "rekey-cipher"
    REKEY_SIGNATURE = "rekey-signature"
    REKEY_LIFETIME = "rekey-lifetime"
    REKEY_DESTINATION = "rekey-destination"


@dataclass(frozen=True, slots=True)
class GpadRefusal:
    """One thing that the GPAD does not allow; `str()` is the sentence for operators and the audit log.

    `entry`: name of the entry, None when no entry has the GCKS. `subject`: the SA it is about, empty for the whole.
    """

    rule: GpadRule
    entry: str | None
    subject: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}" if self.subject else self.reason


class Covering(Protocol):
    """Flows that may be: a Flow, or a FlowRule (RFC 5374 4.1.3.4)."""

    def covers(self, other: Flow, /) -> bool:
        """Whether every packet of `other` may be."""


@dataclass(frozen=True, slots=True)
class LifetimeBounds:
    """The lifetimes accepted, in seconds; `longest` None for no limit, which also takes an SA without end.

    Raises ValueError for bounds that leave nothing.
    """

    shortest_s: int = 0
    longest_s: int | None = None

    def __post_init__(self) -> None:
        if self.shortest_s < 0 or (self.longest_s is not None and self.longest_s < max(1, self.shortest_s)):
            raise ValueError(f"lifetimes from {self.shortest_s} to {self.longest_s} s are none")

    def fault(self, expires: float | None, received: float, entry: str) -> str | None:
        """What is wrong with an SA that ends at `expires`, None when nothing is."""
        lifetime_s = math.inf if expires is None else expires - received
        given = "no end" if expires is None else f"a lifetime of {lifetime_s:.0f} s"
        if self.longest_s is not None and lifetime_s > self.longest_s + _LIFETIME_TOLERANCE_S:
            return f"it has {given}, GPAD entry {entry!r} allows {self.longest_s} s"
        if lifetime_s < self.shortest_s - _LIFETIME_TOLERANCE_S:
            return f"it has {given}, GPAD entry {entry!r} wants {self.shortest_s} s at least"
        return None


@dataclass(frozen=True, slots=True)
class OidRule:
    """IEC 61850 traffic that a GCKS may give SAs for; `specific` None for every OID-Specific payload.

    Raises ValueError for what is no OID.
    """

    oid: str
    specific: bytes | None = None

    def __post_init__(self) -> None:
        OidSelector(self.oid, self.specific or b"")

    def covers(self, selector: OidSelector) -> bool:
        """Whether that traffic is meant."""
        return selector.oid == self.oid and self.specific in (None, selector.specific)


@dataclass(frozen=True, slots=True)
class RekeyRules:
    """What a Rekey SA may be (RFC 6407 5.3). `ciphers`, `signatures`: names of KEK_CIPHERS and REKEY_SIGNATURES.

    `destinations`: where GROUPKEY-PUSH datagrams may go, empty for anywhere. Raises ValueError for an unknown name.
    """

    ciphers: frozenset[str] = frozenset(name for name, cipher in KEK_CIPHERS.items() if not cipher.deprecated)
    signatures: frozenset[str] = frozenset(name for name, facts in REKEY_SIGNATURES.items() if not facts.deprecated)
    lifetimes: LifetimeBounds = LifetimeBounds()
    destinations: tuple[AddressRange, ...] = ()

    def __post_init__(self) -> None:
        for names, known in ((self.ciphers, KEK_CIPHERS), (self.signatures, REKEY_SIGNATURES)):
            for name in names - known.keys():
                raise ValueError(f"{name!r} is none of {', '.join(known)}")

    def faults(self, rekey: RekeySA, received: float, entry: str) -> Iterator[tuple[GpadRule, str]]:
        """What of a Rekey SA is not allowed."""
        if rekey.key_algorithm not in self.ciphers:
            yield GpadRule.REKEY_CIPHER, _unaccepted(f"KEK algorithm {rekey.key_algorithm}", entry, self.ciphers)
        if str(rekey.signature) not in self.signatures:
            yield GpadRule.REKEY_SIGNATURE, _unaccepted(f"signature {rekey.signature}", entry, self.signatures)
        target = AddressRange.of_address(rekey.destination)
        if self.destinations and not any(mine.covers(target) for mine in self.destinations):
            yield (
                GpadRule.REKEY_DESTINATION,
                f"destination {rekey.destination} lies outside the rekey destinations of GPAD entry {entry!r}",
            )
        fault = self.lifetimes.fault(rekey.expires, received, entry)
        if fault is not None:
            yield GpadRule.REKEY_LIFETIME, fault


@dataclass(frozen=True, slots=True)
class GpadEntry:
    """One GCKS, or a set of equal ones, and its constraints (RFC 5374 4.1.3.1 to 4.1.3.4).

    `name`: the operator's; `identities`: whom it stands for; `methods`: by which it may prove itself.
    `groups`: the group identifiers it may serve. `flows`: each SA's flow must lie within one of them.
    `transforms`, `modes`: the ones we accept from it; `lifetimes`: of a Data-Security SA. `selectors`: the IEC 61850
    traffic it may give SAs for, none unless named; `iec61850`: by which algorithms. `rekey`: what its Rekey SA may be.
    """

    name: str
    identities: tuple[PadId, ...]
    groups: frozenset[GroupId]
    flows: tuple[Covering, ...]
    transforms: frozenset[Transform]
    lifetimes: LifetimeBounds = LifetimeBounds()
    modes: frozenset[Mode] = field(default=frozenset(Mode))
    methods: frozenset[PeerMethod] = field(default=frozenset(PeerMethod))
    selectors: tuple[OidRule, ...] = ()
    iec61850: frozenset[IecTransform] = frozenset(AUTHENTICATING_IEC_TRANSFORMS)
    rekey: RekeyRules = field(default_factory=RekeyRules)

    def stands_for(self, identity: Identity) -> bool:
        """Whether a GCKS of this authenticated identity is meant (RFC 4301 4.4.3.1)."""
        return any(mine.matches(identity) for mine in self.identities)

    def permits_group(self, group: GroupId) -> bool:
        """Whether this GCKS may serve the group (RFC 5374 4.1.3.3)."""
        return group in self.groups

    def refusals(self, group_sa: GroupSA) -> tuple[GpadRefusal, ...]:
        """What of a GSA is refused, one value per SA and rule; empty when all of it is acceptable."""
        found: list[GpadRefusal] = []
        if not self.permits_group(group_sa.group):
            reason = f"group {group_sa.group} is not among the groups of GPAD entry {self.name!r}"
            found.append(GpadRefusal(GpadRule.GROUP, self.name, "", reason))

        def note(subject: str, faults: Iterator[tuple[GpadRule, str]]) -> None:
            found.extend(GpadRefusal(rule, self.name, subject, reason) for rule, reason in faults)

        for sa in group_sa.data:
            note(f"SA 0x{sa.spi:08x}", self._faults(sa, group_sa.received))
        for iec in group_sa.iec61850:
            note(f"IEC 61850 SA 0x{iec.spi:08x}", self._iec_faults(iec, group_sa.received))
        if group_sa.rekey is not None:
            note("Rekey SA", self.rekey.faults(group_sa.rekey, group_sa.received, self.name))
        return tuple(found)

    def _faults(self, sa: DataSA, received: float) -> Iterator[tuple[GpadRule, str]]:
        if not any(flow.covers(sa.flow) for flow in self.flows):
            yield GpadRule.FLOW, f"flow {sa.flow} lies outside the flows of GPAD entry {self.name!r}"
        if sa.transform not in self.transforms:
            yield GpadRule.TRANSFORM, _unaccepted(f"transform {sa.transform}", self.name, map(str, self.transforms))
        if sa.mode not in self.modes:
            yield GpadRule.MODE, f"{sa.mode.value} mode is not accepted by GPAD entry {self.name!r}"
        fault = self.lifetimes.fault(sa.expires, received, self.name)
        if fault is not None:
            yield GpadRule.LIFETIME, fault

    def _iec_faults(self, sa: Iec61850SA, received: float) -> Iterator[tuple[GpadRule, str]]:
        if not any(rule.covers(sa.selector) for rule in self.selectors):
            yield GpadRule.SELECTOR, f"OID {sa.selector} is not among the OIDs of GPAD entry {self.name!r}"
        if sa.transform not in self.iec61850:
            yield GpadRule.TRANSFORM, _unaccepted(f"transform {sa.transform}", self.name, map(str, self.iec61850))
        fault = self.lifetimes.fault(sa.expires, received, self.name)
        if fault is not None:
            yield GpadRule.LIFETIME, fault


def _unaccepted(what: str, entry: str, accepted: Iterable[str]) -> str:
    return f"{what} is not accepted by GPAD entry {entry!r}, which accepts {_listed(accepted)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


@dataclass(frozen=True, slots=True)
class Gpad:
    """The ordered database; the first entry that stands for the identity is the one (RFC 5374 4.1.3.5)."""

    entries: tuple[GpadEntry, ...] = ()

    def lookup(self, identity: Identity) -> GpadEntry | None:
        """The entry of a GCKS, None when it may not talk to us at all."""
        return next((entry for entry in self.entries if entry.stands_for(identity)), None)

    def check(self, identity: Identity, method: PeerMethod) -> GpadEntry | GpadRefusal:
        """The entry of a GCKS that proved itself by `method`, or why there is none for it (RFC 5374 4.1.3.5)."""
        entry = self.lookup(identity)
        if entry is None:
            return GpadRefusal(GpadRule.GCKS, None, "", f"GCKS identity {identity} is not in this member's GPAD")
        if method not in entry.methods:
            allowed = _listed(mine.value for mine in entry.methods)
            reason = f"{identity} proved itself by {method.value}, GPAD entry {entry.name!r} wants {allowed}"
            return GpadRefusal(GpadRule.METHOD, entry.name, "", reason)
        return entry
