"""What a real kernel does with the operator's own entries of the GSPD."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.port import UpdatePolicy
from agent.gsa.address_range import AddressRange
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, Databases, PolicyDirection, SpdEntry
from agent.gsa.flow_rule import ANY_PORTS, PortRange
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.gspd_entry import GspdEntry, Selection
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, Direction, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import ESP, PORT, Host, lan, packets_to, reach, receive_all

GROUP = GroupId.of_number(7)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
SOURCES = {4: "10.9.0.1", 6: "fd09::1"}
RECEIVERS = {4: "10.9.0.2", 6: "fd09::2"}
NEWS, ELSE = 9875, 6000
UDP, ICMP = 17, {4: 1, 6: 58}
ECHO, OTHER_TYPE = {4: 8, 6: 128}, {4: 13, 6: 144}


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def entry(
    action: Action,
    family: int,
    ports: str | None = None,
    *,
    direction: Direction = Direction.SYMMETRIC,
    source: str | None = None,
    icmp: tuple[int, int | None] | None = None,
) -> GspdEntry:
    selection = Selection(
        AddressRange.parse(GROUPS[family]),
        None if source is None else AddressRange.parse(source),
        protocol=UDP if icmp is None else ICMP[family],
        destination_ports=ANY_PORTS if ports is None else PortRange.parse(ports),
        icmp_type=None if icmp is None else icmp[0],
        icmp_code=None if icmp is None else icmp[1],
    )
    return GspdEntry(f"{action.value}-{ports}-{direction.value}", direction, action, selection.flows)


def databases(*entries: GspdEntry, role: Role = Role.BOTH, with_sa: bool = True) -> Databases:
    """What a host with those entries holds, with one SA for all that they protect."""
    traffic = tuple(flow for each in entries if each.action is Action.PROTECT for flow in each.flows)
    keys = Secret(b"\x5a" * CBC.cipher_key_octets), Secret(b"\xa5" * CBC.integrity_key_octets)
    sas = tuple(
        DataSA(SecurityProtocol.ESP, Spi(0x1001), flow, Mode.TRANSPORT, CBC, *keys) for flow in traffic if with_sa
    )
    addresses = tuple(IPAddress(source) for source in SOURCES.values())
    gspd = Gspd([GroupPolicy(GROUP, role, traffic, addresses, entries=entries)])
    desired = gspd.desired({GROUP: GroupSA(GROUP, KS, sas, received=0.0)}, 0.0)
    assert desired.refusals == ()
    return desired.databases


def sent(host: Host, family: int, *ports: int) -> list[str]:
    """What becomes of a datagram to the group at each port, on this host's wire."""
    wire = host.wire()
    sender = host.sender(SOURCES[family] if host.namespace.startswith("tx") else RECEIVERS[family])
    found = []
    for port in ports:
        packets_to(wire, GROUPS[family])
        try:
            sender.sendto(b"to port %d" % port, (GROUPS[family], port))
        except PermissionError:
            found.append("refused")
            continue
        (packet,) = packets_to(wire, GROUPS[family])
        found.append("esp" if packet.protocol == ESP else "clear" if b"to port" in packet.octets else "neither")
    return found


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-01", "ARCH-4.4-02", "ARCH-4.4-04", "ARCH-5.2-02")
@pytest.mark.parametrize("family", [4, 6])
def test_entries_apply_in_their_order_and_ranges_of_ports_end_where_they_end(
    hosts: tuple[Host, Host], family: int
) -> None:
    tx, rx = hosts
    entries = (
        entry(Action.DISCARD, family, str(NEWS)),
        entry(Action.BYPASS, family, f"{NEWS - 3}-{NEWS + 4}"),
        entry(Action.PROTECT, family, f"{PORT}-{PORT + 2}"),
    )
    receivers = {port: rx.receiver(GROUPS[family], port) for port in (NEWS - 3, PORT + 2, ELSE)}

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(receiving, databases(*entries, role=Role.RECEIVER))
            await reach(sending, databases(*entries, role=Role.SENDER))
            ports = (NEWS - 4, NEWS - 3, NEWS - 1, NEWS, NEWS + 4, NEWS + 5)
            assert sent(tx, family, *ports) == ["refused", "clear", "clear", "refused", "clear", "refused"]
            ports = (PORT - 1, PORT, PORT + 1, PORT + 2, PORT + 3, 848)
            assert sent(tx, family, *ports) == ["refused", "esp", "esp", "esp", "refused", "clear"]
            assert receive_all(receivers[PORT + 2]) == [b"to port %d" % (PORT + 2)]
            assert receive_all(receivers[NEWS - 3]) == [b"to port %d" % (NEWS - 3)]
            # A host that protects nothing sends in clear what the other one protects, or has no entry for.
            await reach(sending, Databases())
            assert sent(tx, family, NEWS - 3, PORT + 2, ELSE) == ["clear"] * 3
            assert receive_all(receivers[NEWS - 3]) == [b"to port %d" % (NEWS - 3)]
            assert receive_all(receivers[PORT + 2]) == []
            assert receive_all(receivers[ELSE]) == []

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-01")
@pytest.mark.parametrize("family", [4, 6])
def test_a_rest_that_passes_opens_nothing_of_what_is_protected(hosts: tuple[Host, Host], family: int) -> None:
    tx, _ = hosts
    entries = (entry(Action.PROTECT, family, str(PORT)), entry(Action.BYPASS, family))

    async def story() -> None:
        async with tx.data_path() as path:
            await reach(path, databases(*entries, with_sa=False))
            assert sent(tx, family, PORT, ELSE) == ["refused", "clear"]
            await reach(path, databases(*entries))
            assert sent(tx, family, PORT, ELSE) == ["esp", "clear"]
            await reach(path, databases(*entries, with_sa=False))
            assert sent(tx, family, PORT, ELSE) == ["refused", "clear"]

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.1.1-05", "MIPSEC-4.1.1-06")
@pytest.mark.parametrize("family", [4, 6])
def test_a_bypass_for_one_direction_lets_nothing_pass_in_the_other(hosts: tuple[Host, Host], family: int) -> None:
    tx, rx = hosts
    media = entry(Action.PROTECT, family, str(PORT))
    out, incoming = (
        entry(Action.BYPASS, family, str(NEWS), direction=direction)
        for direction in (Direction.SENDER_ONLY, Direction.RECEIVER_ONLY)
    )
    receiver = rx.receiver(GROUPS[family], NEWS)

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(sending, databases(out, media))
            await reach(receiving, databases(out, media))
            assert sent(tx, family, NEWS) == ["clear"]
            assert receive_all(receiver) == []
            await reach(receiving, databases(incoming, media))
            assert sent(tx, family, NEWS) == ["clear"]
            assert receive_all(receiver) == [b"to port %d" % NEWS]
            assert sent(rx, family, NEWS) == ["refused"]

    asyncio.run(story())


def icmp(host: Host, family: int, *messages: tuple[int, int]) -> list[str]:
    """What becomes of ICMP messages of a type and code to the group."""
    opened, wire, found = host.pinger(SOURCES[family]), host.wire(), []
    for kind, code in messages:
        packets_to(wire, GROUPS[family])
        try:
            opened.sendto(bytes([kind, code, 0, 0, 0, 1, 0, 1]), (GROUPS[family], 0))
        except PermissionError:
            found.append("refused")
            continue
        found += ["clear" for packet in packets_to(wire, GROUPS[family]) if packet.protocol == ICMP[family]]
    return found


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-04")
@pytest.mark.parametrize("family", [4, 6])
def test_icmp_passes_by_type_and_code(hosts: tuple[Host, Host], family: int) -> None:
    tx, _ = hosts
    media = entry(Action.PROTECT, family, str(PORT))
    messages = ((ECHO[family], 0), (ECHO[family], 1), (OTHER_TYPE[family], 0))

    async def story() -> None:
        async with tx.data_path() as path:
            await reach(path, databases(entry(Action.BYPASS, family, icmp=(ECHO[family], None)), media))
            assert icmp(tx, family, *messages) == ["clear", "clear", "refused"]
            await reach(path, databases(entry(Action.BYPASS, family, icmp=(ECHO[family], 0)), media))
            assert icmp(tx, family, *messages) == ["clear", "refused", "refused"]

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.1.1-03", "OWN-08")
@pytest.mark.parametrize("family", [4, 6])
def test_a_receiver_cannot_send_and_its_sa_neither_where_the_kernel_knows_directions(
    hosts: tuple[Host, Host], family: int
) -> None:
    tx, rx = hosts
    only = entry(Action.PROTECT, family, str(PORT), direction=Direction.RECEIVER_ONLY)
    both = entry(Action.PROTECT, family, str(PORT))
    receiver = rx.receiver(GROUPS[family])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(sending, databases(both))
            await reach(receiving, databases(only))
            assert sent(tx, family, PORT) == ["esp"]
            assert receive_all(receiver) == [b"to port %d" % PORT]
            assert sent(rx, family, PORT) == ["refused"]
            (sa,) = (await receiving.current()).sad
            assert sa.direction is (PolicyDirection.IN if _knows_directions() else None)
            # Even a policy that sent on it would not get a packet out.
            (sends,) = (policy for policy in databases(both).spd if _sends(policy))
            assert sends.key in databases(only).spd_by_key()
            (outcome,) = await receiving.apply([UpdatePolicy(sends)])
            assert outcome.error is None
            if sa.direction is PolicyDirection.IN:
                with pytest.raises(OSError, match="Invalid argument"):
                    sent(rx, family, PORT)
            # An SA of one direction that is to serve both makes way for one that does.
            await reach(receiving, databases(both))
            assert sent(rx, family, PORT) == ["esp"]

    asyncio.run(story())


def _sends(policy: SpdEntry) -> bool:
    return policy.direction is PolicyDirection.OUT and policy.template is not None


def _knows_directions() -> bool:
    major, minor = (int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return (major, minor) >= (6, 10)


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.1.1-03")
@pytest.mark.parametrize("family", [4, 6])
def test_a_sender_hears_nothing_of_its_group(hosts: tuple[Host, Host], family: int) -> None:
    tx, rx = hosts
    only = entry(Action.PROTECT, family, str(PORT), direction=Direction.SENDER_ONLY)
    both = entry(Action.PROTECT, family, str(PORT))
    receiver = tx.receiver(GROUPS[family])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(sending, databases(only))
            await reach(receiving, databases(both))
            assert sent(tx, family, PORT) == ["esp"]
            assert sent(rx, family, PORT) == ["esp"]
            assert receive_all(receiver) == []
            await reach(receiving, Databases())
            assert sent(rx, family, PORT) == ["clear"]
            assert receive_all(receiver) == []

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.requirement("ARCH-4.4-05")
def test_of_a_shared_sa_only_the_sources_that_are_allowed_are_heard(hosts: tuple[Host, Host]) -> None:
    """10.9.0.9 has the key, and lies between the sources that the SA's selector spans."""
    tx, rx = hosts
    everybody = entry(Action.PROTECT, 4, str(PORT))
    allowed = tuple(
        flow for host in (1, 10) for flow in entry(Action.PROTECT, 4, str(PORT), source=f"10.9.0.{host}").flows
    )
    listed = replace(everybody, flows=allowed)
    receiver = rx.receiver(GROUPS[4])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            await reach(sending, databases(everybody, role=Role.SENDER))
            await reach(receiving, databases(listed, role=Role.RECEIVER))
            (sa,) = (await receiving.current()).sad
            assert IPAddress("10.9.0.9") in sa.selector.source
            for source in ("10.9.0.9", "10.9.0.1", "10.9.0.9"):
                tx.sender(source).sendto(source.encode(), (GROUPS[4], PORT))
            assert receive_all(receiver) == [b"10.9.0.1"]

    asyncio.run(story())
