"""The keeper of TEKs: makes each in time, commits it before anybody hears of it, gives out those that live.

It alone changes TEKs. Asking it what to offer changes nothing, so message 1 of a GROUPKEY-PULL, which proves nothing
yet, cannot (RFC 6407 3.2, 7.2.5).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from agent.clock import Clock, Entropy
from agent.gcks import audit
from agent.gcks.audit import AuditBounds, AuditRetention
from agent.gcks.database import Database
from agent.gcks.policy import GroupPolicy, Policy
from agent.gcks.schedule import serves
from agent.gcks.store import Store
from agent.gcks.tek import Tek, make_tek
from agent.gcks.timebase import Timebase
from agent.gsa.identity import GroupId
from agent.gsa.sa import Spi
from agent.logs import get_logger

__all__ = ["TekKeeper"]

_DAY_S: Final = 86_400.0
SPI_MEMORY_S: Final = 30 * _DAY_S
"""How long after its end an SPI stays unused: no SA of it is anywhere any more, whatever a member's clock does."""
_FORGET_EVERY_S: Final = 3600.0

log = get_logger(__name__)

Line = tuple[Policy, tuple[Tek, ...]]
"""The live TEKs under one policy, older first."""


class TekKeeper:
    """Holds the live TEKs of all groups, on the monotonic clock.

    `tick()` is to be called at `due()`; both are cheap when nothing is to be done.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, retention: AuditRetention | None = None) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._audit: Final = retention or AuditRetention()
        self._groups: Mapping[GroupId, GroupPolicy] = {}
        self._teks: dict[tuple[GroupId, str], list[Tek]] = {}
        self._spis: set[int] = set()
        # Each change waits for the disk in its middle, and the next one must not see a half of it.
        self._changing: Final = asyncio.Lock()
        self._base = Timebase.read(clock)
        self._forget_at = -math.inf

    async def start(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Take over what the store holds and make what is missing. Raises StoreError."""
        self._base = Timebase.read(self._clock)
        self._spis = await self._store.run(Database.spis)
        for tek in await self._store.run(Database.teks):
            span = self._base.from_utc(tek.span)
            self._teks.setdefault((tek.group, tek.line), []).append(replace(tek, span=span))
        await self.adopt(groups)

    async def adopt(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Serve these groups once their TEKs are there; TEKs of lines that are gone end by themselves.

        Raises StoreError, and serves the groups it served before.
        """
        await self._bring_up_to_date(groups)
        self._groups = groups

    def due(self) -> float:
        """The next instant for `tick`, monotonic."""
        instants = [self._forget_at, *(tek.span.expires for held in self._teks.values() for tek in held)]
        for policy in self._groups.values():
            for line in policy.teks:
                latest = self._latest(policy.group, line)
                instants.append(line.renewal.due(latest.span if latest else None))
        return min(instants)

    async def tick(self) -> None:
        """Make the TEKs that are due, end those that are over, follow a wall clock that was set. Raises StoreError."""
        await self._bring_up_to_date(self._groups)

    def offer(self, group: GroupId) -> tuple[Line, ...]:
        """The TEKs to give out for a group now, policy by policy; empty for a group that is not served."""
        policy = self._groups.get(group)
        if policy is None:
            return ()
        now = self._clock.monotonic()
        return tuple((line, self._live(group, line, now)) for line in policy.teks)

    async def replace(self, group: GroupId, spis: Collection[Spi]) -> None:
        """Replace all TEKs of a group and start its SIDs anew, before any SID is given again (RFC 6407 3.5).

        `spis`: those whose SIDs ran out; when they are replaced already, nothing happens.
        Without GROUPKEY-PUSH the members keep the old SAs until these expire or they register again: the group is
        parted till then, but no key meets a nonce twice. Raises StoreError.
        """
        async with self._changing:
            keys = [key for key, held in self._teks.items() if key[0] == group]
            policy = self._groups.get(group)
            if policy is None or not any(tek.spi in spis for key in keys for tek in self._teks[key]):
                return
            now = self._clock.monotonic()
            fresh = []
            for line in policy.teks:
                tek = self._make(group, line, self._latest(group, line), now)
                fresh.append(replace(tek, span=line.renewal.successor(None, now)))
            await self._store.run(Database.replace_teks, group, self._in_utc(fresh))
            for key in keys:
                for tek in self._teks.pop(key):
                    tek.wipe()
            self._take(fresh)

    def _latest(self, group: GroupId, line: Policy) -> Tek | None:
        held = self._teks.get((group, line.line))
        return held[-1] if held else None

    def _live(self, group: GroupId, line: Policy, now: float) -> tuple[Tek, ...]:
        return tuple(tek for tek in self._teks.get((group, line.line), ()) if serves(tek.span, now))

    async def _bring_up_to_date(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        async with self._changing:
            await self._follow_clock()
            now = self._clock.monotonic()
            await self._make_due(groups, now)
            await self._end_expired(now)
            if now >= self._forget_at:
                await self._forget(now)

    async def _make_due(self, groups: Mapping[GroupId, GroupPolicy], now: float) -> None:
        fresh = []
        for policy in groups.values():
            for line in policy.teks:
                latest = self._latest(policy.group, line)
                if line.renewal.due(latest.span if latest else None) <= now:
                    fresh.append(self._make(policy.group, line, latest, now))
        if fresh:
            await self._store.run(Database.add_teks, self._in_utc(fresh))
            self._take(fresh)

    def _make(self, group: GroupId, line: Policy, latest: Tek | None, now: float) -> Tek:
        tek = make_tek(group, line, latest, now=now, entropy=self._entropy, used=self._spis)
        # At once, so that the next of the same tick is another one; a failed commit just leaves a number unused.
        self._spis.add(tek.spi)
        return tek

    def _in_utc(self, teks: Iterable[Tek]) -> list[Tek]:
        return [replace(tek, span=self._base.to_utc(tek.span)) for tek in teks]

    def _take(self, teks: Iterable[Tek]) -> None:
        for tek in teks:
            self._teks.setdefault((tek.group, tek.line), []).append(tek)
            log.info(
                "TEK made",
                group=tek.group,
                spi=f"0x{tek.spi:08x}",
                generation=tek.generation,
                active_in_s=round(tek.span.activates - tek.span.created),
                lifetime_s=round(tek.span.expires - tek.span.created),
            )

    async def _end_expired(self, now: float) -> None:
        ended = [tek for held in self._teks.values() for tek in held if tek.span.expires <= now]
        if not ended:
            return
        await self._store.run(Database.end_teks, [tek.spi for tek in ended])
        for tek in ended:
            held = self._teks[tek.group, tek.line]
            held.remove(tek)
            if not held:
                del self._teks[tek.group, tek.line]
            tek.wipe()
            log.info("TEK expired", group=tek.group, spi=f"0x{tek.spi:08x}", generation=tek.generation)

    async def _follow_clock(self) -> None:
        base = Timebase.read(self._clock)
        if not self._base.stepped(base):
            return
        log.warning("the wall clock was set: TEK times rewritten", by_s=round(base.ahead - self._base.ahead, 1))
        every = [tek for held in self._teks.values() for tek in held]
        await self._store.run(Database.restate, [(tek.spi, base.to_utc(tek.span)) for tek in every])
        self._base = base

    async def _forget(self, now: float) -> None:
        utc = now + self._base.ahead
        await self._store.run(Database.forget_spis, utc - SPI_MEMORY_S)
        bounds = AuditBounds(utc - self._audit.days * _DAY_S, self._audit.rows)
        await self._store.run(audit.forget, bounds)
        self._forget_at = now + _FORGET_EVERY_S
