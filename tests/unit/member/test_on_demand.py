"""gmd whole, where a registration waits for a reason, and where ranges are asked for; the data path is in memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress

from agent.datapath.port import FirstPacket
from agent.gsa.databases import Action, PolicyDirection, SpdEntry
from agent.gsa.flow import Flow
from agent.member import demand_duty
from tests.unit.member.support import group_table
from tests.unit.member.test_service import World, live, registered

IN, OUT = PolicyDirection.IN, PolicyDirection.OUT
G = IPAddress("239.1.1.1")
HERE = IPAddress("127.0.0.1")


def on_demand(extra: str, address: str = "239.1.1.1") -> dict[str, Any]:
    return {"groups": group_table(1234, address, extra=extra)}


def outbound(world: World, flow: Flow) -> SpdEntry:
    return next(entry for entry in world.datapath.spd.values() if (entry.direction, entry.flow) == (OUT, flow))


async def stays(world: World, state: str) -> None:
    for _ in range(10):
        await asyncio.sleep(0.02)
        assert (await world.ask("groups"))[0]["state"] == state


@pytest.mark.requirement("MIPSEC-4.1.1-08", "OWN-01")
def test_the_first_packet_registers_and_nothing_is_in_clear_before(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await stays(world, "resting")
        flow = Flow.parse(str(G))
        trap = outbound(world, flow)
        assert trap.action is Action.PROTECT
        assert trap.template is not None
        assert trap.template.spi is None
        assert {entry.action for entry in world.datapath.spd.values() if entry.direction is IN} <= {
            Action.DISCARD,
            Action.BYPASS,
        }
        world.datapath.queue.put_nowait(FirstPacket(flow, trap.template.reqid, HERE, G))
        row = await world.group(registered)
        assert row["waited"] == 1
        served = outbound(world, flow)
        assert served.template is not None
        assert served.template.spi is not None

    live(World(tmp_path, **on_demand('register = "first-packet"')), body)


@pytest.mark.requirement("MIPSEC-4.1.1-09", "MIPSEC-4.1.1-10")
def test_a_join_registers_and_when_nobody_uses_the_group_it_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_duty, "_LOOK_S", 0.05)

    async def body(world: World) -> None:
        joined: list[tuple[int, IPAddress, None]] = []
        monkeypatch.setattr(world.gmd._demand, "_memberships", lambda: joined)
        await stays(world, "resting")
        joined.append((1, G, None))
        await world.group(registered)
        await asyncio.sleep(1.5)
        await stays(world, "registered")
        joined.clear()
        await world.group(lambda row: row["state"] == "resting")
        for _ in range(250):
            if world.datapath.sad:
                await asyncio.sleep(0.02)
        assert world.datapath.sad == {}
        assert outbound(world, Flow.parse(str(G))).action is Action.PROTECT

    live(World(tmp_path, **on_demand('register = "join"\nleave = "deregister"\nidle_s = 1')), body)


def test_a_reload_takes_a_group_out_of_its_rest(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await stays(world, "resting")
        world.path.write_text(world.path.read_text().replace('register = "first-packet"\n', ""))
        await world.gmd.reload()
        await world.group(registered)

    live(World(tmp_path, **on_demand('register = "first-packet"\n')), body)
