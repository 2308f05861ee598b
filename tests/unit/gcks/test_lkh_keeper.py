"""The keeper of key trees over its store: what was given out is on the disk, and a restart gives the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.gcks import lkh_store
from agent.gcks.database import Database, StoreError
from agent.gcks.lkh import LkhChange, LkhPolicy, TreeFull
from agent.gcks.lkh_keeper import LkhKeeper
from agent.gcks.store import Store
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import LkhKey
from tests.unit.crypto.key_tree_members import Octets
from tests.unit.gcks.support import name

VIDEO, AUDIO = GroupId.of_number(1234), GroupId.of_number(7)
BINARY = LkhPolicy(2, "aes-cbc-128")
POLICIES = {VIDEO: BINARY}


def who(number: int) -> Identity:
    return name(f"m{number}.example")


def run(tmp_path: Path, body: Callable[[LkhKeeper, Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        keeper = LkhKeeper(store, Octets())
        await keeper.start(POLICIES)
        try:
            await body(keeper, store)
        finally:
            await store.close()

    asyncio.run(whole())


async def admitted(keeper: LkhKeeper, count: int) -> list[tuple[LkhKey, ...]]:
    return list(await asyncio.gather(*(keeper.admit(VIDEO, who(number)) for number in range(count))))


async def made(store: Store, keeper: LkhKeeper, change: LkhChange) -> None:
    await store.run(lkh_store.apply_all, [change])
    keeper.took(change)


async def restarted(store: Store) -> LkhKeeper:
    keeper = LkhKeeper(store, Octets())
    await keeper.start(POLICIES)
    return keeper


@pytest.mark.requirement("GDOI-3.4-03", "LKH-5.4-01")
def test_a_member_gets_its_leaf_and_what_is_above_it(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        keys = await keeper.admit(VIDEO, who(1))
        assert keys == keeper.keys_of(VIDEO, who(1))
        assert keys[-1] == keeper.root(VIDEO)
        assert len(keys) == 2
        assert (len(keys[0].key), len(keys[0].iv)) == (16, 16)
        assert keeper.members(VIDEO) == (who(1),)
        assert keeper.keys_of(VIDEO, who(2)) is None
        assert keeper.keys_of(AUDIO, who(1)) is None
        assert keeper.members(AUDIO) == ()

    run(tmp_path, body)


def test_what_was_given_out_is_on_the_disk(tmp_path: Path) -> None:
    """Whoever dies when `admit` returned gives the same keys when it is back."""

    async def body(keeper: LkhKeeper, store: Store) -> None:
        given = await admitted(keeper, 9)
        later = await restarted(store)
        assert [later.keys_of(VIDEO, who(number)) for number in range(9)] == [
            keeper.keys_of(VIDEO, who(number)) for number in range(9)
        ]
        assert later.root(VIDEO) == keeper.root(VIDEO) == given[0][-1]
        # And goes on where it was.
        await later.admit(VIDEO, who(9))
        assert len({keys[0].node for keys in map(later.keys_of, [VIDEO] * 10, map(who, range(10))) if keys}) == 10

    run(tmp_path, body)


def test_members_that_come_at_once_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    apply_all = lkh_store.apply_all

    def counted(database: Database, changes: list[LkhChange]) -> None:
        commits.append(sum(len(change.joined) for change in changes))
        apply_all(database, changes)

    monkeypatch.setattr(lkh_store, "apply_all", counted)

    async def body(keeper: LkhKeeper, store: Store) -> None:
        given = await admitted(keeper, 50)
        assert sum(commits) == 50
        assert len(commits) <= 2
        assert len({keys[0].node for keys in given}) == 50

    run(tmp_path, body)


def test_a_member_that_comes_again_has_its_leaf_and_the_keys_of_today(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        first = (await admitted(keeper, 8))[0]
        await made(store, keeper, keeper.evict(VIDEO, [who(1)]))
        again = await keeper.admit(VIDEO, who(0))
        assert again[0] == first[0]
        assert [key.handle for key in again[1:]] > [key.handle for key in first[1:]]
        assert again[-1] == keeper.root(VIDEO) != first[-1]

    run(tmp_path, body)


@pytest.mark.requirement("LKH-5.4.1-01", "LKH-5.4.1-02", "LKH-5.4.2.4-01")
def test_one_that_was_evicted_has_no_key_of_what_comes(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 8)
        await made(store, keeper, keeper.evict(VIDEO, [who(0)]))
        lost = keeper.keys_of(VIDEO, who(5))
        assert lost is not None
        change = keeper.evict(VIDEO, [who(5)])
        assert keeper.members(VIDEO).count(who(5)) == 1  # not yet
        await made(store, keeper, change)
        assert (change.left, change.root) == ((who(5),), keeper.root(VIDEO))
        assert len(change.updates) == 3
        names = {(key.node, key.handle) for key in lost}
        for update in change.updates:
            assert (update.under.node, update.under.handle) not in names
            assert update.keys[-1] == change.root
            assert not names & {(key.node, key.handle) for key in update.keys}
        assert keeper.keys_of(VIDEO, who(5)) is None
        back = await keeper.admit(VIDEO, who(5))
        assert not names & {(key.node, key.handle) for key in back}
        assert (await restarted(store)).keys_of(VIDEO, who(5)) == back

    run(tmp_path, body)


def test_every_update_is_for_somebody_and_everybody_has_one(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 21)
        held = {who(number): keeper.keys_of(VIDEO, who(number)) or () for number in range(21)}
        change = keeper.evict(VIDEO, map(who, (3, 4, 17)))
        unders = [update.under for update in change.updates]
        for number in set(range(21)) - {3, 4, 17}:
            assert any(under in held[who(number)] for under in unders)
        for under in unders:
            assert any(under in keys for keys in held.values())

    run(tmp_path, body)


@pytest.mark.requirement("GDOI-4-03")
def test_a_joiner_gets_none_of_the_keys_there_were(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 7)
        before = {(key.node, key.handle) for number in range(7) for key in keeper.keys_of(VIDEO, who(number)) or ()}
        change = keeper.join(VIDEO, [who(7), who(0)])
        assert change.joined == {who(7): 7}
        await made(store, keeper, change)
        keys = keeper.keys_of(VIDEO, who(7)) or ()
        assert keys[-1] == change.root == keeper.root(VIDEO)
        assert not before & {(key.node, key.handle) for key in keys}
        assert {(update.under.node, update.under.handle) for update in change.updates} <= before
        assert len(change.updates) == 3

    run(tmp_path, body)


def test_a_renewed_root_is_one_update(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 9)
        root = keeper.root(VIDEO)
        change = keeper.renew(VIDEO)
        assert [(update.under, update.keys) for update in change.updates] == [(root, (change.root,))]
        await made(store, keeper, change)
        assert keeper.root(VIDEO) == change.root != root

    run(tmp_path, body)


def test_the_change_and_what_belongs_to_it_are_one_transaction(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 4)
        root = keeper.root(VIDEO)
        change = keeper.evict(VIDEO, [who(2)])

        def together(database: Database) -> None:
            with database.transaction() as cursor:
                lkh_store.apply(cursor, change)
                raise sqlite3.OperationalError("the disk is full")

        with pytest.raises(StoreError, match="disk is full"):
            await store.run(together)
        for each in (keeper, await restarted(store)):
            assert each.root(VIDEO) == root
            assert who(2) in each.members(VIDEO)
        await made(store, keeper, keeper.evict(VIDEO, [who(2)]))
        assert who(2) not in (await restarted(store)).members(VIDEO)

    run(tmp_path, body)


def test_a_commit_that_fails_refuses_one_and_leaves_the_others_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_all = lkh_store.apply_all

    def once(database: Database, changes: list[LkhChange]) -> None:
        monkeypatch.setattr(lkh_store, "apply_all", apply_all)
        raise StoreError("the disk is full")

    async def body(keeper: LkhKeeper, store: Store) -> None:
        monkeypatch.setattr(lkh_store, "apply_all", once)
        outcomes = await asyncio.gather(
            *(keeper.admit(VIDEO, who(number)) for number in range(5)), return_exceptions=True
        )
        assert [isinstance(outcome, StoreError) for outcome in outcomes] == [True, False, False, False, False]
        assert (await restarted(store)).members(VIDEO) == keeper.members(VIDEO) == tuple(map(who, range(1, 5)))

    run(tmp_path, body)


def test_a_full_tree_takes_who_fits_and_tells_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gcks.lkh.NODES", 20)
    monkeypatch.setattr("agent.gcks.lkh_keeper.NODES", 20)

    async def body(keeper: LkhKeeper, store: Store) -> None:
        outcomes = await asyncio.gather(
            *(keeper.admit(VIDEO, who(number)) for number in range(11)), return_exceptions=True
        )
        told = [str(outcome) for outcome in outcomes if isinstance(outcome, TreeFull)]
        assert len(keeper.members(VIDEO)) == 8
        assert len(told) == 3
        assert told[0].startswith(f"group {VIDEO}: 9 members do not fit: LKH IDs have 16 bits")
        with pytest.raises(TreeFull, match="10 members do not fit"):
            keeper.join(VIDEO, [who(20), who(21)])
        await keeper.admit(VIDEO, who(3))  # has a leaf
        await made(store, keeper, keeper.evict(VIDEO, [who(3)]))
        await keeper.admit(VIDEO, who(20))

    run(tmp_path, body)


def test_another_degree_or_cipher_is_another_tree(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 4)
        root, overtaken = keeper.root(VIDEO), keeper.evict(VIDEO, [who(1)])
        await keeper.adopt(POLICIES)
        assert (keeper.root(VIDEO), len(keeper.members(VIDEO))) == (root, 4)
        wide = {VIDEO: LkhPolicy(8, "aes-cbc-256"), AUDIO: BINARY}
        await keeper.adopt(wide)
        assert keeper.policy(VIDEO) == wide[VIDEO]
        assert keeper.root(VIDEO) != root
        assert keeper.members(VIDEO) == ()
        with pytest.raises(ValueError, match="another"):
            keeper.took(overtaken)
        assert len((await keeper.admit(VIDEO, who(1)))[0].key) == 32
        later = LkhKeeper(store, Octets())
        await later.start(wide)
        assert (later.root(VIDEO), later.root(AUDIO)) == (keeper.root(VIDEO), keeper.root(AUDIO))
        await later.adopt({AUDIO: BINARY})
        assert later.policy(VIDEO) is None
        with pytest.raises(KeyError):
            await later.admit(VIDEO, who(1))

    run(tmp_path, body)


def test_a_tree_is_replaced_between_changes_not_within_one(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 3)
        async with keeper.changing(VIDEO):
            adopting = asyncio.create_task(keeper.adopt({VIDEO: LkhPolicy(4, "aes-cbc-128")}))
            await asyncio.sleep(0.01)
            assert keeper.policy(VIDEO) == BINARY
            await made(store, keeper, keeper.evict(VIDEO, [who(1)]))
        await adopting
        assert keeper.members(VIDEO) == ()

    run(tmp_path, body)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM lkh_nodes WHERE node = 0",
        "DELETE FROM lkh_members WHERE leaf = 1",
        "DELETE FROM lkh_nodes WHERE node = 3",
        "UPDATE lkh_trees SET cipher = 'rot13'",
        "UPDATE lkh_trees SET next_handle = 2",
        "UPDATE lkh_trees SET leaves = 2",
        "UPDATE lkh_trees SET degree = 1",
        "UPDATE lkh_nodes SET key = x'00' WHERE node = 1",
    ],
)
def test_a_damaged_tree_is_told(tmp_path: Path, damage: str) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 4)

        def harm(database: Database) -> None:
            with database.transaction() as cursor:
                cursor.execute(damage)

        await store.run(harm)
        with pytest.raises(StoreError, match=f"key tree of group {VIDEO} is damaged"):
            await restarted(store)

    run(tmp_path, body)


def test_keys_do_not_show(tmp_path: Path) -> None:
    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 4)
        change = keeper.evict(VIDEO, [who(0)])
        shown, key = repr(change), change.root.key.reveal()
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
        change.wipe()
        assert change.root.key.reveal() == bytes(16)
        assert not any(any(key.key.reveal()) for key in change.tree.fresh.values())
        assert all(any(key.key.reveal()) for update in change.updates for key in (update.under, *update.keys))

    run(tmp_path, body)


def test_keys_that_were_replaced_leave_the_disk(tmp_path: Path) -> None:
    lost: list[bytes] = []

    async def body(keeper: LkhKeeper, store: Store) -> None:
        await admitted(keeper, 8)
        lost.extend(key.key.reveal() for key in keeper.keys_of(VIDEO, who(5)) or ())
        assert len(lost) == 4
        await made(store, keeper, keeper.evict(VIDEO, [who(5)]))

    run(tmp_path, body)
    octets = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(key in octets for key in lost)
