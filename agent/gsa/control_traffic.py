"""Control traffic of multicast and of GDOI, which passes in clear whatever a group protects (RFC 4301 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from netaddr import IPAddress, IPNetwork

from agent.gsa.databases import PolicyDirection
from agent.gsa.flow import ANY_SOURCE, Flow
from agent.gsa.sa import RekeySA

__all__ = ["always_passes", "control_within", "key_server_traffic", "outgoing_rekeys", "rekey_traffic"]

_UDP, _IGMP, _ICMPV6 = 17, 2, 58
_GDOI_PORTS: Final = (848, 4500)
_IKE_PORT: Final = 500
_ND_TYPES: Final = (133, 134, 135, 136, 137)
"""Neighbor Discovery (RFC 4861 4), of which much goes to a neighbour's own address."""
_MLD_TYPES: Final = (130, 131, 132)
"""Query, MLDv1 report and done: those that go to the group itself (RFC 2710 3.1)."""
_LINK_LOCAL_TYPES: Final = (*_ND_TYPES, 143)
"""ND and the MLDv2 report (RFC 3810 5.2): of multicast, sent in link-local scope only."""
_LINK_LOCAL_SCOPE: Final = IPNetwork("ff02::/16")


def control_within(flow: Flow) -> Iterator[Flow]:
    """Control traffic within a flow, which passes in clear: membership reports go to the group itself.

    Where the flow's destination is unicast: GDOI, IKE and ND.
    """
    source, destination = ANY_SOURCE[flow.family], flow.destination
    multicast = destination.is_multicast()
    ports = _GDOI_PORTS if multicast else (*_GDOI_PORTS, _IKE_PORT)
    every = [Flow(source, destination, _UDP, destination_port=port) for port in ports]
    if flow.family == 4:
        every.extend([Flow(source, destination, _IGMP)] if multicast else ())
    else:
        link_local = destination in _LINK_LOCAL_SCOPE or _LINK_LOCAL_SCOPE in destination
        types = (_MLD_TYPES + (_LINK_LOCAL_TYPES if link_local else ())) if multicast else _ND_TYPES
        every.extend(Flow(source, destination, _ICMPV6, icmp_type=icmp_type) for icmp_type in types)
    return (control for control in every if control.overlaps(flow))


def key_server_traffic(
    flow: Flow, address: IPAddress, ports: Iterable[int], *, here: bool
) -> Iterator[tuple[PolicyDirection, Flow]]:
    """What of a unicast flow passes in clear so that a member reaches a key server at those ports, and is answered.

    An answer goes to a port that the kernel chose, so it is known by the key server's address and port alone. `here`:
    the key server is on this very host, whose answers to other members pass, too.
    """
    if flow.destination.is_multicast() or address.version != flow.family:
        return
    server, anybody = IPNetwork(address), ANY_SOURCE[flow.family]
    for port in ports:
        answers = Flow(server, flow.destination, _UDP, source_port=port)
        requests = Flow(anybody, server, _UDP, destination_port=port)
        every = [(PolicyDirection.IN, answers), (PolicyDirection.OUT, requests)]
        if here:
            every += [(PolicyDirection.OUT, answers), (PolicyDirection.IN, requests)]
        yield from ((direction, control) for direction, control in every if control.overlaps(flow))


def always_passes(flow: Flow) -> bool:
    """Whether each packet of a flow is control traffic (GDOI, IGMP, MLD, ND), so that no group can protect it."""
    return any(control.covers(flow) for control in control_within(flow))


def rekey_traffic(rekey: RekeySA) -> Flow | None:
    """The GROUPKEY-PUSH datagrams of a Rekey SA, from its source where it names one, which pass in clear too.

    None where they need nothing: those to GDOI's own ports always pass, and to a unicast address no group blocks any.
    """
    if not rekey.destination.is_multicast() or rekey.destination_port in (0, *_GDOI_PORTS):
        return None
    named = rekey.source.version == rekey.destination.version and int(rekey.source) != 0
    source = IPNetwork(rekey.source) if named else ANY_SOURCE[rekey.destination.version]
    return Flow(source, IPNetwork(rekey.destination), _UDP, destination_port=rekey.destination_port)


def outgoing_rekeys(rekey: RekeySA) -> Flow | None:
    """Of those, what a key server on this very host sends; None where nothing may go out for them.

    The Rekey SA's source may be an address of ours, so nothing but what leaves from one of GDOI's ports is meant,
    which no application has.
    """
    flow = rekey_traffic(rekey)
    if flow is None or flow.any_source or rekey.source_port not in _GDOI_PORTS:
        return None
    return replace(flow, source_port=rekey.source_port)
