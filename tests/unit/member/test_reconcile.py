import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from agent.datapath.port import Operation, Outcome
from agent.gsa.databases import Action, Databases, PolicyDirection
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.member.reconcile import Pass, Reconciler
from agent.secret import Secret
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


@pytest.mark.requirement("OWN-07")
def test_what_the_gspd_refuses_has_a_line_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        elsewhere = replace(data_sa(256), flow=Flow.parse("239.9.9.9"))
        world.held[GROUP] = group_sa(elsewhere)
        await world.reconciler.once()
        await world.reconciler.once()

    run(body)
    (record,) = (record for record in caplog.records if record.getMessage() == "refused by the GSPD")
    assert "0x00000100" in str(vars(record))
    assert "no part of the traffic configured" in str(vars(record))


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


@pytest.mark.requirement("GKM-3.1-02")
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


@pytest.mark.requirement("GKM-3.1-02")
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


class Looked(FakeDataPath):
    """Counts how often somebody looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def current(self) -> Databases:
        self.looks += 1
        return await super().current()


def looked(body: Callable[[World, Looked], Awaitable[None]]) -> None:
    async def whole() -> None:
        world, datapath = World(), Looked()
        world.datapath = datapath
        world.reconciler = Reconciler(
            datapath, world.clock, lambda: world.gspd, lambda: world.held, lambda done: world._on_pass(done)
        )
        world.held[GROUP] = group_sa(data_sa(256))
        task = asyncio.create_task(world.reconciler.run())
        await world.until(1)
        await body(world, datapath)
        task.cancel()

    asyncio.run(whole())


def rekey(world: World, *spis: int) -> None:
    world.held[GROUP] = group_sa(*map(data_sa, spis))
    world.reconciler.rekeyed(())


def test_a_rekey_s_pass_rests_on_what_the_one_before_left_and_one_that_looks_follows() -> None:
    async def body(world: World, datapath: Looked) -> None:
        rekey(world, 256, 257)
        await world.until(2)
        assert ({key.spi for key in datapath.sad}, datapath.looks) == ({256, 257}, 1)
        world.clock.now = 0.9
        rekey(world, 256, 257, 258)
        await world.until(3)
        assert (len(datapath.sad), datapath.looks) == (3, 1)
        datapath.sad.clear()
        await world.until(4)
        assert (len(datapath.sad), datapath.looks) == (3, 2)

    looked(body)


def test_a_rekey_s_pass_looks_when_the_data_path_may_have_changed_or_refused_something() -> None:
    async def body(world: World, datapath: Looked) -> None:
        datapath.sad.clear()
        world.reconciler.wanted()
        rekey(world, 256, 257)
        await world.until(2)
        assert (len(datapath.sad), datapath.looks) == (2, 2)
        datapath.refuses = ("add esp SA 0x00000102",)
        rekey(world, 256, 257, 258)
        await world.until(3)
        assert world.passes[-1].failed == {GROUP}
        assert datapath.looks == 2
        datapath.refuses = ()
        rekey(world, 256, 257, 258)
        await world.until(4)
        assert (len(datapath.sad), datapath.looks) == (3, 3)

    looked(body)


def test_whose_operations_were_refused_is_told_by_reqid_or_else_it_may_be_any() -> None:
    async def body(world: World) -> None:
        other = GroupId.of_number(9)
        policies = [
            GroupPolicy(group, Role.BOTH, (Flow.parse(to),))
            for group, to in ((GROUP, "239.1.1.1"), (other, "239.1.1.2"))
        ]
        world.gspd = Gspd(policies)
        world.held = {GROUP: group_sa(data_sa(256)), other: group_sa(data_sa(257, to="239.1.1.2"), group=other)}
        world.datapath.refuses = ("add esp SA 0x00000101",)
        assert (await world.reconciler.once()).failed == {other}
        world.datapath.spd.clear()
        world.datapath.refuses = ("out policy any -> 239.1.1.2/32 protect",)
        assert (await world.reconciler.once()).failed == {other}
        world.datapath.refuses = ("delete",)
        world.held = {GROUP: group_sa(data_sa(258)), other: world.held[other]}
        assert (await world.reconciler.once()).failed == {GROUP, other}

    run(body)


class Slow(FakeDataPath):
    """Takes its time, during which something falls due."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.takes_s = 0.0

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.clock.now += self.takes_s
        self.takes_s = 0.0
        return await super().apply(operations)


def switching(body: Callable[[World, Slow], Awaitable[None]]) -> None:
    """A sender that is to switch from SA 256 to 257 at 10 s."""

    async def whole() -> None:
        world = World()
        world.datapath = slow = Slow(world.clock)
        world.reconciler = Reconciler(
            slow, world.clock, lambda: world.gspd, lambda: world.held, lambda done: world._on_pass(done)
        )
        world.held[GROUP] = group_sa(data_sa(256))
        task = asyncio.create_task(world.reconciler.run())
        await world.until(1)
        await body(world, slow)
        task.cancel()

    asyncio.run(whole())


def sends_on(world: World) -> set[int | None]:
    out = (entry for entry in world.datapath.spd.values() if entry.direction is PolicyDirection.OUT)
    return {entry.template.spi for entry in out if entry.template is not None}


WAITING = replace(data_sa(257), send_from=10.0, rekeyed=5.0)


@pytest.mark.requirement("MIPSEC-4.2.1-06")
def test_a_switch_that_falls_due_while_a_pass_is_under_way_is_made_at_once() -> None:
    async def body(world: World, slow: Slow) -> None:
        world.clock.now, slow.takes_s = 9.99, 0.05
        world.held[GROUP] = group_sa(data_sa(256), WAITING)
        world.reconciler.rekeyed(())
        await asyncio.wait_for(world.until(3), 1.0)
        assert sends_on(world) == {257}

    switching(body)


def test_a_switch_does_not_wait_until_what_was_refused_is_tried_again() -> None:
    async def body(world: World, slow: Slow) -> None:
        slow.refuses = ("add esp SA 0x00000102",)
        world.clock.now = 9.9
        world.held[GROUP] = group_sa(data_sa(256), WAITING, replace(data_sa(258), send_from=99.0))
        world.reconciler.rekeyed(())
        await world.until(2)
        assert sends_on(world) == {256}
        assert world.passes[-1].failed == {GROUP}
        world.clock.now = 10.0
        await asyncio.wait_for(world.until(3), 1.0)
        assert sends_on(world) == {257}

    switching(body)


def test_where_packets_cannot_be_marked_one_of_the_sas_with_one_spi_serves_and_marks_are_tried_again_later() -> None:
    flows = [Flow.parse("239.1.1.1", source) for source in ("10.9.0.1", "10.9.0.9")]
    sas = [
        replace(data_sa(256, expires=1000.0), flow=flow, cipher_key=Secret(octet * 20))
        for flow, octet in zip(flows, (b"\1", b"\2"), strict=True)
    ]

    async def body(world: World) -> None:
        world.gspd = Gspd([GroupPolicy(GROUP, Role.RECEIVER, tuple(flows), interface="eth0")])
        world.held = {GROUP: group_sa(*sas)}
        world.datapath.refuses = ("rules that mark packets", "mark 0x")
        running = asyncio.create_task(world.reconciler.run())
        await world.until(2)
        assert [len(done.failures) for done in world.passes] == [3, 0]
        (refusal,) = world.passes[1].refusals
        assert "another SA has the same SPI and destination" in refusal.reason
        assert "File exists" in refusal.reason
        assert [(sa.selector, sa.mark) for sa in world.datapath.sad.values()] == [(flows[0], None)]
        # The host can, meanwhile.
        world.datapath.refuses = ()
        world.reconciler.wanted()
        await world.until(3)
        assert len(world.datapath.sad) == 1
        world.clock.now += 61.0
        world.reconciler.wanted()
        await world.until(4)
        assert len(world.datapath.sad) == len(world.datapath.marks) == 2
        assert None not in {sa.mark for sa in world.datapath.sad.values()}
        assert world.passes[-1].refusals == ()
        running.cancel()
        await asyncio.wait([running])

    run(body)
