"""Joining with backward secrecy: a member gets no key that was used before it came (RFC 6407 7.4.2).

Message 2 of its GROUPKEY-PULL names a KEK and TEKs that nobody has: they are made for it, and forgotten if nothing
becomes of it. Once its HASH(3) held they become the group's: one commit makes them durable with the member's leaf, and
GROUPKEY-PUSH messages take the others to them, the new KEK under the old one first. So the joiner can open nothing that
was sent before, neither traffic nor GROUPKEY-PUSH messages it recorded, and need not wait for one to take part.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field, replace
from typing import Final

from agent.clock import Clock
from agent.gcks.database import StoreError
from agent.gcks.grants import Grant, GrantRefused, SidDemand, Superseded
from agent.gcks.keeper import Line, TekKeeper
from agent.gcks.kek import Kek
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.lkh import TreeFull
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_change import KeyChange, cut_short
from agent.gcks.rekey_plan import Handover, RekeyCause
from agent.gcks.rekeyer import Rekeyer
from agent.gcks.tek import Tek
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import Spi

__all__ = ["Joining", "Prospect"]

_LONGEST_BATCH_S: Final = 5.0
"""A GROUPKEY-PULL does not wait for others longer: its member would ask again."""
_NO_REKEY_LATER: Final = sys.maxsize
_KEPT_S: Final = 60.0
"""What was promised in message 2 is forgotten after that; its times count from then."""


@dataclass(slots=True, eq=False)
class Prospect:
    """Keys that were promised and are nobody's yet. `joiners`: what each is to be granted, and who waits for it.

    `before`: the group's TEKs then.
    """

    group: GroupId
    kek: Kek
    teks: tuple[Tek, ...]
    handover: Handover
    made: float
    before: tuple[Spi, ...]
    closed: bool = False
    joiners: list[tuple[Grant, SidDemand, asyncio.Future[tuple[int, ...]]]] = field(default_factory=list)

    def lines(self, policy: GroupPolicy) -> tuple[Line, ...]:
        """Its TEKs, as `TekKeeper.offer` gives those that live."""
        return tuple((line, tuple(tek for tek in self.teks if tek.line == line.line)) for line in policy.teks)

    def fits(self, policy: GroupPolicy) -> bool:
        """Whether the group still has the policies that it was promised by."""
        lines = {tek.line for tek in self.teks} == {line.line for line in policy.teks}
        return lines and policy.kek is not None and policy.kek.line == self.kek.line


class Joining:
    """Makes prospects, and keys of them."""

    def __init__(self, rekeyer: Rekeyer, keeper: TekKeeper, keks: KekKeeper, trees: LkhKeeper, clock: Clock) -> None:
        self._rekeyer: Final = rekeyer
        self._keeper: Final = keeper
        self._keks: Final = keks
        self._trees: Final = trees
        self._clock: Final = clock
        self._open: dict[GroupId, Prospect] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def prospect(self, policy: GroupPolicy, identity: Identity) -> Prospect | None:
        """What to promise a member that joins; None where the keys in use are given, as it was a member before.

        Changes nothing but memory: message 1 of a GROUPKEY-PULL has not proved anything (RFC 6407 7.2.5).
        """
        kek, current = policy.kek, self._keks.current(policy.group)
        if kek is None or kek.hierarchy is None or not kek.hierarchy.backward_secrecy or current is None:
            return None
        if self._trees.keys_of(policy.group, identity) is not None:
            return None
        now, batch = self._clock.monotonic(), kek.hierarchy.batch_s
        held = self._open.get(policy.group)
        if batch and held is not None and not held.closed and now < held.made + _KEPT_S / 2:
            return held
        handover = Handover.after(kek.delivery.lasts_s)
        teks = tuple(self._keeper.drafts(policy, now, handover, promised=True))
        before = tuple(tek.spi for tek in self._keeper.of(policy.group))
        prospect = Prospect(policy.group, self._keks.promise(policy, kek, current, now), teks, handover, now, before)
        self._open[policy.group] = prospect
        return prospect

    async def join(self, prospect: Prospect, policy: GroupPolicy, given: Grant, demand: SidDemand) -> tuple[int, ...]:
        """Make what was promised the group's keys, and the member one of it; its SIDs.

        Those who were promised the same within `batch_s` share one change. Raises Superseded when it was made or is
        too old, SidsExhausted, TreeFull, StoreError.
        """
        if prospect.closed or self._clock.monotonic() > prospect.made + _KEPT_S:
            raise Superseded
        outcome: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        prospect.joiners.append((given, demand, outcome))
        if len(prospect.joiners) == 1:
            task = asyncio.create_task(self._close(prospect, policy))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await outcome

    async def _close(self, prospect: Prospect, policy: GroupPolicy) -> None:
        batch_s = policy.kek.hierarchy.batch_s if policy.kek is not None and policy.kek.hierarchy is not None else 0.0
        await asyncio.sleep(min(batch_s, _LONGEST_BATCH_S))
        prospect.closed = True
        waiting = [outcome for _, _, outcome in prospect.joiners]
        try:
            given = await self._make(prospect, policy)
        except (GrantRefused, TreeFull, StoreError) as error:
            for outcome in waiting:
                if not outcome.done():
                    outcome.set_exception(error)
            return
        for outcome, sids in zip(waiting, given, strict=True):
            if not outcome.done():
                outcome.set_result(sids)
        await self._rekeyer.flush()

    async def _make(self, prospect: Prospect, policy: GroupPolicy) -> tuple[tuple[int, ...], ...]:
        # Made for these members: no rekey can have overtaken it. The KEK has seen the SIDs that they get.
        joiners = [
            (replace(given, kek=prospect.kek.spi, after=_NO_REKEY_LATER), demand)
            for given, demand, _ in prospect.joiners
        ]
        async with self._rekeyer.commits.locked(policy):
            old, now = self._keks.newest(policy.group), self._clock.monotonic()
            served, banned = self._rekeyer.served(policy.group), self._rekeyer.banned(policy.group)
            if served is None or not prospect.fits(served) or any(given.identity in banned for given, _ in joiners):
                raise Superseded
            tree = self._trees.join(policy.group, [given.identity for given, _ in joiners])
            kek = self._keks.kept(prospect.kek, tree.root, now)
            cut = cut_short(self._keeper.of(policy.group), now, lambda _: prospect.handover.end_s)
            change = KeyChange(
                RekeyCause.JOIN,
                self._fresh(prospect, now),
                cut,
                prospect.handover.activation_s,
                kek=kek,
                old=old,
                tree=tree,
            )
            return (await self._rekeyer.commits.commit(policy, change, granted=joiners)).sids

    def _fresh(self, prospect: Prospect, now: float) -> tuple[Tek, ...]:
        """The TEKs as promised, after those that were made meanwhile; the senders' delay counts from now."""
        return tuple(
            replace(
                tek,
                generation=latest.generation + 1 if latest is not None else 1,
                span=replace(tek.span, activates=now + prospect.handover.activation_s),
            )
            for tek, latest in ((tek, self._keeper.latest(tek.group, tek.line)) for tek in prospect.teks)
        )
