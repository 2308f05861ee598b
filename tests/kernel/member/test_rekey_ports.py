"""Rekeys through interfaces that go, come back and change: `RekeyPorts` and `Joins` on a real kernel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.gsa.identity import GroupId
from agent.member.interfaces import InterfaceWatch, interface_towards
from agent.member.joins import Joins, Membership
from agent.member.rekey_ports import RekeyListening, RekeyPorts
from agent.service.udp import DatagramPort
from agent.wire.endpoint import Datagram, Endpoint
from tests.kernel.member.wire import GROUPS, OWN, PORT, SERVERS, VERSIONS, Version, Wire, filtered, ip, wire

GROUP = GroupId.of_number(1234)


class World(Wire):
    """The wire, and the member's ears."""

    def __init__(self, server: str, borrower: str) -> None:
        super().__init__(server, borrower)
        self.got: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue()
        self.ports = RekeyPorts(lambda *datagram: self.got.put_nowait(datagram), lambda _: None)

    async def hears(self, version: int) -> bool:
        """Whether a rekey arrives that is sent now, and again for two seconds: an interface needs a moment."""
        for _ in range(20):
            self.send_rekey(version)
            try:
                payload, peer, local = await asyncio.wait_for(self.got.get(), 0.1)
            except TimeoutError:
                continue
            assert (payload, peer.address, local) == (b"rekey", SERVERS[version], Endpoint(GROUPS[version], PORT))
            return True
        return False


@pytest.fixture
def world() -> Iterator[World]:
    with wire() as made:
        yield World(made.server, made.borrower)


def run(world: World, body: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await body()
        finally:
            world.ports.close()

    asyncio.run(whole())


def listening(version: Version, *, specific: bool = False, interface: str | None = "gm0") -> RekeyListening:
    source = SERVERS[version] if specific else None
    return RekeyListening(GROUP, GROUPS[version], PORT, source, interface, SERVERS[version])


@pytest.mark.parametrize("specific", [False, True], ids=["any-source", "source-specific"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_rekey_is_heard_on_its_interface_from_its_source(world: World, version: Version, specific: bool) -> None:
    async def body() -> None:
        world.plug_in()
        wanted = listening(version, specific=specific)
        world.ports.want([wanted])
        assert world.ports.holds(wanted)
        assert filtered(version) is specific
        assert await world.hears(version)
        stranger = {4: "10.9.0.77", 6: "fd09::77"}[version]
        ip(f"-n {world.server} address add {stranger}/24 dev ks0" + (" nodad" if version == 6 else ""))
        with world.gcks(version, IPAddress(stranger)) as gcks:
            gcks.sendto(b"stranger's", (str(GROUPS[version]), PORT))
        await asyncio.sleep(0.2)
        assert world.got.empty() is specific

    run(world, body)


@pytest.mark.parametrize("specific", [False, True], ids=["any-source", "source-specific"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", ["down and up", "deleted and made again", "lent to another namespace"])
def test_listening_survives_what_becomes_of_the_interface(
    world: World, change: str, version: Version, specific: bool
) -> None:
    def happen() -> None:
        if change.startswith("down"):
            world.take_down()
            world.bring_up()
        elif change.startswith("deleted"):
            world.unplug()
            world.ports.refresh()
            assert world.ports.troubles(GROUP) != ()
            world.plug_in()
        else:
            world.lend()
            world.bring_up()

    async def body() -> None:
        world.plug_in()
        world.ports.want([listening(version, specific=specific)])
        assert await world.hears(version)
        happen()
        world.ports.refresh()
        assert world.ports.troubles(GROUP) == ()
        assert await world.hears(version)
        assert filtered(version) is specific

    run(world, body)


@pytest.mark.parametrize("version", VERSIONS)
def test_word_of_the_interface_makes_it_listen_again(world: World, version: Version) -> None:
    """Without anybody who looks from time to time."""

    async def body() -> None:
        watch = InterfaceWatch(world.ports.refresh)
        watch.start()
        try:
            world.ports.want([listening(version)])
            assert world.ports.troubles(GROUP) != ()
            world.plug_in()
            assert await world.hears(version)
            world.unplug()
            world.plug_in()
            assert await world.hears(version)
        finally:
            watch.close()

    run(world, body)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_interface_towards_the_key_server_is_found(world: World, version: Version) -> None:
    async def body() -> None:
        world.plug_in()
        assert interface_towards(SERVERS[version], GROUPS[version]) == socket.if_nametoindex("gm0")
        assert interface_towards(IPAddress({4: "198.51.100.1", 6: "2001:db8::1"}[version]), GROUPS[version]) is None
        ip("route add 239.0.0.0/8 dev gm0")
        own = interface_towards(OWN[version], GROUPS[version])
        assert own == socket.if_nametoindex("gm0"), "a key server on this host is heard where its group is"
        world.ports.want([listening(version, interface=None)])
        assert await world.hears(version)

    run(world, body)


@pytest.mark.requirement("ACK-3-01")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_acknowledgement_has_the_own_address_and_the_ports_reversed(world: World, version: Version) -> None:
    async def body() -> None:
        world.plug_in()
        world.ports.want([listening(version)])
        assert await world.hears(version)
        with world.gcks(version) as gcks:
            gcks.sendto(b"rekey", (str(GROUPS[version]), PORT))
            _, peer, local = await asyncio.wait_for(world.got.get(), 5)
            for source in (OWN[version], IPAddress(0, version)):
                world.ports.send(Datagram(b"ack", peer, Endpoint(source, local.port)))
                payload, came_from = gcks.recvfrom(100)
                assert (payload, came_from[:2]) == (b"ack", (str(OWN[version]), PORT))

    run(world, body)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", ["key server", "member"])
def test_a_key_server_and_a_member_live_on_one_host(world: World, first: str, version: Version) -> None:
    """Both at port 848, whichever starts first; and the key server does not hear the rekeys."""

    async def body() -> None:
        world.plug_in()
        heard: list[bytes] = []
        any_address = IPAddress(0, version)
        if first == "member":
            world.ports.want([listening(version)])
        gckd = DatagramPort.bind([any_address], PORT)
        gckd.start(lambda payload, *_: heard.append(payload))
        if first != "member":
            world.ports.want([listening(version)])
        try:
            assert await world.hears(version)
            with world.gcks(version) as asking:
                asking.sendto(b"pull", (str(OWN[version]), PORT))
            await asyncio.sleep(0.2)
            assert heard == [b"pull"]
            assert world.got.empty()
        finally:
            gckd.close()

    run(world, body)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_data_memberships_survive_too(world: World, version: Version) -> None:
    def joined() -> bool:
        table = Path("/proc/thread-self/net/" + ("igmp" if version == 4 else "igmp6")).read_text()
        if version == 6:
            return GROUPS[6].packed.hex() in table
        return f"{int.from_bytes(GROUPS[4].packed, 'little'):08X}" in table

    world.plug_in()
    joins = Joins()
    joins.want([Membership("gm0", GROUPS[version], None)])
    assert joined()
    world.lend()
    assert not joined(), "a kernel that forgets nothing needs no second look"
    joins.refresh()
    assert joined()
    joins.close()
    assert not joined()
