"""Which destinations of a group's ranges are asked for, and when a group itself is (RFC 5374 4.1.1). Pure.

A packet that waits for an SA asks for its destination, until nothing went there for a while. This host's own addresses
and the groups that it is a member of are asked for as long as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from netaddr import IPAddress

from agent.gsa.databases import SadEntry, SadKey
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId

__all__ = ["MOST_DESTINATIONS", "GroupDemand", "demand_of", "within"]

MOST_DESTINATIONS: Final = 4096
"""Of one group at a time: whoever sends to a whole prefix must not fill the SAD."""
_GIVES_WAY: Final = 1 / 2
"""The part of `idle_s` after which a destination gives way to another where there is room for no more. More than the
time between two looks at the counters, since until then nobody knows whether it is in use."""


@dataclass(slots=True)
class GroupDemand:
    """What is asked for in one group.

    `idle_s`: how long a destination is asked for after the last packet. `waited`: packets that had to wait for an SA,
    as the data path told it. `refused`: destinations that were too many. `used`: when the group last carried a packet,
    or a program last was a member, in monotonic seconds.
    """

    group: GroupId
    idle_s: float
    most: int = MOST_DESTINATIONS
    waited: int = 0
    refused: int = 0
    used: float = 0.0
    _standing: frozenset[IPAddress] = frozenset()
    _asked: dict[tuple[IPAddress, IPAddress], float] = field(default_factory=dict)
    _carried: Mapping[SadKey, int] = field(default_factory=dict)

    def first_packet(self, source: IPAddress, destination: IPAddress, now: float) -> bool:
        """A packet waits for an SA. Whether that is news; it is none either when there is room for no more."""
        self.waited += 1
        self.used = now
        pair = (source, destination)
        news = pair not in self._asked
        if news and len(self._asked) >= self.most and not self._make_room(now):
            self.refused += 1
            return False
        self._asked[pair] = now
        return news

    def _make_room(self, now: float) -> bool:
        """Let go of what was not in use for longest, where that is long enough."""
        oldest = min(self._asked, key=self._asked.__getitem__)
        if now - self._asked[oldest] < self.idle_s * _GIVES_WAY:
            return False
        del self._asked[oldest]
        return True

    def adopt(self, source: IPAddress, destination: IPAddress, now: float) -> None:
        """It was asked for before."""
        self._asked.setdefault((source, destination), now)

    def stand(self, addresses: Collection[IPAddress]) -> bool:
        """This host's own addresses and the groups it is a member of, as they are now. Whether that is news."""
        before, self._standing = self._standing, frozenset(addresses)
        return before != self._standing

    def count(self, sad: Iterable[SadEntry], now: float) -> None:
        """What the SAs of this group have carried so far."""
        carried = {entry.key: entry.usage.packets for entry in sad if entry.usage is not None}
        busy = {key.destination for key, packets in carried.items() if packets > self._carried.get(key, 0)}
        self._carried = carried
        for pair in self._asked:
            if pair[1] in busy:
                self._asked[pair] = now
        if busy:
            self.used = now

    def drop_idle(self, now: float) -> tuple[IPAddress, ...]:
        """Ask no more for what has not been in use; the destinations that go."""
        gone = [pair for pair, used in self._asked.items() if now - used >= self.idle_s]
        for pair in gone:
            del self._asked[pair]
        return tuple(dict.fromkeys(destination for _, destination in gone))

    def idle(self, now: float) -> bool:
        """Whether the group as a whole has not been in use for so long."""
        return now - self.used >= self.idle_s

    @property
    def sends_to(self) -> int:
        """How many pairs of source and destination are asked for to send."""
        return len(self._asked)

    def demand(self) -> frozenset[Demand]:
        """All that is asked for."""
        standing = (Demand(None, address) for address in self._standing)
        return frozenset((*standing, *(Demand(*pair) for pair in self._asked)))


def within(addresses: Iterable[IPAddress], flows: Iterable[Flow]) -> frozenset[IPAddress]:
    """Those addresses that one of the flows leads to."""
    prefixes = tuple(flow.destination for flow in flows)
    return frozenset(address for address in addresses if any(address in prefix for prefix in prefixes))


def demand_of(groups: Mapping[GroupId, GroupDemand]) -> Mapping[GroupId, frozenset[Demand]]:
    """The demand of every group, as the GSPD wants it."""
    return {group: asked.demand() for group, asked in groups.items()}
