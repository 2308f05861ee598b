"""Entries that a host's operator puts into the GSPD himself, in his order, before those of a GCKS (RFC 5374 4.1.1).

A selector here may have ranges of addresses and ports (RFC 4301 4.4.1.1). A data path knows prefixes and masks, so an
entry becomes several flows. The order of several entries is that of their being written: the first that has a packet
says what becomes of it, and after the last one the group's packets are discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from netaddr import IPNetwork, iprange_to_cidrs

from agent.gsa.address_range import AddressRange
from agent.gsa.control_traffic import always_passes
from agent.gsa.databases import Action, PolicyDirection
from agent.gsa.expansion import may_protect
from agent.gsa.flow import ANY_PORT, ANY_PROTOCOL, ANY_SOURCE, EXACT_PORT, Flow
from agent.gsa.flow_rule import ANY_PORTS, PortRange
from agent.gsa.sa import AddressPreservation, Direction

__all__ = ["MOST_ENTRIES", "MOST_FLOWS", "GspdEntry", "Selection", "entry_faults", "late_entries", "port_blocks"]

MOST_FLOWS: Final = 256
"""The most flows that one entry may become: each is two policies of the data path."""
MOST_ENTRIES: Final = 32
"""The most entries of a group that bypass or discard: each has a priority of its own."""
_DIRECTIONS: Final = {
    Direction.SYMMETRIC: frozenset(PolicyDirection),
    Direction.SENDER_ONLY: frozenset({PolicyDirection.OUT}),
    Direction.RECEIVER_ONLY: frozenset({PolicyDirection.IN}),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """A selector with ranges: what an entry is written as.

    `source`: None for any. `protocol`: IP protocol number, 0 for any. `icmp_type`, `icmp_code`: None for any.
    """

    destination: AddressRange
    source: AddressRange | None = None
    protocol: int = ANY_PROTOCOL
    source_ports: PortRange = ANY_PORTS
    destination_ports: PortRange = ANY_PORTS
    icmp_type: int | None = None
    icmp_code: int | None = None

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The same packets as flows that share none. Raises ValueError for what is no selector, or takes too many."""
        destinations = iprange_to_cidrs(self.destination.first, self.destination.last)
        if self.source is None:
            sources = [ANY_SOURCE[self.destination.first.version]]
        else:
            sources = iprange_to_cidrs(self.source.first, self.source.last)
        source_ports, ports = port_blocks(self.source_ports), port_blocks(self.destination_ports)
        many = len(destinations) * len(sources) * len(source_ports) * len(ports)
        if many > MOST_FLOWS:
            raise ValueError(
                f"its ranges split into {many} flows of prefixes and masked ports, {MOST_FLOWS} are the most:"
                " let them begin and end at powers of two, or take several entries"
            )
        return tuple(
            self._flow(source, destination, source_port, port)
            for destination in destinations
            for source in sources
            for port in ports
            for source_port in source_ports
        )

    def _flow(
        self, source: IPNetwork, destination: IPNetwork, source_port: tuple[int, int], port: tuple[int, int]
    ) -> Flow:
        return Flow(
            source,
            destination,
            self.protocol,
            source_port[0],
            port[0],
            self.icmp_type,
            self.icmp_code,
            source_port[1],
            port[1],
        )


@dataclass(frozen=True, slots=True)
class GspdEntry:
    """One entry.

    `name`: what its operator calls it. `flows`: its packets, ranges already split. `direction`: one that is not
    symmetric is in the GSPD-O or in the GSPD-I alone. `preserve`: which addresses a tunnel must preserve for it, None
    for whatever the GCKS says. `local`: the operator's own, not a GCKS's.
    Raises ValueError without flows, for a destination that no group may have, for control traffic, which always
    passes, and where `preserve` is there for an entry that does not protect.
    """

    name: str
    direction: Direction
    action: Action
    flows: tuple[Flow, ...]
    preserve: AddressPreservation | None = None
    local: bool = True

    def __post_init__(self) -> None:
        if not self.flows:
            raise ValueError(f"entry {self.name} selects nothing")
        for flow in self.flows:
            if not may_protect(flow.destination):
                raise ValueError(f"destination {flow.destination} reaches into addresses that no group has")
            if always_passes(flow):
                raise ValueError(f"{flow} is control traffic (GDOI, IGMP, MLD, ND), which always passes in clear")
        if self.preserve is not None and self.action is not Action.PROTECT:
            raise ValueError(f"address preservation is for an entry that protects, and it says {self.action.value}")

    @property
    def directions(self) -> frozenset[PolicyDirection]:
        """The parts of the GSPD that it is in (RFC 5374 4.1.1): GSPD-I, GSPD-O."""
        return _DIRECTIONS[self.direction]

    def overlaps(self, flow: Flow) -> bool:
        """Whether some packet of a flow is one of this entry, in whatever direction."""
        return any(mine.overlaps(flow) for mine in self.flows)

    def covers(self, flow: Flow) -> bool:
        """Whether each packet of a flow is one of this entry, in whatever direction."""
        return any(mine.covers(flow) for mine in self.flows)

    def meets(self, other: GspdEntry) -> bool:
        """Whether some packet in some direction is one of both."""
        return bool(self.directions & other.directions) and any(map(self.overlaps, other.flows))


def port_blocks(ports: PortRange) -> tuple[tuple[int, int], ...]:
    """A range of ports as values and masks, each an aligned block. Raises ValueError for port 0 alone."""
    if ports == ANY_PORTS:
        return ((ANY_PORT, EXACT_PORT),)
    if ports.last == 0:
        raise ValueError("port 0 is no port that anything is sent to")
    blocks, first = [], ports.first
    while first <= ports.last:
        size = first & -first or 0x10000
        while first + size - 1 > ports.last:
            size //= 2
        blocks.append((first, EXACT_PORT ^ (size - 1)))
        first += size
    return tuple(blocks)


def late_entries(entries: Sequence[GspdEntry]) -> tuple[GspdEntry, ...]:
    """Those that bypass or discard what an entry before them, which protects, has left: they come after it.

    The others come before everything that is protected, in whatever order they were written.
    """
    ahead: list[GspdEntry] = []
    late: list[GspdEntry] = []
    for entry in entries:
        if entry.action is Action.PROTECT:
            ahead.append(entry)
        elif any(entry.meets(other) for other in ahead):
            ahead.append(entry)
            late.append(entry)
    return tuple(late)


def entry_faults(entries: Sequence[GspdEntry]) -> Iterator[tuple[int, str]]:
    """What in the order of entries cannot be meant: index and reason of each that never applies, or cannot be held."""
    late: Sequence[GspdEntry] = ()
    clear = [index for index, entry in enumerate(entries) if entry.action is not Action.PROTECT]
    if len(clear) > MOST_ENTRIES:
        yield clear[MOST_ENTRIES], f"is one too many: {MOST_ENTRIES} entries of a group bypass or discard at most"
    for index, entry in enumerate(entries):
        before = entries[:index]
        hiding = _hiding(entry, before)
        if hiding:
            names = ", ".join(dict.fromkeys(other.name for other in hiding))
            others = {other.action for other in hiding} - {entry.action}
            but = f" and says {', '.join(sorted(action.value for action in others))}" if others else ""
            yield index, f"is shadowed: entry {names} before it has all its packets{but}; put it first, or leave it out"
        elif entry.action is Action.PROTECT:
            other = next((other for other in late if other.meets(entry)), None)
            if other is not None:
                reason = f"shares packets with entry {other.name} before it, which itself follows one that protects"
                yield index, f"{reason}: put all that protects before entry {other.name}, or split its selector"
        late = late_entries(entries[: index + 1])


def _hiding(entry: GspdEntry, before: Iterable[GspdEntry]) -> list[GspdEntry]:
    """The entries that have all packets of another one before it; none where a packet is left."""
    hiding = []
    for direction in entry.directions:
        for flow in entry.flows:
            first = next((other for other in before if direction in other.directions and other.covers(flow)), None)
            if first is None:
                return []
            hiding.append(first)
    return hiding
