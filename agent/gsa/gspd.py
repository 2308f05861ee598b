"""The Group Security Policy Database (GSPD, RFC 5374 4.1.1): configured groups and the GSAs held, turned into what the
SAD and the SPD of this host should hold now.

Between being configured and being removed from the configuration, a group's traffic is never in clear:

    bypass   IGMP, MLD, ND and GDOI to the group, always (RFC 4301 5.2: control traffic has explicit entries)
    protect  the flow of an SA in force, in each direction in which this member may use it
    discard  underneath: the configured traffic, always; its other sources (RFC 5374 6.3.3); each flow the GCKS named

Addresses are not swapped inbound (RFC 5374 4.1.1). Several groups: the one configured first has a flow that two claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from netaddr import IPAddress, IPNetwork

from agent.gsa.control_traffic import control_within, outgoing_rekeys, rekey_traffic
from agent.gsa.databases import (
    OWN_PRIORITIES,
    Action,
    Databases,
    PolicyDirection,
    SadEntry,
    SadKey,
    SpdEntry,
    SpdKey,
    Template,
)
from agent.gsa.flow import ANY_SOURCE, Flow
from agent.gsa.group_policy import DEFAULT_REPLAY_WINDOW, GroupPolicy, Refusal
from agent.gsa.identity import GroupId
from agent.gsa.reqids import reqids_of
from agent.gsa.sa import AddressPreservation, DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.gsa.sequence import first_sequence

__all__ = ["DEFAULT_REPLAY_WINDOW", "Desired", "GroupPolicy", "Gspd", "Refusal"]

_BYPASS: Final = OWN_PRIORITIES.start + 0x10
_PROTECT: Final = OWN_PRIORITIES.start + 0x40
_DISCARD: Final = OWN_PRIORITIES.start + 0x80
_DISCARD_OTHER_SOURCES: Final = OWN_PRIORITIES.start + 0xC0


_SENDING: Final = frozenset({Direction.SENDER_ONLY, Direction.SYMMETRIC})
_RECEIVING: Final = frozenset({Direction.RECEIVER_ONLY, Direction.SYMMETRIC})
_SOURCE_PRESERVED: Final = frozenset({AddressPreservation.SOURCE, AddressPreservation.BOTH})
_DESTINATION_PRESERVED: Final = frozenset({AddressPreservation.DESTINATION, AddressPreservation.BOTH})


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be there, and what was left out of it."""

    databases: Databases
    refusals: tuple[Refusal, ...] = ()


class Gspd:
    """The groups of this host, in the operator's order.

    Reqids follow from the set of group identifiers, so that a restart finds the same.
    Raises ValueError when a group appears twice.
    """

    def __init__(self, policies: Sequence[GroupPolicy]) -> None:
        self._policies: Final = tuple(policies)
        self._reqids: Final = reqids_of([policy.group for policy in policies])

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
        build = _Build(self._policies, now)
        for policy in self._policies:
            build.block(policy)
        for policy in self._policies:
            group_sa = held.get(policy.group)
            if group_sa is not None:
                build.protect(policy, group_sa, self._reqids[policy.group])
        for policy in self._policies:
            if policy.group in held:
                build.bypass_rekey(policy, held)
        build.bypass_control()
        return Desired(Databases.of(build.sad.values(), build.spd.values()), tuple(build.refusals))

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


def _protect_priority(flow: Flow) -> int:
    """The narrower flow first; it depends on the flow alone, so that a change elsewhere moves nothing."""
    source = 0 if flow.single_source else 2 if flow.any_source else 1
    any_protocol = flow.protocol == 0
    any_ports = (flow.source_port == 0) + (flow.destination_port == 0)
    return _PROTECT + 8 * any_protocol + 3 * any_ports + source


def _foreign(policy: GroupPolicy, flow: Flow) -> str | None:
    """Why a flow is none of this group's at all, so that not even a block is due for it; None when it is."""
    if not flow.destination.is_multicast():
        return f"destination {flow.destination} is no multicast address: group SAs for unicast are not supported yet"
    if not any(traffic.overlaps(flow) for traffic in policy.traffic):
        return f"flow {flow} is no part of the traffic configured for the group"
    return None


def _unable(sa: DataSA) -> str | None:
    """Why no Linux host carries this SA out as things are; None when it does."""
    if sa.flow.destination.size != 1:
        return f"destination {sa.flow.destination} is a prefix: SAs for one group address only are supported yet"
    if sa.esn:
        return "extended sequence numbers are not supported yet: a member that joins late cannot know the high half"
    if sa.mode is Mode.TUNNEL and sa.address_preservation not in _DESTINATION_PRESERVED:
        return (
            f"tunnel mode with address preservation {sa.address_preservation.value!r} names no tunnel destination:"
            " let it preserve the destination"
        )
    return None


class _Build:
    """Databases in the making."""

    def __init__(self, policies: Sequence[GroupPolicy], now: float) -> None:
        self._policies: Final = policies
        self.now = now
        self.sad: dict[SadKey, SadEntry] = {}
        self.spd: dict[SpdKey, SpdEntry] = {}
        self.refusals: list[Refusal] = []
        # By destination, which is one address: only flows to the same one can overlap.
        self._claims: dict[IPNetwork, list[tuple[GroupId, Flow]]] = {}
        self._taken: dict[SadKey, tuple[GroupId, DataSA]] = {}
        # What each SA carries: several flows of one SA are one entry of the SAD, whose selector covers them all.
        self._selectors: dict[SadKey, Flow] = {}
        self._counting: dict[tuple[GroupId, SecurityProtocol, Spi], SadKey] = {}

    def block(self, policy: GroupPolicy) -> None:
        """Discard the configured traffic in both directions."""
        for flow in policy.traffic:
            self._discard(flow, _DISCARD)
            if not flow.any_source:
                self._discard(replace(flow, source=ANY_SOURCE[flow.family]), _DISCARD_OTHER_SOURCES)

    def protect(self, policy: GroupPolicy, group_sa: GroupSA, reqid: int) -> None:
        """Let the SAs of one GSA serve their flows."""
        serving: dict[Flow, list[DataSA]] = {}
        for sa in group_sa.data:
            if (reason := _foreign(policy, sa.flow)) is not None:
                self._refuse(policy, sa, reason)
                continue
            reason = _unable(sa) or self._intrusion(policy, sa) or self._conflict(policy, sa)
            if reason is None:
                self._claims.setdefault(sa.flow.destination, []).append((policy.group, sa.flow))
                self._take(policy, sa)
                serving.setdefault(sa.flow, []).append(sa)
            else:
                self._refuse(policy, sa, reason)
                self._discard(sa.flow, _DISCARD)
        for flow, sas in serving.items():
            self._serve(policy, group_sa, reqid, flow, sas)

    def bypass_control(self) -> None:
        """Let control traffic pass above everything that is in the SPD so far."""
        control = {flow: tuple(control_within(flow)) for flow in {key.flow: None for key in self.spd}}
        for key in list(self.spd):
            for flow in control[key.flow]:
                self._set(SpdEntry(key.direction, flow, Action.BYPASS, _BYPASS))

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
        if any(other.destination_port for other in in_the_way):
            self._refuse_rekeys(policy, f"{flow}, would pass in clear where that very port is protected")
        elif (whose := self._crosses(policy, flow, every)) is not None:
            hint = "let its key server send them to port 848"
            self._refuse_rekeys(policy, f"{flow}, would pass in clear through the traffic of group {whose}: {hint}")
        elif in_the_way:
            self._set(SpdEntry(PolicyDirection.IN, flow, Action.BYPASS, _BYPASS))
            outgoing = outgoing_rekeys(rekey)
            if outgoing is not None:
                self._set(SpdEntry(PolicyDirection.OUT, outgoing, Action.BYPASS, _BYPASS))

    def _crosses(self, policy: GroupPolicy, flow: Flow, every: Mapping[GroupId, GroupSA]) -> GroupId | None:
        """Another group through whose traffic a flow of rekeys leads, where it has none like it itself."""
        for other in self._policies:
            own = every[other.group].rekey if other.group in every else None
            like_it = own is not None and rekey_traffic(own) == flow
            if other.group != policy.group and not like_it and any(mine.overlaps(flow) for mine in other.traffic):
                return other.group
        return None

    def _refuse_rekeys(self, policy: GroupPolicy, reason: str) -> None:
        self.refusals.append(Refusal(policy.group, None, f"its rekeys, {reason}"))

    def _serve(self, policy: GroupPolicy, group_sa: GroupSA, reqid: int, flow: Flow, sas: Sequence[DataSA]) -> None:
        """One flow and its SAs, of which several are there during a rollover (RFC 5374 4.2.1)."""
        self._discard(flow, _DISCARD)
        lasting = [sa for sa in sas if not self._over(sa)]
        in_force = self._in_force(lasting)
        sending, receiving = [], []
        for sa in lasting:
            switched = in_force is not None and _kind(sa) != _kind(in_force)
            if switched and in_force is not None and sa.send_from <= self.now:
                self._refuse(policy, sa, _given_way(sa, in_force))
                continue
            tunnel_source = _tunnel_source(policy, sa)
            sends = policy.role.sends and sa.direction in _SENDING
            if sends:
                reason = _cannot_send(group_sa, sa, tunnel_source) or self._counted_elsewhere(policy, sa)
                if reason is not None:
                    self._refuse(policy, sa, reason)
                    sends = False
            receives = policy.role.receives and sa.direction in _RECEIVING
            if not sends and not receives:
                continue
            selector = self._selectors[_key(sa)]
            entry = _sad_entry(policy, reqid, sa, selector, tunnel_source if sends else None)
            if sends and (begins := first_sequence(policy.resume, sa, selector, self.now)) != entry.first_sequence:
                entry = replace(entry, first_sequence=begins)
            key = entry.key
            held = self.sad.get(key)
            if held is None or held.source is None:
                self.sad[key] = entry
            if sends and not switched:
                sending.append((sa, tunnel_source))
            if receives and not switched:
                receiving.append(sa)
        if receiving:
            self._set(_inbound(receiving[-1], reqid))
        leading = self._leading_edge(sending, after_another=len(lasting) < len(sas))
        if leading is not None:
            self._set(_outbound(*leading, reqid))

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

    def _intrusion(self, policy: GroupPolicy, sa: DataSA) -> str | None:
        """Why an SA that goes beyond its group's traffic would carry another's, which waits for an SA of its own."""
        if any(mine.covers(sa.flow) for mine in policy.traffic):
            return None
        for other in self._policies:
            if other.group != policy.group and any(theirs.overlaps(sa.flow) for theirs in other.traffic):
                return f"flow {sa.flow} reaches into the traffic configured for group {other.group}"
        return None

    def _conflict(self, policy: GroupPolicy, sa: DataSA) -> str | None:
        for group, flow in self._claims.get(sa.flow.destination, ()):
            if group != policy.group and flow.overlaps(sa.flow):
                return f"flow {sa.flow} overlaps {flow} of group {group}, which comes first in the configuration"
        key = _key(sa)
        group, held = self._taken.get(key, (policy.group, sa))
        if group != policy.group or not _same_sa(held, sa):
            return f"another SA has the same SPI and destination: {key}"
        for protocol in SecurityProtocol:
            twin = SadKey(key.destination, key.spi, protocol)
            if protocol is not key.protocol and twin in self._taken:
                return f"another SA has the same SPI and destination, which name one SA of a group: {twin}"
        return None

    def _take(self, policy: GroupPolicy, sa: DataSA) -> None:
        key = _key(sa)
        self._taken.setdefault(key, (policy.group, sa))
        self._selectors[key] = self._selectors[key].joined(sa.flow) if key in self._selectors else sa.flow

    def _counted_elsewhere(self, policy: GroupPolicy, sa: DataSA) -> str | None:
        """Why an SA of counter mode is not to send here: to each destination a data path counts its IVs anew."""
        if not sa.transform.counter_mode:
            return None
        key = _key(sa)
        first = self._counting.setdefault((policy.group, sa.protocol, sa.spi), key)
        if first == key:
            return None
        return f"{sa.transform} under one key to two destinations would repeat its IVs; this member sends to {first}"

    def _refuse(self, policy: GroupPolicy, sa: DataSA, reason: str) -> None:
        self.refusals.append(Refusal(policy.group, sa.spi, reason))

    def _discard(self, flow: Flow, priority: int) -> None:
        """Discard in both directions, unless something is there that takes precedence."""
        for direction in PolicyDirection:
            entry = SpdEntry(direction, flow, Action.DISCARD, priority)
            held = self.spd.get(entry.key)
            if held is None or priority < held.priority:
                self.spd[entry.key] = entry

    def _set(self, entry: SpdEntry) -> None:
        self.spd[entry.key] = entry


def _key(sa: DataSA) -> SadKey:
    return SadKey(sa.flow.destination.ip, sa.spi, sa.protocol)


def _same_sa(one: DataSA, other: DataSA) -> bool:
    """Whether two are one SA with several flows, as one SPI in several SATs says."""
    return one is other or replace(one, flow=other.flow, send_from=other.send_from) == other


def _tunnel_source(policy: GroupPolicy, sa: DataSA) -> IPAddress | None:
    """The outer source to send with; never the wildcard, which the kernel would put on the wire as it is."""
    if sa.mode is not Mode.TUNNEL:
        return None
    if sa.flow.single_source:
        return sa.flow.source.ip
    return next((address for address in policy.addresses if address in sa.flow.source), None)


def _cannot_send(group_sa: GroupSA, sa: DataSA, tunnel_source: IPAddress | None) -> str | None:
    """Why this member must not send on an SA it otherwise may send on."""
    if sa.transform.counter_mode and not group_sa.sender_ids:
        return f"{sa.transform} needs a Sender-ID to send and the GCKS gave none (RFC 6407 4.4)"
    if sa.mode is Mode.TUNNEL and tunnel_source is None:
        return f"tunnel mode needs an own address within {sa.flow.source} on the group's interface to send from"
    return None


def _sad_entry(
    policy: GroupPolicy, reqid: int, sa: DataSA, selector: Flow, tunnel_source: IPAddress | None
) -> SadEntry:
    """Replay service on single-source SAs only: senders that share an SA count each for themselves (RFC 4303 2.2)."""
    return SadEntry(
        destination=selector.destination.ip,
        spi=sa.spi,
        protocol=sa.protocol,
        source=selector.source.ip if selector.single_source else tunnel_source,
        mode=sa.mode,
        reqid=reqid,
        transform=sa.transform,
        cipher_key=sa.cipher_key,
        integrity_key=sa.integrity_key,
        selector=selector,
        replay_window=policy.replay_window if selector.single_source else 0,
        expires=sa.expires,
        lifetime_kilobytes=sa.lifetime_kilobytes,
    )


def _kind(sa: DataSA) -> tuple[SecurityProtocol, Mode]:
    return sa.protocol, sa.mode


def _given_way(sa: DataSA, newer: DataSA) -> str:
    """Why an SA is not received on any more: a policy asks for one protocol and mode at a time."""
    return (
        f"a newer SA, 0x{newer.spi:08x}, serves the flow by {newer.protocol.value} in {newer.mode.value} mode,"
        f" not by {sa.protocol.value} in {sa.mode.value} mode"
    )


def _inbound(sa: DataSA, reqid: int) -> SpdEntry:
    """Any SA of the group, whichever is on the wire; the source is the SA selector's business."""
    destination = sa.flow.destination.ip if sa.mode is Mode.TUNNEL else None
    template = Template(sa.protocol, sa.mode, reqid, destination=destination)
    return SpdEntry(PolicyDirection.IN, sa.flow, Action.PROTECT, _protect_priority(sa.flow), template)


def _outbound(sa: DataSA, tunnel_source: IPAddress | None, reqid: int) -> SpdEntry:
    """Pinned to one SA: unpinned, the kernel sends on the newest at once, which is no make before break.

    A tunnel that preserves the source serves packets from its own outer source alone.
    """
    flow, template = sa.flow, Template(sa.protocol, sa.mode, reqid, spi=sa.spi)
    if tunnel_source is not None:
        template = replace(template, source=tunnel_source, destination=flow.destination.ip)
        if sa.address_preservation in _SOURCE_PRESERVED:
            flow = replace(flow, source=IPNetwork(tunnel_source))
    return SpdEntry(PolicyDirection.OUT, flow, Action.PROTECT, _protect_priority(flow), template)
