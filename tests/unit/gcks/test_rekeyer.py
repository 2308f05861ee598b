"""The key server rekeys: by schedule, on request, when members leave and join, after crashes; members hear it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import LocalError
from agent.gcks import audit, grants, rekey_store
from agent.gcks.audit import AuditEvent, AuditQuery
from agent.gcks.database import Database, StoreError
from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.grants import SidDemand, SidsExhausted, Superseded
from agent.gcks.policy import GroupPolicy
from agent.gcks.rekey_plan import RekeyCause
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA
from tests.unit.gcks.rekeyer_support import SOURCE, VIDEO, Gcks, Host, kek_policy, rekeyed_group
from tests.unit.gcks.support import name, tek_policy

LKH = HierarchyPolicy(2)
SECRET = HierarchyPolicy(2, backward_secrecy=True)
FLAT = rekeyed_group(kek_policy())
TREE = rekeyed_group(kek_policy(lkh=LKH))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.requirement("GDOI-4.3-01", "GDOI-4.3-02", "GDOI-3.2-06", "MIPSEC-4.2.1-03")
def test_a_tek_made_by_the_schedule_is_pushed_with_its_delays(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        assert gcks.pushes() == []
        host.clock.advance(3600 - 2 * 180)
        await gcks.rekeyer.tick()
        (push,) = gcks.pushes()
        assert (push.sequence, push.cause) == (1, RekeyCause.RENEWAL)
        for member in members.values():
            (update,) = member.hear([push])
            assert {sa.spi for sa in update.data} == gcks.newest()
            assert update.activation_delay_s == 270
            assert update.deactivation_delay_s == 360
        await gcks.rekeyer.tick()
        assert gcks.pushes() == []

    host.run(body, FLAT)


@pytest.mark.parametrize("group", [FLAT, TREE], ids=["flat", "tree"])
@pytest.mark.requirement("GDOI-4-01", "GDOI-4-03", "GDOI-4.3-02", "GKM-6.2-01")
def test_a_kek_is_renewed_under_the_old_one_and_begins_with_sequence_1(host: Host, group: GroupPolicy) -> None:
    members = host.members("abc")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        await gcks.rekeyer.rekey(VIDEO)
        before = gcks.rekeyer.state(VIDEO)
        assert before is not None
        await gcks.rekeyer.rekey(VIDEO, kek=True)
        teks, kek, teks_after = gcks.pushes()
        assert (teks.kek_spi, teks.sequence) == (kek.kek_spi, kek.sequence - 1) == (before.kek_spi, 1)
        after = gcks.rekeyer.state(VIDEO)
        assert after is not None
        assert (teks_after.kek_spi, teks_after.sequence) == (after.kek_spi, 1) != (before.kek_spi, 1)
        for member in members.values():
            heard = member.hear([teks, kek, teks_after])
            assert [bool(update.data) for update in heard] == [True, False, True]
            assert gcks.newest() <= member.known

    host.run(body, group)


@pytest.mark.parametrize("group", [FLAT, TREE], ids=["flat", "tree"])
@pytest.mark.requirement("GKM-2-01")
def test_the_schedule_renews_a_kek_in_time(host: Host, group: GroupPolicy) -> None:
    kek = kek_policy(lkh=group.kek.hierarchy if group.kek else None, lifetime_s=16)
    members = host.members("abc")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        for _ in range(40):
            host.clock.advance(1.0)
            await gcks.rekeyer.tick()
            for member in members.values():
                member.hear(gcks.sender.pushes)
            gcks.pushes()
        state = gcks.rekeyer.state(VIDEO)
        assert state is not None
        assert {member.engine.sequence(VIDEO) for member in members.values()} == {state.sequence}

    host.run(body, replace(group, kek=kek))


@pytest.mark.requirement("GDOI-3.2-05")
def test_a_registration_gets_the_last_number_used(host: Host) -> None:
    async def body(gcks: Gcks) -> None:
        await gcks.rekeyer.rekey(VIDEO)
        (push,) = gcks.pushes()
        again = await gcks.rekeyer.again(push)
        assert again is not None
        rekey = gcks.rekeyer.rekey_for(VIDEO, name("a.example"), SOURCE)
        assert rekey is not None
        assert rekey.sequence == again.sequence == 2

    host.run(body, FLAT)


@pytest.mark.requirement(
    "GDOI-7.4.1-01", "GDOI-7.4.1-02", "LKH-5.4.1-01", "LKH-5.4.1-02", "LKH-5.4.2.4-01", "GDOI-4.3-02"
)
def test_who_is_evicted_from_a_hierarchy_learns_nothing_new_and_the_others_miss_nothing(host: Host) -> None:
    members = host.members("abcd")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        report = await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        kek, teks = gcks.pushes()
        assert "TEK" not in kek.carries
        assert kek.kek_spi != teks.kek_spi
        assert report.pushes == (kek.carries, teks.carries)
        assert report.effective_in_s == 2
        assert members["b"].hear([kek, teks]) == []
        assert not gcks.newest() & members["b"].known
        for title in "acd":
            first, second = members[title].hear([kek, teks])
            assert first.rekey is not None
            assert second.deleted == (DeletedSA(SecurityProtocol.ESP, Spi(min(gcks.live() - gcks.newest()))),)
            assert (second.activation_delay_s, second.deactivation_delay_s) == (2, 5)
        await gcks.rekeyer.rekey(VIDEO)
        (later,) = gcks.pushes()
        assert members["b"].hear([later]) == []
        assert len(members["a"].hear([later])) == 1
        rows = await gcks.store.run(audit.entries, AuditQuery(identity=members["b"].identity))
        assert rows[0].event is AuditEvent.EVICTED

    host.run(body, TREE)


def test_without_a_hierarchy_an_eviction_deletes_the_rekey_sa_and_says_what_it_costs(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        old = gcks.live()
        report = await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        assert "[groups.kek.lkh]" in report.text
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.deletes_rekey
        assert not update.data
        assert not update.deleted
        assert members["b"].hear([push])[0].deletes_rekey
        await gcks.register(members["a"])
        assert old < members["a"].known, "it gets the old TEK, which serves till the switch, and the new one"
        spans = [tek.span for _, teks in gcks.keeper.offer(VIDEO) for tek in teks]
        assert [span.expires - host.clock.now for span in spans] == [120, 3600]
        assert spans[1].activates - host.clock.now == 90 == report.effective_in_s
        await gcks.rekeyer.rekey(VIDEO)
        pushes = gcks.pushes()
        assert members["b"].hear(pushes) == []
        assert len(members["a"].hear(pushes)) == 1

    host.run(body, FLAT)


def test_a_group_without_a_rekey_sa_can_only_refuse(host: Host) -> None:
    async def body(gcks: Gcks) -> None:
        report = await gcks.rekeyer.evict(VIDEO, name("a.example"))
        assert "[groups.kek]" in report.text
        assert report.effective_in_s == 3600
        assert gcks.rekeyer.banned(VIDEO) == {name("a.example")}
        with pytest.raises(LocalError, match=r"\[groups.kek\]"):
            await gcks.rekeyer.rekey(VIDEO)

    host.run(body, rekeyed_group(None))


def test_a_ban_outlives_a_restart_until_it_is_lifted(host: Host) -> None:
    async def first(gcks: Gcks) -> None:
        await gcks.rekeyer.evict(VIDEO, name("a.example"))

    async def second(gcks: Gcks) -> None:
        assert gcks.rekeyer.banned(VIDEO) == {name("a.example")}
        assert await gcks.rekeyer.admit(VIDEO, name("a.example"))
        assert not await gcks.rekeyer.admit(VIDEO, name("a.example"))

    async def third(gcks: Gcks) -> None:
        assert gcks.rekeyer.banned(VIDEO) == frozenset()

    for body in (first, second, third):
        host.run(body, TREE)


def test_evictions_of_a_batch_share_one_rekey(host: Host) -> None:
    members = host.members("abcd")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        for title in "bc":
            await gcks.rekeyer.evict(VIDEO, members[title].identity)
        await gcks.rekeyer.tick()
        assert gcks.pushes() == []
        host.clock.advance(10.0)
        assert gcks.rekeyer.due() <= host.clock.now
        await gcks.rekeyer.tick()
        pushes = gcks.pushes()
        assert len(pushes) == 2
        assert members["b"].hear(pushes) == members["c"].hear(pushes) == []
        assert len(members["a"].hear(pushes)) == len(members["d"].hear(pushes)) == 2

    host.run(body, rekeyed_group(kek_policy(lkh=HierarchyPolicy(2, batch_s=10.0))))


def test_evictions_whose_batch_a_crash_cut_off_are_made_up_for(host: Host) -> None:
    members = host.members("ab")
    group = rekeyed_group(kek_policy(lkh=HierarchyPolicy(2, batch_s=10.0)))

    async def first(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        await gcks.rekeyer.evict(VIDEO, members["b"].identity)

    async def second(gcks: Gcks) -> None:
        pushes = gcks.pushes()
        assert members["b"].hear(pushes) == []
        assert len(members["a"].hear(pushes)) == 2

    host.run(first, group)
    host.run(second, group)


@pytest.mark.requirement("GDOI-7.4.2-01", "GDOI-7.2.5-04")
def test_a_joiner_gets_nothing_that_was_used_before_and_opens_no_recorded_rekey(host: Host) -> None:
    members = host.members("abz")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.register(members["b"])
        for member in "ab":
            members[member].hear(gcks.sender.pushes)
        await gcks.rekeyer.rekey(VIDEO)
        recorded = gcks.pushes()
        for member in "ab":
            members[member].hear(recorded)
        before = gcks.live()
        counted = len(await gcks.store.run(rekey_store.unsent_steps))
        gcks.joining.prospect(gcks.group, members["z"].identity)
        assert gcks.live() == before, "message 1 changes nothing"
        assert len(await gcks.store.run(rekey_store.unsent_steps)) == counted
        await gcks.register(members["z"])
        assert members["z"].known == gcks.newest()
        assert not members["z"].known & before
        pushes = gcks.pushes()
        assert members["z"].hear(recorded) == []
        for member in "ab":
            members[member].hear(pushes)
            assert gcks.newest() <= members[member].known
        await gcks.rekeyer.rekey(VIDEO)
        pushes = gcks.pushes()
        assert [len(member.hear(pushes)) for member in members.values()] == [1, 1, 1]

    host.run(body, rekeyed_group(kek_policy(lkh=SECRET), members="abz"))


def test_a_member_that_comes_again_makes_nobody_change(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        gcks.pushes()
        before = gcks.live()
        await gcks.register(members["a"])
        assert gcks.live() == before
        assert gcks.pushes() == []

    host.run(body, rekeyed_group(kek_policy(lkh=SECRET)))


def test_a_promise_is_kept_once(host: Host) -> None:
    members = host.members("az")

    async def body(gcks: Gcks) -> None:
        prospect = gcks.joining.prospect(gcks.group, members["z"].identity)
        assert prospect is not None
        spis = tuple(tek.spi for tek in prospect.teks)
        given = replace(gcks.grant_of(members["z"]), kek=None, spis=spis)
        await gcks.joining.join(prospect, gcks.group, given, SidDemand(0, 0, ()))
        with pytest.raises(Superseded):
            await gcks.joining.join(prospect, gcks.group, given, SidDemand(0, 0, ()))

    host.run(body, rekeyed_group(kek_policy(lkh=SECRET), members="az"))


@pytest.mark.requirement("GDOI-3.5-01", "GDOI-3.5-06")
def test_a_pushed_tek_has_seen_the_sids_of_all_who_hear_it(host: Host) -> None:
    members = host.members("abc")

    async def body(gcks: Gcks) -> None:
        def wanted(count: int) -> SidDemand:
            return SidDemand(count, 8, tuple(gcks.live()))

        assert await gcks.register(members["a"], wanted(1)) == (0,)
        for _ in range(3):
            await gcks.rekeyer.rekey(VIDEO, kek=True)
            host.clock.advance(10)
            await gcks.rekeyer.tick()
        assert await gcks.register(members["b"], wanted(254)) == tuple(range(1, 255))
        await gcks.register(members["c"], wanted(1))
        with pytest.raises(SidsExhausted):
            await gcks.register(members["c"], wanted(1))

    host.run(body, FLAT)


@pytest.mark.requirement("GDOI-3.5-07", "GDOI-3.5-08", "GDOI-5.9-02", "GDOI-5.9-06")
def test_exhausted_sids_wipe_the_slate(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"], SidDemand(1, 8, tuple(gcks.live())))
        before = gcks.live()
        await gcks.rekeyer.exhausted(VIDEO, [Spi(spi) for spi in before])
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.deletes_rekey
        assert update.deleted == (DeletedSA(SecurityProtocol.ESP, EVERY_SPI),)
        assert not gcks.live() & before
        assert await gcks.store.run(grants.sid_counter, VIDEO) % 256 == 0
        await gcks.rekeyer.exhausted(VIDEO, [Spi(spi) for spi in before])
        assert gcks.pushes() == [], "replaced already"
        assert await gcks.register(members["a"], SidDemand(1, 8, tuple(gcks.live()))) == (0,)

    host.run(body, FLAT)


def test_a_registration_that_a_rekey_overtook_is_refused(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        given = gcks.grant_of(members["a"])
        await gcks.rekeyer.rekey(VIDEO)
        with pytest.raises(Superseded):
            await gcks.store.grant(given)

    host.run(body, FLAT)


def test_a_policy_that_changed_goes_to_the_members_and_the_old_tek_ends_gently(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        (old,) = gcks.live()
        await gcks.adopt(replace(FLAT, teks=(tek_policy(3600, port=6000),)))
        (push,) = gcks.pushes()
        assert push.cause is RekeyCause.POLICY
        (update,) = members["a"].hear([push])
        assert update.deleted == (DeletedSA(SecurityProtocol.ESP, Spi(old)),)
        assert (update.activation_delay_s, update.deactivation_delay_s) == (2, 180)
        await gcks.adopt(replace(FLAT, teks=(tek_policy(3600, port=6000),)))
        assert gcks.pushes() == []

    host.run(body, FLAT)


def test_replace_policy_changes_kek_and_teks_and_ends_the_old_teks_gently(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.rekeyer.replace_policy(VIDEO)
        first, second = members["a"].hear(gcks.pushes())
        assert first.rekey is not None
        assert (second.activation_delay_s, second.deactivation_delay_s) == (2, 180)

    host.run(body, FLAT)


def test_a_kek_of_another_line_is_told_under_the_old_one(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.adopt(replace(FLAT, kek=kek_policy(cipher="aes-cbc-256")))
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.rekey is not None
        assert update.rekey.key_algorithm == "aes-cbc-256"

    host.run(body, FLAT)


def test_a_hierarchy_that_begins_lets_members_register_again_for_their_leaves(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.adopt(TREE)
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.deletes_rekey
        assert not update.deleted
        await gcks.register(members["a"])
        await gcks.rekeyer.rekey(VIDEO, kek=True)
        assert len(members["a"].hear(gcks.pushes())) == 2

    host.run(body, FLAT)


def test_a_group_that_is_removed_is_told_so(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        await gcks.rekeyer.adopt({})
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.deletes_rekey
        assert update.deleted == (DeletedSA(SecurityProtocol.ESP, EVERY_SPI),)
        await gcks.rekeyer.adopt({})
        assert gcks.pushes() == []

    host.run(body, FLAT)


def test_a_group_that_loses_its_rekey_sa_is_told_so_once(host: Host) -> None:
    members = host.members("a")

    async def body(gcks: Gcks) -> None:
        await gcks.register(members["a"])
        for _ in range(2):
            await gcks.adopt(replace(FLAT, kek=None))
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert update.deletes_rekey
        assert not update.deleted

    host.run(body, FLAT)


@pytest.mark.parametrize("group", [FLAT, TREE], ids=["flat", "tree"])
def test_a_member_that_the_configuration_removed_is_shut_out(host: Host, group: GroupPolicy) -> None:
    members = host.members("ab")
    without = replace(group, members={who: role for who, role in group.members.items() if who != members["b"].identity})

    async def first(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)

    async def second(gcks: Gcks) -> None:
        pushes = gcks.pushes()
        assert {push.cause for push in pushes} == {RekeyCause.EVICTION}
        members["b"].hear(pushes)
        assert not gcks.newest() & members["b"].known
        await gcks.adopt(without)
        assert gcks.pushes() == [], "once is enough"

    host.run(first, group)
    host.run(second, without)


@pytest.mark.requirement("GDOI-4.3-01")
def test_what_was_committed_and_perhaps_not_sent_is_sent_again_under_a_new_number(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = host.members("ab")

    async def first(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(type(gcks.rekeyer.outbox), "_send", crash)
            with pytest.raises(KeyboardInterrupt):
                await gcks.rekeyer.evict(VIDEO, members["b"].identity)

    async def second(gcks: Gcks) -> None:
        kek, teks = gcks.pushes()
        assert kek.sequence == 2, "number 1 is burnt"
        assert teks.sequence == 1
        assert len(members["a"].hear([kek, teks])) == 2
        assert members["b"].hear([kek, teks]) == []
        host.clock.advance(2.0)
        await gcks.rekeyer.tick()

    async def third(gcks: Gcks) -> None:
        assert gcks.pushes() == [], "nobody is rekeyed needlessly"

    for body in (first, second, third):
        host.run(body, TREE)


def test_what_was_due_while_it_was_off_is_done_once(host: Host) -> None:
    members = host.members("a")

    async def first(gcks: Gcks) -> None:
        await gcks.register(members["a"])

    async def second(gcks: Gcks) -> None:
        assert len(gcks.live()) == 1
        (push,) = gcks.pushes()
        (update,) = members["a"].hear([push])
        assert {sa.spi for sa in update.data} == gcks.live()

    host.run(first, FLAT)
    host.clock.advance(5 * 3600)
    host.run(second, FLAT)


def test_a_store_that_fails_gives_out_nothing_and_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        before, state = gcks.live(), gcks.rekeyer.state(VIDEO)

        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(gcks.store, "run", full)
            with pytest.raises(StoreError):
                await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        assert gcks.pushes() == []
        assert (gcks.live(), gcks.rekeyer.state(VIDEO)) == (before, state)
        await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        assert len(members["a"].hear(gcks.pushes())) == 2

    host.run(body, TREE)


@pytest.mark.requirement("GDOI-4-04", "GDOI-4-05")
def test_a_large_rekey_is_split_and_each_part_has_a_number_of_its_own(host: Host) -> None:
    titles = "abcdefghijklmnop"
    members = host.members(titles)
    teks = [tek_policy(3600, port=port) for port in range(7000, 7020)]
    kek = kek_policy(lkh=LKH, delivery=RekeyDelivery(pause_s=0.1, largest_octets=1200))

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        await gcks.rekeyer.evict(VIDEO, members["b"].identity)
        pushes = gcks.pushes()
        assert len(pushes) > 2
        assert all(len(push.datagram) <= 1200 for push in pushes)
        assert len({(push.kek_spi, push.sequence) for push in pushes}) == len(pushes)
        for title in titles:
            members[title].hear(pushes)
        assert gcks.newest() <= members["a"].known
        assert not gcks.newest() & members["b"].known

    host.run(body, rekeyed_group(kek, *teks, members=titles))


def test_a_copy_has_a_new_number_and_what_is_left_of_the_delays_and_stops_when_it_is_overtaken(host: Host) -> None:
    members = host.members("ab")

    async def body(gcks: Gcks) -> None:
        for member in members.values():
            await gcks.register(member)
        await gcks.rekeyer.rekey(VIDEO)
        (push,) = gcks.pushes()
        host.clock.advance(1.0)
        copy = await gcks.rekeyer.again(push)
        assert copy is not None
        assert (copy.sequence, copy.step) == (push.sequence + 1, push.step)
        (update,) = members["a"].hear([copy])
        assert (update.activation_delay_s, update.deactivation_delay_s) == (1, 4)
        await gcks.rekeyer.rekey(VIDEO)
        assert await gcks.rekeyer.again(push) is None

    host.run(body, FLAT)


def test_the_old_kek_stays_while_its_messages_are_resent_and_acknowledged(host: Host) -> None:
    async def body(gcks: Gcks) -> None:
        before = gcks.rekeyer.state(VIDEO)
        assert before is not None
        await gcks.rekeyer.rekey(VIDEO, kek=True)
        kek, _ = gcks.pushes()
        host.clock.advance(59)
        await gcks.rekeyer.tick()
        assert gcks.rekeyer.rekey_sa(VIDEO, before.kek_spi) is not None
        assert await gcks.rekeyer.again(kek) is not None
        host.clock.advance(2)
        await gcks.rekeyer.tick()
        assert gcks.rekeyer.rekey_sa(VIDEO, before.kek_spi) is None
        assert await gcks.rekeyer.again(kek) is None

    host.run(body, FLAT)


def test_a_kek_whose_numbers_run_out_is_replaced_before(host: Host) -> None:
    async def body(gcks: Gcks) -> None:
        state = gcks.rekeyer.state(VIDEO)
        kek = gcks.keks.newest(VIDEO)
        assert state is not None
        assert kek is not None

        def near_the_end(database: Database) -> None:
            with database.transaction() as cursor:
                cursor.execute("UPDATE keks SET sequence = ?", (rekey_store.LAST_SEQUENCE - 10,))

        await gcks.store.run(near_the_end)
        gcks.keks.advance(kek, rekey_store.LAST_SEQUENCE - 10)
        assert gcks.rekeyer.due() <= host.clock.now
        await gcks.rekeyer.tick()
        (push,) = gcks.pushes()
        assert (push.kek_spi, push.sequence) == (state.kek_spi, rekey_store.LAST_SEQUENCE - 9)
        after = gcks.rekeyer.state(VIDEO)
        assert after is not None
        assert after.kek_spi != state.kek_spi

    host.run(body, FLAT)
