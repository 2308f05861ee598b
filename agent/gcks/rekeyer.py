"""Rekeys groups: by schedule, on request, when members leave or join, when the policy changes (RFC 6407 4, 7.4).

A change is one commit: TEKs, KEK, hierarchy, evicted members, and the messages that tell of it. What is told follows
`agent.gcks.rekey_plan`; `agent.gcks.rekey_outbox` sends it, now or after a restart.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from agent.clock import Clock
from agent.errors import LocalError
from agent.gcks import grants, kek_store, rekey_store
from agent.gcks.audit import AuditEntry, AuditEvent
from agent.gcks.database import Database, Write, restate_teks
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.lkh import LkhPolicy
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.policy import GroupPolicy
from agent.gcks.push import Push
from agent.gcks.rekey_change import (
    KeyChange,
    cut_short,
    grace_s,
    protocols,
    shortest_lead_s,
)
from agent.gcks.rekey_commit import Commits, recorded
from agent.gcks.rekey_news import Announcer
from agent.gcks.rekey_outbox import Outbox, RekeySending, SentPush
from agent.gcks.rekey_plan import Change, Handover, RekeyCause, gentle_end_s
from agent.gcks.store import Store
from agent.gcks.tek import Tek
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import GroupId, Identity
from agent.gsa.sa import RekeySA, Spi
from agent.logs import get_logger
from agent.wire.endpoint import Endpoint

__all__ = ["RekeyReport", "RekeyState", "Rekeyer"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RekeyReport:
    """What a rekey on request did.

    `pushes`: what each GROUPKEY-PUSH carries, in their order; `effective_in_s`: until no sender that heard of it uses
    an older key; `text`: for the operator.
    """

    group: GroupId
    cause: RekeyCause
    pushes: tuple[str, ...]
    effective_in_s: float
    text: str


@dataclass(frozen=True, slots=True)
class RekeyState:
    """How a group's Rekey SA stands. `sequence`: the last number used; `expires`: monotonic; `pushes`: the latest."""

    kek_spi: bytes
    sequence: int
    expires: float
    pushes: tuple[SentPush, ...]


class Rekeyer:
    """All changes of keys go through here.

    `tolerances`: where the members differ from the RFC. `changed`: called when `due` may be sooner than it was.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keeper: TekKeeper,
        keks: KekKeeper,
        trees: LkhKeeper,
        sender: RekeySending,
        tolerances: Tolerances | None = None,
        *,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._keeper: Final = keeper
        self._keks: Final = keks
        self._trees: Final = trees
        self._changed: Final = changed
        self.outbox: Final = Outbox(store, clock, keeper, keks, sender, tolerances or Tolerances())
        self.commits: Final = Commits(store, clock, keeper, keks, trees, self.outbox)
        self._groups: Mapping[GroupId, GroupPolicy] = {}
        self._banned: dict[GroupId, set[Identity]] = {}
        self._leaving: dict[GroupId, float] = {}
        # A change on request goes by the configuration, which must not change in its middle.
        self._serial: Final = asyncio.Lock()
        keeper.announcer = keks.announcer = Announcer(self.outbox, keeper, keks)

    async def start(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Take over what the store holds, do once what was due meanwhile. Raises StoreError."""
        for group, identity in await self._store.run(rekey_store.bans):
            self._banned.setdefault(group, set()).add(identity)
        self.outbox.remember(groups)
        await self._trees.start(_hierarchies(groups))
        await self._keks.load()
        await self._keeper.load()
        await self.outbox.load()
        await self.adopt(groups)

    async def adopt(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        """Serve these groups: tell members of policies that changed, shut out who is a member no more.

        Raises StoreError; calling it again does the rest.
        """
        async with self._serial:
            await self._adopt(groups)

    async def _adopt(self, groups: Mapping[GroupId, GroupPolicy]) -> None:
        self.outbox.remember(groups)
        for group in self._groups.keys() - groups.keys():
            await self._farewell(self._groups[group])
        for policy in groups.values():
            if policy.kek is None:
                await self._part(policy)
        await self._trees.adopt(_hierarchies(groups))
        await self._keks.adopt(groups)
        await self._keeper.adopt(groups)
        self._groups = groups
        for group, gone in (await self._unwelcome()).items():
            await self._replace(groups[group], RekeyCause.EVICTION, leaving=gone)
        await self.outbox.flush()

    def due(self) -> float:
        """The next instant for `tick`, monotonic."""
        leaving = min(self._leaving.values(), default=math.inf)
        return min(self._keeper.due(), self._keks.due(), self.outbox.due(), leaving)

    async def tick(self) -> None:
        """Make the keys that are due and push them, end those that are over. Raises StoreError."""
        await self._keks.tick()
        await self._keeper.tick()
        for group in [group for group, at in self._leaving.items() if at <= self._clock.monotonic()]:
            gone = [member for member in self._trees.members(group) if member in self.banned(group)]
            policy = self._groups.get(group)
            if policy is not None and gone and self._keks.newest(group) is not None:
                async with self._serial:
                    await self._replace(policy, RekeyCause.EVICTION, leaving=gone)
            del self._leaving[group]
        await self.outbox.flush()

    async def rekey(self, group: GroupId, *, kek: bool = False) -> RekeyReport:
        """Replace a group's TEKs, with `kek` its KEK before. Raises LocalError without a Rekey SA, StoreError."""
        async with self._serial:
            change = await self._replace(self._rekeyed(group), RekeyCause.REQUESTED, kek=kek)
        return await self._reported(group, change)

    async def replace_policy(self, group: GroupId) -> RekeyReport:
        """Replace KEK and TEKs; the old TEKs end as deployed key servers have it. Raises LocalError, StoreError."""
        async with self._serial:
            change = await self._replace(self._rekeyed(group), RekeyCause.POLICY, gentle=True)
        return await self._reported(group, change)

    async def evict(self, group: GroupId, identity: Identity) -> RekeyReport:
        """Shut a member out: refuse its registrations until `admit`, make keys that it does not get.

        Without a hierarchy the others register again for them. Raises LocalError for an unknown group, StoreError.
        """
        policy = self._policy(group)
        ban = partial(rekey_store.add_ban, group=group, identities=[identity], utc=self._utc())
        if policy.kek is not None and self._keks.newest(group) is not None:
            wait_s = policy.kek.hierarchy.batch_s if policy.kek.hierarchy is not None else 0.0
            if wait_s == 0:
                async with self._serial:
                    change = await self._replace(self._policy(group), RekeyCause.EVICTION, leaving=[identity], ban=ban)
                return await self._reported(group, change)
            await self._ban(ban, group, identity)
            self._leaving.setdefault(group, self._clock.monotonic() + wait_s)
            self._changed()
            copies_s = policy.kek.delivery.lasts_s
            effective_s = self._leaving[group] - self._clock.monotonic() + Handover.after(copies_s).activation_s
            text = f"registrations refused from now on; shut out with all that are evicted within {wait_s:g} s"
            return RekeyReport(group, RekeyCause.EVICTION, (), effective_s, text)
        await self._ban(ban, group, identity)
        now = self._clock.monotonic()
        ends_s = max((tek.span.expires - now for tek in self._keeper.of(group)), default=0.0)
        text = (
            "registrations refused from now on; the group has no Rekey SA, so the member holds its keys until they end,"
            f" {ends_s:.0f} s: a table [groups.kek] shuts members out at once"
        )
        return RekeyReport(group, RekeyCause.EVICTION, (), ends_s, text)

    async def admit(self, group: GroupId, identity: Identity) -> bool:
        """Let a member that was evicted register again; whether it had been. Raises StoreError."""
        if identity not in self.banned(group):
            return False
        entry = AuditEntry(AuditEvent.ADMITTED, self._utc(), group, identity)
        lift = partial(rekey_store.lift_ban, group=group, identity=identity)
        await self._store.run(Database.write, [lift, recorded(entry)])
        self._banned[group].discard(identity)
        return True

    def banned(self, group: GroupId) -> frozenset[Identity]:
        """Who was evicted and not admitted since."""
        return frozenset(self._banned.get(group, ()))

    async def exhausted(self, group: GroupId, spis: Collection[Spi]) -> None:
        """A group's SIDs ran out: begin anew before any is given again (RFC 6407 3.5).

        Members delete all Data-Security SAs and the Rekey SA, and register again. `spis`: of TEKs that have seen all
        SIDs; nothing happens when they are replaced already. Raises StoreError.
        """
        policy = self._policy(group)
        if policy.kek is None or self._keks.newest(group) is None:
            await self._keeper.replace(group, spis)
        else:
            async with self._serial:
                if any(tek.spi in spis for tek in self._keeper.of(group)):
                    await self._replace(self._policy(group), RekeyCause.SIDS_EXHAUSTED)
            await self.outbox.flush()

    async def again(self, push: Push) -> Push | None:
        """A copy of a message under a sequence number of its own; None when it is over. Raises StoreError."""
        return await self.outbox.again(push)

    def rekey_sa(self, group: GroupId, kek_spi: bytes) -> RekeySA | None:
        """The Rekey SA of that SPI, as long as acknowledgements under it may come (RFC 8263 6)."""
        return self.outbox.rekey_sa(group, kek_spi)

    async def flush(self) -> None:
        """Send what was committed. Raises StoreError; what it did not come to is sent with the next tick."""
        await self.outbox.flush()
        self._changed()

    def rekey_for(self, group: GroupId, identity: Identity, member: Endpoint) -> RekeySA | None:
        """The Rekey SA as a member is to have it now, with its keys of the hierarchy; None for a group without."""
        rekey = self._keks.offer(group, member)
        if rekey is None or self._trees.policy(group) is None:
            return rekey
        return replace(rekey, lkh=self._trees.keys_of(group, identity) or ())

    def served(self, group: GroupId) -> GroupPolicy | None:
        """A group's policy as it is served; None for one that is not."""
        return self._groups.get(group)

    def state(self, group: GroupId) -> RekeyState | None:
        """How its Rekey SA stands; None without one."""
        kek = self._keks.newest(group)
        return None if kek is None else RekeyState(kek.spi, kek.sequence, kek.span.expires, self.outbox.sent(group))

    # One change of a group: planned, committed, then held.

    async def _replace(
        self,
        policy: GroupPolicy,
        cause: RekeyCause,
        *,
        kek: bool = True,
        leaving: Sequence[Identity] = (),
        gentle: bool = False,
        ban: Write | None = None,
    ) -> KeyChange:
        async with self.commits.locked(policy):
            old, kek_policy = self._keks.newest(policy.group), policy.kek
            if old is None or kek_policy is None:
                raise LocalError(
                    f"group {policy.group} has no Rekey SA that lives: see this log for the store's errors"
                )
            now, group = self._clock.monotonic(), policy.group
            tree = None
            if kek_policy.tree is not None and kek:
                tree = self._trees.evict(group, leaving) if leaving else self._trees.renew(group)
            fresh_kek = await self._keks.draft(policy, kek_policy, now, tree.root if tree else None) if kek else None
            reachable = not leaving or tree is not None
            made = self._made(policy, cause, now, gentle=gentle, reachable=reachable)
            change = replace(made, kek=fresh_kek, tree=tree, old=old, leaving=tuple(leaving))
            if ban is None:
                return await self.commits.commit(policy, change)
            # Refused from now on: a registration under way must not get what is being made.
            banned = self._banned.setdefault(group, set())
            fresh = set(leaving) - banned
            banned |= fresh
            try:
                return await self.commits.commit(policy, change, [ban])
            except LocalError:
                banned -= fresh
                raise

    def _made(self, policy: GroupPolicy, cause: RekeyCause, now: float, *, gentle: bool, reachable: bool) -> KeyChange:
        """The TEKs of a change: fresh ones, and when the older ones end."""
        if cause is RekeyCause.SIDS_EXHAUSTED:
            return KeyChange(cause, tuple(self._keeper.drafts(policy, now)), (), 0, reachable=reachable)
        copies_s = policy.kek.delivery.lasts_s if policy.kek is not None else 0.0
        quick = Handover.after(copies_s)
        handover = quick if reachable else Handover.by_registration(max(shortest_lead_s(policy), quick.activation_s))
        cut = cut_short(
            [tek for tek in self._keeper.of(policy.group) if tek.span.expires > now],
            now,
            lambda tek: max(handover.end_s, gentle_end_s(tek.span)) if gentle else handover.end_s,
        )
        fresh = tuple(self._keeper.drafts(policy, now, handover))
        return KeyChange(cause, fresh, cut, handover.activation_s, reachable=reachable)

    async def _farewell(self, policy: GroupPolicy) -> None:
        """A group that is no more: its members are to drop all they hold."""
        await self._told_off(policy, RekeyCause.GROUP_REMOVED, self._keeper.of(policy.group))

    async def _part(self, policy: GroupPolicy) -> None:
        """A group that has no Rekey SA any more: its members are to register again for what comes."""
        await self._told_off(policy, RekeyCause.POLICY, ())

    async def _told_off(self, policy: GroupPolicy, cause: RekeyCause, ending: Sequence[Tek]) -> None:
        """Delete the Rekey SA of a group that gets no other."""
        async with self.commits.locked(policy):
            kek = self._keks.newest(policy.group)
            kek_policy = self.outbox.policy_of(kek) if kek is not None else None
            if kek is None or kek_policy is None or self.outbox.deletes_kek(kek):
                return
            now = self._clock.monotonic()
            teks, keks = cut_short(ending, now, lambda _: 0.0), cut_short([kek], now, lambda _: grace_s(kek_policy))
            change = Change(policy.group, cause, kek.spi, protocols=protocols(ending), reachable=False)
            steps = self.outbox.plan(change, policy, teks, keks)
            utc_teks = [(tek.spi, tek.span) for tek in self._keeper.in_utc(teks)]
            await self._store.run(
                Database.write,
                [
                    partial(restate_teks, spans=utc_teks),
                    partial(kek_store.restate_keks, keks=self._keks.in_utc(keks)),
                    partial(rekey_store.add_steps, steps=steps),
                ],
            )
            self._keeper.respan(teks)
            self._keks.respan(keks)
            self.outbox.queue(steps)

    async def _unwelcome(self) -> dict[GroupId, list[Identity]]:
        """Who may hold keys of a group with a KEK, and is a member no more; whom a rule let in stays."""
        utc = self._utc()
        registered = [entry for entry in await self._store.run(grants.registrations) if entry.expires_utc > utc]
        found = {}
        for group, policy in self._groups.items():
            held = set(self._trees.members(group)) | {entry.identity for entry in registered if entry.group == group}
            gone = [
                who for who in held if who in self.banned(group) or (who not in policy.members and not policy.rules)
            ]
            if gone and policy.kek is not None and self._keks.newest(group) is not None:
                found[group] = sorted(gone, key=str)
        return found

    async def _reported(self, group: GroupId, change: KeyChange) -> RekeyReport:
        await self.flush()
        said = tuple(step.carries for step in change.steps)
        if not change.reachable:
            text = (
                "the group has no key hierarchy, so no message can tell the others a KEK that this one does not get: "
                "their Rekey SA was deleted, and they register again; who is not back when the new TEKs are used, in "
                f"{change.effective_s:.0f} s, misses traffic until then. A table [groups.kek.lkh] does without"
            )
        else:
            text = f"{len(said)} GROUPKEY-PUSH; senders use the new keys in {change.effective_s:.0f} s"
        return RekeyReport(group, change.cause, said, change.effective_s, text)

    async def _ban(self, ban: Write, group: GroupId, identity: Identity) -> None:
        entry = AuditEntry(AuditEvent.EVICTED, self._utc(), group, identity)
        await self._store.run(Database.write, [ban, recorded(entry)])
        self._banned.setdefault(group, set()).add(identity)

    def _policy(self, group: GroupId) -> GroupPolicy:
        policy = self._groups.get(group)
        if policy is None:
            raise LocalError(f"group {group} is not in the configuration: gckctl groups lists those that are")
        return policy

    def _rekeyed(self, group: GroupId) -> GroupPolicy:
        policy = self._policy(group)
        if policy.kek is None:
            raise LocalError(f"group {group} has no Rekey SA, so nothing can be pushed: give it a table [groups.kek]")
        return policy

    def _utc(self) -> float:
        return self._clock.utc().timestamp()


def _hierarchies(groups: Mapping[GroupId, GroupPolicy]) -> dict[GroupId, LkhPolicy]:
    trees = {group: policy.kek.tree for group, policy in groups.items() if policy.kek is not None}
    return {group: LkhPolicy(*tree) for group, tree in trees.items() if tree is not None}
