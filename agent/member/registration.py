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
- What a rekey renews needs no registration: all is counted anew from the ends that it leaves. A Rekey SA that nears its
  end with no successor seen is a reason to ask, too, after the key server had its time to rekey; so is each `Need`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gdoi.failures import FailureCause
from agent.gsa.identity import GroupId
from agent.gsa.rollover import AnySA, SaName, every_sa, left_over, name_of, pruned, rolled
from agent.gsa.sa import DataSA, GroupSA, SecurityProtocol
from agent.gsa.update import GsaUpdate
from agent.member.failover import REACTIONS, Round
from agent.member.held import Withdrawn, change_overs_s, ended, ends, merged, renewed, succeeded_by, wipe_iec61850
from agent.member.key_server_change import held_back, staying, without_others
from agent.member.needs import SPREAD_S, Need
from agent.member.timing import Timing, between, usual_lead_s

__all__ = ["Failure", "Registration"]

_LEADS_BEFORE: Final = (1.5, 1.75)
"""Leads before the end at which a member asks, by chance."""
_REST_BEFORE: Final = (0.6, 0.75)
"""Share of the rest that is left when a member asks again."""
_KEK_LEADS_BEFORE: Final = (0.5, 0.75)
"""The same of a Rekey SA, whose successor is a rekey of two leads before. As a lead counts what is left says, which is
no longer than the key server's."""
_LEAST_WAIT_S: Final = 1.0
_HINT_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a key server did not serve the group: `cause`, `text` for people; `at`: monotonic seconds."""

    server: str
    cause: FailureCause
    text: str
    at: float


class Registration:
    """One group's way to its SAs.

    `server`: the name of the key server that gave the latest GSA, None before the first.
    `asking`: the key server that is being asked; `tries`: how many were asked since the last success, this one too.
    `failures`: of the latest round, cleared by success.
    """

    def __init__(self, group: GroupId, servers: Iterable[str], timing: Timing, chance: Callable[[], float]) -> None:
        """`servers` in order of preference; `chance` gives numbers from 0 to 1."""
        self.group: Final = group
        self.servers: tuple[str, ...] = tuple(servers)
        self.timing = timing
        self._given: GroupSA | None = None
        self._held: GroupSA | None = None
        self._stays: Mapping[SaName, float] = {}
        self._others: frozenset[SaName] = frozenset()
        self.server: str | None = None
        self.asking: str | None = None
        self.tries = 0
        self.failures: tuple[Failure, ...] = ()
        self._chance = chance
        self._round = Round(self.servers)
        self._rounds = 0
        self._lifetime_s: float | None = None
        self._change_over_s = 0.0
        self._worn: set[SaName] = set()
        self._lost: set[str] = set()
        self._due: float | None = -math.inf
        self._renewal = math.inf
        self._hinted: float | None = None
        self._needs: dict[Need, float] = {}
        self._rekeyed = -math.inf
        self._withdrawn = Withdrawn()
        self._keks_over = 0
        self._last_asked = self._began = -math.inf

    @property
    def held(self) -> GroupSA | None:
        """The GSA in force, None before the first. What another key server gave may wait longer than it said."""
        return self._held

    @held.setter
    def held(self, given: GroupSA | None) -> None:
        self._given = given
        self._held = None if given is None else held_back(given, self._stays)

    @property
    def deadline(self) -> float | None:
        """When `ask` has something to do, in monotonic seconds; None while it asks, or has SAs without end."""
        if self.asking is not None:
            return None
        return min((instant for instant in (self._due, *self._needs.values()) if instant is not None), default=None)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Why a registration out of turn is to come."""
        return tuple(self._needs)

    def begin(self, at: float) -> None:
        """Make the first attempt then, instead of at once."""
        self._due = at

    def ask(self, now: float) -> str | None:
        """The key server to ask now, None while there is nothing to do."""
        if self.deadline is None or self.deadline > now:
            return None
        if not self._round.under_way:
            self._round = self._next_round(now)
            self._began, self._withdrawn = now, Withdrawn()
        self._needs.clear()
        self.asking = self._round.ask()
        self.tries += 1
        self._last_asked = now
        return self.asking

    def succeeded(self, group_sa: GroupSA, now: float) -> tuple[DataSA, ...]:
        """Take a GSA. The SAs returned have no further use: wipe their keys once the kernel is without them."""
        before = self._given
        pushed = before.rekey if before is not None else None
        given = ended(self._withdrawn.taken_from(group_sa, pushed), self._worn, now)
        elsewhere = self._leaves_others(given, now)
        self.held, dropped = merged(before, given, now, rekeyed_meanwhile=self._rekeyed > self._began)
        self._worn &= {name_of(sa) for sa in self.held.data}
        self.server, self.asking = self.asking, None
        self._lost.discard(self.server or "")
        self.failures, self.tries = (), 0
        self._round = Round(self.servers)
        self._change_over_s = max(change_overs_s(group_sa, now), default=self._change_over_s)
        self._schedule(None if elsewhere else before, now, took_s=now - self._began)
        return dropped

    def _leaves_others(self, given: GroupSA, now: float) -> bool:
        """Whether another key server than so far gave this, one that has other SAs; which of those held are not its."""
        names = {name_of(sa) for sa in every_sa(given)}
        self._others -= names
        if self._held is None or self.asking == self.server:
            return False
        others = frozenset(name_of(sa) for sa in every_sa(self._held)) - names
        known = self.asking in self.servers and self.server in self.servers
        returns = known and self.servers.index(self.asking or "") < self.servers.index(self.server or "")
        timing = self.timing if returns else None
        stays = staying(self._held, given, now, lead_s=self._lead_s(), returns=timing)
        self._stays = {name: max(until, self._stays.get(name, until)) for name, until in stays.items()}
        self._others = others
        if others:
            self._lifetime_s, self._change_over_s = None, 0.0
        return bool(others)

    def rekeyed(self, update: GsaUpdate, now: float, own: Collection[IPAddress] = ()) -> tuple[DataSA, ...]:
        """Take a rekey of what is held; nothing, where nothing is. Returns SAs as `succeeded` does.

        `own`: this host's addresses, as `rolled` wants them.
        """
        before = self._given
        if before is None:
            wipe_iec61850(update.iec61850)
            return update.data
        after = ended(rolled(before, update, now, own), self._worn, now)
        self.held = after
        self._worn &= {name_of(sa) for sa in after.data}
        self._rekeyed = now
        if self._round.under_way:
            self._withdrawn.note(before, after, update)
        own_sas = without_others(after, self._others)
        self._change_over_s = max(change_overs_s(own_sas, now), default=self._change_over_s)
        if self.asking is None:
            returning = self._due if self._returns_at(self._due) else None
            self._schedule(before, now, returning=returning)
        return self._dropped(left_over(before, after, update))

    def need(self, need: Need, now: float) -> None:
        """Register soon, for that reason; a registration that is under way does not do, for it may be too old."""
        self._needs.setdefault(need, now + between(SPREAD_S[need], self._chance()))

    def settled(self, need: Need) -> None:
        """That is no reason any more."""
        self._needs.pop(need, None)

    def prune(self, now: float) -> tuple[DataSA, ...]:
        """Let go of SAs that are over while others are in use. Returns SAs as `succeeded` does."""
        before = self._given
        if before is None:
            return ()
        after = pruned(before, now)
        dropped = left_over(before, after)
        if dropped:
            self.held = after
        return self._dropped(dropped)

    def _dropped(self, sas: Iterable[AnySA]) -> tuple[DataSA, ...]:
        sas = tuple(sas)
        wipe_iec61850(sas)
        return tuple(sa for sa in sas if isinstance(sa, DataSA))

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
        if self._given is not None and name in {name_of(sa) for sa in self._given.data}:
            self._worn.add(name)
            self.held = ended(self._given, self._worn, now)
            self.near_end(protocol, spi, destination, now)

    def near_end(self, protocol: SecurityProtocol, spi: int, destination: IPAddress, now: float) -> None:
        """A limit of an SA is near: a hint, unless its successor is here already."""
        if self.held is None or not succeeded_by(self.held, (protocol, spi, destination), now):
            self.hint(now)

    def forget(self, now: float) -> tuple[DataSA, ...]:
        """Let go of the GSA, which is not to be used any more, and ask anew. Returns SAs as `succeeded` does."""
        dropped = () if self.held is None else self.held.data
        wipe_iec61850(() if self.held is None else self.held.iec61850)
        self._needs.clear()
        self._stays, self._others = {}, frozenset()
        self.held, self.server, self._lifetime_s, self._change_over_s = None, None, None, 0.0
        self._due = now
        self._renewal = math.inf
        return dropped

    def rest(self, now: float) -> tuple[DataSA, ...]:
        """Let go of the GSA, and ask for none before somebody wants one. Returns SAs as `succeeded` does."""
        dropped = self.forget(now)
        self._due, self._rounds, self.failures, self.tries = None, 0, (), 0
        if self.asking is None:
            self._round = Round(self.servers)
        return dropped

    @property
    def resting(self) -> bool:
        """Whether nothing is held, and nobody wants it."""
        return self._held is None and self.asking is None and self.deadline is None

    def change_servers(self, servers: Iterable[str], timing: Timing, gone: bool, now: float) -> None:
        """New key servers, after a reload. `gone`: the one being asked is not asked any more."""
        servers = tuple(servers)
        changed = (servers, timing) != (self.servers, self.timing)
        if servers != self.servers:
            self.servers, self._rounds, self.failures = servers, 0, ()
            if self.asking is None:
                self._round = Round(servers)
            if self.held is None and self._due is not None:
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

    def serving(self, now: float) -> tuple[AnySA, ...]:
        """The SAs held that have not ended."""
        held = () if self.held is None else every_sa(self.held)
        return tuple(sa for sa in held if sa.expires is None or sa.expires > now)

    def usable(self, now: float) -> bool:
        """Whether there is one."""
        return bool(self.serving(now))

    def expires(self) -> float | None:
        """When the first flow has no SA any more, in monotonic seconds; None for never, or without SAs."""
        return None if self.held is None else _first_end(self.held)

    def _schedule(
        self, before: GroupSA | None, now: float, *, took_s: float = 0.0, returning: float | None = None
    ) -> None:
        """When to ask next. `took_s`: how long the registration took; `returning`: a return that is due already."""
        expires = None if self._given is None else _first_end(without_others(self._given, self._others))
        left_s = math.inf if expires is None else expires - now
        if left_s <= 0:
            self._rounds += 1
            self._due = now + self.timing.wait_s(self._rounds, self._chance())
            return
        self._rounds = 0
        renewal = math.inf if expires is None else self._renewal_of(before, expires, now, took_s)
        self._renewal = min(renewal, self._kek_renewal(now))
        self._due = self._return_or(self._renewal, now) if returning is None else min(returning, self._renewal)

    def _kek_renewal(self, now: float) -> float:
        """When to ask for the next Rekey SA, if no rekey brings it."""
        rekey = self.held.rekey if self.held is not None else None
        if rekey is None or rekey.expires is None:
            return math.inf
        left_s = rekey.expires - now
        if left_s <= 0:
            self._keks_over += 1
            return now + self.timing.wait_s(self._keks_over, self._chance())
        self._keks_over = 0
        lead_s = usual_lead_s(left_s)
        return max(rekey.expires - between(_KEK_LEADS_BEFORE, self._chance()) * lead_s, now + _LEAST_WAIT_S)

    def _returns_at(self, due: float | None) -> bool:
        """Whether that instant is one of a return to the preferred key server, not of a renewal."""
        return due is not None and self.server != self.servers[0] and due < self._renewal and due != self._hinted

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
        needed = any(instant <= now for instant in self._needs.values())
        if now < self._renewal and self._due != self._hinted and not needed:
            return Round(self.servers[:serving], is_return=True) if serving else self._round_over(self.servers)
        return self._round_over((self.server, *(name for name in self.servers if name != self.server)))

    def _round_over(self, servers: Iterable[str]) -> Round:
        return Round(sorted(servers, key=lambda name: name in self._lost))

    def _renewal_of(self, before: GroupSA | None, expires: float, now: float, took_s: float) -> float:
        left_s = expires - now
        fresh = before is not None and self.held is not None and renewed(before, self.held, now)
        if fresh:
            self._lifetime_s = max(left_s, self._lifetime_s or 0.0)
        end = expires - took_s
        due = end - between(_LEADS_BEFORE, self._chance()) * self._lead_s()
        if due <= now:
            due = end - between(_REST_BEFORE, self._chance()) * (end - now)
        return max(due, now + _LEAST_WAIT_S)

    def _lead_s(self) -> float:
        """The key server's lead, as far as it can be told; without end as long as it cannot."""
        if self.timing.lead_s is not None:
            return self.timing.lead_s
        if self._lifetime_s is None:
            return math.inf
        return max(usual_lead_s(self._lifetime_s), 2.0 * self._change_over_s)


def _first_end(group_sa: GroupSA) -> float | None:
    """When the first of the traffic has no SA any more; None for never."""
    return min((end for end in ends(group_sa).values() if not math.isinf(end)), default=None)
