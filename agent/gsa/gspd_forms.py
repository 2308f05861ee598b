"""The entries of SAD and SPD that the GSPD makes of a group's SAs, and their order of precedence (RFC 5374 4.1.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from netaddr import IPAddress, IPNetwork

from agent.gsa.databases import (
    OWN_PRIORITIES,
    Action,
    PolicyDirection,
    SadEntry,
    SadKey,
    SpdEntry,
    Template,
)
from agent.gsa.flow import Flow
from agent.gsa.group_policy import GroupPolicy
from agent.gsa.sa import AddressPreservation, DataSA, Mode, SecurityProtocol

__all__ = [
    "BYPASS",
    "DESTINATION_PRESERVED",
    "DISCARD",
    "DISCARD_OTHER_SOURCES",
    "FINAL",
    "LOCAL",
    "LOCAL_LATE",
    "SHUT",
    "TRAP",
    "inbound",
    "key_of",
    "kind_of",
    "one_way",
    "outbound",
    "protect_priority",
    "sad_entry",
    "together",
    "trap",
    "tunnel_source_of",
]

LOCAL: Final = range(OWN_PRIORITIES.start + 0x14, OWN_PRIORITIES.start + 0x40)
"""The operator's own entries that bypass or discard, one priority each, above all that is protected."""
LOCAL_LATE: Final = range(OWN_PRIORITIES.start + 0xA0, OWN_PRIORITIES.start + 0xC0)
"""Those of them that have what an entry before them, which protects, has left."""
FINAL: Final = OWN_PRIORITIES.start + 0xE0
"""The last entry of a group that has entries of its own: whatever else goes to its addresses."""
BYPASS: Final = OWN_PRIORITIES.start + 0x10
"""Control traffic, above everything else of a group."""
PROTECT: Final = OWN_PRIORITIES.start + 0x40
"""The first of the priorities of what SAs protect; `protect_priority` says which."""
TRAP: Final = OWN_PRIORITIES.start + 0x7F
"""Beneath all that an SA protects: packets that ask for an SA."""
SHUT: Final = OWN_PRIORITIES.start + 0x7E
"""Above those: where an SA is held to receive on, which a packet that asks for one would find and be sent on."""
DISCARD: Final = OWN_PRIORITIES.start + 0x80
"""Underneath: a group's flows without an SA in force."""
DISCARD_OTHER_SOURCES: Final = OWN_PRIORITIES.start + 0xC0
"""Underneath everything: sources that a group does not have (RFC 5374 6.3.3)."""

_SOURCE_PRESERVED: Final = frozenset({AddressPreservation.SOURCE, AddressPreservation.BOTH})
DESTINATION_PRESERVED: Final = frozenset({AddressPreservation.DESTINATION, AddressPreservation.BOTH})
"""With which a tunnel goes to the group address itself."""


def protect_priority(flow: Flow) -> int:
    """The narrower flow first; it depends on the flow alone, so that a change elsewhere moves nothing."""
    source = 0 if flow.single_source else 2 if flow.any_source else 1
    any_protocol = flow.protocol == 0
    any_ports = flow.any_source_port + flow.any_destination_port
    return PROTECT + 8 * any_protocol + 3 * any_ports + source


def key_of(sa: DataSA) -> SadKey:
    """The key of the entry of the SAD that an SA to one address becomes."""
    return SadKey(sa.flow.destination.ip, sa.spi, sa.protocol)


def kind_of(sa: DataSA) -> tuple[SecurityProtocol, Mode]:
    """Protocol and mode, of which a policy asks for one pair at a time."""
    return sa.protocol, sa.mode


def tunnel_source_of(policy: GroupPolicy, sa: DataSA, asked: IPAddress | None = None) -> IPAddress | None:
    """The outer source to send with; never the wildcard, which the kernel would put on the wire as it is.

    `asked`: this host's address that a packet waits to be sent from.
    """
    if sa.mode is not Mode.TUNNEL:
        return None
    if sa.flow.single_source:
        return sa.flow.source.ip
    if asked is not None and asked in sa.flow.source:
        return asked
    return next((address for address in policy.addresses if address in sa.flow.source), None)


def sad_entry(
    policy: GroupPolicy,
    reqid: int,
    sa: DataSA,
    selector: Flow,
    tunnel_source: IPAddress | None,
    direction: PolicyDirection | None = None,
) -> SadEntry:
    """Replay service on single-source SAs only: senders that share an SA count each for themselves (RFC 4303 2.2).

    `direction`: the only one in which it is used, None for both. One that only sends checks nothing; with extended
    sequence numbers it has a window all the same, since Linux before 6.10 takes none without.
    """
    if sa.esn and direction is PolicyDirection.OUT:
        direction = None
    checks = selector.single_source and direction is not PolicyDirection.OUT
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
        replay_window=policy.replay_window if checks else 0,
        expires=sa.expires,
        lifetime_kilobytes=sa.lifetime_kilobytes,
        direction=direction,
        esn=sa.esn,
    )


def one_way(*, sends: bool, receives: bool) -> PolicyDirection | None:
    """The direction of an SA that this member uses in one only; None where in both (RFC 5374 4.1.1)."""
    if sends and receives:
        return None
    return PolicyDirection.OUT if sends else PolicyDirection.IN


def together(held: SadEntry | None, entry: SadEntry) -> SadEntry:
    """One entry for two flows of one SA: it serves what either does."""
    if held is None:
        return entry
    kept, other = (entry, held) if held.source is None else (held, entry)
    return replace(
        kept,
        direction=kept.direction if kept.direction is other.direction else None,
        replay_window=max(kept.replay_window, other.replay_window),
    )


def inbound(sa: DataSA, reqid: int) -> SpdEntry:
    """Any SA of the group, whichever is on the wire; the source is the SA selector's business."""
    destination = sa.flow.destination.ip if sa.mode is Mode.TUNNEL else None
    template = Template(sa.protocol, sa.mode, reqid, destination=destination)
    return SpdEntry(PolicyDirection.IN, sa.flow, Action.PROTECT, protect_priority(sa.flow), template)


def outbound(sa: DataSA, tunnel_source: IPAddress | None, reqid: int) -> SpdEntry:
    """Pinned to one SA: unpinned, the kernel sends on the newest at once, which is no make before break.

    A tunnel that preserves the source serves packets from its own outer source alone.
    """
    flow, template = sa.flow, Template(sa.protocol, sa.mode, reqid, spi=sa.spi)
    if tunnel_source is not None:
        template = replace(template, source=tunnel_source, destination=flow.destination.ip)
        if sa.address_preservation in _SOURCE_PRESERVED:
            flow = replace(flow, source=IPNetwork(tunnel_source))
    return SpdEntry(PolicyDirection.OUT, flow, Action.PROTECT, protect_priority(flow), template)


def trap(flow: Flow, protocol: SecurityProtocol, reqid: int) -> SpdEntry:
    """No SA serves it: a packet is dropped, and the data path asks for one to its destination (RFC 5374 4.1.1).

    In transport mode without addresses, whatever the SA will be, since so the kernel names the packet's own addresses.
    """
    return SpdEntry(PolicyDirection.OUT, flow, Action.PROTECT, TRAP, Template(protocol, Mode.TRANSPORT, reqid))
