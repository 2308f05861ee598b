"""What a key server that rekeys meets besides its schedule: restarts, a store that fails, registrations under way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.gcks.database import Database, StoreError
from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.grants import GrantRefused, SidDemand, SidsExhausted
from agent.gcks.policy import IecPolicy
from agent.gcks.schedule import Renewal
from agent.gsa.gpad import OidRule
from agent.gsa.iec61850 import IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.sa import GroupSA
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.rekeyer_support import ENTRY, SOURCE, VIDEO, Gcks, Host, kek_policy, rekeyed_group
from tests.unit.gcks.support import tek_policy
from tests.unit.gdoi.pair import GCKS_NAME

TREE = HierarchyPolicy(degree=2)
CLOSED = HierarchyPolicy(degree=2, backward_secrecy=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_members_register_after_a_restart_when_all_rekeys_were_sent(host: Host) -> None:
    group, members = rekeyed_group(kek_policy()), host.members("a")

    async def before(gcks: Gcks) -> None:
        await gcks.rekeyer.rekey(VIDEO, kek=True)
        host.clock.advance(30)
        await gcks.rekeyer.tick()

    async def after(gcks: Gcks) -> None:
        assert not gcks.pushes()
        await gcks.register(members["a"])

    host.run(before, group)
    host.run(after, group)


@pytest.mark.requirement("GDOI-7.4.2-01")
def test_who_is_evicted_while_it_joins_gets_nothing(host: Host) -> None:
    members = host.members("abz")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        prospect = gcks.joining.prospect(gcks.group, members["z"].identity)
        assert prospect is not None
        await gcks.rekeyer.evict(VIDEO, members["z"].identity)
        given = replace(gcks.grant_of(members["z"]), spis=tuple(tek.spi for tek in prospect.teks))
        with pytest.raises(GrantRefused):
            await gcks.joining.join(prospect, gcks.group, given, SidDemand(0, 0, ()))
        assert gcks.trees.keys_of(VIDEO, members["z"].identity) is None

    host.run(body, rekeyed_group(kek_policy(lkh=CLOSED), members="abz"))


def test_what_was_promised_by_another_configuration_is_not_made(host: Host) -> None:
    members = host.members("az")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        prospect = gcks.joining.prospect(gcks.group, members["z"].identity)
        assert prospect is not None
        given = replace(gcks.grant_of(members["z"]), spis=tuple(tek.spi for tek in prospect.teks))
        await gcks.adopt(rekeyed_group(kek_policy(), members="az"))
        with pytest.raises(GrantRefused):
            await gcks.joining.join(prospect, rekeyed_group(kek_policy(lkh=CLOSED)), given, SidDemand(0, 0, ()))

    host.run(body, rekeyed_group(kek_policy(lkh=CLOSED), members="az"))


def test_promises_that_nobody_takes_up_keep_no_spi(host: Host) -> None:
    members = host.members("z")

    async def body(gcks: Gcks) -> None:
        before = len(gcks.keeper._spis)  # what grows is not to be seen from outside
        for _ in range(20):
            assert gcks.joining.prospect(gcks.group, members["z"].identity) is not None
        assert len(gcks.keeper._spis) == before

    host.run(body, rekeyed_group(kek_policy(lkh=CLOSED), members="z"))


def test_joins_of_a_batch_share_one_rekey(host: Host) -> None:
    members = host.members("axyz")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        gcks.pushes()
        await asyncio.gather(*(gcks.register(members[title]) for title in "xyz"))
        pushes = gcks.pushes()
        assert len(pushes) == 2
        assert len(members["a"].hear(pushes)) == 2
        assert all(member.known >= gcks.newest() for member in members.values())
        await gcks.rekeyer.rekey(VIDEO)
        pushes = gcks.pushes()
        assert [len(member.hear(pushes)) for member in members.values()] == [1, 1, 1, 1]

    closed = HierarchyPolicy(2, backward_secrecy=True, batch_s=0.1)
    host.run(body, rekeyed_group(kek_policy(lkh=closed), members="axyz"))


@pytest.mark.requirement("GDOI-3.5-01")
def test_the_first_to_join_has_its_sids_counted_for_what_is_pushed_later(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        def wanted(count: int) -> SidDemand:
            return SidDemand(count, 8, tuple(gcks.live()))

        prospect = gcks.joining.prospect(gcks.group, members["a"].identity)
        assert prospect is not None
        spis = tuple(tek.spi for tek in prospect.teks)
        given = replace(gcks.grant_of(members["a"]), spis=spis)
        assert await gcks.joining.join(prospect, gcks.group, given, SidDemand(1, 8, spis)) == (0,)
        await gcks.rekeyer.rekey(VIDEO)
        with pytest.raises(SidsExhausted):
            await gcks.store.grant(gcks.grant_of(members["a"]), wanted(256))

    host.run(body, rekeyed_group(kek_policy(lkh=CLOSED), members="ab"))


@pytest.mark.requirement("GDOI-3.5-07")
def test_exhausted_sids_wipe_the_slate_for_those_who_join_with_backward_secrecy(host: Host) -> None:
    members = host.members("az")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.store.grant(gcks.grant_of(members["a"]), SidDemand(255, 8, tuple(gcks.live())))
        prospect = gcks.joining.prospect(gcks.group, members["z"].identity)
        assert prospect is not None
        spis = tuple(tek.spi for tek in prospect.teks)
        given, old = replace(gcks.grant_of(members["z"]), spis=spis), gcks.live()
        with pytest.raises(SidsExhausted):
            await gcks.joining.join(prospect, gcks.group, given, SidDemand(2, 8, spis))
        await gcks.rekeyer.exhausted(VIDEO, prospect.before)
        assert not old & gcks.live()
        await gcks.rekeyer.exhausted(VIDEO, prospect.before)
        again = gcks.joining.prospect(gcks.group, members["z"].identity)
        assert again is not None
        spis = tuple(tek.spi for tek in again.teks)
        given = replace(gcks.grant_of(members["z"]), spis=spis)
        assert await gcks.joining.join(again, gcks.group, given, SidDemand(2, 8, spis)) == (0, 1)

    host.run(body, rekeyed_group(kek_policy(lkh=CLOSED), members="az"))


def test_an_eviction_stands_though_the_log_of_the_store_cannot_be_folded(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = host.members("ab")

    def full(_: Database) -> None:
        raise StoreError("disk full")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "fold", full)
            await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        assert gcks.rekeyer.banned(VIDEO) == {members["b"].identity}
        assert len(members["a"].hear(gcks.pushes())) == 2

    host.run(body, rekeyed_group(kek_policy(lkh=TREE)))


def test_who_is_evicted_is_refused_before_the_new_keys_are_committed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        seen: list[bool] = []
        run = gcks.store.run

        async def watched(call: object, *arguments: object, **named: object) -> object:
            seen.append(members["b"].identity in gcks.rekeyer.banned(VIDEO))
            return await run(call, *arguments, **named)  # type: ignore[arg-type]  # handed on as it came

        with monkeypatch.context() as patch:
            patch.setattr(gcks.store, "run", watched)
            await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        assert seen
        assert all(seen)

    host.run(body, rekeyed_group(kek_policy(lkh=TREE)))


@pytest.mark.requirement("GDOI-7.4.1-01")
def test_who_missed_the_first_of_two_evictions_keeps_no_tek_of_before(host: Host) -> None:
    members = host.members("abc")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        first = gcks.live()
        await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        kek, missed = gcks.pushes()
        assert len(members["a"].hear([kek])) == 1
        host.clock.advance(0.1)
        await gcks.rekeyer.evict(VIDEO, members["c"].identity)
        assert await gcks.rekeyer.again(missed) is None, "it would bring back what was replaced"
        *_, last = members["a"].hear(gcks.pushes())
        assert first <= {each.spi for each in last.deleted}
        assert {sa.spi for sa in last.data} == gcks.newest()

    host.run(body, rekeyed_group(kek_policy(lkh=TREE)))


def test_a_rekey_that_was_overtaken_unsent_is_not_sent_by_a_restart(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = host.members("ab")
    group = rekeyed_group(kek_policy(lkh=TREE))

    async def first(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)

        async def later() -> list[object]:
            return []

        with monkeypatch.context() as patch:
            patch.setattr(gcks.rekeyer.outbox, "flush", later)
            await gcks.rekeyer.rekey(VIDEO)
            await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        await gcks.rekeyer.flush()
        assert len(gcks.pushes()) == 2
        host.clock.advance(5)
        await gcks.rekeyer.tick()

    async def second(gcks: Gcks) -> None:
        assert gcks.pushes() == []

    host.run(first, group)
    host.run(second, group)


@pytest.mark.parametrize("unicast", [True, False], ids=["from-unicast", "to-unicast"])
def test_a_change_of_transport_names_no_member_s_address_to_others(host: Host, *, unicast: bool) -> None:
    there = kek_policy()
    one_by_one = replace(there, destination=None)
    before, after = (one_by_one, there) if unicast else (there, one_by_one)
    members = host.members("a")
    member = Endpoint(IPAddress("198.51.100.7"), 50_000)

    async def body(gcks: Gcks) -> None:
        rekey = gcks.rekeyer.rekey_for(VIDEO, members["a"].identity, member)
        assert rekey is not None
        watched = GroupSA(VIDEO, GCKS_NAME, (), host.clock.now, rekey=rekey)
        members["a"].engine.watch(watched, entry=ENTRY, address=member.address, now=host.clock.now)
        await gcks.adopt(rekeyed_group(after))
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([replace(push, datagram=push.for_member(member) if unicast else push.datagram)])
        if unicast:
            assert update.rekey is not None
            assert update.rekey.destination == there.destination
        else:
            assert update.rekey is None
            assert update.deletes_rekey

    host.run(body, rekeyed_group(before))


def test_a_new_unicast_rekey_sa_leads_to_each_member_by_itself(host: Host) -> None:
    members = host.members("ab")
    places = {title: Endpoint(IPAddress(f"198.51.100.{number}"), 50_000) for number, title in enumerate("ab", 7)}

    async def body(gcks: Gcks) -> None:
        for title, member in members.items():
            await gcks.trees.admit(VIDEO, member.identity)
            rekey = gcks.rekeyer.rekey_for(VIDEO, member.identity, places[title])
            held = GroupSA(VIDEO, GCKS_NAME, (), host.clock.now, rekey=rekey)
            member.engine.watch(held, entry=ENTRY, address=places[title].address, now=host.clock.now)
        await gcks.rekeyer.rekey(VIDEO, kek=True)
        kek, teks = gcks.pushes()
        assert teks.for_member(places["a"]) == teks.datagram, "signed once for all"
        # The KEK that it goes under may end while the list is worked off.
        for held_kek in gcks.keks.held():
            held_kek.wipe()
        for title, member in members.items():
            (update,) = member.hear([replace(kek, datagram=kek.for_member(places[title]))])
            assert update.rekey is not None
            assert Endpoint(update.rekey.destination, update.rekey.destination_port) == places[title]
            (update,) = member.hear([teks])
            assert {sa.spi for sa in update.data} == gcks.newest()

    host.run(body, rekeyed_group(replace(kek_policy(lkh=TREE), destination=None)))


@pytest.mark.requirement("GDOI-4-04")
def test_a_delete_that_was_split_off_tells_when_the_teks_end(host: Host) -> None:
    teks = [tek_policy(3600, destination=f"239.1.1.{number}") for number in range(1, 30)]
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.rekeyer.rekey(VIDEO)
        updates = members["a"].hear(gcks.pushes())
        assert len(updates) > 2
        assert all(update.deactivation_delay_s for update in updates if update.deleted)

    delivery = RekeyDelivery(copies=3, pause_s=0.1, largest_octets=1200)
    host.run(body, rekeyed_group(kek_policy(delivery=delivery), *teks))


def test_teks_of_iec_61850_are_pushed_with_their_delays_and_deletes(host: Host) -> None:
    members = host.members("a")
    transform = IecTransform.parse("aes-gcm-128")

    entry = replace(ENTRY, selectors=(OidRule("1.2.840.10070.61850.8.1.2"),))

    async def body(gcks: Gcks) -> None:
        held = gcks.keks.offer(VIDEO)
        watched = GroupSA(VIDEO, GCKS_NAME, (), host.clock.now, rekey=held)
        members["a"].engine.watch(watched, entry=entry, address=SOURCE.address, now=host.clock.now)
        (old,) = gcks.live()
        await gcks.rekeyer.rekey(VIDEO)
        (update,) = members["a"].hear(gcks.pushes())
        assert {sa.spi for sa in update.iec61850} == gcks.newest()
        assert update.activation_delay_s
        assert [(each.protocol, each.spi) for each in update.deleted] == [(None, old)]

    host.run(
        body,
        rekeyed_group(kek_policy(), IecPolicy(OidSelector("1.2.840.10070.61850.8.1.2"), transform, Renewal.of(3600))),
    )
