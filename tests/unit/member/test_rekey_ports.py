"""agent.member.rekey_ports: sockets for rekeys, on a host that is played and on the loopback interface of this one."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.natt import MARKER
from agent.gsa.identity import GroupId
from agent.member import rekey_ports
from agent.member.interfaces import HostMembership
from agent.member.rekey_ports import RekeyListening, RekeyPorts, push_within
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GROUP

SERVER = IPAddress("127.0.0.1")
OTHER = GroupId.of_number(99)
ANY = IPAddress("0.0.0.0")
GROUPS = {4: IPAddress("239.66.7.9"), 6: IPAddress("ff15::667:9")}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@dataclass
class FakeHost:
    """Interfaces by name with their index, routes, and memberships that a kernel forgot."""

    interfaces: dict[str, int] = field(default_factory=lambda: {"lo": 1})
    leads_to: int | None = 1
    forgotten: bool = False

    def index_of(self, name: str) -> int:
        if name not in self.interfaces:
            raise OSError("no interface with this name")
        return self.interfaces[name]

    def towards(self, _: IPAddress, __: IPAddress) -> int | None:
        return self.leads_to

    def in_force(self) -> frozenset[HostMembership] | None:
        return frozenset() if self.forgotten else None


class World:
    """Rekey ports on a played host, and what came in and went out elsewhere."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.got: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue()
        self.elsewhere: list[Datagram] = []
        asked = rekey_ports._Host(self.host.index_of, self.host.towards, self.host.in_force)
        self.ports = RekeyPorts(lambda *datagram: self.got.put_nowait(datagram), self.elsewhere.append, asked)

    async def next(self) -> tuple[bytes, Endpoint, Endpoint]:
        return await asyncio.wait_for(self.got.get(), 5)

    async def silent(self) -> bool:
        await asyncio.sleep(0.1)
        return self.got.empty()


def run(body: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World()
        try:
            await body(world)
        finally:
            world.ports.close()
            world.ports.close()

    asyncio.run(whole())


def listening(
    version: int = 4, port: int = 0, *, source: str | None = None, interface: str | None = "lo"
) -> RekeyListening:
    named = IPAddress(source) if source is not None else None
    return RekeyListening(GROUP, GROUPS[version], port or free_port(), named, interface, SERVER)


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    """A key server on the loopback interface, which carries no multicast of IPv6: tests/kernel/member has that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(5)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield opened


def held_by_host(address: IPAddress) -> bool:
    if address.version == 4:
        return f"{int.from_bytes(address.packed, 'little'):08X}" in Path("/proc/net/igmp").read_text()
    return address.packed.hex() in Path("/proc/net/igmp6").read_text()


def test_a_rekey_sa_says_what_to_listen_to() -> None:
    named = RekeyListening.of(GROUP, rekey_sa(destination_port=1848), "eth0", SERVER)
    assert named == RekeyListening(GROUP, IPAddress("239.1.1.1"), 1848, IPAddress("192.0.2.1"), "eth0", SERVER)
    assert str(named) == "239.1.1.1:1848 on eth0 from 192.0.2.1"
    anybody = RekeyListening.of(GROUP, rekey_sa(source=ANY), None, SERVER)
    assert anybody is not None
    assert anybody.source is None
    assert str(anybody) == "239.1.1.1:848 on the interface towards 127.0.0.1"


def test_rekeys_to_each_member_need_no_socket() -> None:
    assert RekeyListening.of(GROUP, rekey_sa(destination=IPAddress("192.0.2.7")), None, SERVER) is None
    assert RekeyListening.of(GROUP, rekey_sa(destination_port=0), None, SERVER) is None


@pytest.mark.parametrize("from_source", [False, True], ids=["any-source", "source-specific"])
def test_a_rekey_is_heard_with_both_endpoints(sender: socket.socket, from_source: bool) -> None:
    async def body(world: World) -> None:
        wanted = listening(source=str(SERVER) if from_source else None)
        world.ports.want([wanted])
        assert world.ports.holds(wanted)
        assert held_by_host(GROUPS[4])
        sender.sendto(b"rekey", (str(GROUPS[4]), wanted.port))
        peer = Endpoint(SERVER, sender.getsockname()[1])
        assert await world.next() == (b"rekey", peer, Endpoint(GROUPS[4], wanted.port))
        assert world.ports.received == 1
        world.ports.want([])
        assert not world.ports.holds(wanted)
        assert not held_by_host(GROUPS[4])
        sender.sendto(b"late", (str(GROUPS[4]), wanted.port))
        assert await world.silent()

    run(body)


def test_another_source_than_the_one_named_is_not_heard(sender: socket.socket) -> None:
    async def body(world: World) -> None:
        wanted = listening(source="127.0.0.77")
        world.ports.want([wanted])
        sender.sendto(b"forged", (str(GROUPS[4]), wanted.port))
        assert await world.silent()

    run(body)


def test_what_others_of_this_host_joined_is_not_heard(sender: socket.socket) -> None:
    """Neither another group at the same port, nor a datagram to the port itself."""

    async def body(world: World) -> None:
        wanted = listening()
        neighbour = replace(wanted, destination=GROUPS[4] + 1, port=wanted.port + 1)
        world.ports.want([wanted, neighbour])
        sender.sendto(b"x", (str(neighbour.destination), wanted.port))
        sender.sendto(b"x", (str(SERVER), wanted.port))
        assert await world.silent()

    run(body)


def test_several_groups_share_one_socket() -> None:
    async def body(world: World) -> None:
        one = listening()
        world.ports.want([one, replace(one, group=OTHER), replace(one, interface=None)])
        assert len(world.ports._ears) == 1
        world.ports.want([replace(one, group=OTHER)])
        assert len(world.ports._ears) == 1
        assert not world.ports.holds(one)

    run(body)


@pytest.mark.requirement("ACK-3-01")
def test_an_acknowledgement_leaves_by_the_port_that_the_rekey_came_to(sender: socket.socket) -> None:
    async def body(world: World) -> None:
        wanted = listening()
        world.ports.want([wanted])
        sender.sendto(b"rekey", (str(GROUPS[4]), wanted.port))
        _, peer, local = await world.next()
        own = IPAddress("127.0.0.5")
        for source in (own, ANY):
            world.ports.send(Datagram(b"ack", peer, Endpoint(source, local.port)))
            payload, came_from = sender.recvfrom(100)
            chosen = own if int(source) else SERVER
            assert (payload, came_from[:2]) == (b"ack", (str(chosen), wanted.port))
        assert world.elsewhere == []

    run(body)


def test_an_acknowledgement_of_a_unicast_rekey_leaves_elsewhere() -> None:
    async def body(world: World) -> None:
        world.ports.want([listening()])
        datagram = Datagram(b"ack", Endpoint(SERVER, 848), Endpoint(SERVER, 7))
        world.ports.send(datagram)
        assert world.elsewhere == [datagram]

    run(body)


def test_an_acknowledgement_that_cannot_be_sent_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        wanted = listening()
        world.ports.want([wanted])
        for _ in range(3):
            source = Endpoint(IPAddress("192.0.2.99"), wanted.port)
            world.ports.send(Datagram(b"ack", Endpoint(IPAddress("127.0.0.1"), 9), source))
        assert world.ports.unsent == 3

    run(body)
    assert [record.message.startswith("acknowledgement not sent") for record in caplog.records].count(True) == 1


def test_a_flood_is_taken_in_portions_and_what_is_lost_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rekey_ports, "_QUEUE_OCTETS", 4096)

    async def body(world: World) -> None:
        wanted = listening()
        world.ports.want([wanted])
        turns = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding:
            flooding.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for _ in range(500):
                flooding.sendto(b"x", (str(wanted.destination), wanted.port))
            for _ in range(20):
                await asyncio.sleep(0)
                turns += 1
            flooding.sendto(b"last", (str(wanted.destination), wanted.port))
        while (await world.next())[0] != b"last":
            pass
        assert 0 < world.ports.received < 500
        assert world.ports.overflowed == 501 - world.ports.received

    run(body)
    assert sum("rekey datagrams lost" in record.message for record in caplog.records) == 1


def test_one_turn_of_the_loop_takes_a_portion_only(sender: socket.socket) -> None:
    async def body(world: World) -> None:
        wanted = listening()
        world.ports.want([wanted])
        for _ in range(100):
            sender.sendto(b"x", (str(wanted.destination), wanted.port))
        (ear,) = world.ports._ears.values()
        world.ports._drain(ear, Endpoint(wanted.destination, wanted.port))
        assert world.ports.received == 64

    run(body)


def test_a_socket_that_its_own_datagram_takes_away_is_left_alone() -> None:
    async def body(world: World) -> None:
        wanted = listening()
        world.ports.on_datagram = lambda *_: world.ports.close()
        world.ports.want([wanted])
        (ear,) = world.ports._ears.values()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for _ in range(3):
                sending.sendto(b"x", (str(wanted.destination), wanted.port))
        world.ports._drain(ear, Endpoint(wanted.destination, wanted.port))
        assert world.ports.received == 1

    run(body)


def test_an_interface_that_is_not_there_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.host.interfaces.clear()
        wanted = listening()
        world.ports.want([wanted])
        world.ports.refresh()
        assert not world.ports.holds(wanted)
        (trouble,) = world.ports.troubles(GROUP)
        assert trouble == f"rekeys to {wanted} are not heard: there is no such interface"
        assert world.ports.troubles(OTHER) == ()
        world.host.interfaces["lo"] = 1
        world.ports.refresh()
        assert world.ports.holds(wanted)
        assert world.ports.troubles(GROUP) == ()
        world.host.interfaces.clear()
        world.ports.refresh()
        assert not world.ports.holds(wanted)
        assert world.ports._ears == {}

    run(body)
    assert sum("rekeys are not heard" in record.message for record in caplog.records) == 2


def test_a_membership_that_the_kernel_forgot_is_joined_again(version: int) -> None:
    async def body(world: World) -> None:
        wanted = listening(version)
        world.ports.want([wanted])
        (before,) = (ear.socket for ear in world.ports._ears.values())
        world.ports.refresh()
        assert [ear.socket for ear in world.ports._ears.values()] == [before]
        world.host.forgotten = True
        world.ports.refresh()
        assert before.fileno() == -1
        assert world.ports.holds(wanted)
        assert held_by_host(GROUPS[version])

    run(body)


def test_the_route_to_the_key_server_names_the_interface() -> None:
    async def body(world: World) -> None:
        wanted = listening(interface=None)
        world.host.leads_to = None
        world.ports.want([wanted])
        assert world.ports.troubles(GROUP)[0].endswith("no route leads to the key server")
        world.host.leads_to = 1
        world.ports.refresh()
        assert world.ports.holds(wanted)
        world.host.leads_to = None  # for a moment: nothing says that the interface is another one
        world.ports.refresh()
        assert world.ports.holds(wanted)

    run(body)


def test_where_the_route_leads_elsewhere_the_old_place_is_left() -> None:
    async def body(world: World) -> None:
        elsewhere = next(index for index, _ in socket.if_nameindex() if index != 1)
        wanted = listening(interface=None)
        world.ports.want([wanted])
        world.host.leads_to = elsewhere
        world.ports.refresh()
        assert [place.index for place in world.ports._ears] == [elsewhere]

    run(body)


def test_a_port_is_shared_with_who_shares_it_and_otherwise_told() -> None:
    async def body(world: World) -> None:
        wanted = listening()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone:
            alone.bind(("", wanted.port))
            world.ports.want([wanted])
            assert "another program has the port for itself" in world.ports.troubles(GROUP)[0]
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            world.ports.refresh()
            assert world.ports.holds(wanted)

    run(body)


def push(kind: int = ExchangeType.GROUPKEY_PUSH) -> bytes:
    return struct.pack("!16sBBBBII", b"s" * 16, 18, 0x10, kind, 1, 0, 28)


@pytest.mark.parametrize(
    ("payload", "natt", "found"),
    [
        (push(), False, True),
        (MARKER + push(), True, True),
        (push(), True, False),
        (MARKER + push(), False, False),
        (push(ExchangeType.GROUPKEY_PULL), False, False),
        (push()[:18], False, False),
        (b"", True, False),
    ],
)
def test_a_push_is_told_from_other_exchanges(payload: bytes, natt: bool, found: bool) -> None:
    assert push_within(payload, natt=natt) == (push() if found else None)
