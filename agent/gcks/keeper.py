"""The keeper of TEKs: makes each in time, commits it before anybody hears of it, gives out those that live.

It alone changes TEKs by the schedule. Asking it what to offer changes nothing, so message 1 of a GROUPKEY-PULL, which
proves nothing yet, cannot (RFC 6407 3.2, 7.2.5).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from agent.clock import Clock, Entropy
from agent.gcks import audit
from agent.gcks.audit import AuditBounds, AuditRetention
from agent.gcks.database import Database, insert_teks, restate_teks
from agent.gcks.keyring import Keyring
from agent.gcks.policy import GroupPolicy, Policy
from agent.gcks.rekey_plan import Handover, Step
from agent.gcks.rekey_store import add_steps
from agent.gcks.schedule import serves
from agent.gcks.store import Store
from agent.gcks.tek import Tek, make_tek
from agent.gsa.identity import GroupId
from agent.gsa.sa import Spi
from agent.logs import get_logger

__all__ = ["Line", "TekAnnouncer", "TekKeeper", "TekNews"]

_DAY_S: Final = 86_400.0
SPI_MEMORY_S: Final = 30 * _DAY_S
"""How long after its end an SPI stays unused: no SA of it is anywhere any more, whatever a member's clock does."""
_FORGET_EVERY_S: Final = 3600.0

log = get_logger(__name__)

Line = tuple[Policy, tuple[Tek, ...]]
"""The live TEKs under one policy, older first."""


@dataclass(frozen=True, slots=True)
class TekNews:
    """Fresh TEKs of one group, to be committed. `cut`: older ones that end sooner; `steps`: what tells the members."""

    fresh: tuple[Tek, ...]
    cut: tuple[Tek, ...] = ()
    steps: tuple[Step, ...] = ()


class TekAnnouncer(Protocol):
    """Who tells the members of fresh TEKs by GROUPKEY-PUSH."""

    def news(self, policy: GroupPolicy, fresh: Sequence[Tek], now: float) -> TekNews:
        """What goes with fresh TEKs of a group, and with those of policies it has no more; it changes nothing."""

    def committed(self, steps: Sequence[Step]) -> None:
        """The store has these."""


class TekKeeper(Keyring[Tek]):
    """Holds the live TEKs of all groups. `announcer`: asked whenever the schedule makes some; None for nobody."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, retention: AuditRetention | None = None) -> None:
        super().__init__(store, clock, entropy)
        self._audit: Final = retention or AuditRetention()
        self._spis: set[int] = set()
        self._forget_at = -math.inf
        self.announcer: TekAnnouncer | None = None

    async def load(self) -> None:
        """Take over what the store holds. Raises StoreError."""
        self._spis = await self._store.run(Database.spis)
        await super().load()

    def due(self) -> float:
        """The next instant for `tick`, monotonic."""
        instants = [self._forget_at, *(tek.span.expires for tek in self.held())]
        for policy in self._groups.values():
            for line in policy.teks:
                latest = self.latest(policy.group, line.line)
                instants.append(line.renewal.due(latest.span if latest else None))
        return min(instants)

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
        async with self.changing:
            policy, before = self._groups.get(group), self.of(group)
            if policy is None or not any(tek.spi in spis for tek in before):
                return
            fresh = self.drafts(policy, self._clock.monotonic())
            await self._store.run(Database.replace_teks, group, self.in_utc(fresh))
            self.drop(before)
            self.take(fresh)

    def drafts(
        self, policy: GroupPolicy, now: float, handover: Handover | None = None, *, promised: bool = False
    ) -> list[Tek]:
        """A fresh TEK for each policy of a group, which nobody has yet, not even the store.

        `handover`: when senders go over to it; at once without one. `promised`: perhaps nobody ever will, so that its
        SPI is not kept from others; should one have it meanwhile, the store refuses the TEK.
        """
        fresh = []
        for line in policy.teks:
            tek = self._make(policy.group, line, now)
            if promised:
                self._spis.discard(tek.spi)
            renewal = line.renewal
            span = handover.successor(renewal.lifetime_s, now) if handover else renewal.successor(None, now)
            fresh.append(replace(tek, span=span))
        return fresh

    def take(self, teks: Iterable[Tek]) -> None:
        """Hold fresh TEKs, which the store has."""
        for tek in teks:
            self._spis.add(tek.spi)
            self.hold([tek])
            log.info(
                "TEK made",
                group=tek.group,
                spi=f"0x{tek.spi:08x}",
                generation=tek.generation,
                active_in_s=round(tek.span.activates - tek.span.created),
                lifetime_s=round(tek.span.expires - tek.span.created),
            )

    def _live(self, group: GroupId, line: Policy, now: float) -> tuple[Tek, ...]:
        return tuple(tek for tek in self._keys.get((group, line.line), ()) if serves(tek.span, now))

    async def _bring_up_to_date(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        await super()._bring_up_to_date(groups)
        now = self._clock.monotonic()
        if now >= self._forget_at:
            await self._forget(now)

    async def _make_due(self, groups: Mapping[GroupId, GroupPolicy], now: float) -> None:
        news = []
        for policy in groups.values():
            fresh = [
                self._make(policy.group, line, now) for line in policy.teks if self._due(policy.group, line) <= now
            ]
            told = TekNews(tuple(fresh)) if self.announcer is None else self.announcer.news(policy, fresh, now)
            if told.fresh or told.steps:
                news.append(told)
        if not news:
            return
        fresh, cut = [tek for told in news for tek in told.fresh], [tek for told in news for tek in told.cut]
        steps = [step for told in news for step in told.steps]
        spans = [(tek.spi, tek.span) for tek in self.in_utc(cut)]
        await self._store.run(
            Database.write,
            [
                partial(insert_teks, teks=self.in_utc(fresh)),
                partial(restate_teks, spans=spans),
                partial(add_steps, steps=steps),
            ],
        )
        self.take(fresh)
        self.respan(cut)
        if self.announcer is not None:
            self.announcer.committed(steps)

    def _due(self, group: GroupId, line: Policy) -> float:
        latest = self.latest(group, line.line)
        return line.renewal.due(latest.span if latest else None)

    def _make(self, group: GroupId, line: Policy, now: float) -> Tek:
        latest = self.latest(group, line.line)
        tek = make_tek(group, line, latest, now=now, entropy=self._entropy, used=self._spis)
        # At once, so that the next of the same tick is another one; a failed commit just leaves a number unused.
        self._spis.add(tek.spi)
        return tek

    async def _stored(self) -> Sequence[Tek]:
        return await self._store.run(Database.teks)

    async def _end(self, keys: Sequence[Tek]) -> None:
        await self._store.run(Database.end_teks, [tek.spi for tek in keys])
        for tek in keys:
            log.info("TEK expired", group=tek.group, spi=f"0x{tek.spi:08x}", generation=tek.generation)

    async def _restate(self, keys: Sequence[Tek]) -> None:
        await self._store.run(Database.restate, [(tek.spi, tek.span) for tek in keys])

    async def _forget(self, now: float) -> None:
        utc = now + self._base.ahead
        await self._store.run(Database.forget_spis, utc - SPI_MEMORY_S)
        bounds = AuditBounds(utc - self._audit.days * _DAY_S, self._audit.rows)
        await self._store.run(audit.forget, bounds)
        self._forget_at = now + _FORGET_EVERY_S
