"""The keeper of KEKs: makes each in time, commits it before anybody hears of it, gives out the newest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from agent.clock import Clock, Entropy
from agent.gcks import kek_store, lkh_store
from agent.gcks.database import Database, Write
from agent.gcks.kek import Kek, KekPolicy, fresh_signing_key, make_kek, same_pair
from agent.gcks.keyring import Keyring
from agent.gcks.lkh import LkhChange
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_plan import Step
from agent.gcks.rekey_store import LAST_SEQUENCE, add_steps
from agent.gcks.schedule import serves
from agent.gcks.store import Store
from agent.gsa.identity import GroupId
from agent.gsa.rekey import LkhKey
from agent.gsa.sa import RekeySA
from agent.logs import get_logger
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["KekAnnouncer", "KekKeeper", "KekNews"]

_SPARE_SEQUENCES: Final = 1 << 16
"""So many sequence numbers before the last one the KEK is replaced, under which there must be a message still."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KekNews:
    """A fresh KEK, to be committed. `cut`: older ones that end sooner; `steps`: what tells the members."""

    fresh: Kek
    cut: tuple[Kek, ...] = ()
    steps: tuple[Step, ...] = ()


class KekAnnouncer(Protocol):
    """Who tells the members of a fresh KEK by GROUPKEY-PUSH."""

    def kek_news(self, policy: GroupPolicy, fresh: Kek, change: LkhChange | None, now: float) -> KekNews:
        """What goes with a fresh KEK of a group, `change` being that of its hierarchy; it changes nothing."""

    def committed(self, steps: Sequence[Step]) -> None:
        """The store has these."""


class KekKeeper(Keyring[Kek]):
    """Holds the live KEKs of the groups whose policy has a Rekey SA, on the monotonic clock; as `TekKeeper` does.

    `trees`: the hierarchies whose roots KEKs are. `announcer`: asked whenever one is due; None for nobody.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, trees: LkhKeeper | None = None) -> None:
        super().__init__(store, clock, entropy)
        self._trees: Final = trees
        self.announcer: KekAnnouncer | None = None

    def due(self) -> float:
        """The next instant for `tick`, monotonic; infinite when there is nothing to come."""
        instants = [kek.span.expires for kek in self.held()]
        for policy in self._groups.values():
            if policy.kek is not None:
                instants.append(self._due(policy.group, policy.kek))
        return min(instants, default=math.inf)

    def offer(self, group: GroupId, member: Endpoint | None = None) -> RekeySA | None:
        """The Rekey SA to give out for a group now, `member` being where a unicast one leads.

        None where its policy has none, or there is no KEK that lives.
        """
        policy, current = self._groups.get(group), self.current(group)
        if policy is None or policy.kek is None or current is None:
            return None
        return current.rekey_sa(policy.kek, member)

    def current(self, group: GroupId) -> Kek | None:
        """The KEK that a group has now; None where there is none that lives."""
        policy = self._groups.get(group)
        latest = None if policy is None or policy.kek is None else self.latest(group, policy.kek.line)
        return latest if latest is not None and serves(latest.span, self._clock.monotonic()) else None

    def newest(self, group: GroupId) -> Kek | None:
        """The KEK that was made last, whatever its line, as long as it lives: the one that members know."""
        live = [kek for kek in self.of(group) if serves(kek.span, self._clock.monotonic())]
        # The last of equals, as lines are in the order of their first KEKs.
        return max(reversed(live), key=lambda kek: kek.span.created, default=None)

    def find(self, spi: bytes) -> Kek | None:
        """The KEK of that SPI."""
        return next((kek for kek in self.held() if kek.spi == spi), None)

    def advance(self, kek: Kek, sequence: int) -> None:
        """A sequence number was used; the store has it."""
        held = self._keys.get((kek.group, kek.line), [])
        held[:] = [replace(each, sequence=sequence) if each.spi == kek.spi else each for each in held]

    async def draft(self, policy: GroupPolicy, kek: KekPolicy, now: float, root: LkhKey | None = None) -> Kek:
        """A fresh KEK that nobody has yet, not even the store; `root`: of the hierarchy whose KEK it is."""
        latest = self.latest(policy.group, kek.line)
        signing_key = await self._signing_key(kek, latest or self._like(policy.group, kek))
        used = {held.spi for held in self.held()}
        return make_kek(policy.group, kek, latest, signing_key, now=now, entropy=self._entropy, used=used, root=root)

    def promise(self, policy: GroupPolicy, kek: KekPolicy, current: Kek, now: float) -> Kek:
        """A KEK to name to a member before it is made; signed as `current` is. `kept` makes it."""
        signing_key = kek.signing_key or current.signing_key
        used = {held.spi for held in self.held()}
        return make_kek(policy.group, kek, current, signing_key, now=now, entropy=self._entropy, used=used)

    def kept(self, promised: Kek, root: LkhKey, now: float) -> Kek:
        """The KEK that was promised, with the key of the hierarchy's root, after those that were made meanwhile."""
        latest = self.latest(promised.group, promised.line)
        return replace(
            promised,
            generation=latest.generation + 1 if latest is not None else 1,
            key=Secret(root.key.reveal()),
            iv=root.iv,
            span=replace(promised.span, created=now, activates=now),
        )

    def take(self, fresh: Kek) -> None:
        """Hold a fresh KEK, which the store has."""
        self.hold([fresh])
        lifetime_s = round(fresh.span.expires - fresh.span.created)
        log.info("KEK made", group=fresh.group, spi=f"0x{fresh.spi.hex()}", lifetime_s=lifetime_s)

    def _like(self, group: GroupId, policy: KekPolicy) -> Kek | None:
        """A KEK of another line whose signing pair, made here as well, fits: members may keep the one they know."""
        return next((kek for kek in self.of(group) if same_pair(kek.line, policy.line)), None)

    async def _signing_key(self, policy: KekPolicy, latest: Kek | None) -> Secret:
        if policy.signing_key is not None:
            return policy.signing_key
        if latest is not None:
            return latest.signing_key
        return await asyncio.to_thread(fresh_signing_key, policy.signature)

    def _due(self, group: GroupId, policy: KekPolicy) -> float:
        latest = self.latest(group, policy.line)
        if latest is not None and latest.sequence > LAST_SEQUENCE - _SPARE_SEQUENCES:
            return -math.inf
        return policy.renewal.due(latest.span if latest else None)

    async def _make_due(self, groups: Mapping[GroupId, GroupPolicy], now: float) -> None:
        due = [
            (policy, policy.kek)
            for policy in groups.values()
            if policy.kek is not None and self._due(policy.group, policy.kek) <= now
        ]
        for policy, kek in due:
            has_tree = self._trees is not None and kek.hierarchy is not None
            async with self._trees.changing(policy.group) if self._trees is not None and has_tree else nullcontext():
                await self._renew(policy, kek, now)

    async def _renew(self, policy: GroupPolicy, kek: KekPolicy, now: float) -> None:
        trees = self._trees if kek.hierarchy is not None else None
        change = trees.renew(policy.group) if trees is not None else None
        fresh = await self.draft(policy, kek, now, change.root if change is not None else None)
        news = KekNews(fresh) if self.announcer is None else self.announcer.kek_news(policy, fresh, change, now)
        await self._store.run(Database.write, self.writes(news, change))
        if trees is not None and change is not None:
            trees.took(change)
            change.wipe()
        self.take(fresh)
        self.respan(news.cut)
        if self.announcer is not None:
            self.announcer.committed(news.steps)

    def writes(self, news: KekNews, change: LkhChange | None) -> list[Write]:
        """What commits it."""
        writes: list[Write] = [] if change is None else [partial(lkh_store.apply, change=change)]
        return [
            *writes,
            partial(kek_store.add_keks, fresh=self.in_utc([news.fresh])),
            partial(kek_store.restate_keks, keks=self.in_utc(news.cut)),
            partial(add_steps, steps=news.steps),
        ]

    async def _stored(self) -> Sequence[Kek]:
        return await self._store.run(kek_store.keks)

    async def _end(self, keys: Sequence[Kek]) -> None:
        await self._store.run(kek_store.end_keks, [kek.spi for kek in keys])
        for kek in keys:
            log.info("KEK expired", group=kek.group, spi=f"0x{kek.spi.hex()}")

    async def _restate(self, keys: Sequence[Kek]) -> None:
        await self._store.run(Database.write, [partial(kek_store.restate_keks, keks=keys)])
