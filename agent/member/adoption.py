"""Adoption: SAs and policies that a gmd before this one left, which serve on until their group is registered again.

They are known by their reqid, and nothing is ever added for them: what a dump no longer shows is gone. A live SA keeps
its counters, so its sender goes on counting (RFC 4303 3.3.3) and its receiver keeps its replay window. Adopted is what

- lies within the configured traffic of its group, in a direction that the group's role has;
- has not ended: the kernel's hard lifetime, a backstop behind the TEK's own, says when it does;
- is whole: a protecting policy with an SA for it, and an SA with a policy that asks for it.

It goes when the registration brings the group's GSA, of which the same SAs stay as they are; when every key server of
the group has refused it for good; when it ends; and after a time that is configured, lest a member that was excluded
unheard receives longer than that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Final

from agent.clock import Clock
from agent.gdoi.failures import FailureCause
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SadKey, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.group_policy import GroupPolicy
from agent.gsa.gspd import Gspd
from agent.gsa.gspd_forms import protect_priority
from agent.gsa.identity import GroupId
from agent.gsa.marking import Ingress, marked, unmarked, why_not_beside
from agent.gsa.sa import GroupSA
from agent.logs import get_logger
from agent.member.registration import Registration

__all__ = ["FOR_GOOD", "Adoption", "adoptable", "beside", "refused_for_good"]

log = get_logger(__name__)

FOR_GOOD: Final = frozenset({FailureCause.NOT_A_MEMBER, FailureCause.UNKNOWN_GROUP})
"""Causes that a key server gives in a protected answer, and that do not pass by themselves."""


def adoptable(actual: Databases, policy: GroupPolicy, reqid: int, now: float) -> Databases:
    """What is there of one group that may serve on. Pure."""
    spd = [entry for entry in actual.spd if _fits(entry, policy, reqid)]
    lasting = [sa for sa in actual.sad if sa.reqid == reqid and sa.expires is not None and sa.expires > now]
    sad = [sa for sa in lasting if _within(sa, policy) and any(_serves(sa, entry) for entry in spd)]
    served = [policy.clear.loosened(entry) for entry in spd if any(_serves(sa, entry) for sa in sad)]
    return Databases.of(sad, served)


def beside(
    desired: Databases,
    adopted: Iterable[Databases],
    ingress: Mapping[int, Ingress] = MappingProxyType({}),
    why_no_marks: str | None = None,
) -> Databases:
    """What should be there, with what is adopted; the operator's own entries and control traffic take precedence.

    `ingress`, `why_no_marks`: as of the GSPD, for adopted SAs that marks tell from others.
    """
    adopted = tuple(adopted)
    sharing: dict[SadKey, list[SadEntry]] = {}
    for sa in desired.sad:
        sharing.setdefault(unmarked(sa.key), []).append(sa)
    for sa in (sa for databases in adopted for sa in databases.sad):
        like_it = sharing.setdefault(unmarked(sa.key), [])
        where = sa.selector, ingress.get(sa.reqid, Ingress())
        places = [(other.selector, ingress.get(other.reqid, Ingress())) for other in like_it]
        if not any(why_no_marks or why_not_beside(where, place) for place in places):
            like_it.append(sa)
    sad, marks = marked((sa for those in sharing.values() for sa in those), ingress)
    spd = dict(desired.spd_by_key())
    for entry in (entry for databases in adopted for entry in databases.spd):
        if entry.key not in spd or spd[entry.key].priority > entry.priority:
            spd[entry.key] = entry
    return Databases.of(sad, spd.values(), desired.unreadable, marks)


def refused_for_good(registration: Registration) -> bool:
    """Whether each key server of the group refused this member `FOR_GOOD` in the latest round."""
    failed = {failure.server for failure in registration.failures}
    return failed >= set(registration.servers) and all(f.cause in FOR_GOOD for f in registration.failures)


def _fits(entry: SpdEntry, policy: GroupPolicy, reqid: int) -> bool:
    """Whether a policy is one that the GSPD makes of an SA, for traffic of the group in a direction that it has."""
    template = entry.template
    if entry.action is not Action.PROTECT or template is None or template.reqid != reqid:
        return False
    outbound = entry.direction is PolicyDirection.OUT
    if (template.spi is not None) is not outbound or entry.priority != protect_priority(entry.flow):
        return False
    if outbound and policy.clear.sends:
        return False
    may = policy.sends(entry.flow) if outbound else policy.receives(entry.flow)
    return may and any(traffic.covers(entry.flow) for traffic in policy.traffic)


def _within(sa: SadEntry, policy: GroupPolicy) -> bool:
    """Whether an SA carries traffic of the group alone; that of several flows carries all of them."""
    own = [flow for flow in policy.traffic if flow.overlaps(sa.selector)]
    if any(flow.covers(sa.selector) for flow in own):
        return True
    alike = bool(own) and len({flow.destination for flow in own}) == 1
    return alike and reduce(Flow.joined, own).covers(sa.selector)


def _serves(sa: SadEntry, entry: SpdEntry) -> bool:
    """Whether an SA is one that a policy asks for."""
    template = entry.template
    if template is None or (sa.protocol, sa.mode) != (template.protocol, template.mode):
        return False
    return (
        sa.destination in entry.flow.destination
        and sa.selector.overlaps(entry.flow)
        and template.spi in (None, sa.spi)
        and sa.direction in (None, entry.direction)
    )


class Adoption:
    """The groups whose SAs of an earlier gmd serve on, and until when at most.

    `for_s`: seconds, from the start; 0 adopts nothing.
    """

    def __init__(self, clock: Clock, for_s: float = 0.0) -> None:
        self._clock: Final = clock
        self._for_s: Final = for_s
        self._until: dict[GroupId, float] = {}
        self._ends: dict[GroupId, float] = {}

    @property
    def groups(self) -> Collection[GroupId]:
        """Those that have something adopted."""
        return self._until.keys()

    def left_s(self, group: GroupId) -> float | None:
        """For how long a group's adopted SAs serve, unless something else comes first; None without any."""
        if group not in self._until:
            return None
        end = min(self._until[group], self._ends.get(group, self._until[group]))
        return max(0.0, round(end - self._clock.monotonic(), 1))

    def begin(self, actual: Databases, gspd: Gspd) -> None:
        """Adopt what is there, before anything was brought up to date."""
        now = self._clock.monotonic()
        for policy in gspd.policies if self._for_s else ():
            found = adoptable(actual, policy, gspd.reqid(policy.group), now)
            if found.spd:
                self._until[policy.group] = now + self._for_s
                self._ends[policy.group] = _end(found)
                spis = ",".join(f"0x{sa.spi:08x}" for sa in found.sad)
                log.info("adopted", group=policy.group, sas=len(found.sad), spis=spis, left_s=self.left_s(policy.group))

    def drop(self, group: GroupId, reason: str) -> bool:
        """Adopt nothing more of a group. Whether there was something."""
        there = self._until.pop(group, None) is not None
        self._ends.pop(group, None)
        if there:
            log.info("adoption over", group=group, reason=reason)
        return there

    def leave(self, kept: Collection[GroupId], held: Mapping[GroupId, GroupSA]) -> Mapping[GroupId, GroupSA]:
        """The last pass is due: what of `held` is of groups `kept`; of others nothing is adopted any more."""
        for group in self._until.keys() - kept:
            self.drop(group, "gmd stops")
        return {group: group_sa for group, group_sa in held.items() if group in kept}

    def beside(
        self, desired: Databases, actual: Databases, gspd: Gspd, held: Mapping[GroupId, GroupSA], now: float
    ) -> Databases:
        """What should be there, with what of `actual` is adopted now."""
        if not self._until:
            return desired
        adopted = list(self._adopted(actual, gspd, held, now))
        return beside(desired, adopted, gspd.ingress, gspd.why_no_marks)

    def next_change(self, now: float) -> float | None:
        """When `beside` gives something else with the same databases: adopted SAs end."""
        instants = (instant for instant in (*self._until.values(), *self._ends.values()) if instant > now)
        return min(instants, default=None)

    def _adopted(
        self, actual: Databases, gspd: Gspd, held: Mapping[GroupId, GroupSA], now: float
    ) -> Iterator[Databases]:
        policies = {policy.group: policy for policy in gspd.policies}
        for group, until in list(self._until.items()):
            if group in held:
                self.drop(group, "the group is registered")
            elif group not in policies:
                self.drop(group, "the group is not configured any more")
            elif until <= now:
                self.drop(group, "no key server has answered for so long: see adopt_s")
            else:
                found = adoptable(actual, policies[group], gspd.reqid(group), now)
                if not found.spd:
                    self.drop(group, "they have ended, or are not there any more")
                    continue
                self._ends[group] = _end(found)
                yield found


def _end(found: Databases) -> float:
    """When the first of the SAs ends."""
    return min(sa.expires for sa in found.sad if sa.expires is not None)
