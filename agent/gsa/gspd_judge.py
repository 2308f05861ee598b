"""Why the GSPD does not carry out what a GCKS says: each a reason in words, None where there is none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netaddr import IPAddress

from agent.gsa.control_traffic import rekey_traffic
from agent.gsa.databases import Action, PolicyDirection, SadKey
from agent.gsa.expansion import is_range, may_protect
from agent.gsa.flow import Flow
from agent.gsa.group_policy import GroupPolicy
from agent.gsa.gspd_entry import late_entries
from agent.gsa.gspd_forms import DESTINATION_PRESERVED, key_of
from agent.gsa.identity import GroupId
from agent.gsa.marking import Ingress, why_not_beside
from agent.gsa.sa import DataSA, Direction, GroupSA, Mode, SecurityProtocol

__all__ = [
    "Taken",
    "cannot_send",
    "conflict",
    "crosses",
    "foreign",
    "given_way",
    "ingress_of",
    "intrusion",
    "mismatch",
    "numbering",
    "overruled",
    "unable",
]


def foreign(policy: GroupPolicy, flow: Flow) -> str | None:
    """Why a flow is none of this group's at all, so that not even a block is due for it; None when it is."""
    if not may_protect(flow.destination):
        return f"destination {flow.destination} reaches into addresses that no group protects"
    if not any(traffic.overlaps(flow) for traffic in policy.traffic):
        return f"flow {flow} is no part of the traffic configured for the group"
    return None


def overruled(policy: GroupPolicy, flow: Flow) -> str | None:
    """Why this host's own entries, which come before those of a GCKS, leave an SA nothing, or nothing that is clear.

    No block is due for it: the entries say what becomes of its packets.
    """
    late = late_entries(policy.entries)
    for entry in policy.entries:
        if entry.action is Action.PROTECT:
            continue
        if entry not in late:
            if entry.direction is Direction.SYMMETRIC and entry.covers(flow):
                return f"flow {flow} is shadowed by local entry {entry.name}, which says {entry.action.value}"
        elif entry.overlaps(flow) and not any(mine.covers(flow) for mine in policy.traffic):
            return (
                f"flow {flow} reaches into local entry {entry.name}, which says {entry.action.value} and comes first:"
                " let the key server give SAs for the flows of the entries that protect"
            )
    some = [entry for entry in policy.protecting if entry.overlaps(flow)]
    for direction, may in ((PolicyDirection.OUT, policy.sends(flow)), (PolicyDirection.IN, policy.receives(flow))):
        has = policy.role.sends if direction is PolicyDirection.OUT else policy.role.receives
        if has and not may and any(direction in entry.directions for entry in some):
            names = ", ".join(f"{entry.name} ({entry.direction.value})" for entry in some)
            return f"flow {flow} crosses local entries of different directions: {names}; let each have an SA of its own"
    return None


def mismatch(policy: GroupPolicy, sa: DataSA) -> str | None:
    """Why a tunnel does not preserve the addresses that this host's own entries want preserved (RFC 5374 4.1.1)."""
    for entry in policy.protecting if sa.mode is Mode.TUNNEL else ():
        if entry.preserve not in (None, sa.address_preservation) and entry.overlaps(sa.flow):
            return (
                f"address preservation is {sa.address_preservation.value!r},"
                f" and local entry {entry.name} wants {entry.preserve.value!r}"
            )
    return None


def unable(sa: DataSA) -> str | None:
    """Why no Linux host carries this SA out as things are; None when it does."""
    if sa.mode is Mode.TUNNEL and sa.address_preservation not in DESTINATION_PRESERVED and is_range(sa.flow):
        return (
            f"tunnel mode with address preservation {sa.address_preservation.value!r} names no tunnel destination for"
            f" {sa.flow.destination}: let it preserve the destination"
        )
    return None


def numbering(policy: GroupPolicy, sa: DataSA, now: float) -> str | None:
    """Why an SA with extended sequence numbers is not taken (RFC 4303 2.2.1, 3.3.3); None for others."""
    if not sa.esn:
        return None
    most_s = policy.esn_lifetime_s
    if most_s is None:
        return (
            "extended sequence numbers are refused: nobody tells a member that joins late their high half;"
            ' esn = "young" takes them for TEKs of short lives'
        )
    if not sa.flow.single_source or not policy.replay_window:
        return "extended sequence numbers are for single-source SAs with a replay window: others check no numbers"
    if sa.expires is None or sa.expires - now > most_s:
        return f"extended sequence numbers are refused for a TEK that lives longer than {most_s} s"
    return None


def intrusion(policies: Iterable[GroupPolicy], policy: GroupPolicy, sa: DataSA) -> str | None:
    """Why an SA that goes beyond its group's traffic would carry another's, which waits for an SA of its own."""
    if any(mine.covers(sa.flow) for mine in policy.traffic):
        return None
    for other in policies:
        if other.group != policy.group and any(theirs.overlaps(sa.flow) for theirs in other.claimed):
            return f"flow {sa.flow} reaches into the traffic configured for group {other.group}"
    return None


def conflict(
    claims: Iterable[tuple[GroupId, Flow]],
    taken: Mapping[SadKey, Sequence[Taken]],
    policy: GroupPolicy,
    sa: DataSA,
    why_no_marks: str | None = None,
) -> str | None:
    """Why an SA cannot stand beside those that are taken already.

    `claims`: flows that may share packets with it, each with the group that has it; `taken`: the SAs, several with one
    key where marks tell them apart; `why_no_marks`: why this host cannot do that, None where it can.
    """
    for group, flow in claims:
        if group != policy.group and flow.overlaps(sa.flow):
            return f"flow {sa.flow} overlaps {flow} of group {group}, which comes first in the configuration"
    if is_range(sa.flow):
        return None  # each copy of it is asked about
    key = key_of(sa)
    others = [held for held in taken.get(key, ()) if not held.same(policy, sa)]
    for held in others:
        reason = why_no_marks or why_not_beside(held.place, (sa.flow, ingress_of(policy)))
        if reason is not None:
            return f"another SA has the same SPI and destination: {key}; {reason}"
    if others and any(held.same(policy, sa) and held.carries.source != sa.flow.source for held in taken[key]):
        return f"another SA has the same SPI and destination: {key}; only SAs of one source each can be told apart"
    for protocol in SecurityProtocol:
        twin = SadKey(key.destination, key.spi, protocol)
        if protocol is not key.protocol and twin in taken:
            return f"another SA has the same SPI and destination, which name one SA of a group: {twin}"
    return None


@dataclass(frozen=True, slots=True)
class Taken:
    """An SA that has its place in the SAD, by the first of its flows.

    `key`: the place's own, while it is made; `carries`: all its flows together.
    """

    policy: GroupPolicy
    sa: DataSA
    key: SadKey
    carries: Flow

    @property
    def place(self) -> tuple[Flow, Ingress]:
        """What tells it from others with its SPI and destination."""
        return self.carries, ingress_of(self.policy)

    def same(self, policy: GroupPolicy, sa: DataSA) -> bool:
        """Whether that of a group's is this one with another flow, as one SPI in several SATs says."""
        if policy.group != self.policy.group:
            return False
        return sa is self.sa or replace(sa, flow=self.sa.flow, send_from=self.sa.send_from) == self.sa


def ingress_of(policy: GroupPolicy) -> Ingress:
    """Where a group's packets come in."""
    return Ingress(policy.interface, policy.addresses)


def cannot_send(group_sa: GroupSA, sa: DataSA, tunnel_source: IPAddress | None) -> str | None:
    """Why this member must not send on an SA it otherwise may send on."""
    if sa.transform.counter_mode and not group_sa.sender_ids:
        return f"{sa.transform} needs a Sender-ID to send and the GCKS gave none (RFC 6407 4.4)"
    if sa.mode is Mode.TUNNEL and tunnel_source is None:
        return f"tunnel mode needs an own address within {sa.flow.source} on the group's interface to send from"
    return None


def given_way(sa: DataSA, newer: DataSA) -> str:
    """Why an SA is not received on any more: a policy asks for one protocol and mode at a time."""
    return (
        f"a newer SA, 0x{newer.spi:08x}, serves the flow by {newer.protocol.value} in {newer.mode.value} mode,"
        f" not by {sa.protocol.value} in {sa.mode.value} mode"
    )


def crosses(
    policies: Iterable[GroupPolicy], policy: GroupPolicy, flow: Flow, every: Mapping[GroupId, GroupSA]
) -> GroupId | None:
    """Another group through whose traffic a flow of rekeys leads, where it has none like it itself."""
    for other in policies:
        own = every[other.group].rekey if other.group in every else None
        like_it = own is not None and rekey_traffic(own) == flow
        if other.group != policy.group and not like_it and any(mine.overlaps(flow) for mine in other.claimed):
            return other.group
    return None
