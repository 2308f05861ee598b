"""Two senders of one group with one SPI and different keys: told apart by marks, through a real kernel."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator

import pytest
from netaddr import IPAddress

from agent.datapath.plan import plan
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired, GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.marks import OWN_MARK, marks_of
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import PORT, Host, inside, lan, packets_to, reach, receive_all

GROUP, OTHER_GROUP = GroupId.of_number(1234), GroupId.of_number(1235)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
ONE, TWO, NOBODY = 0, 1, 2
SOURCES = {4: ("10.9.0.1", "10.9.0.9", "10.9.0.7"), 6: ("fd09::1", "fd09::9", "fd09::7")}
RECEIVERS = {4: "10.9.0.2", 6: "fd09::2"}
SPI = Spi(0x1234)
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
AH = Transform.parse("hmac-sha2-256")
# Priority of somebody else's filter before ours, and after.
BEFORE, AFTER = 10, 60000


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        tx, _ = both
        for address in ("10.9.0.7/24", "fd09::9/64", "fd09::7/64"):
            tx.ip(f"address add {address} dev eth0" + (" nodad" if ":" in address else ""))
        yield both


def tc(host: Host, command: str) -> str:
    words = ["tc", "-n", host.namespace, *command.split()]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def sa_of(family: int, sender: int, transform: Transform = CBC, mode: Mode = Mode.TRANSPORT) -> DataSA:
    """The SA of a sender, whose key server chose the same SPI as the other's."""
    octet, flow = bytes([0x51 + sender]), Flow.parse(GROUPS[family], SOURCES[family][sender])
    cipher_key, integrity_key = octet * transform.cipher_key_octets, octet * transform.integrity_key_octets
    protocol = SecurityProtocol.of(transform)
    return DataSA(protocol, SPI, flow, mode, transform, Secret(cipher_key), Secret(integrity_key))


def desired(role: Role, *sas: DataSA, own: int | None = None, interface: str | None = "eth0") -> Desired:
    """What a host holds with those SAs, one of which may be its own."""
    family = sas[0].flow.family
    addresses = (SOURCES[family][own],) if own is not None else (RECEIVERS[family],)
    traffic = tuple(Flow.parse(GROUPS[family], source) for source in SOURCES[family])
    policy = GroupPolicy(GROUP, role, traffic, tuple(map(IPAddress, addresses)), interface=interface)
    return Gspd([policy]).desired({GROUP: GroupSA(GROUP, KS, sas, received=0.0)}, 0.0)


def databases(role: Role, *sas: DataSA, own: int | None = None, interface: str | None = "eth0") -> Databases:
    wanted = desired(role, *sas, own=own, interface=interface)
    assert wanted.refusals == ()
    return wanted.databases


def send(tx: Host, family: int, sender: int, *datagrams: bytes) -> None:
    opened = tx.sender(SOURCES[family][sender])
    for datagram in datagrams:
        opened.sendto(datagram, (GROUPS[family], PORT))


def numbered(sender: int, count: int) -> list[bytes]:
    return [b"%d from %d" % (number, sender) for number in range(count)]


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.1-01", "ARCH-4.1-03", "ESP-2.1-01")
@pytest.mark.parametrize(("transform", "mode"), [(CBC, Mode.TRANSPORT), (CBC, Mode.TUNNEL), (AH, Mode.TRANSPORT)])
@pytest.mark.parametrize("family", [4, 6])
def test_two_senders_with_one_spi_are_both_heard_and_nobody_else(
    hosts: tuple[Host, Host], family: int, transform: Transform, mode: Mode
) -> None:
    tx, rx = hosts
    sas = [sa_of(family, sender, transform, mode) for sender in (ONE, TWO)]
    receiver = rx.receiver(GROUPS[family])
    large = b"x" * 3000  # in fragments

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, databases(Role.RECEIVER, *sas))
            held = (await receiving.current()).sad
            assert {sa.mark for sa in held} == set(marks_of(map(IPAddress, SOURCES[family][:2])).values())
            for sender in (ONE, TWO):
                await reach(sending, databases(Role.SENDER, sas[sender], own=sender))
                send(tx, family, sender, *numbered(sender, 3), large)
                assert receive_all(receiver) == [*numbered(sender, 3), large]
                await reach(sending, Databases())
            # A sender that both others know the key of is none of the two sources.
            stranger = sa_of(family, NOBODY, transform, mode)
            first = databases(Role.SENDER, sas[ONE], own=ONE).sad[0]
            keys = first.cipher_key, first.integrity_key
            forged = DataSA(stranger.protocol, SPI, stranger.flow, mode, transform, *keys)
            await reach(sending, databases(Role.SENDER, forged, own=NOBODY))
            send(tx, family, NOBODY, b"from nobody")
            assert receive_all(receiver) == []

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.1-01")
@pytest.mark.parametrize("family", [4, 6])
def test_a_host_sends_on_its_own_of_two_sas_and_receives_on_the_other(hosts: tuple[Host, Host], family: int) -> None:
    tx, rx = hosts
    sas = [sa_of(family, sender) for sender in (ONE, TWO)]
    receivers = {host.namespace: host.receiver(GROUPS[family]) for host in hosts}

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            # The receiver is the second source, its address moved there.
            rx.ip(f"address add {SOURCES[family][TWO]} dev eth0" + (" nodad" if family == 6 else ""))
            tx.ip(f"address del {SOURCES[family][TWO]}/{64 if family == 6 else 24} dev eth0")
            await reach(sending, databases(Role.BOTH, *sas, own=ONE))
            await reach(receiving, databases(Role.BOTH, *sas, own=TWO))
            for path in (sending, receiving):
                there = await path.current()
                assert OWN_MARK in {sa.mark for sa in there.sad}
                assert len(there.marks) == 1
            send(tx, family, ONE, *numbered(ONE, 3))
            assert receive_all(receivers[rx.namespace]) == numbered(ONE, 3)
            receive_all(receivers[tx.namespace])
            send(rx, family, TWO, *numbered(TWO, 3))
            assert receive_all(receivers[tx.namespace]) == numbered(TWO, 3)

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.1-03")
@pytest.mark.parametrize("family", [4, 6])
def test_one_sa_becomes_two_and_one_again_and_counts_on(hosts: tuple[Host, Host], family: int) -> None:
    tx, rx = hosts
    one, two = (sa_of(family, sender) for sender in (ONE, TWO))
    receiver, wire = rx.receiver(GROUPS[family]), tx.wire()
    numbers: list[int] = []
    frames: list[bytes] = []

    def sends() -> None:
        send(tx, family, ONE, *numbered(ONE, 3))
        sent = packets_to(wire, GROUPS[family])
        numbers.extend(packet.sequence for packet in sent)
        frames.extend(packet.octets for packet in sent)
        assert receive_all(receiver) == numbered(ONE, 3)

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            for sas in ((one,), (one, two), (one,)):
                await reach(receiving, databases(Role.RECEIVER, *sas))
                await reach(sending, databases(Role.BOTH, *sas, own=ONE))
                replay(tx, frames)
                assert receive_all(receiver) == []
                packets_to(wire, GROUPS[family])
                sends()
                there = await receiving.current()
                assert len(there.marks) == (2 if two in sas else 0)
                assert all((sa.mark is not None) == (two in sas) for sa in there.sad)

    asyncio.run(story())
    assert numbers == sorted(set(numbers))


def replay(tx: Host, frames: list[bytes]) -> None:
    with inside(tx.namespace):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        opened.bind(("eth0", 0))
    with opened:
        for frame in frames:
            opened.send(frame)


@pytest.mark.needs_esp
@pytest.mark.requirement("OWN-05")
def test_filters_and_sas_of_others_stay_as_they_are(hosts: tuple[Host, Host]) -> None:
    tx, rx = hosts
    sas = [sa_of(4, sender) for sender in (ONE, TWO)]
    receiver = rx.receiver(GROUPS[4])
    tc(rx, "qdisc add dev eth0 clsact")
    for priority in (BEFORE, AFTER):
        tc(
            rx,
            f"filter add dev eth0 ingress protocol ip prio {priority} u32 match ip dst {GROUPS[4]}"
            " action skbedit mark 0x7/0xff continue",
        )
    key = "aead rfc4106(gcm(aes)) 0x" + "33" * 20 + " 128"
    rx.ip(
        f"xfrm state add src 10.9.0.5 dst {GROUPS[4]} proto esp spi 0x1234 reqid 7 mode transport {key}"
        " mark 0x5 mask 0xff"
    )

    def theirs() -> list[str]:
        shown = [tc(rx, f"filter show dev eth0 ingress prio {priority}") for priority in (BEFORE, AFTER)]
        return [*shown, rx.ip(f"xfrm state get dst {GROUPS[4]} proto esp spi 0x1234 mark 0x5 mask 0xff")]

    before = theirs()

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, databases(Role.RECEIVER, *sas))
            await reach(sending, databases(Role.SENDER, sas[ONE], own=ONE))
            send(tx, 4, ONE, *numbered(ONE, 3))
            assert receive_all(receiver) == numbered(ONE, 3)
            assert theirs() == before
            await reach(receiving, Databases())
            assert theirs() == before

    asyncio.run(story())


@pytest.mark.needs_esp
def test_rules_that_somebody_took_away_are_set_again(hosts: tuple[Host, Host]) -> None:
    (tx, rx), family = hosts, 6
    sas = [sa_of(family, sender) for sender in (ONE, TWO)]
    receiver = rx.receiver(GROUPS[family])
    wanted = databases(Role.RECEIVER, *sas)

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, wanted)
            await reach(sending, databases(Role.SENDER, sas[TWO], own=TWO))
            for taken in ("filter del dev eth0 ingress", "qdisc del dev eth0 clsact"):
                tc(rx, taken)
                send(tx, family, TWO, b"lost")
                assert receive_all(receiver) == []
                assert not await receiving.marks_stand()
                assert (await receiving.current()).marks == ()
                await reach(receiving, wanted)
                assert await receiving.marks_stand()
                send(tx, family, TWO, b"heard")
                assert receive_all(receiver) == [b"heard"]
        # What an earlier data path left is known to the next one.
        async with rx.data_path() as again:
            assert plan(wanted, await again.current()) == []
            await reach(again, Databases())
            assert tc(rx, "filter show dev eth0 ingress") == ""

    asyncio.run(story())


@pytest.mark.needs_esp
def test_an_interface_that_comes_back_gets_its_rules(hosts: tuple[Host, Host]) -> None:
    _, rx = hosts
    wanted = databases(Role.RECEIVER, *(sa_of(4, sender) for sender in (ONE, TWO)), interface="eth7")

    async def story() -> None:
        async with rx.data_path() as path:
            for outcome in await path.apply(plan(wanted, await path.current())):
                assert outcome.error is None, outcome
            assert len((await path.current()).sad) == 2
            for _ in range(2):
                assert await path.marks_stand()
                rx.ip("link add eth7 type veth peer name eth8")
                assert not await path.marks_stand()
                await reach(path, wanted)
                assert (await path.current()).marks == wanted.marks
                rx.ip("link del eth7")

    asyncio.run(story())


@pytest.mark.needs_esp
def test_the_kernel_says_that_it_can_mark(hosts: tuple[Host, Host]) -> None:
    _, rx = hosts

    async def story() -> None:
        async with rx.data_path() as path:
            assert (await path.probe()).why_no_marks is None

    asyncio.run(story())
