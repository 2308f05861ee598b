"""SAD and SPD in the making, one group after the other: what the GSPD's `desired` puts together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from netaddr import IPAddress, IPNetwork

from agent.gsa.control_traffic import control_within, key_server_traffic, outgoing_rekeys, rekey_traffic
from agent.gsa.databases import Action, Databases, PolicyDirection, SadEntry, SadKey, SpdEntry, SpdKey
from agent.gsa.expansion import Demand, Use, is_range, uses_of, why_no_copies
from agent.gsa.flow import ANY_SOURCE, Flow
from agent.gsa.group_policy import GroupPolicy, Refusal
from agent.gsa.gspd_entry import late_entries
from agent.gsa.gspd_forms import (
    BYPASS,
    DISCARD,
    DISCARD_OTHER_SOURCES,
    FINAL,
    LOCAL,
    LOCAL_LATE,
    SHUT,
    inbound,
    key_of,
    kind_of,
    one_way,
    outbound,
    sad_entry,
    together,
    trap,
    tunnel_source_of,
)
from agent.gsa.gspd_judge import (
    Taken,
    cannot_send,
    conflict,
    crosses,
    foreign,
    given_way,
    ingress_of,
    intrusion,
    mismatch,
    numbering,
    overruled,
    unable,
)
from agent.gsa.identity import GroupId
from agent.gsa.marking import Ingress, marked
from agent.gsa.sa import DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.gsa.sequence import first_sequence

__all__ = ["Build", "ingress_by_reqid"]

_SENDING: Final = frozenset({Direction.SENDER_ONLY, Direction.SYMMETRIC})
_RECEIVING: Final = frozenset({Direction.RECEIVER_ONLY, Direction.SYMMETRIC})


class Build:
    """Databases in the making. `why_no_marks`: why marks cannot tell sources apart here, None where they can."""

    def __init__(self, policies: Sequence[GroupPolicy], now: float, why_no_marks: str | None = None) -> None:
        self._policies: Final = policies
        self._why_no_marks: Final = why_no_marks
        self.now = now
        self.sad: dict[SadKey, SadEntry] = {}
        self.spd: dict[SpdKey, SpdEntry] = {}
        self.refusals: list[Refusal] = []
        # Policies of the operator's own entries, which nothing takes the place of.
        self._local: set[SpdKey] = set()
        # By destination: of flows to one address, only those to the same one can overlap.
        self._claims: dict[IPNetwork, list[tuple[GroupId, Flow]]] = {}
        self._ranges: list[tuple[GroupId, Flow]] = []
        # Policies for single destinations of a range, which lie within what the range has.
        self._copies: set[SpdKey] = set()
        # Several flows of one SA are one entry of the SAD, whose selector covers them all.
        self._taken: dict[SadKey, list[Taken]] = {}
        self._counting: dict[tuple[GroupId, SecurityProtocol, Spi], SadKey] = {}

    def block(self, policy: GroupPolicy) -> None:
        """Discard the configured traffic in both directions, but for what is configured to be in clear."""
        for flow in policy.traffic:
            self._beneath(policy, flow)
            if not flow.any_source:
                self._discard(replace(flow, source=ANY_SOURCE[flow.family]), DISCARD_OTHER_SOURCES)

    def enter(self, policy: GroupPolicy) -> None:
        """Put the operator's own entries in: those that bypass and discard, and the last one, which discards the rest.

        One for a single direction is in that part of the SPD alone (RFC 5374 4.1.1).
        """
        late = late_entries(policy.entries)
        index, protecting = 0, set[SpdKey]()
        for entry in policy.entries:
            keys = {SpdKey(direction, flow) for flow in entry.flows for direction in entry.directions}
            if entry.action is Action.PROTECT:
                protecting |= keys
                continue
            priority = (LOCAL_LATE if entry in late else LOCAL)[index]
            index += 1
            for key in keys - protecting:
                self._set(SpdEntry(key.direction, key.flow, entry.action, priority))
            self._local |= keys - protecting
        for destination in {flow.destination: None for entry in policy.entries for flow in entry.flows}:
            if destination.is_multicast():
                self._discard(Flow(ANY_SOURCE[destination.version], destination), FINAL)

    def ask(self, policy: GroupPolicy, reqid: int) -> None:
        """Let packets of the configured traffic ask for an SA, in place of the block outbound."""
        for flow in filter(policy.sends, policy.traffic):
            self._trap(policy, trap(flow, SecurityProtocol.ESP, reqid))

    def protect(
        self, policy: GroupPolicy, group_sa: GroupSA, reqid: int, demand: Collection[Demand] = frozenset()
    ) -> None:
        """Let the SAs of one GSA serve their flows, those of ranges the destinations that are asked for."""
        serving: dict[Flow, list[DataSA]] = {}
        for sa in group_sa.data:
            if (reason := foreign(policy, sa.flow) or overruled(policy, sa.flow)) is not None:
                self._refuse(policy, sa, reason)
                continue
            reason = (
                unable(sa)
                or numbering(policy, sa, self.now)
                or mismatch(policy, sa)
                or intrusion(self._policies, policy, sa)
                or self._conflict(policy, sa)
            )
            if reason is None:
                self._claim(policy, sa)
                serving.setdefault(sa.flow, []).append(sa)
            else:
                self._refuse(policy, sa, reason)
                self._beneath(policy, sa.flow)
        # The narrower range first: each destination is served once.
        served = {flow for flow in serving if not is_range(flow)}
        for flow, sas in sorted(serving.items(), key=_widest_last):
            uses = uses_of(flow, demand)
            if is_range(flow):
                self._spread(policy, group_sa, reqid, sas, uses, served)
            else:
                self._serve(policy, group_sa, reqid, uses[0], sas)

    def finished(self, reqids: Mapping[GroupId, int]) -> Databases:
        """What was made, with marks where sources are told apart by them."""
        sad, rules = marked(self.sad.values(), ingress_by_reqid(self._policies, reqids))
        return Databases.of(sad, self.spd.values(), marks=rules)

    def bypass_control(self) -> None:
        """Let control traffic pass above everything that is in the SPD so far."""
        keys = [key for key in self.spd if key not in self._copies]
        control = {flow: tuple(control_within(flow)) for flow in {key.flow: None for key in keys}}
        for key in keys:
            for flow in control[key.flow]:
                self._set(SpdEntry(key.direction, flow, Action.BYPASS, BYPASS))
        self._bypass_key_servers(control)

    def _bypass_key_servers(self, flows: Iterable[Flow]) -> None:
        """Registrations pass through unicast traffic that a group protects."""
        unicast = [flow for flow in flows if not flow.destination.is_multicast()]
        for policy in self._policies if unicast else ():
            for address, port in policy.key_servers:
                for flow in unicast:
                    passing = key_server_traffic(flow, address, (port,), here=address in policy.addresses)
                    for direction, control in passing:
                        self._set(SpdEntry(direction, control, Action.BYPASS, BYPASS))

    def bypass_rekey(self, policy: GroupPolicy, every: Mapping[GroupId, GroupSA]) -> None:
        """Let a group's rekeys pass where something of its own is in their way.

        Never to a port that is protected by its number, and not through another group's traffic, unless that group's
        own rekeys (of `every` GSA) pass there. Out of this host only those of a key server that runs on it.
        """
        rekey = every[policy.group].rekey
        flow = rekey_traffic(rekey) if rekey is not None else None
        if rekey is None or flow is None:
            return
        there = (entry.flow for entry in self.spd.values() if entry.action is not Action.BYPASS)
        in_the_way = [other for other in there if other.overlaps(flow)]
        if any(not other.any_destination_port for other in in_the_way):
            self._refuse_rekeys(policy, f"{flow}, would pass in clear where that very port is protected")
        elif (whose := crosses(self._policies, policy, flow, every)) is not None:
            hint = "let its key server send them to port 848"
            self._refuse_rekeys(policy, f"{flow}, would pass in clear through the traffic of group {whose}: {hint}")
        elif in_the_way:
            self._set(SpdEntry(PolicyDirection.IN, flow, Action.BYPASS, BYPASS))
            outgoing = outgoing_rekeys(rekey)
            if outgoing is not None:
                self._set(SpdEntry(PolicyDirection.OUT, outgoing, Action.BYPASS, BYPASS))

    def _refuse_rekeys(self, policy: GroupPolicy, reason: str) -> None:
        self.refusals.append(Refusal(policy.group, None, f"its rekeys, {reason}"))

    def _spread(
        self,
        policy: GroupPolicy,
        group_sa: GroupSA,
        reqid: int,
        sas: Sequence[DataSA],
        uses: Iterable[Use],
        served: set[Flow],
    ) -> None:
        """The SAs of a range: a copy of each to each destination, and beneath them what asks for more."""
        flow, lasting = sas[0].flow, [sa for sa in sas if not self._over(sa)]
        self._beneath(policy, flow)
        sends = policy.sends(flow) and any(sa.direction in _SENDING for sa in lasting)
        for sa in lasting if sends else ():
            if (reason := why_no_copies(sa)) is not None:
                self._refuse(policy, sa, reason)
                sends = False
        refused: set[Spi] = set()
        for use in uses:
            if use.flow in served:
                continue
            served.add(use.flow)
            copies = []
            for sa in (replace(sa, flow=use.flow) for sa in sas):
                if (reason := intrusion(self._policies, policy, sa) or self._conflict(policy, sa)) is None:
                    self._take(policy, sa)
                    copies.append(sa)
                elif sa.spi not in refused:
                    # There may be thousands of destinations: one of them says it for all.
                    refused.add(sa.spi)
                    self._refuse(policy, sa, reason)
            # What asks for an SA in transport mode finds one that is there, and then does not ask.
            found = use.sends or any(sa.mode is Mode.TRANSPORT for sa in copies)
            self._serve(policy, group_sa, reqid, replace(use, sends=sends and found), copies)
        if sends:
            self._trap(policy, trap(flow, lasting[-1].protocol, reqid))

    def _serve(self, policy: GroupPolicy, group_sa: GroupSA, reqid: int, use: Use, sas: Sequence[DataSA]) -> None:
        """One flow and its SAs, of which several are there during a rollover (RFC 5374 4.2.1)."""
        if not use.copy:
            self._beneath(policy, use.flow)
        lasting = [sa for sa in sas if not self._over(sa)]
        in_force = self._in_force(lasting)
        may_send, may_receive = policy.sends(use.flow), policy.receives(use.flow)
        sending, receiving = [], []
        for sa in lasting:
            switched = in_force is not None and kind_of(sa) != kind_of(in_force)
            if switched and in_force is not None and sa.send_from <= self.now:
                self._refuse(policy, sa, given_way(sa, in_force))
                continue
            tunnel_source = tunnel_source_of(policy, sa, use.source if use.copy else None)
            sends = use.sends and may_send and sa.direction in _SENDING
            if sends:
                reason = cannot_send(group_sa, sa, tunnel_source) or self._counted_elsewhere(policy, sa)
                if reason is not None:
                    self._refuse(policy, sa, reason)
                    sends = False
            receives = use.receives and may_receive and sa.direction in _RECEIVING
            if not sends and not receives:
                continue
            taken = self._taken_for(policy, sa)
            selector = taken.carries
            direction = one_way(sends=sends, receives=receives)
            entry = sad_entry(policy, reqid, sa, selector, tunnel_source if sends else None, direction)
            entry = replace(entry, mark=taken.key.mark) if taken.key.mark is not None else entry
            if sends and (begins := first_sequence(policy.resume, sa, selector, self.now)) != entry.first_sequence:
                entry = replace(entry, first_sequence=begins)
            self.sad[entry.key] = together(self.sad.get(entry.key), entry)
            if sends and not switched:
                sending.append((sa, tunnel_source))
            if receives and not switched:
                receiving.append(sa)
        policies = [inbound(receiving[-1], reqid)] if receiving else []
        leading = self._leading_edge(sending, after_another=len(lasting) < len(sas))
        if leading is not None and not policy.clear.sends:
            policies.append(outbound(*leading, reqid))
        if leading is None and self._asked_over(policy, use.flow, lasting):
            action = policy.clear.beneath(PolicyDirection.OUT) if may_send else Action.DISCARD
            policies.append(SpdEntry(PolicyDirection.OUT, use.flow, action, SHUT))
        for policy_entry in map(policy.clear.loosened, policies):
            self._set(policy_entry)
            if use.copy:
                self._copies.add(policy_entry.key)

    def _asked_over(self, policy: GroupPolicy, flow: Flow, sas: Iterable[DataSA]) -> bool:
        """Whether what asks for SAs of a range lies over a flow, and would find one of these, not to be sent on."""
        there = any(sa.mode is Mode.TRANSPORT and self._taken_for(policy, sa).key in self.sad for sa in sas)
        return there and any(group == policy.group and other.overlaps(flow) for group, other in self._ranges)

    def _over(self, sa: DataSA) -> bool:
        return sa.expires is not None and sa.expires <= self.now

    def _in_force(self, lasting: Sequence[DataSA]) -> DataSA | None:
        """The SA whose protocol and mode a flow's policies ask for: they have room for one pair of them at a time."""
        active = [sa for sa in lasting if sa.send_from <= self.now]
        return active[-1] if active else min(lasting, key=lambda sa: sa.send_from, default=None)

    def _leading_edge(
        self, sending: Sequence[tuple[DataSA, IPAddress | None]], *, after_another: bool
    ) -> tuple[DataSA, IPAddress | None] | None:
        """The SA to send on: the newest whose ATD has passed (RFC 5374 4.2.1); the first to be due if there is none.

        Newest is last in the GSA's order: a newer policy may have shorter lifetimes than the one it replaces. What a
        rekey brought does not start before its time, unless the one before it is over, for everybody (`after_another`).
        """
        active = [pair for pair in sending if pair[0].send_from <= self.now]
        if active:
            return active[-1]
        early = (pair for pair in sending if after_another or pair[0].rekeyed is None)
        return min(early, key=lambda pair: pair[0].send_from, default=None)

    def _conflict(self, policy: GroupPolicy, sa: DataSA) -> str | None:
        if is_range(sa.flow):
            claims = [claim for claims in self._claims.values() for claim in claims]
        else:
            claims = self._claims.get(sa.flow.destination, [])
        claims = [*claims, *self._ranges] if self._ranges else claims
        return conflict(claims, self._taken, policy, sa, self._why_no_marks)

    def _claim(self, policy: GroupPolicy, sa: DataSA) -> None:
        if is_range(sa.flow):
            self._ranges.append((policy.group, sa.flow))
        else:
            self._claims.setdefault(sa.flow.destination, []).append((policy.group, sa.flow))
            self._take(policy, sa)

    def _take(self, policy: GroupPolicy, sa: DataSA) -> None:
        beside = self._taken.setdefault(key_of(sa), [])
        for place, taken in enumerate(beside):
            if taken.same(policy, sa):
                beside[place] = replace(taken, carries=taken.carries.joined(sa.flow))
                return
        # While it is made, a place is told from others by its number; `finished` puts marks instead.
        beside.append(Taken(policy, sa, replace(key_of(sa), mark=len(beside) or None), sa.flow))

    def _taken_for(self, policy: GroupPolicy, sa: DataSA) -> Taken:
        """The place of an SA that is taken."""
        return next(taken for taken in self._taken[key_of(sa)] if taken.same(policy, sa))

    def _counted_elsewhere(self, policy: GroupPolicy, sa: DataSA) -> str | None:
        """Why an SA of counter mode is not to send here: to each destination a data path counts its IVs anew."""
        if not sa.transform.counter_mode:
            return None
        key = key_of(sa)
        first = self._counting.setdefault((policy.group, sa.protocol, sa.spi), key)
        if first == key:
            return None
        return f"{sa.transform} under one key to two destinations would repeat its IVs; this member sends to {first}"

    def _refuse(self, policy: GroupPolicy, sa: DataSA, reason: str) -> None:
        self.refusals.append(Refusal(policy.group, sa.spi, reason))

    def _beneath(self, policy: GroupPolicy, flow: Flow) -> None:
        """What becomes of a flow of the group that no SA serves: discarded, unless it is configured to be in clear.

        In a direction that no entry protects, beneath the entries that may have it there. Nothing is in clear in a
        direction that this member has no right to.
        """
        rights = ((PolicyDirection.IN, policy.receives(flow)), (PolicyDirection.OUT, policy.sends(flow)))
        for direction, may in rights:
            if policy.protects(direction, flow):
                action = policy.clear.beneath(direction) if may else Action.DISCARD
                self._put(SpdEntry(direction, flow, action, DISCARD))
            else:
                self._put(SpdEntry(direction, flow, Action.DISCARD, FINAL))

    def _discard(self, flow: Flow, priority: int) -> None:
        """Discard in both directions."""
        for direction in PolicyDirection:
            self._put(SpdEntry(direction, flow, Action.DISCARD, priority))

    def _put(self, entry: SpdEntry) -> None:
        """Put an entry in, unless something is there that takes precedence."""
        held = self.spd.get(entry.key)
        if entry.key not in self._local and (held is None or entry.priority < held.priority):
            self.spd[entry.key] = entry

    def _trap(self, policy: GroupPolicy, entry: SpdEntry) -> None:
        """Let packets ask for an SA, unless they are to leave in clear anyway."""
        if not policy.clear.sends:
            self._set(policy.clear.loosened(entry))

    def _set(self, entry: SpdEntry) -> None:
        if entry.key not in self._local:
            self.spd[entry.key] = entry


def ingress_by_reqid(policies: Iterable[GroupPolicy], reqids: Mapping[GroupId, int]) -> Mapping[int, Ingress]:
    """Where the packets of each group come in, by its reqid."""
    return {reqids[policy.group]: ingress_of(policy) for policy in policies}


def _widest_last(served: tuple[Flow, object]) -> int:
    """Single addresses in the order given, then ranges, the widest last."""
    flow = served[0]
    return -flow.destination.prefixlen if is_range(flow) else -256
