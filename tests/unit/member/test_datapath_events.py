import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.datapath.port import ChangedByOthers, DataPathEvent, FirstPacket, Overrun, SaExpired
from agent.gsa.databases import SadKey
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId
from agent.gsa.marks import OWN_MARK, marks_of
from agent.gsa.sa import SecurityProtocol, Spi
from agent.member import datapath_events
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


MISSING = FirstPacket(Flow.parse("239.1.1.1"), REQID, HERE, IPAddress("239.1.1.1"))


def test_packets_whose_sa_stays_missing_are_looked_after_once_a_second(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register()
    assert told(world, *[MISSING] * 5) == ["advance", "look", *["advance"] * 4]


def test_a_packet_so_soon_after_a_look_is_looked_after_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    world.register()
    monkeypatch.setattr("agent.member.datapath_events._BETWEEN_LOOKS_S", 0.01)
    assert told(world, MISSING, MISSING) == ["advance", "look", "advance", "look"]


def test_whatever_else_happens_is_looked_at(tmp_path: Path) -> None:
    assert told(World(tmp_path), Overrun(), ChangedByOthers("another program flushed SAs")) == ["look", "look"]


@pytest.mark.parametrize(("worn", "mark"), [("10.9.0.9", None), ("10.9.0.8", None), ("10.9.0.8", OWN_MARK)])
def test_of_sas_with_one_spi_that_of_the_marked_source_wears_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worn: str, mark: int | None
) -> None:
    """Each in a group of its own; a mark of 0 is that of this host's own source."""
    monkeypatch.setattr(
        datapath_events, "host_addresses", lambda: {IPAddress("10.9.0.8")} if mark == OWN_MARK else None
    )
    world, ended = World(tmp_path), []

    class Held:
        def __init__(self, source: str) -> None:
            sa = replace(data_sa(0x1000), flow=Flow.parse("239.1.1.1", source))
            self.held, self.source = group_sa(sa), source

        def wear_out(self, *_: object) -> None:
            ended.append(self.source)

    held = {GroupId.of_number(at): Held(source) for at, source in enumerate(("any", "10.9.0.9", "10.9.0.8"))}
    listener = DataPathEvents(
        world.datapath,
        world.clock,
        lambda: held,  # type: ignore[arg-type,return-value]  # what they hold is all that is asked of them
        world.duty,
        look=lambda: None,
        advance=lambda: None,
    )
    source = IPAddress(worn)
    key = SadKey(IPAddress("239.1.1.1"), Spi(0x1000), SecurityProtocol.ESP, marks_of([source])[source])
    key = key if mark is None else replace(key, mark=mark)

    async def listen() -> None:
        world.datapath.queue = asyncio.Queue()
        world.datapath.queue.put_nowait(SaExpired(key, hard=True))
        async with asyncio.timeout(0.05):
            await listener.run()

    with pytest.raises(TimeoutError):
        asyncio.run(listen())
    assert ended == [worn]
