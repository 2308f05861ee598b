"""The store for the event loop: calls run in order in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.gcks import store as store_module
from agent.gcks.database import Database, StoreError
from agent.gcks.grants import Grant, SidDemand, Superseded, registrations
from agent.gcks.store import Store
from agent.gcks.tek import make_tek
from agent.gsa.identity import GroupId
from tests.unit.gcks.support import FakeEntropy, name, tek_policy

GROUP = GroupId.of_number(1234)


def test_calls_run_in_order_off_the_loops_thread(tmp_path: Path) -> None:
    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        seen: list[tuple[int, str]] = []

        def note(_database: Database, number: int) -> None:
            seen.append((number, threading.current_thread().name))

        await asyncio.gather(*(store.run(note, number) for number in range(5)))
        assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
        assert {thread for _, thread in seen} == {"gckd-store_0"}
        await store.close()

    asyncio.run(body())


def test_a_call_that_is_cancelled_still_reaches_the_disk(tmp_path: Path) -> None:
    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        begun, done = threading.Event(), threading.Event()

        def slow(_database: Database) -> None:
            begun.set()
            assert done.wait(10)
            (tmp_path / "written").touch()

        call = asyncio.create_task(store.run(slow))
        assert await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        done.set()
        await store.close()
        assert (tmp_path / "written").exists()

    asyncio.run(body())


def test_a_store_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    async def body() -> None:
        with pytest.raises(StoreError):
            await Store.open(tmp_path / "none" / "gckd.db")

    asyncio.run(body())
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("gckd-store")]:
        thread.join(10)  # nobody waits for it, so on a busy machine it may still be ending
        assert not thread.is_alive()


def test_registrations_that_come_at_once_share_a_sync_and_fail_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tek = make_tek(GROUP, tek_policy(), None, now=0.0, entropy=FakeEntropy(), used=set())
    batches: list[int] = []
    whole = store_module._grant_all

    def counted(database: Database, asked: Sequence[tuple[Grant, SidDemand]]) -> object:
        batches.append(len(asked))
        return whole(database, asked)

    def registration(who: int, spi: int) -> Grant:
        return Grant(GROUP, name(f"gm{who}.example"), "192.0.2.7", "receiver", (spi,), 1.0, 99.0)

    async def body() -> None:
        monkeypatch.setattr(store_module, "_grant_all", counted)
        store = await Store.open(tmp_path / "gckd.db")
        await store.run(Database.add_teks, [tek])
        demand = SidDemand(1, 16, (tek.spi,))
        asked = [store.grant(registration(number, 7 if number == 3 else tek.spi), demand) for number in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers.pop(3), Superseded)
        assert answers == [(number,) for number in range(19)]
        assert sum(batches) == 20
        assert len(batches) <= 3
        await store.close()

    asyncio.run(body())


def test_a_batch_that_the_disk_refuses_gives_nobody_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Grant(GROUP, name("gm.example"), "192.0.2.7", "receiver", (), 1.0, 99.0)

    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")

        @contextmanager
        def full(_database: Database) -> Iterator[None]:
            yield
            raise StoreError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(Database, "batch", full)
            answers = await asyncio.gather(store.grant(given), store.grant(given), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreError, StoreError]
        assert await store.grant(given) == ()
        await store.close()

    asyncio.run(body())


def test_a_fault_of_ours_reaches_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Grant(GROUP, name("gm.example"), "192.0.2.7", "receiver", (), 1.0, 99.0)

    def broken(*_: object) -> None:
        raise TypeError("a fault of ours")

    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "grant", broken)
            with pytest.raises(TypeError):
                await store.grant(given)
        assert await store.grant(given) == ()
        await store.close()

    asyncio.run(body())


def _plain() -> Grant:
    return Grant(GROUP, name("m.example"), "192.0.2.7", "receiver", (), 10.0, 20.0)


def test_at_once_only_where_it_may_be_and_the_disk_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    whole = Database.sync

    def sync(database: Database) -> bool:
        long = whole(database)
        synced.set()
        return long

    monkeypatch.setattr(Database, "sync", sync)

    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        assert store.grant_at_once(_plain()) == ()
        assert await asyncio.to_thread(synced.wait, 10)
        hold = threading.Event()
        busy = asyncio.create_task(store.run(lambda _database: hold.wait(10)))
        await asyncio.sleep(0)
        assert store.grant_at_once(_plain()) is None, "the store's thread has the database"
        hold.set()
        assert await busy
        await store.close()
        patient = await Store.open(tmp_path / "gckd.db", wait_for_disk=True)
        assert patient.grant_at_once(_plain()) is None
        assert [each.times for each in await patient.run(registrations)] == [1]
        await patient.close()

    asyncio.run(body())


def test_a_disk_that_refuses_ends_giving_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_database: Database) -> bool:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(Database, "sync", broken)

    async def body() -> None:
        store = await Store.open(tmp_path / "gckd.db")
        assert store.grant_at_once(_plain()) == ()
        assert store._syncing is not None
        await store._syncing
        assert store.grant_at_once(_plain()) is None
        assert await store.grant(_plain()) == ()
        await store.close()

    asyncio.run(body())
    assert "each waits for it" in caplog.text
