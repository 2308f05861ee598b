"""The keeper of KEKs: makes each in time, commits it before anybody hears of it, gives out the newest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from agent.clock import Clock, Entropy
from agent.gcks import kek_store
from agent.gcks.kek import Kek, KekPolicy, fresh_signing_key, make_kek
from agent.gcks.policy import GroupPolicy
from agent.gcks.schedule import serves
from agent.gcks.store import Store
from agent.gcks.timebase import Timebase
from agent.gsa.identity import GroupId
from agent.gsa.sa import RekeySA
from agent.logs import get_logger
from agent.secret import Secret

__all__ = ["KekKeeper"]

log = get_logger(__name__)


class KekKeeper:
    """Holds the live KEKs of the groups whose policy has a Rekey SA, on the monotonic clock; as `TekKeeper` does."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._groups: Mapping[GroupId, GroupPolicy] = {}
        self._keks: dict[tuple[GroupId, str], list[Kek]] = {}
        self._changing: Final = asyncio.Lock()
        self._base = Timebase.read(clock)

    async def start(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Take over what the store holds and make what is missing. Raises StoreError."""
        self._base = Timebase.read(self._clock)
        for kek in await self._store.run(kek_store.keks):
            held = replace(kek, span=self._base.from_utc(kek.span))
            self._keks.setdefault((kek.group, kek.line), []).append(held)
        await self.adopt(groups)

    async def adopt(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Serve these groups once their KEKs are there; those of lines that are gone end by themselves.

        Raises StoreError, and serves the groups it served before.
        """
        await self._bring_up_to_date(groups)
        self._groups = groups

    def due(self) -> float:
        """The next instant for `tick`, monotonic; infinite when there is nothing to come."""
        instants = [kek.span.expires for held in self._keks.values() for kek in held]
        for policy in self._groups.values():
            if policy.kek is not None:
                latest = self._latest(policy.group, policy.kek)
                instants.append(policy.kek.renewal.due(latest.span if latest else None))
        return min(instants, default=math.inf)

    async def tick(self) -> None:
        """Make the KEKs that are due, end those that are over, follow a wall clock that was set. Raises StoreError."""
        await self._bring_up_to_date(self._groups)

    def offer(self, group: GroupId) -> RekeySA | None:
        """The Rekey SA to give out for a group now; None where its policy has none, or there is no KEK that lives."""
        policy = self._groups.get(group)
        if policy is None or policy.kek is None:
            return None
        latest = self._latest(group, policy.kek)
        return latest.rekey_sa(policy.kek) if latest and serves(latest.span, self._clock.monotonic()) else None

    def _latest(self, group: GroupId, policy: KekPolicy) -> Kek | None:
        held = self._keks.get((group, policy.line))
        return held[-1] if held else None

    async def _bring_up_to_date(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        async with self._changing:
            await self._follow_clock()
            now = self._clock.monotonic()
            fresh = [
                await self._make(policy.group, policy.kek, now)
                for policy in groups.values()
                if policy.kek is not None and self._due(policy.group, policy.kek) <= now
            ]
            if fresh:
                stated = [replace(kek, span=self._base.to_utc(kek.span)) for kek in fresh]
                await self._store.run(kek_store.add_keks, stated)
                self._take(fresh)
            await self._end_expired(now)

    def _due(self, group: GroupId, policy: KekPolicy) -> float:
        latest = self._latest(group, policy)
        return policy.renewal.due(latest.span if latest else None)

    async def _make(self, group: GroupId, policy: KekPolicy, now: float) -> Kek:
        latest = self._latest(group, policy)
        signing_key = await self._signing_key(policy, latest)
        used = {kek.spi for held in self._keks.values() for kek in held}
        return make_kek(group, policy, latest, signing_key, now=now, entropy=self._entropy, used=used)

    async def _signing_key(self, policy: KekPolicy, latest: Kek | None) -> Secret:
        if policy.signing_key is not None:
            return policy.signing_key
        if latest is not None:
            return latest.signing_key
        return await asyncio.to_thread(fresh_signing_key, policy.signature)

    def _take(self, fresh: list[Kek]) -> None:
        for kek in fresh:
            self._keks.setdefault((kek.group, kek.line), []).append(kek)
            lifetime_s = round(kek.span.expires - kek.span.created)
            log.info("KEK made", group=kek.group, spi=f"0x{kek.spi.hex()}", lifetime_s=lifetime_s)

    async def _end_expired(self, now: float) -> None:
        ended = [kek for held in self._keks.values() for kek in held if kek.span.expires <= now]
        if not ended:
            return
        await self._store.run(kek_store.end_keks, [kek.spi for kek in ended])
        for kek in ended:
            held = self._keks[kek.group, kek.line]
            held.remove(kek)
            if not held:
                del self._keks[kek.group, kek.line]
            kek.wipe()
            log.info("KEK expired", group=kek.group, spi=f"0x{kek.spi.hex()}")

    async def _follow_clock(self) -> None:
        base = Timebase.read(self._clock)
        if not self._base.stepped(base):
            return
        every = [kek for held in self._keks.values() for kek in held]
        await self._store.run(kek_store.restate_keks, [(kek.spi, base.to_utc(kek.span)) for kek in every])
        self._base = base
