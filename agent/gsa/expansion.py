"""Policy for a range of destinations ("any to any") as SAs to one destination each (RFC 5374 3.1, 4.1.1). Pure.

RFC 5374 lets one SA of a tunnel that preserves addresses serve a range of groups, and deployed group VPNs let it serve
unicast prefixes. A host's SAD keys an SA by one destination, so each destination that is asked for gets a copy of the
SA: the same SPI and key. Copies receive without harm. A copy that sends counts its packets from 1 and draws its IVs
for itself, so a member sends on copies only where nobody looks at the sequence numbers and no IV must be unique.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from netaddr import IPAddress, IPNetwork

from agent.gsa.flow import Flow
from agent.gsa.sa import DataSA

__all__ = ["Demand", "Use", "is_range", "may_protect", "uses_of", "why_no_copies"]

_NOT_A_HOSTS: dict[int, tuple[IPNetwork, ...]] = {
    4: tuple(map(IPNetwork, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))),
    6: tuple(map(IPNetwork, ("::1/128", "fe80::/10", "ff00::/8"))),
}
"""What a unicast prefix must not reach into: this host itself, one link, groups, broadcast (RFC 6890)."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A destination that an SA is asked for. `source`: this host's address that sends to it; None: it receives there.

    Received at are this host's own addresses, and the groups that it is a member of.
    """

    source: IPAddress | None
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Use:
    """What this host does with an SA to one destination. `source`: the address that was asked to send, if one was."""

    flow: Flow
    source: IPAddress | None = None
    sends: bool = True
    receives: bool = True
    copy: bool = True
    """Whether it is one of a range, so that what the range says lies beneath."""


def is_range(flow: Flow) -> bool:
    """Whether there are SAs of a flow to several destinations, each where it is asked for."""
    return bool(flow.destination.size != 1)


def may_protect(destination: IPNetwork) -> bool:
    """Whether a group may have traffic to a prefix: multicast, or unicast that leaves the link it began on."""
    if destination.is_multicast():
        return True
    return not any(destination in other or other in destination for other in _NOT_A_HOSTS[destination.version])


def why_no_copies(sa: DataSA) -> str | None:
    """Why this host must not send on copies of an SA to several destinations; None where it may."""
    if not is_range(sa.flow):
        return None
    to = f"to each destination within {sa.flow.destination} an SA of its own sends"
    if sa.transform.counter_mode:
        return (
            f"{to}, and {sa.transform} under one key would repeat its IVs (RFC 6054 2):"
            " let the key server give an aes-cbc transform, or one TEK for each destination"
        )
    if sa.flow.single_source:
        return (
            f"{to} and counts from 1, which receivers that check the sequence numbers of one source take for replays:"
            " let the key server give one TEK for each destination, or an SA for several sources"
        )
    return None


def uses_of(flow: Flow, demand: Iterable[Demand]) -> tuple[Use, ...]:
    """The SAs to make of a flow, each with a flow to one destination; none of a range nobody asks for.

    A group address is sent to and received at. A unicast address that is this host's own is received at, any other is
    sent to.
    """
    wanted: dict[IPAddress, list[IPAddress | None]] = {}
    for each in demand:
        if each.destination in flow.destination and (each.source is None or each.source in flow.source):
            wanted.setdefault(each.destination, []).append(each.source)
    if not is_range(flow):
        sources = wanted.get(flow.destination.ip, [])
        source = _first(sources)
        if flow.destination.is_multicast():
            return (Use(flow, source, copy=False),)
        receives = None in sources
        return (Use(flow, source, sends=source is not None or not receives, receives=receives, copy=False),)
    return tuple(
        Use(replace(flow, destination=IPNetwork(to)), source := _first(sources), source is not None, None in sources)
        for to, sources in sorted(wanted.items())
    )


def _first(sources: Iterable[IPAddress | None]) -> IPAddress | None:
    """One of those that send, the same at each look."""
    return min((source for source in sources if source is not None), default=None)
