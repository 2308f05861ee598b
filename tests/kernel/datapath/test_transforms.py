"""Packets through a real kernel under every transform that it has, of ESP and of AH, in each mode and family."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from netaddr import IPAddress

from agent.datapath.kernel import KernelDataPath
from agent.datapath.kernel_names import KERNEL_TRANSFORMS
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases
from agent.gsa.flow import Flow
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.kernel.datapath.lan import PORT, Host, lan, packets_to, reach

GROUP = GroupId.of_number(1234)
KS = Identity.parse(IdentityKind.FQDN, "ks.example")
GROUPS = {4: "239.1.1.1", 6: "ff3e::8000:1"}
SOURCES = {4: "10.9.0.1", 6: "fd09::1"}
SIZES = (30, 1200, 3000)
"""Octets of the datagrams; the last leaves in fragments, which the receiver puts together before ESP or AH sees it."""
PROTOCOLS = {SecurityProtocol.ESP: 50, SecurityProtocol.AH: 51}
FRAGMENT = 44  # the IPv6 header that says so


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with lan() as both:
        yield both


def databases(role: Role, sa: DataSA) -> Databases:
    addresses = tuple(IPAddress(source) for source in SOURCES.values()) if role.sends else ()
    held = GroupSA(GROUP, KS, (sa,), received=0.0, sender_ids=(1,), sender_id_bits=16)
    desired = Gspd([GroupPolicy(GROUP, role, (sa.flow,), addresses)]).desired({GROUP: held}, 0.0)
    assert desired.refusals == ()
    return desired.databases


def arrived(receiver: socket.socket, payloads: list[bytes]) -> list[bytes]:
    """What comes for each that was sent; nothing for one that does not within the receiver's time."""
    got = []
    for _ in payloads:
        try:
            got.append(receiver.recv(65536))
        except TimeoutError:
            break
    return got


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-1.1-01", "MIPSEC-3-01", "ARCH-4.1-06", "ESP-3.4-01", "AH-3.3-01")
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("family", [4, 6])
def test_packets_flow_under_every_transform(hosts: tuple[Host, Host], family: int, mode: Mode) -> None:
    tx, rx = hosts
    group = GROUPS[family]
    flow = Flow.parse(group, protocol=17, port=PORT)
    wire, receiver, sender = tx.wire(), rx.receiver(group), tx.sender(SOURCES[family])
    receiver.settimeout(5.0)

    async def one(sending: KernelDataPath, receiving: KernelDataPath, transform: Transform, spi: int) -> str | None:
        sa = DataSA(
            SecurityProtocol.of(transform),
            Spi(spi),
            flow,
            mode,
            transform,
            Secret(bytes(range(transform.cipher_key_octets))),
            Secret(bytes(range(transform.integrity_key_octets))),
        )
        await reach(receiving, databases(Role.RECEIVER, sa))
        await reach(sending, databases(Role.SENDER, sa))
        packets_to(wire, group)
        payloads = [bytes([octets % 251]) * octets for octets in SIZES]
        for payload in payloads:
            sender.sendto(payload, (group, PORT))
        if arrived(receiver, payloads) != payloads:
            return f"{transform}: not all arrived"
        protocols = [packet.protocol for packet in packets_to(wire, group)]
        if not set(protocols) <= {PROTOCOLS[sa.protocol], FRAGMENT} or len(protocols) <= len(SIZES):
            return f"{transform}: on the wire were {protocols}"
        return None

    async def story() -> list[str]:
        async with tx.data_path() as sending, rx.data_path() as receiving:
            able = (await sending.probe()).transforms
            mine = [transform for transform in KERNEL_TRANSFORMS if transform in able]
            assert {SecurityProtocol.of(transform) for transform in mine} == set(SecurityProtocol)
            wrong = [await one(sending, receiving, transform, 0x2000 + at) for at, transform in enumerate(mine)]
            return [words for words in wrong if words is not None]

    assert asyncio.run(story()) == []
