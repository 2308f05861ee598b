"""What members are told when the schedule, or another configuration, lets the keepers make keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from agent.gcks.keeper import TekKeeper, TekNews
from agent.gcks.kek import Kek
from agent.gcks.kek_keeper import KekKeeper, KekNews
from agent.gcks.lkh import LkhChange
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_change import cut_short, deleted, grace_s
from agent.gcks.rekey_outbox import Outbox
from agent.gcks.rekey_plan import Change, Handover, RekeyCause, Step, gentle_end_s
from agent.gcks.tek import Tek
from agent.logs import get_logger

__all__ = ["Announcer"]

log = get_logger(__name__)


class Announcer:
    """What both keepers ask: a `TekAnnouncer` and a `KekAnnouncer`."""

    def __init__(self, outbox: Outbox, keeper: TekKeeper, keks: KekKeeper) -> None:
        self._outbox: Final = outbox
        self._keeper: Final = keeper
        self._keks: Final = keks

    def news(self, policy: GroupPolicy, fresh: Sequence[Tek], now: float) -> TekNews:
        """As `TekAnnouncer` has it."""
        kek, held = self._keks.newest(policy.group), self._keeper.of(policy.group)
        if policy.kek is None or kek is None or not held:
            return TekNews(tuple(fresh))
        lines = {line.line: line for line in policy.teks}
        handover = Handover.after(policy.kek.delivery.lasts_s)
        known = {tek.line for tek in held}
        # Of a policy that the members hear of just now: receivers have it before senders use it.
        spanned = tuple(
            tek if tek.line in known else replace(tek, span=handover.successor(lines[tek.line].renewal.lifetime_s, now))
            for tek in fresh
        )
        gone = [
            tek for tek in held if tek.line not in lines and tek.span.expires > now and not self._outbox.deletes(tek)
        ]
        if not (spanned or gone):
            return TekNews(())
        cut = cut_short(gone, now, lambda tek: max(handover.end_s, gentle_end_s(tek.span)))
        changed = bool(gone) or any(tek.line not in known for tek in fresh)
        change = Change(
            group=policy.group,
            cause=RekeyCause.POLICY if changed else RekeyCause.RENEWAL,
            old=kek.spi,
            teks=tuple(tek.spi for tek in spanned),
            replaced=deleted(gone),
        )
        return TekNews(spanned, cut, self._outbox.plan(change, policy, (*spanned, *cut), ()))

    def kek_news(self, policy: GroupPolicy, fresh: Kek, change: LkhChange | None, now: float) -> KekNews:
        """As `KekAnnouncer` has it."""
        old = self._keks.newest(policy.group)
        if old is None or policy.kek is None:
            return KekNews(fresh)
        before = self._outbox.policy_of(old)
        if before is None:
            log.warning("the Rekey SA changed while gckd was not running: members register again", group=policy.group)
            return KekNews(fresh)
        renewed = old.line == fresh.line
        # A message to the group has no place for each member's own address.
        parts = before.destination is not None and policy.kek.destination is None
        reachable = not parts and (policy.kek.tree is None or before.tree == policy.kek.tree)
        told = Change(
            group=policy.group,
            cause=RekeyCause.KEK_RENEWAL if renewed else RekeyCause.POLICY,
            old=old.spi,
            new=fresh.spi,
            updates=change.updates if change is not None and reachable else (),
            reachable=reachable,
        )
        cut = () if renewed else cut_short([old], now, lambda _: grace_s(before))
        if change is not None and reachable and not change.updates:
            return KekNews(fresh, cut)  # nobody is in the hierarchy
        return KekNews(fresh, cut, self._outbox.plan(told, policy, (), (fresh, *cut)))

    def committed(self, steps: Sequence[Step]) -> None:
        """As the announcers have it."""
        self._outbox.queue(steps)
