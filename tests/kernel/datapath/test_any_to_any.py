"""Ranges of groups and of hosts under one policy: an SA to each destination when a packet asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock
from agent.datapath.port import DataPathEvent, FirstPacket
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import ESP, PORT, Host, Packet, lan, packets_to, reach, receive_all

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
CBC, AH = Transform.parse("aes-cbc-128+hmac-sha2-256"), Transform.parse("hmac-sha2-256")
AH_PROTOCOL = 51
COUNT = 20


@dataclass(frozen=True)
class Range:
    """What the policy protects: `prefix`, of which `there` is asked for; `sources`: who may send."""

    prefix: str
    sources: str
    tx: str
    there: str
    other: str

    @property
    def flow(self) -> Flow:
        return Flow.parse(self.prefix, self.sources, protocol=17, port=PORT)

    @property
    def multicast(self) -> bool:
        return self.flow.destination.is_multicast()


RANGES = {
    "hosts4": Range("10.9.0.0/24", "10.9.0.0/24", "10.9.0.1", "10.9.0.2", "10.9.0.3"),
    "hosts6": Range("fd09::/64", "fd09::/64", "fd09::1", "fd09::2", "fd09::3"),
    "groups4": Range("239.1.0.0/16", "10.9.0.0/24", "10.9.0.1", "239.1.0.7", "239.1.0.8"),
    "groups6": Range("ff3e::8000:0/112", "fd09::/64", "fd09::1", "ff3e::8000:7", "ff3e::8000:8"),
}


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        for host in both:
            host.sysctl("net.core.xfrm_acq_expires", 1)
        yield both


def databases(
    which: Flow,
    mode: Mode,
    *demand: Demand,
    addresses: Iterable[str] = (),
    transform: Transform = CBC,
    role: Role = Role.BOTH,
    preservation: AddressPreservation = AddressPreservation.BOTH,
    held: bool = True,
    on_demand: bool = False,
) -> Databases:
    now = SystemClock().monotonic()
    own = tuple(map(IPAddress, addresses))
    policy = GroupPolicy(GROUP, role, (which,), own, on_demand=on_demand)
    keys = Secret(b"\x5a" * transform.cipher_key_octets), Secret(b"\xa5" * transform.integrity_key_octets)
    protocol = SecurityProtocol.of(transform)
    sa = DataSA(protocol, Spi(0x1001), which, mode, transform, *keys, address_preservation=preservation)
    given = {GROUP: GroupSA(GROUP, KS, (sa,), received=now)} if held else {}
    desired = Gspd([policy], {GROUP: frozenset(demand)}).desired(given, now)
    assert desired.refusals == ()
    return desired.databases


async def next_first_packet(events: AsyncIterator[DataPathEvent]) -> FirstPacket:
    async with asyncio.timeout(10):
        async for event in events:
            if isinstance(event, FirstPacket):
                return event
    raise AssertionError("no event")


def protected(packets: Iterable[Packet], source: str, destination: str, protocol: int) -> int:
    found = list(packets)
    assert {(each.source, each.destination, each.protocol) for each in found} <= {(source, destination, protocol)}
    return len(found)


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-3-01", "MIPSEC-4.1.1-01", "MIPSEC-4.1.1-08", "MIPSEC-5.1-01", "5374:GDOI-5.5-01")
@pytest.mark.parametrize(
    ("name", "mode", "transform"),
    [
        *((name, mode, CBC) for name in RANGES for mode in Mode),
        ("hosts4", Mode.TUNNEL, AH),
        ("groups6", Mode.TRANSPORT, AH),
    ],
)
def test_a_packet_asks_for_the_sa_to_its_destination(
    hosts: tuple[Host, Host], name: str, mode: Mode, transform: Transform
) -> None:
    (tx, rx), which = hosts, RANGES[name]
    protocol = ESP if transform is CBC else AH_PROTOCOL
    there, own = IPAddress(which.there), IPAddress(which.tx)
    sender, wire = tx.sender(which.tx), tx.wire()
    receiver = rx.receiver(which.there) if which.multicast else rx.listener(which.there)

    def send(count: int = COUNT) -> None:
        for number in range(count):
            sender.sendto(b"payload %06d" % number, (which.there, PORT))

    def wanted(*demand: Demand) -> Databases:
        return databases(which.flow, mode, *demand, addresses=(which.tx,), transform=transform)

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            receives = databases(which.flow, mode, Demand(None, there), transform=transform, role=Role.RECEIVER)
            await reach(receiving, receives)
            await reach(sending, wanted())
            events = sending.events()
            send(3)
            asked = await next_first_packet(events)
            assert (asked.source, asked.destination) == (own, there)
            assert receive_all(receiver) == []
            assert packets_to(wire, which.there) == [], "nothing leaves before there is an SA"
            await reach(sending, wanted(Demand(asked.source, there)))
            send()
            assert len(receive_all(receiver)) == COUNT
            assert protected(packets_to(wire, which.there), which.tx, which.there, protocol) == COUNT
            (held,) = (await sending.current()).sad
            assert held.usage is not None
            assert held.usage.packets >= COUNT
            # Idle: the SA goes, and the next packet asks anew.
            await reach(sending, wanted())
            await asyncio.sleep(2.5)
            send(1)
            assert (await next_first_packet(events)).destination == there
            assert receive_all(receiver) == []
            assert packets_to(wire, which.there) == []

    asyncio.run(told())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-6.3-01", "MIPSEC-6.3-02")
@pytest.mark.parametrize("name", ["hosts4", "hosts6"])
def test_what_is_in_clear_does_not_come_in(hosts: tuple[Host, Host], name: str) -> None:
    (tx, rx), which = hosts, RANGES[name]
    sender = tx.sender(which.tx)
    receiver = rx.listener(which.there)

    async def told() -> None:
        async with rx.data_path() as receiving:
            await reach(receiving, databases(which.flow, Mode.TUNNEL, Demand(None, IPAddress(which.there))))
            for _ in range(COUNT):
                sender.sendto(b"in clear", (which.there, PORT))
            assert receive_all(receiver) == []
            await reach(receiving, Databases())
            sender.sendto(b"in clear", (which.there, PORT))
            assert receive_all(receiver) == [b"in clear"]

    asyncio.run(told())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.1.1-08", "OWN-01")
@pytest.mark.parametrize(
    ("source", "group", "mode"),
    [("10.9.0.1", "239.1.1.1", Mode.TUNNEL), ("fd09::1", "ff3e::8000:1", Mode.TRANSPORT)],
)
def test_a_packet_of_a_group_that_waits_is_held_back_and_asks(
    hosts: tuple[Host, Host], source: str, group: str, mode: Mode
) -> None:
    """Whatever the SA is that it waits for: the place-holder that the kernel keeps does not stand in its way."""
    tx, rx = hosts
    flow = Flow.parse(group, protocol=17, port=PORT)
    sender, wire, receiver = tx.sender(source), tx.wire(), rx.receiver(group)

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, databases(flow, mode, role=Role.RECEIVER))
            await reach(sending, databases(flow, mode, held=False, on_demand=True))
            events = sending.events()
            tx.sysctl("net.core.xfrm_acq_expires", 30)
            for _ in range(3):
                sender.sendto(b"first", (group, PORT))
            asked = await next_first_packet(events)
            assert (asked.source, asked.destination, asked.flow) == (IPAddress(source), IPAddress(group), flow)
            assert packets_to(wire, group) == []
            await reach(sending, databases(flow, mode, addresses=(source,), on_demand=True))
            for _ in range(COUNT):
                sender.sendto(b"second", (group, PORT))
            assert receive_all(receiver) == [b"second"] * COUNT
            assert protected(packets_to(wire, group), source, group, ESP) == COUNT

    asyncio.run(told())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-3-01", "5374:GDOI-5.5-01")
@pytest.mark.parametrize(
    ("source", "group", "single", "preservation"),
    [
        ("10.9.0.1", "239.1.1.1", True, AddressPreservation.NONE),
        ("10.9.0.1", "239.1.1.1", False, AddressPreservation.DESTINATION),
        ("fd09::1", "ff3e::8000:1", False, AddressPreservation.NONE),
        ("fd09::1", "ff3e::8000:1", True, AddressPreservation.SOURCE),
    ],
)
def test_a_tunnel_to_a_group_whatever_addresses_it_preserves(
    hosts: tuple[Host, Host], source: str, group: str, single: bool, preservation: AddressPreservation
) -> None:
    tx, rx = hosts
    flow = Flow.parse(group, source if single else "any", protocol=17, port=PORT)
    sender, wire, receiver = tx.sender(source), tx.wire(), rx.receiver(group)

    async def told() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for path, own, role in ((receiving, (), Role.RECEIVER), (sending, (source,), Role.SENDER)):
                wanted = databases(flow, Mode.TUNNEL, addresses=own, role=role, preservation=preservation)
                await reach(path, wanted)
            for _ in range(COUNT):
                sender.sendto(b"payload", (group, PORT))
            assert receive_all(receiver) == [b"payload"] * COUNT
            assert protected(packets_to(wire, group), source, group, ESP) == COUNT

    asyncio.run(told())


@pytest.mark.needs_xfrm
def test_unicast_entries_are_ours_by_their_priority(hosts: tuple[Host, Host]) -> None:
    tx, _ = hosts
    which = RANGES["hosts4"]
    tx.ip("xfrm policy add src 10.9.0.0/24 dst 10.9.0.0/24 dir out action block priority 100000")

    async def told() -> None:
        async with tx.data_path() as path:
            assert await path.current() == Databases()
            await reach(path, databases(which.flow, Mode.TUNNEL, held=False))
            assert {each.action for each in (await path.current()).spd} == {Action.DISCARD}
            await reach(path, Databases())
        assert "priority 100000" in tx.ip("xfrm policy list")

    asyncio.run(told())
