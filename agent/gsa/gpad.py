"""The Group Peer Authorization Database (GPAD, RFC 5374 4.1.3): what each GCKS may say to this member.

Used in order: look the authenticated GCKS up; check that its entry lists the group before the group is named to it;
check every SA it gives against the entry. What the entry does not allow is thrown away and told to the operator.
How the GCKS proves itself (method, key, trust anchor) is with the key management protocol's credentials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import DataSA, GroupSA, Mode

__all__ = ["Gpad", "GpadEntry"]

_LIFETIME_TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class GpadEntry:
    """One GCKS, or a set of equal ones, and its constraints (RFC 5374 4.1.3.1 to 4.1.3.4).

    `name`: the operator's; `identities`: compared exactly; `groups`: the group identifiers it may serve.
    `flows`: each SA's flow must lie within one of them. `transforms`, `modes`: the ones we accept from it.
    `max_lifetime_s`: longest lifetime of an SA, None for no limit.
    """

    name: str
    identities: tuple[Identity, ...]
    groups: frozenset[GroupId]
    flows: tuple[Flow, ...]
    transforms: frozenset[Transform]
    max_lifetime_s: int | None = None
    modes: frozenset[Mode] = field(default=frozenset(Mode))

    def permits_group(self, group: GroupId) -> bool:
        """Whether this GCKS may serve the group (RFC 5374 4.1.3.3)."""
        return group in self.groups

    def refusals(self, group_sa: GroupSA) -> tuple[str, ...]:
        """Why the GSA is refused, one reason an operator can read per SA and rule; empty when it is acceptable."""
        reasons = []
        if not self.permits_group(group_sa.group):
            reasons.append(f"group {group_sa.group} is not among the groups of GPAD entry {self.name!r}")
        for sa in group_sa.data:
            reasons.extend(f"SA 0x{sa.spi:08x}: {reason}" for reason in self._refusals(sa, group_sa.received))
        return tuple(reasons)

    def _refusals(self, sa: DataSA, received: float) -> Iterable[str]:
        if not any(flow.covers(sa.flow) for flow in self.flows):
            yield f"flow {sa.flow} lies outside the flows of GPAD entry {self.name!r}"
        if sa.transform not in self.transforms:
            accepted = ", ".join(sorted(map(str, self.transforms))) or "none"
            yield f"transform {sa.transform} is not accepted by GPAD entry {self.name!r}, which accepts {accepted}"
        if sa.mode not in self.modes:
            yield f"{sa.mode.value} mode is not accepted by GPAD entry {self.name!r}"
        if self.max_lifetime_s is not None:
            lifetime_s = math.inf if sa.expires is None else sa.expires - received
            if lifetime_s > self.max_lifetime_s + _LIFETIME_TOLERANCE_S:
                given = "no end" if sa.expires is None else f"a lifetime of {lifetime_s:.0f} s"
                yield f"it has {given}, GPAD entry {self.name!r} allows {self.max_lifetime_s} s"


@dataclass(frozen=True, slots=True)
class Gpad:
    """The ordered database; the first entry that has the identity is the one (RFC 5374 4.1.3.5)."""

    entries: tuple[GpadEntry, ...] = ()

    def lookup(self, identity: Identity) -> GpadEntry | None:
        """The entry of a GCKS, None when it may not talk to us at all."""
        return next((entry for entry in self.entries if identity in entry.identities), None)
