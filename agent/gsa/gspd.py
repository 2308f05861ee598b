"""The Group Security Policy Database (GSPD, RFC 5374 4.1.1): configured groups and the GSAs held, turned into what the
SAD and the SPD of this host should hold now.

Between being configured and being removed from the configuration, a group's traffic is never in clear:

    bypass   IGMP, MLD, ND and GDOI to the group, always (RFC 4301 5.2: control traffic has explicit entries)
    protect  the flow of an SA in force, in each direction in which this member may use it; of a range, to each
             destination asked for, and beneath those what asks for others
    discard  underneath: the configured traffic, always; its other sources (RFC 5374 6.3.3); each flow the GCKS named

Addresses are not swapped inbound (RFC 5374 4.1.1). Several groups: the one configured first has a flow that two claim.
`gspd_build` puts it together, of the entries in `gspd_forms`, where `gspd_judge` has nothing against it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.gsa.databases import Databases
from agent.gsa.expansion import Demand
from agent.gsa.group_policy import DEFAULT_REPLAY_WINDOW, GroupPolicy, Refusal
from agent.gsa.gspd_build import Build, ingress_by_reqid
from agent.gsa.identity import GroupId
from agent.gsa.marking import Ingress
from agent.gsa.reqids import reqids_of
from agent.gsa.sa import GroupSA

__all__ = ["DEFAULT_REPLAY_WINDOW", "Desired", "GroupPolicy", "Gspd", "Refusal"]


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be there, and what was left out of it."""

    databases: Databases
    refusals: tuple[Refusal, ...] = ()


class Gspd:
    """The groups of this host, in the operator's order; `demand`: the destinations asked for within ranges.

    `why_no_marks`: why this host cannot tell SAs apart by their sources, None where it can.
    Reqids follow from the set of group identifiers, so that a restart finds the same.
    Raises ValueError when a group appears twice.
    """

    def __init__(
        self,
        policies: Sequence[GroupPolicy],
        demand: Mapping[GroupId, Collection[Demand]] = MappingProxyType({}),
        why_no_marks: str | None = None,
    ) -> None:
        self._policies: Final = tuple(policies)
        self._demand: Final = demand
        self._why_no_marks: Final = why_no_marks
        self._reqids: Final = reqids_of([policy.group for policy in policies])

    @property
    def policies(self) -> tuple[GroupPolicy, ...]:
        """The groups, as they are configured."""
        return self._policies

    @property
    def ingress(self) -> Mapping[int, Ingress]:
        """Where the packets of each group come in, by its reqid."""
        return ingress_by_reqid(self._policies, self._reqids)

    @property
    def why_no_marks(self) -> str | None:
        """Why this host cannot tell SAs apart by their sources, None where it can."""
        return self._why_no_marks

    def without_marks(self, why: str) -> Gspd:
        """The same, where marks turned out not to be possible."""
        return Gspd(self._policies, self._demand, why)

    def reqid(self, group: GroupId) -> int:
        """The group's reqid. Raises KeyError for a group that is not configured."""
        return self._reqids[group]

    def group_of_reqid(self, reqid: int | None) -> GroupId | None:
        """The group that has that reqid, None when none has."""
        return next((group for group, own in self._reqids.items() if own == reqid), None)

    def desired(self, held: Mapping[GroupId, GroupSA], now: float) -> Desired:
        """What SAD and SPD should hold at `now`, with the GSAs held of configured groups.

        Keep an expired GSA in `held` until its successor is there: its flows then stay blocked although only the
        GCKS named them.
        """
        build = Build(self._policies, now, self._why_no_marks)
        for policy in self._policies:
            build.enter(policy)
            build.block(policy)
            if policy.on_demand and not _lasts(held.get(policy.group), now):
                build.ask(policy, self._reqids[policy.group])
        for policy in self._policies:
            group_sa = held.get(policy.group)
            if group_sa is not None:
                demand = self._demand.get(policy.group, ())
                build.protect(policy, group_sa, self._reqids[policy.group], demand)
        for policy in self._policies:
            if policy.group in held:
                build.bypass_rekey(policy, held)
        build.bypass_control()
        return Desired(build.finished(self._reqids), tuple(build.refusals))

    def next_change(self, held: Mapping[GroupId, GroupSA], now: float) -> float | None:
        """When `desired` gives something else with the same GSAs: an SA expires, or its ATD has passed."""
        instants = (
            instant
            for policy in self._policies
            if policy.group in held
            for sa in held[policy.group].data
            for instant in (sa.expires, sa.send_from)
            if instant is not None and instant > now
        )
        return min(instants, default=None)


def _lasts(group_sa: GroupSA | None, now: float) -> bool:
    """Whether there is an SA that has not ended."""
    return group_sa is not None and any(sa.expires is None or sa.expires > now for sa in group_sa.data)
