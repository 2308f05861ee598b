"""Refusals remembered at a bearable rate, and written even when the store is slow or fails for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.gcks import audit
from agent.gcks.audit import AuditEntry, AuditEvent, AuditQuery
from agent.gcks.database import StoreError
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import FakeClock, name

PEER = Endpoint(IPAddress("192.0.2.10"), 848)
STRANGER = name("stranger.example")


def run(folder: Path, body: Callable[[Trail, Store, list[Awaitable[None]]], Awaitable[None]]) -> None:
    async def inside() -> None:
        store = await Store.open(folder / "gckd.db")
        work: list[Awaitable[None]] = []
        try:
            await body(Trail(store, FakeClock(), work.append), store, work)
        finally:
            await store.close()

    asyncio.run(inside())


def refuse(trail: Trail, text: str = "not a member") -> int | None:
    return trail.refused(AuditEvent.REFUSED, PEER, STRANGER, None, text, key=text)


def test_what_repeats_is_remembered_once(tmp_path: Path) -> None:
    async def body(trail: Trail, store: Store, work: list[Awaitable[None]]) -> None:
        assert refuse(trail) == 0
        assert refuse(trail) is None
        assert refuse(trail, "unknown group") == 0
        assert [refused.text for refused in trail.refusals] == ["not a member", "unknown group"]
        (write,) = work
        await write
        rows = await store.run(audit.entries, AuditQuery())
        assert [row.text for row in rows] == ["unknown group", "not a member"]

    run(tmp_path, body)


def test_a_reason_is_cut_where_it_gets_long(tmp_path: Path) -> None:
    async def body(trail: Trail, store: Store, work: list[Awaitable[None]]) -> None:
        assert refuse(trail, "x" * 5000) == 0
        await work.pop()
        (row,) = await store.run(audit.entries, AuditQuery())
        assert row.text == trail.refusals[0].text == "x" * 600 + "..."

    run(tmp_path, body)


def test_rows_lost_by_a_store_that_fails_are_told_and_later_ones_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(*_: object) -> None:
        raise StoreError("disk full")

    async def body(trail: Trail, store: Store, work: list[Awaitable[None]]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "run", full)
            for text in ("one", "two"):
                refuse(trail, text)
                await work.pop()
        assert caplog.messages == ["audit rows not written"], "once in a while"
        refuse(trail, "three")
        await work.pop()
        assert [row.text for row in await store.run(audit.entries, AuditQuery())] == ["three"]
        assert caplog.records[-1].facts == {"rows": 2}  # type: ignore[attr-defined]  # what FactLogger adds

    run(tmp_path, body)


def test_what_waits_for_the_store_is_bounded(tmp_path: Path) -> None:
    async def body(trail: Trail, store: Store, work: list[Awaitable[None]]) -> None:
        for number in range(1500):
            trail.note(AuditEntry(AuditEvent.MEMBER_REMOVED, float(number)))
        await work.pop()
        assert len(await store.run(audit.entries, AuditQuery(limit=5000))) == 1000

    run(tmp_path, body)
