"""The group's AH through a real kernel, and one SA with several flows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.datapath.kernel_names import KERNEL_TRANSFORMS
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import PORT, Host, Packet, lan, packets_to, reach, receive_all

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
SOURCES = {4: "10.9.0.1", 6: "fd09::1"}
SHA256 = Transform.parse("hmac-sha2-256")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")
AH = 51
OCTETS = {4: 28, 6: 32}
"""Of the header with an ICV of 16 octets, padded to 32 and 64 bits (RFC 4302 2.6)."""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def data_sa(flow: Flow, transform: Transform = SHA256, *, key: bytes = b"\x5a", mode: Mode = Mode.TRANSPORT) -> DataSA:
    return DataSA(
        SecurityProtocol.of(transform),
        Spi(0x1001),
        flow,
        mode,
        transform,
        Secret(key * transform.cipher_key_octets),
        Secret(key * transform.integrity_key_octets),
    )


def databases(role: Role, *sas: DataSA, traffic: tuple[Flow, ...] = ()) -> Databases:
    addresses = tuple(IPAddress(source) for source in SOURCES.values()) if role.sends else ()
    gspd = Gspd([GroupPolicy(GROUP, role, traffic or tuple(sa.flow for sa in sas), addresses)])
    desired = gspd.desired({GROUP: GroupSA(GROUP, KS, sas, received=0.0)}, 0.0)
    assert desired.refusals == ()
    return desired.databases


def header_of(packet: Packet, family: int) -> tuple[int, int, int]:
    """Octets, SPI and sequence number of the authentication header, which follows Ethernet and IP."""
    header = packet.octets[34 if family == 4 else 54 :]
    return 4 * (header[1] + 2), int.from_bytes(header[4:8]), int.from_bytes(header[8:12])


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-3-01", "AH-3.3-01")
@pytest.mark.parametrize("single", [False, True], ids=["any-source", "single-source"])
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("family", [4, 6])
def test_ah_authenticates_a_group_s_packets_and_hides_nothing(
    hosts: tuple[Host, Host], family: int, mode: Mode, single: bool
) -> None:
    tx, rx = hosts
    flow = Flow.parse(GROUPS[family], SOURCES[family] if single else "any", protocol=17, port=PORT)
    wire, receiver, sender = tx.wire(), rx.receiver(GROUPS[family]), tx.sender(SOURCES[family])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            sa = data_sa(flow, mode=mode)
            await reach(receiving, databases(Role.RECEIVER, sa))
            await reach(sending, databases(Role.SENDER, sa))
            packets_to(wire, GROUPS[family])
            for number in range(5):
                sender.sendto(b"payload %d" % number, (GROUPS[family], PORT))
            assert receive_all(receiver) == [b"payload %d" % number for number in range(5)]
            seen = packets_to(wire, GROUPS[family])
            assert {packet.protocol for packet in seen} == {AH}
            assert [header_of(packet, family) for packet in seen] == [
                (OCTETS[family], sa.spi, number) for number in range(1, 6)
            ]
            assert all(b"payload" in packet.octets for packet in seen)
            await reach(receiving, databases(Role.RECEIVER, data_sa(flow, key=b"\x3c", mode=mode)))
            sender.sendto(b"under another key", (GROUPS[family], PORT))
            assert receive_all(receiver) == []

    asyncio.run(story())


@pytest.mark.needs_esp
def test_every_transform_of_ah_reads_back_as_it_was_written(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    flow = Flow.parse(GROUPS[6], SOURCES[6], protocol=17, port=PORT)

    async def story() -> None:
        async with host.data_path() as path:
            able = (await path.probe()).transforms
            mine = [transform for transform in KERNEL_TRANSFORMS if transform.cipher is None and transform in able]
            assert SHA256 in mine
            sas = [replace(data_sa(flow, transform), spi=Spi(0x2000 + at)) for at, transform in enumerate(mine)]
            await reach(path, databases(Role.BOTH, *sas, traffic=(flow,)))
            assert len((await path.current()).sad) == len(mine)

    asyncio.run(story())


@pytest.mark.needs_esp
@pytest.mark.parametrize("transform", [SHA256, CBC], ids=str)
@pytest.mark.parametrize("family", [4, 6])
def test_one_sa_serves_several_flows(hosts: tuple[Host, Host], family: int, transform: Transform) -> None:
    """As key servers of deployed GET VPNs give them: one SPI and key in a SAT for each selector."""
    tx, rx = hosts
    flows = tuple(Flow.parse(GROUPS[family], protocol=17, port=port) for port in (PORT, PORT + 1))
    receiver, sender = rx.receiver(GROUPS[family]), tx.sender(SOURCES[family])

    async def story() -> None:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            sas = [data_sa(flow, transform) for flow in flows]
            for path, role in ((receiving, Role.RECEIVER), (sending, Role.SENDER)):
                await reach(path, databases(role, *sas))
                assert len((await path.current()).sad) == 1
            wire = tx.wire()
            for port in (PORT, PORT + 1):
                sender.sendto(b"to %d" % port, (GROUPS[family], port))
            assert receive_all(receiver) == [b"to %d" % PORT]
            assert len(packets_to(wire, GROUPS[family])) == 2

    asyncio.run(story())
