"""When a group is registered, with which key server, and when again. Pure: time and chance come in by argument.

Key servers are asked in the configured order. When none serves the group, all is tried again after a wait that doubles,
with jitter, so that the members of a group do not come back at once. An SA is replaced before it ends:

- The lead is 5 % of the lifetime and at least 60 s, but at most a quarter of it; and at least twice the time by which
  the latest change-over came before the end of the older SA. A key server makes the next TEK twice the lead before the
  end, and its senders change over to it half a lead before the end. Members ask between the two.
- How long a TEK lives can be told only of one that was got while fresh. Until then, and where there is no newer SA yet,
  a member asks again when a quarter to two fifths of the rest is over. Whatever the key server's lead, one of these
  instants falls between the two.
- Lifetimes are told in whole seconds and count from receipt, so an end may be later here than at the key server by as
  long as the registration took; it is taken to be earlier by that much.
- A GSA without an SA that lasts counts as a fruitless round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from netaddr import IPAddress

from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.sa import DataSA, GroupSA, SecurityProtocol

__all__ = ["Failure", "Registration", "Retry"]

_LEAST_LEAD_S: Final = 60.0
_LEAD_SHARE: Final = 0.05
_MOST_LEAD_SHARE: Final = 0.25
_LEADS_BEFORE: Final = (1.5, 1.75)
"""Leads before the end at which a member asks, by chance."""
_REST_BEFORE: Final = (0.6, 0.75)
"""Share of the rest that is left when a member asks again."""
_LEAST_WAIT_S: Final = 1.0
_HINT_EVERY_S: Final = 5.0


_Name: TypeAlias = tuple[SecurityProtocol, int, IPAddress]
"""What names an SA: its protocol, SPI and destination."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The waits between rounds over all key servers, in seconds: `first_s`, doubled each time, up to `most_s`."""

    first_s: float
    most_s: float

    def wait_s(self, rounds: int, chance: float) -> float:
        """The wait after so many fruitless rounds, of which up to a half falls to `chance`, 0 to 1."""
        full = min(self.most_s, self.first_s * 2.0 ** min(rounds - 1, 32))
        return full * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a key server did not serve the group: `cause` for programs, `text` for people; `at`: monotonic seconds."""

    server: str
    cause: str
    text: str
    at: float


class Registration:
    """One group's way to its SAs.

    `held`: the GSA in force, None before the first; `server`: the name of the key server that gave it.
    `asking`: the key server that is being asked. `failures`: of the latest round, cleared by success.
    """

    def __init__(self, group: GroupId, servers: Iterable[str], retry: Retry, chance: Callable[[], float]) -> None:
        """`servers` in order of preference; `chance` gives numbers from 0 to 1."""
        self.group: Final = group
        self.servers: tuple[str, ...] = tuple(servers)
        self.retry = retry
        self.held: GroupSA | None = None
        self.server: str | None = None
        self.asking: str | None = None
        self.failures: tuple[Failure, ...] = ()
        self._chance = chance
        self._next = 0
        self._rounds = 0
        self._lifetime_s: float | None = None
        self._change_over_s = 0.0
        self._worn: set[_Name] = set()
        self._due: float | None = -math.inf
        self._last_asked = -math.inf

    @property
    def deadline(self) -> float | None:
        """When `ask` has something to do, in monotonic seconds; None while it asks, or has SAs without end."""
        return None if self.asking is not None else self._due

    def ask(self, now: float) -> str | None:
        """The key server to ask now, None while there is nothing to do."""
        if self.asking is not None or self._due is None or self._due > now:
            return None
        self.asking = self.servers[self._next]
        self._last_asked = now
        return self.asking

    def succeeded(self, group_sa: GroupSA, now: float) -> tuple[DataSA, ...]:
        """Take a GSA. The SAs returned have no further use: wipe their keys once the kernel is without them."""
        before = self.held
        self.held, dropped = _merged(before, _ended(group_sa, self._worn, now), now)
        self._worn &= {_name(sa) for sa in self.held.data}
        self.server, self.asking = self.asking, None
        self.failures, self._next = (), 0
        self._change_over_s = max(_change_overs_s(group_sa, now), default=self._change_over_s)
        self._schedule(before, now)
        return dropped

    def failed(self, cause: str, text: str, now: float) -> None:
        """The key server asked did not serve us: go on to the next one, or wait when all were asked."""
        if self.asking is None:
            return
        earlier = self.failures if self._next else ()
        self.failures = (*earlier, Failure(self.asking, cause, text, now))
        self.asking = None
        self._next += 1
        self._due = now
        if self._next >= len(self.servers):
            self._next = 0
            self._rounds += 1
            self._due = now + self.retry.wait_s(self._rounds, self._chance())

    def hint(self, now: float) -> None:
        """Something wants an SA before its time: a packet waits, or a volume limit is near. Bounded in how often."""
        if self.asking is None:
            soon = max(now, self._last_asked + _HINT_EVERY_S)
            self._due = soon if self._due is None else min(self._due, soon)

    def wear_out(self, protocol: SecurityProtocol, spi: int, destination: IPAddress, now: float) -> None:
        """The data path ended an SA, e.g. at its limit on octets: it is not installed again, also if given again."""
        name = (protocol, spi, destination)
        if self.held is not None and name in {_name(sa) for sa in self.held.data}:
            self._worn.add(name)
            self.held = _ended(self.held, self._worn, now)
            self.hint(now)

    def forget(self, now: float) -> tuple[DataSA, ...]:
        """Let go of the GSA, which is not to be used any more, and ask anew. Returns SAs as `succeeded` does."""
        dropped = () if self.held is None else self.held.data
        self.held, self.server, self._lifetime_s, self._change_over_s = None, None, None, 0.0
        self._due = now
        return dropped

    def change_servers(self, servers: Iterable[str], retry: Retry, gone: bool, now: float) -> None:
        """New key servers, after a reload. `gone`: the one being asked is not asked any more."""
        servers = tuple(servers)
        self.retry = retry
        if servers != self.servers:
            self.servers, self._next, self._rounds, self.failures = servers, 0, 0, ()
            if self.held is None:
                self._due = now
        if gone and self.asking is not None:
            self.asking, self._next, self._due = None, 0, now

    def serving(self, now: float) -> tuple[DataSA, ...]:
        """The SAs held that have not ended."""
        held = () if self.held is None else self.held.data
        return tuple(sa for sa in held if sa.expires is None or sa.expires > now)

    def usable(self, now: float) -> bool:
        """Whether there is one."""
        return bool(self.serving(now))

    def expires(self) -> float | None:
        """When the first flow has no SA any more, in monotonic seconds; None for never, or without SAs."""
        if self.held is None:
            return None
        ends = (end for end in _ends(self.held).values() if not math.isinf(end))
        return min(ends, default=None)

    def _schedule(self, before: GroupSA | None, now: float) -> None:
        expires = self.expires()
        if expires is None:
            self._due, self._rounds = None, 0
            return
        left_s = expires - now
        if left_s <= 0:
            self._rounds += 1
            self._due = now + self.retry.wait_s(self._rounds, self._chance())
            return
        self._rounds = 0
        fresh = before is not None and self.held is not None and _renewed(before, self.held, now)
        if fresh:
            self._lifetime_s = max(left_s, self._lifetime_s or 0.0)
        ends = expires - (now - self._last_asked)
        due = ends - _between(_LEADS_BEFORE, self._chance()) * self._lead_s()
        if due <= now:
            due = ends - _between(_REST_BEFORE, self._chance()) * (ends - now)
        self._due = max(due, now + _LEAST_WAIT_S)

    def _lead_s(self) -> float:
        """The key server's lead, as far as it can be told; without end as long as it cannot."""
        if self._lifetime_s is None:
            return math.inf
        usual_s = min(max(_LEAST_LEAD_S, self._lifetime_s * _LEAD_SHARE), self._lifetime_s * _MOST_LEAD_SHARE)
        return max(usual_s, 2.0 * self._change_over_s)


def _between(bounds: tuple[float, float], chance: float) -> float:
    low, high = bounds
    return low + (high - low) * chance


def _change_overs_s(group_sa: GroupSA, now: float) -> Iterator[float]:
    """How long before the end of each flow's older SAs senders change over to one that still waits (ATD)."""
    for sa in group_sa.data:
        if sa.send_from > now:
            ends = (older.expires for older in group_sa.data if older.flow == sa.flow and older is not sa)
            yield from (end - sa.send_from for end in ends if end is not None and end > sa.send_from)


def _ends(group_sa: GroupSA) -> dict[Flow, float]:
    """When each flow's last SA ends."""
    ends: dict[Flow, float] = {}
    for sa in group_sa.data:
        end = math.inf if sa.expires is None else sa.expires
        ends[sa.flow] = max(end, ends.get(sa.flow, -math.inf))
    return ends


def _renewed(before: GroupSA, after: GroupSA, now: float) -> bool:
    """Whether there are SAs that came while their predecessors still served, and so were got fresh."""
    served = all(end > now for end in _ends(before).values())
    return served and bool({_name(sa) for sa in after.data} - {_name(sa) for sa in before.data})


def _name(sa: DataSA) -> _Name:
    return (sa.protocol, sa.spi, sa.flow.destination.ip)


def _ended(group_sa: GroupSA, worn: Set[_Name], now: float) -> GroupSA:
    """The GSA with these SAs at their end; they stay in it, so that their flows stay blocked."""
    if not worn:
        return group_sa
    data = (replace(sa, expires=min(now, sa.expires or now)) if _name(sa) in worn else sa for sa in group_sa.data)
    return replace(group_sa, data=tuple(data))


def _merged(before: GroupSA | None, after: GroupSA, now: float) -> tuple[GroupSA, tuple[DataSA, ...]]:
    """The new GSA, after the SAs of the old one that others may still send on; and the SAs that are left over.

    An SA that both have keeps being sent on: an ATD is about SAs that are new to the group (RFC 5374 4.2.1).
    """
    if before is None:
        return after, ()
    new = {_name(sa) for sa in after.data}
    old = {_name(sa): sa for sa in before.data}
    kept = tuple(sa for name, sa in old.items() if name not in new and (sa.expires is not None and sa.expires > now))
    dropped = tuple(sa for sa in before.data if sa not in kept)
    fresh = tuple(
        replace(sa, send_from=min(sa.send_from, old[_name(sa)].send_from)) if _name(sa) in old else sa
        for sa in after.data
    )
    return replace(after, data=(*kept, *fresh)), dropped
