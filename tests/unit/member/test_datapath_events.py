import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.datapath.port import ChangedByOthers, DataPathEvent, FirstPacket, Overrun, SaExpired
from agent.gsa.databases import SadKey
from agent.gsa.flow import Flow
from agent.gsa.sa import SecurityProtocol, Spi
from agent.member.datapath_events import DataPathEvents
from tests.unit.member.support import GROUP, data_sa, group_sa
from tests.unit.member.test_demand_duty import HERE, RANGE, REQID, THERE, World

COPY = SadKey(THERE, Spi(0x1000), SecurityProtocol.ESP)


def told(world: World, *events: DataPathEvent) -> list[str]:
    """What is called for these events, `look` too."""
    world.calls.clear()
    listener = DataPathEvents(
        world.datapath,
        world.clock,
        lambda: {GROUP: world.registration},
        world.duty,
        look=lambda: world.calls.append("look"),
        advance=lambda: world.calls.append("advance"),
    )

    async def listen() -> None:
        world.datapath.queue = asyncio.Queue()
        for event in events:
            world.datapath.queue.put_nowait(event)
        async with asyncio.timeout(0.05):
            await listener.run()

    with pytest.raises(TimeoutError):
        asyncio.run(listen())
    return world.calls


def test_a_copy_of_a_range_that_wears_out_wears_out_the_sa(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register()
    assert told(world, SaExpired(COPY, hard=False)) == ["advance", "look"]
    assert world.registration.usable(world.clock.now)
    assert told(world, SaExpired(COPY, hard=True)) == ["advance", "look"]
    assert not world.registration.usable(world.clock.now)


@pytest.mark.parametrize(
    "key", [replace(COPY, spi=Spi(0x1001)), replace(COPY, destination=IPAddress("10.3.0.1")), replace(COPY)]
)
def test_an_sa_that_nobody_holds_ends_without_more(tmp_path: Path, key: SadKey) -> None:
    world = World(tmp_path)
    world.registration.ask(0.0)
    world.registration.succeeded(group_sa(data_sa(0x1000)), 0.0)
    assert told(world, SaExpired(key, hard=True)) == ["look"]
    assert world.registration.usable(0.0)


def test_a_packet_that_waits_is_no_reason_to_look_unless_its_sa_should_be_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register()
    assert told(world, FirstPacket(RANGE, REQID, HERE, THERE)) == ["changed"]
    single = FirstPacket(Flow.parse("239.1.1.1"), REQID, HERE, IPAddress("239.1.1.1"))
    assert told(world, single) == ["advance", "look"]


def test_whatever_else_happens_is_looked_at(tmp_path: Path) -> None:
    assert told(World(tmp_path), Overrun(), ChangedByOthers("another program flushed SAs")) == ["look", "look"]
