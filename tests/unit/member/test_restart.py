"""A gmd that follows one that was killed, or stopped and told to keep: real key servers, the data path in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.errors import LocalError
from agent.gsa.databases import Action
from agent.member.service import GmdService
from agent.service.control import ask
from tests.unit.gcks.support import free_port
from tests.unit.member.support import FakeDataPath, configuration, group_table
from tests.unit.member.test_service import CLOCK, ENTROPY, World, key_server, live, registered


class Heir:
    """A gmd in the place of one that was killed: with the data path as that left it."""

    def __init__(self, world: World, *, port: int | None = None, adopt: str = "", groups: str | None = None) -> None:
        self.folder = world.folder / "heir"
        self.folder.mkdir()
        path = configuration(self.folder, port=port or world.port, extra=adopt, groups=groups)
        self.datapath = FakeDataPath()
        self.datapath.sad, self.datapath.spd = dict(world.datapath.sad), dict(world.datapath.spd)
        self.gmd = GmdService(path, self.datapath, CLOCK, ENTROPY, chance=lambda: 0.0)

    async def group(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while True:
                (row,) = await asyncio.to_thread(ask, self.folder / "gmd.sock", "groups")
                if wanted(row):
                    return dict(row)
                await asyncio.sleep(0.02)

    def touched(self) -> list[str]:
        """Operations on SAs, and on what protects."""
        return [words for words in self.datapath.applied if " SA " in words or words.endswith("protect")]

    def protects(self) -> bool:
        return Action.PROTECT in {entry.action for entry in self.datapath.spd.values()}


class _DoneError(Exception):
    """Ends the TaskGroup of a test."""


async def live_on(heir: Heir, body: Callable[[Heir], Awaitable[None]]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                await heir.gmd.start(tasks)
                await body(heir)
            finally:
                with suppress(LocalError):
                    await heir.gmd.stop()
            raise _DoneError
    except* _DoneError:
        pass


def test_the_same_sas_serve_on_without_one_operation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def follow(heir: Heir) -> None:
        assert heir.touched() == []
        assert heir.protects()
        row = await heir.group(registered)
        assert row["protection"] == "protected"
        assert row["adopted_s"] is None
        assert heir.touched() == []

    async def body(world: World) -> None:
        await world.group(registered)
        await live_on(Heir(world), follow)

    live(World(tmp_path), body)
    said = capsys.readouterr().err
    assert said.count("agent.member.adoption: adopted group=1234 sas=1") == 1
    assert said.count('adoption over group=1234 reason="the group is registered"') == 1


def test_they_serve_on_while_no_key_server_answers(tmp_path: Path) -> None:
    async def follow(heir: Heir) -> None:
        row = await heir.group(lambda row: row["protection"] == "adopted")
        assert 3000 < row["adopted_s"] <= 3600
        assert heir.protects()
        assert len(heir.datapath.sad) == 1

    async def body(world: World) -> None:
        await world.group(registered)
        heir = Heir(world, port=free_port())
        await live_on(heir, follow)
        assert heir.datapath.sad == {}
        assert not heir.protects()

    live(World(tmp_path), body)


def test_a_group_that_waits_for_a_packet_registers_when_it_has_adopted_sas(tmp_path: Path) -> None:
    groups = group_table(1234, "239.1.1.1", extra='register = "first-packet"')

    async def follow(heir: Heir) -> None:
        await heir.group(registered)
        assert heir.touched() == []

    async def body(world: World) -> None:
        await world.group(registered)
        await live_on(Heir(world, groups=groups), follow)

    live(World(tmp_path), body)


@pytest.mark.requirement("GKM-3.1-02")
def test_they_go_when_the_key_server_has_excluded_this_member(tmp_path: Path) -> None:
    async def follow(heir: Heir) -> None:
        row = await heir.group(lambda row: row["failures"] and row["protection"] == "blocked")
        assert row["failures"][0]["cause"] == "not-a-member"
        for _ in range(100):
            if not heir.datapath.sad:
                break
            await asyncio.sleep(0.02)
        assert heir.datapath.sad == {}
        assert not heir.protects()

    async def body(world: World) -> None:
        await world.group(registered)
        port = free_port()
        stern = key_server(tmp_path / "stern", port, {})
        async with asyncio.TaskGroup() as tasks:
            await stern.start(tasks)
            try:
                await live_on(Heir(world, port=port), follow)
            finally:
                await stern.stop()

    live(World(tmp_path), body)


def test_nothing_is_adopted_where_that_is_said(tmp_path: Path) -> None:
    async def follow(heir: Heir) -> None:
        assert heir.datapath.sad == {}
        assert not heir.protects()

    async def body(world: World) -> None:
        await world.group(registered)
        await live_on(Heir(world, port=free_port(), adopt="adopt_s = 0"), follow)

    live(World(tmp_path), body)


def test_a_stop_keeps_what_it_is_told_to_keep(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.group(registered)

    world = World(tmp_path, groups=group_table(1234, "239.1.1.1", extra='on_stop = "keep"'))
    live(world, body)
    assert len(world.datapath.sad) == 1
    assert Action.PROTECT in world.actions()


def test_a_group_that_is_not_closed_is_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def body(world: World) -> None:
        row = await world.group(registered)
        assert (row["protection"], row["clear"]) == ("clear", "clear is accepted, clear is sent")
        configuration(tmp_path, port=world.port, groups=group_table(1234, "239.1.1.1", extra="clear.accept = true"))
        await world.gmd.reload()
        row = await world.group(lambda row: row["protection"] == "protected")
        assert row["clear"] == "clear is accepted"

    groups = group_table(1234, "239.1.1.1", extra='clear = { accept = true, send = "clear" }')
    live(World(tmp_path, groups=groups), body)
    assert "group 1234 is not closed: clear is accepted, clear is sent" in capsys.readouterr().err
