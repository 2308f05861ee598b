import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agent.gsa.databases import Action
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.member.reconcile import Pass, Reconciler
from tests.unit.member.support import GROUP, FakeDataPath, data_sa, group_sa
from tests.unit.service.support import FakeClock


class World:
    """A reconciler with everything around it."""

    def __init__(self) -> None:
        self.datapath = FakeDataPath()
        self.clock = FakeClock()
        self.held: dict[GroupId, GroupSA] = {}
        self.passes: list[Pass] = []
        self.gspd = Gspd([GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.1.1"),))])
        self.passed = asyncio.Event()
        self.reconciler = Reconciler(self.datapath, self.clock, lambda: self.gspd, lambda: self.held, self._on_pass)

    def _on_pass(self, done: Pass) -> None:
        self.passes.append(done)
        self.passed.set()

    def actions(self) -> set[Action]:
        return {entry.action for entry in self.datapath.spd.values()}

    async def until(self, passes: int) -> None:
        while len(self.passes) < passes:
            self.passed.clear()
            await asyncio.wait_for(self.passed.wait(), 5)


def run(body: Callable[[World], Awaitable[None]]) -> World:
    async def whole() -> World:
        world = World()
        await body(world)
        return world

    return asyncio.run(whole())


def test_a_pass_blocks_before_there_is_any_sa() -> None:
    async def body(world: World) -> None:
        await world.reconciler.once()

    world = run(body)
    assert world.actions() == {Action.DISCARD, Action.BYPASS}
    assert world.datapath.sad == {}


def test_a_second_pass_without_news_does_nothing() -> None:
    async def body(world: World) -> None:
        world.held[GROUP] = group_sa(data_sa(256, expires=100.0))
        await world.reconciler.once()
        done = len(world.datapath.applied)
        await world.reconciler.once()
        assert len(world.datapath.applied) == done

    run(body)


def test_time_alone_brings_the_next_pass() -> None:
    async def body(world: World) -> None:
        world.held[GROUP] = group_sa(data_sa(256, expires=0.05))
        task = asyncio.create_task(world.reconciler.run())
        await world.until(1)
        assert len(world.datapath.sad) == 1
        world.clock.now = 0.05
        await world.until(2)
        assert world.datapath.sad == {}
        assert Action.PROTECT not in world.actions()
        task.cancel()

    run(body)


def test_it_waits_until_it_is_wanted() -> None:
    async def body(world: World) -> None:
        task = asyncio.create_task(world.reconciler.run())
        await world.until(1)
        world.held[GROUP] = group_sa(data_sa(256))
        await asyncio.sleep(0.02)
        assert len(world.passes) == 1
        world.reconciler.wanted()
        await world.until(2)
        assert len(world.datapath.sad) == 1
        task.cancel()

    run(body)


def test_a_refusal_of_the_kernel_is_told_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.member.reconcile._RETRY_S", 0.01)

    async def body(world: World) -> None:
        world.datapath.refuses = ("add esp SA",)
        world.held[GROUP] = group_sa(data_sa(256))
        task = asyncio.create_task(world.reconciler.run())
        await world.until(3)
        assert world.passes[0].failures == ("add esp SA 0x00000100 to 239.1.1.1: File exists",)
        world.datapath.refuses = ()
        await world.until(len(world.passes) + 1)
        assert world.passes[-1].failures == ()
        assert world.passes[-1].held == world.held
        task.cancel()

    run(body)
    assert sum(record.getMessage() == "not installed" for record in caplog.records) == 1


def test_a_data_path_out_of_reach_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.member.reconcile._RETRY_S", 0.01)

    async def body(world: World) -> None:
        world.datapath.broken = True
        task = asyncio.create_task(world.reconciler.run())
        await asyncio.sleep(0.05)
        world.datapath.broken = False
        await world.until(1)
        task.cancel()

    run(body)


def test_keys_out_of_use_are_wiped_by_the_next_pass() -> None:
    async def body(world: World) -> None:
        old = data_sa(256)
        world.held[GROUP] = group_sa(old)
        await world.reconciler.once()
        world.held[GROUP] = group_sa(data_sa(257))
        world.reconciler.retire([old])
        assert any(old.cipher_key.reveal())
        await world.reconciler.once()
        assert not any(old.cipher_key.reveal())
        assert [entry.spi for entry in world.datapath.sad.values()] == [257]

    run(body)


def test_leaving_takes_the_sas_out_and_blocks_what_is_to_stay_blocked() -> None:
    async def body(world: World) -> None:
        world.held[GROUP] = group_sa(data_sa(256))
        await world.reconciler.once()
        await world.reconciler.leave(world.gspd)
        assert world.datapath.sad == {}
        assert world.actions() == {Action.DISCARD, Action.BYPASS}
        await world.reconciler.leave(Gspd([]))
        assert world.datapath.spd == {}

    run(body)


def test_news_while_leaving_bring_nothing_back() -> None:
    async def body(world: World) -> None:
        world.held[GROUP] = group_sa(data_sa(256, expires=100.0))
        task = asyncio.create_task(world.reconciler.run())
        await world.until(1)
        leaving = asyncio.create_task(world.reconciler.leave(Gspd([])))
        world.reconciler.wanted()
        await leaving
        world.reconciler.wanted()
        await asyncio.wait_for(task, 5)
        await world.reconciler.once()

    world = run(body)
    assert world.datapath.sad == {}
    assert world.datapath.spd == {}
