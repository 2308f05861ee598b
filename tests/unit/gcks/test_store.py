"""The store for the event loop: calls run in order in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from agent.gcks.database import Database, StoreError
from agent.gcks.store import Store


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
