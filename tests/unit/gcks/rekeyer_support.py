"""A key server that rekeys, on a real store, and members that hear it with the member's own engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from netaddr import IPAddress

from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.grants import Grant, SidDemand
from agent.gcks.keeper import TekKeeper
from agent.gcks.kek import KekPolicy
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.membership import data_sas
from agent.gcks.policy import GroupPolicy
from agent.gcks.push import Push, RekeyTarget
from agent.gcks.rekey_join import Joining
from agent.gcks.rekeyer import Rekeyer
from agent.gcks.schedule import Renewal
from agent.gcks.store import Store
from agent.gdoi.rekey_events import Rekeyed
from agent.gdoi.rekey_member import RekeyMember
from agent.gsa.identity import GroupId
from agent.gsa.rekey import REKEY_SIGNATURES
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.gsa.update import GsaUpdate
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import FakeClock, FakeEntropy, name, tek_policy
from tests.unit.gdoi.pair import GCKS_NAME, gpad

VIDEO = GroupId.of_number(1234)
SOURCE, MULTICAST = Endpoint(IPAddress("192.0.2.1"), 848), Endpoint(IPAddress("239.9.9.9"), 848)
ENTRY = gpad().entries[0]


def kek_policy(
    *,
    lkh: HierarchyPolicy | None = None,
    lifetime_s: float = 86_400,
    delivery: RekeyDelivery | None = None,
    cipher: str = "aes-cbc-128",
) -> KekPolicy:
    return KekPolicy(
        cipher=cipher,
        signature=REKEY_SIGNATURES["ecdsa-256"],
        renewal=Renewal.of(lifetime_s),
        source=SOURCE.address,
        destination=MULTICAST.address,
        delivery=delivery or RekeyDelivery(copies=3, pause_s=0.1),
        hierarchy=lkh,
    )


def rekeyed_group(kek: KekPolicy | None, *teks: object, members: Iterable[str] = "abcd") -> GroupPolicy:
    policies = tuple(teks) or (tek_policy(3600),)
    roles = {name(f"{member}.example"): Role.BOTH for member in members}
    return GroupPolicy(VIDEO, "video", policies, roles, kek=kek)  # type: ignore[arg-type]  # TekPolicies all


class Sending:
    """Takes down what is sent."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.targets: list[RekeyTarget] = []

    def send(self, push: Push, target: RekeyTarget) -> None:
        self.pushes.append(push)
        self.targets.append(target)

    def taken(self) -> list[Push]:
        taken, self.pushes = self.pushes, []
        return taken


class Member:
    """A member's engine, and the SPIs and keys of all it ever got. `kept`: the Rekey SA of its registration."""

    def __init__(self, title: str, clock: FakeClock) -> None:
        self.identity, self.clock = name(f"{title}.example"), clock
        self.engine = RekeyMember(FakeEntropy(hash(title) % 1000))
        self.known: set[int] = set()
        self.updates: list[GsaUpdate] = []

    def registered(self, group_sa: GroupSA) -> None:
        self.known |= {sa.spi for sa in group_sa.data}
        self.engine.watch(group_sa, entry=ENTRY, address=SOURCE.address, now=self.clock.now)

    def hear(self, pushes: Iterable[Push]) -> list[GsaUpdate]:
        """Take these; what each that was understood said."""
        heard = []
        for push in pushes:
            self.engine.receive(push.datagram, SOURCE, MULTICAST, self.clock.now)
            updates = [event.update for event in self.engine.events() if isinstance(event, Rekeyed)]
            # One that holds no key of a hierarchy's update arrays opens the message, and finds nothing in it.
            heard += [update for update in updates if brings_something(update)]
        for update in heard:
            self.known |= {sa.spi for sa in update.data}
        self.updates += heard
        return heard


def brings_something(update: GsaUpdate) -> bool:
    return bool(update.data or update.rekey or update.deleted or update.deletes_rekey)


class Gcks:
    """One run of a key server. `restart` of its Host makes the next one."""

    def __init__(self, store: Store, clock: FakeClock, entropy: FakeEntropy) -> None:
        self.store, self.clock = store, clock
        self.keeper = TekKeeper(store, clock, entropy)
        self.trees = LkhKeeper(store, entropy)
        self.keks = KekKeeper(store, clock, entropy, self.trees)
        self.sender = Sending()
        self.rekeyer = Rekeyer(store, clock, self.keeper, self.keks, self.trees, self.sender)
        self.joining = Joining(self.rekeyer, self.keeper, self.keks, self.trees, clock)
        self.group: GroupPolicy = rekeyed_group(None)

    async def start(self, group: GroupPolicy) -> None:
        self.group = group
        await self.rekeyer.start({VIDEO: group})

    async def adopt(self, group: GroupPolicy) -> None:
        self.group = group
        await self.rekeyer.adopt({VIDEO: group})

    def pushes(self) -> list[Push]:
        return self.sender.taken()

    def live(self) -> set[int]:
        return {tek.spi for _, teks in self.keeper.offer(VIDEO) for tek in teks}

    def newest(self) -> set[int]:
        return {teks[-1].spi for _, teks in self.keeper.offer(VIDEO)}

    def grant_of(self, member: Member, *, ends_in_s: float = 3600) -> Grant:
        rekey, utc = self.keks.offer(VIDEO), self.clock.wall
        return Grant(
            VIDEO,
            member.identity,
            "192.0.2.7",
            "both",
            tuple(sorted(self.live())),
            utc,
            utc + ends_in_s,
            rekey.spi if rekey else None,
            self.rekeyer.outbox.last_number(VIDEO),
        )

    async def register(self, member: Member, demand: SidDemand | None = None) -> tuple[int, ...]:
        """A registration as the registrar has it, with or without backward secrecy."""
        prospect = self.joining.prospect(self.group, member.identity)
        if prospect is not None:
            lines = prospect.lines(self.group)
            spis = tuple(tek.spi for tek in prospect.teks)
            given = replace(self.grant_of(member), kek=None, spis=spis)
            sids = await self.joining.join(prospect, self.group, given, demand or SidDemand(0, 0, ()))
            await self.rekeyer.flush()
        else:
            lines = self.keeper.offer(VIDEO)
            if self.trees.policy(VIDEO) is not None:
                await self.trees.admit(VIDEO, member.identity)
            sids = await self.store.grant(self.grant_of(member), demand or SidDemand(0, 0, ()))
        rekey = self.rekeyer.rekey_for(VIDEO, member.identity, SOURCE)
        data = data_sas(self.group, Role.BOTH, lines)
        member.registered(GroupSA(VIDEO, GCKS_NAME, data, self.clock.now, rekey=rekey))
        return sids


class Host:
    """A host whose clocks and disk outlive the key server's runs."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock, self.entropy = folder / "gckd.db", FakeClock(), FakeEntropy()

    def run(self, body: Callable[[Gcks], Awaitable[None]], group: GroupPolicy) -> None:
        async def inside() -> None:
            store = await Store.open(self.path)
            try:
                gcks = Gcks(store, self.clock, self.entropy)
                await gcks.start(group)
                await body(gcks)
            finally:
                await store.close()

        asyncio.run(inside())

    def members(self, titles: str) -> dict[str, Member]:
        return {title: Member(title, self.clock) for title in titles}
