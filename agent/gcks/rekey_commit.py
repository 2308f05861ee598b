"""A change of a group's keys becomes durable, all of it at once, and is held and told from then on."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Final

from agent.clock import Clock
from agent.gcks import rekey_store
from agent.gcks.audit import AuditEntry, AuditEvent, record
from agent.gcks.database import Database, StoreError, Write
from agent.gcks.grants import Grant, SidDemand
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek import Kek
from agent.gcks.kek_keeper import KekKeeper, KekNews
from agent.gcks.listeners import leave
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_change import KeyChange, cut_short, deleted, grace_s, protocols, write_and_grant
from agent.gcks.rekey_outbox import Outbox
from agent.gcks.rekey_plan import Change, RekeyCause
from agent.gcks.store import Store
from agent.gsa.identity import GroupId
from agent.logs import get_logger

__all__ = ["Commits", "recorded"]

log = get_logger(__name__)


class Commits:
    """One change at a time: `async with locked(policy)`, plan it, `commit` it."""

    def __init__(
        self, store: Store, clock: Clock, keeper: TekKeeper, keks: KekKeeper, trees: LkhKeeper, outbox: Outbox
    ) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._keeper: Final = keeper
        self._keks: Final = keks
        self._trees: Final = trees
        self._outbox: Final = outbox

    @asynccontextmanager
    async def locked(self, policy: GroupPolicy) -> AsyncIterator[None]:
        """Nobody else changes keys of the group meanwhile."""
        has_tree = policy.kek is not None and policy.kek.tree is not None
        tree = self._trees.changing(policy.group) if has_tree else nullcontext()
        async with self._keeper.changing, self._keks.changing, tree:
            yield

    async def commit(
        self,
        policy: GroupPolicy,
        change: KeyChange,
        extra: Sequence[Write] = (),
        granted: Sequence[tuple[Grant, SidDemand]] = (),
    ) -> KeyChange:
        """Make a change durable and hold it, with what it tells in the outbox; under `locked`. Raises StoreError.

        `granted`: registrations that are part of it; raises GrantRefused, having changed nothing.
        """
        now, group = self._clock.monotonic(), policy.group
        told = Change(
            group=group,
            cause=change.cause,
            old=change.old.spi if change.old else b"",
            new=change.kek.spi if change.kek else None,
            updates=change.tree.updates if change.tree else (),
            teks=tuple(tek.spi for tek in change.fresh),
            # All older ones, also those that another change ended: who missed that one keeps none of them.
            replaced=deleted(tek for tek in self._keeper.of(group) if tek.span.expires > now),
            protocols=protocols(self._keeper.of(group)),
            reachable=change.reachable,
        )
        retired = self._retired(policy, change, now)
        alone = change.tree is not None and not change.tree.updates and change.cause is not RekeyCause.SIDS_EXHAUSTED
        keks = (*((change.kek,) if change.kek else ()), *retired)
        steps = () if alone else self._outbox.plan(told, policy, (*change.fresh, *change.cut), keks)
        change = replace(change, steps=steps)
        writes = [*self._writes(policy, change, retired), *extra]
        # All or nothing, whatever becomes of who asked for it.
        sids = await self._store.run(write_and_grant, writes, granted)
        self._hold(policy, change, retired)
        self._outbox.queue(steps)
        if change.tree is not None:
            change.tree.wipe()
        if change.leaving:
            await self._fold()
        return replace(change, sids=tuple(sids))

    async def _fold(self) -> None:
        """The log of the store has keys that who left knew, until it is folded; the change stands without that, too."""
        try:
            await self._store.run(Database.fold)
        except StoreError as error:
            log.warning("keys that were replaced are in the store's log until it is folded", reason=error)

    def _retired(self, policy: GroupPolicy, change: KeyChange, now: float) -> tuple[Kek, ...]:
        """KEKs that make room; they stay until all that comes under them has come."""
        if change.kek is None or policy.kek is None:
            return ()
        end_s = grace_s(policy.kek)
        return cut_short(self._keks.of(policy.group), now, lambda _: end_s)

    def _writes(self, policy: GroupPolicy, change: KeyChange, retired: Sequence[Kek]) -> list[Write]:
        group, entries = policy.group, self._entries(policy.group, change)
        news = KekNews(change.kek, tuple(retired), change.steps) if change.kek else None
        writes: list[Write] = change.tek_writes(group, self._keeper.in_utc)
        if news is not None:
            writes += self._keks.writes(news, change.tree)
        else:
            writes.append(partial(rekey_store.add_steps, steps=change.steps))
        if change.leaving:
            writes.append(partial(leave, group=group, identities=change.leaving, utc=self._clock.utc().timestamp()))
        return [*writes, recorded(*entries)]

    def _entries(self, group: GroupId, change: KeyChange) -> list[AuditEntry]:
        at_utc, spis = self._clock.utc().timestamp(), tuple(tek.spi for tek in change.fresh)
        if change.leaving:
            return [AuditEntry(AuditEvent.EVICTED, at_utc, group, identity, spis=spis) for identity in change.leaving]
        return [AuditEntry(change.event, at_utc, group, spis=spis, text=f"cause: {change.cause.value}")]

    def _hold(self, policy: GroupPolicy, change: KeyChange, retired: Sequence[Kek]) -> None:
        if change.tree is not None:
            self._trees.took(change.tree)
        if change.cause is RekeyCause.SIDS_EXHAUSTED:
            self._keeper.drop(self._keeper.of(policy.group))
        self._keeper.take(change.fresh)
        self._keeper.respan(change.cut)
        if change.kek is not None:
            self._keks.take(change.kek)
        self._keks.respan(retired)


def recorded(*entries: AuditEntry) -> Write:
    """What writes rows of the audit log."""

    def write(cursor: sqlite3.Cursor) -> None:
        record(cursor, entries)

    return write
