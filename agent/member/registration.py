"""When a group is registered, with which key server, and when again. Pure: time and chance come in by argument.

Key servers are asked in the configured order; `agent.member.failover` says when the next one. When none serves the
group, all is tried again after a wait that doubles, anything of which may fall to chance, so that the members of a
group do not come back at once. While another than the preferred one serves, the preferred one is tried now and then,
and a failure of that changes nothing. An SA is replaced before it ends:

- The lead is 5 % of the lifetime and at least 60 s, but at most a quarter of it; and at least twice the time by which
  the latest change-over came before the end of the older SA. A key server makes the next TEK twice the lead before the
  end, and its senders change over to it half a lead before the end. Members ask between the two, spread by chance. A
  lead that is configured is taken as it is.
- How long a TEK lives can be told only of one that was got while fresh. Until then, and where there is no newer SA yet,
  a member asks again when a quarter to two fifths of the rest is over. Whatever the key server's lead, one of these
  instants falls between the two.
- Lifetimes are told in whole seconds and count from receipt of message 2, so an end may be later here than at the key
  server by as long as the registration took, with the key servers that were asked in vain before; it is taken to be
  earlier by that much.
- A GSA without an SA that lasts counts as a fruitless round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from netaddr import IPAddress

from agent.gdoi.failures import FailureCause
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.oid import OidSelector
from agent.gsa.sa import DataSA, GroupSA, SecurityProtocol
from agent.member.failover import REACTIONS, Round
from agent.member.timing import Timing, between

__all__ = ["Failure", "Registration"]

_LEAST_LEAD_S: Final = 60.0
_LEAD_SHARE: Final = 0.05
_MOST_LEAD_SHARE: Final = 0.25
_LEADS_BEFORE: Final = (1.5, 1.75)
"""Leads before the end at which a member asks, by chance."""
_REST_BEFORE: Final = (0.6, 0.75)
"""Share of the rest that is left when a member asks again."""
_LEAST_WAIT_S: Final = 1.0
_HINT_EVERY_S: Final = 5.0


_Sa: TypeAlias = DataSA | Iec61850SA
_Traffic: TypeAlias = Flow | OidSelector
_Name: TypeAlias = tuple[SecurityProtocol | None, int, IPAddress | OidSelector]
"""What names an SA: its protocol, SPI and destination; of IEC 61850, SPI and selector."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a key server did not serve the group: `cause`, `text` for people; `at`: monotonic seconds."""

    server: str
    cause: FailureCause
    text: str
    at: float


class Registration:
    """One group's way to its SAs.

    `held`: the GSA in force, None before the first; `server`: the name of the key server that gave it.
    `asking`: the key server that is being asked; `tries`: how many were asked since the last success, this one too.
    `failures`: of the latest round, cleared by success.
    """

    def __init__(self, group: GroupId, servers: Iterable[str], timing: Timing, chance: Callable[[], float]) -> None:
        """`servers` in order of preference; `chance` gives numbers from 0 to 1."""
        self.group: Final = group
        self.servers: tuple[str, ...] = tuple(servers)
        self.timing = timing
        self.held: GroupSA | None = None
        self.server: str | None = None
        self.asking: str | None = None
        self.tries = 0
        self.failures: tuple[Failure, ...] = ()
        self._chance = chance
        self._round = Round(self.servers)
        self._rounds = 0
        self._lifetime_s: float | None = None
        self._change_over_s = 0.0
        self._worn: set[_Name] = set()
        self._lost: set[str] = set()
        self._due: float | None = -math.inf
        self._renewal = math.inf
        self._hinted: float | None = None
        self._last_asked = self._began = -math.inf

    @property
    def deadline(self) -> float | None:
        """When `ask` has something to do, in monotonic seconds; None while it asks, or has SAs without end."""
        return None if self.asking is not None else self._due

    def begin(self, at: float) -> None:
        """Make the first attempt then, instead of at once."""
        self._due = at

    def ask(self, now: float) -> str | None:
        """The key server to ask now, None while there is nothing to do."""
        if self.asking is not None or self._due is None or self._due > now:
            return None
        if not self._round.under_way:
            self._round = self._next_round(now)
            self._began = now
        self.asking = self._round.ask()
        self.tries += 1
        self._last_asked = now
        return self.asking

    def succeeded(self, group_sa: GroupSA, now: float) -> tuple[DataSA, ...]:
        """Take a GSA. The SAs returned have no further use: wipe their keys once the kernel is without them."""
        before = self.held
        self.held, dropped = _merged(before, _ended(group_sa, self._worn, now), now)
        self._worn &= {_name(sa) for sa in self.held.data}
        self.server, self.asking = self.asking, None
        self._lost.discard(self.server or "")
        self.failures, self.tries = (), 0
        self._round = Round(self.servers)
        self._change_over_s = max(_change_overs_s(group_sa, now), default=self._change_over_s)
        self._schedule(before, now)
        return dropped

    def failed(self, cause: FailureCause, text: str, now: float) -> None:
        """The key server asked did not serve us: go on as the cause has it, or wait when all were asked."""
        if self.asking is None:
            return
        earlier = self.failures if self._round.asked_before else ()
        self.failures = (*earlier, Failure(self.asking, cause, text, now))
        self.asking = None
        again = self._round.failed(REACTIONS[cause])
        if self._round.under_way:
            self._due = now + self.timing.again_wait_s(self._chance()) if again else now
        elif self._round.is_return and now < self._renewal:
            self._due = self._return_or(self._renewal, now)
        else:
            self._rounds += 1
            self._due = now + self.timing.wait_s(self._rounds, self._chance())

    def hint(self, now: float) -> None:
        """Something wants an SA before its time: a packet waits, or a volume limit is near. Bounded in how often."""
        if self.asking is None:
            soon = max(now, self._last_asked + _HINT_EVERY_S)
            self._due = self._hinted = soon if self._due is None else min(self._due, soon)

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
        _wipe(() if self.held is None else self.held.iec61850)
        self.held, self.server, self._lifetime_s, self._change_over_s = None, None, None, 0.0
        self._due = now
        self._renewal = math.inf
        return dropped

    def change_servers(self, servers: Iterable[str], timing: Timing, gone: bool, now: float) -> None:
        """New key servers, after a reload. `gone`: the one being asked is not asked any more."""
        servers = tuple(servers)
        changed = (servers, timing) != (self.servers, self.timing)
        if servers != self.servers:
            self.servers, self._rounds, self.failures = servers, 0, ()
            if self.asking is None:
                self._round = Round(servers)
            if self.held is None:
                self._due = now
        self.timing = timing
        if changed and self.asking is None and self.usable(now):
            self._due = self._return_or(self._renewal, now)
        if gone and self.asking is not None:
            self.asking, self._due = None, now
            self._round = Round(servers)

    def lost(self, server: str) -> None:
        """That key server is known not to answer: it is the last one to be asked, until it serves again."""
        self._lost.add(server)

    def serving(self, now: float) -> tuple[_Sa, ...]:
        """The SAs held that have not ended."""
        held = () if self.held is None else _every(self.held)
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
        left_s = math.inf if expires is None else expires - now
        if left_s <= 0:
            self._rounds += 1
            self._due = now + self.timing.wait_s(self._rounds, self._chance())
            return
        self._rounds = 0
        self._renewal = math.inf if expires is None else self._renewal_of(before, expires, now)
        self._due = self._return_or(self._renewal, now)

    def _return_or(self, renewal: float, now: float) -> float | None:
        """When to ask next: at the renewal, or sooner to return to the preferred key server; None for never."""
        due = renewal
        if self.server != self.servers[0]:
            wait_s = self.timing.return_wait_s(self._chance())
            due = min(renewal, now + wait_s) if wait_s is not None else renewal
        return None if math.isinf(due) else due

    def _next_round(self, now: float) -> Round:
        """Which key servers the round that begins now asks.

        A renewal must not wait for one that is down: where the preferred one is tried apart from it, it begins with
        the one that serves.
        """
        if not self.usable(now) or self.server not in self.servers or self.timing.return_s is None:
            return self._round_over(self.servers)
        serving = self.servers.index(self.server)
        if now < self._renewal and self._due != self._hinted:
            return Round(self.servers[:serving], is_return=True) if serving else self._round_over(self.servers)
        return self._round_over((self.server, *(name for name in self.servers if name != self.server)))

    def _round_over(self, servers: Iterable[str]) -> Round:
        return Round(sorted(servers, key=lambda name: name in self._lost))

    def _renewal_of(self, before: GroupSA | None, expires: float, now: float) -> float:
        left_s = expires - now
        fresh = before is not None and self.held is not None and _renewed(before, self.held, now)
        if fresh:
            self._lifetime_s = max(left_s, self._lifetime_s or 0.0)
        ends = expires - (now - self._began)
        due = ends - between(_LEADS_BEFORE, self._chance()) * self._lead_s()
        if due <= now:
            due = ends - between(_REST_BEFORE, self._chance()) * (ends - now)
        return max(due, now + _LEAST_WAIT_S)

    def _lead_s(self) -> float:
        """The key server's lead, as far as it can be told; without end as long as it cannot."""
        if self.timing.lead_s is not None:
            return self.timing.lead_s
        if self._lifetime_s is None:
            return math.inf
        usual_s = min(max(_LEAST_LEAD_S, self._lifetime_s * _LEAD_SHARE), self._lifetime_s * _MOST_LEAD_SHARE)
        return max(usual_s, 2.0 * self._change_over_s)


def _every(group_sa: GroupSA) -> tuple[_Sa, ...]:
    return (*group_sa.data, *group_sa.iec61850)


def _traffic(sa: _Sa) -> _Traffic:
    return sa.flow if isinstance(sa, DataSA) else sa.selector


def _wipe(sas: Iterable[Iec61850SA]) -> None:
    for sa in sas:
        sa.confidentiality_key.wipe()
        sa.authentication_key.wipe()


def _change_overs_s(group_sa: GroupSA, now: float) -> Iterator[float]:
    """How long before the end of the older SAs of some traffic senders change over to one that still waits (ATD)."""
    every = _every(group_sa)
    for sa in every:
        if sa.send_from > now:
            ends = (older.expires for older in every if _traffic(older) == _traffic(sa) and older is not sa)
            yield from (end - sa.send_from for end in ends if end is not None and end > sa.send_from)


def _ends(group_sa: GroupSA) -> dict[_Traffic, float]:
    """When the last SA of each flow, or selector, ends."""
    ends: dict[_Traffic, float] = {}
    for sa in _every(group_sa):
        end = math.inf if sa.expires is None else sa.expires
        ends[_traffic(sa)] = max(end, ends.get(_traffic(sa), -math.inf))
    return ends


def _renewed(before: GroupSA, after: GroupSA, now: float) -> bool:
    """Whether there are SAs that came while their predecessors still served, and so were got fresh."""
    served = all(end > now for end in _ends(before).values())
    return served and bool({_name(sa) for sa in _every(after)} - {_name(sa) for sa in _every(before)})


def _name(sa: _Sa) -> _Name:
    if isinstance(sa, DataSA):
        return (sa.protocol, sa.spi, sa.flow.destination.ip)
    return (None, sa.spi, sa.selector)


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
    new = {_name(sa) for sa in _every(after)}
    old = {_name(sa): sa for sa in before.data}
    kept = tuple(sa for name, sa in old.items() if name not in new and (sa.expires is not None and sa.expires > now))
    dropped = tuple(sa for sa in before.data if sa not in kept)
    fresh = tuple(
        replace(sa, send_from=min(sa.send_from, old[_name(sa)].send_from)) if _name(sa) in old else sa
        for sa in after.data
    )
    trailing = tuple(
        sa for sa in before.iec61850 if _name(sa) not in new and (sa.expires is not None and sa.expires > now)
    )
    _wipe(sa for sa in before.iec61850 if sa not in trailing)
    return replace(after, data=(*kept, *fresh), iec61850=(*trailing, *after.iec61850)), dropped
