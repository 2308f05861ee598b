"""gmd on a real kernel: the first packet registers, through the very traffic that is protected; then all is protected.

The key server's own address lies within the prefix that the group protects.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import SystemClock, SystemEntropy
from agent.datapath.kernel import KernelDataPath
from agent.datapath.plan import plan
from agent.gcks.service import KeyServer
from agent.gsa.expansion import Demand
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from agent.member.service import GmdService
from tests.kernel.datapath.lan import ESP, Host, inside, packets_to
from tests.kernel.member.wire import OWN, SERVERS, Version, Wire, ip, wire
from tests.unit.gcks.support import key_server_file, served_group
from tests.unit.member.support import GROUP, configuration, group_table

PORT = 5000
PREFIXES = {4: "10.9.0.0/24", 6: "fd09::/64"}
UDP = 17
CBC = "aes-cbc-128+hmac-sha2-256"
MOST_LOST = 40
"""Of packets every 25 ms until the first arrives: what a registration in a slow kernel takes."""


class _DoneError(Exception):
    """Ends the TaskGroup of a test."""


@pytest.fixture
def plugged() -> Iterator[Wire]:
    with wire() as made:
        made.plug_in()
        yield made


def flow_table(version: Version) -> str:
    return f'destination = "{PREFIXES[version]}", source = "{PREFIXES[version]}", protocol = "udp", port = {PORT}'


def key_server(folder: Path, psk: str, version: Version) -> KeyServer:
    folder.mkdir(mode=0o700)
    group = served_group(1234, "sites", {"gm": "both"}, flow_table(version), transform=CBC)
    group += 'mode = "tunnel"\n'
    members = {"gm": (str(OWN[version]), psk)}
    return KeyServer(key_server_file(folder, 848, members, group, listen=(str(SERVERS[version]),)))


def member(folder: Path, version: Version) -> Path:
    extra = 'register = "first-packet"\nleave = "deregister"\nidle_s = 3'
    group = group_table(1234, "239.1.1.1", extra=extra)
    path = configuration(folder, groups=group.replace('destination = "239.1.1.1"', flow_table(version)))
    text = path.read_text().replace("127.0.0.1", str(SERVERS[version]))
    path.write_text(text.replace("aes-gcm-16-128", CBC))
    return path


async def receive_on(host: Host, held: GroupSA, version: Version) -> None:
    """The other end, as a member with the same GSA has it."""
    now = SystemClock().monotonic()
    (sa,) = held.data
    policy = GroupPolicy(GROUP, Role.RECEIVER, (sa.flow,))
    desired = Gspd([policy], {GROUP: {Demand(None, SERVERS[version])}}).desired({GROUP: held}, now)
    async with host.data_path() as path:
        for outcome in await path.apply(plan(desired.databases, await path.current())):
            assert outcome.error is None, outcome


async def state(gmd: GmdService, wanted: str) -> None:
    for _ in range(600):
        (row,) = await gmd._groups({})
        if row["state"] == wanted:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{row['state']}, not {wanted}: {row['cause']} {row['problems']}")


@pytest.mark.needs_esp
@pytest.mark.requirement("MIPSEC-4.1.1-08", "MIPSEC-4.1.1-10", "MIPSEC-4.1.1-01", "ARCH-5.2-02")
@pytest.mark.parametrize("version", [4, 6])
def test_the_first_packet_registers_and_what_follows_is_protected(
    plugged: Wire, tmp_path: Path, version: Version
) -> None:
    server = Host(plugged.server)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    gckd = key_server(tmp_path / "ks", "open sesame, and stay open\n", version)
    there = (str(SERVERS[version]), PORT)

    async def whole() -> None:
        with inside(plugged.server):
            received = socket.socket(family, socket.SOCK_DGRAM)
        sender, capture = socket.socket(family, socket.SOCK_DGRAM), _capture()
        with received, sender, capture:
            received.bind(there)
            received.setblocking(False)
            async with KernelDataPath(SystemClock()) as path, asyncio.TaskGroup() as tasks:
                gmd = GmdService(member(tmp_path, version), path, SystemClock(), SystemEntropy(), chance=lambda: 0.0)
                with inside(plugged.server):
                    await gckd.start(tasks)
                try:
                    await gmd.start(tasks)
                    await state(gmd, "resting")
                    began = time.monotonic()
                    sender.sendto(b"first", there)
                    await state(gmd, "registered")
                    held = gmd._registrations[GROUP].held
                    assert held is not None
                    await receive_on(server, held, version)
                    lost = await _send_until_heard(sender, received, there)
                    print(f"IPv{version}: heard after {time.monotonic() - began:.2f} s, {1 + lost} packets lost")
                    assert lost < MOST_LOST
                    await _all_arrive(sender, received, there)
                    sent = packets_to(capture, there[0])
                    assert {packet.protocol for packet in sent} == {ESP, UDP}
                    # UDP in clear is GDOI alone, whose destination port is beneath 1024.
                    assert all(_port(packet.octets, version) == 848 for packet in sent if packet.protocol == UDP)
                    await state(gmd, "resting")
                    assert await _is_without_sas(path)
                finally:
                    await gmd.stop()
                    await gckd.stop()
                raise _DoneError

    try:
        asyncio.run(whole())
    except* _DoneError:
        pass


def _capture() -> socket.socket:
    ip("link set gm0 up")
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind(("gm0", 0))
    opened.setblocking(False)
    return opened


def _port(octets: bytes, version: Version) -> int:
    at = 14 + (20 if version == 4 else 40) + 2
    return int.from_bytes(octets[at : at + 2])


async def _send_until_heard(sender: socket.socket, received: socket.socket, there: tuple[str, int]) -> int:
    """How many were lost before one arrived."""
    for lost in range(MOST_LOST):
        sender.sendto(b"again", there)
        await asyncio.sleep(0.025)
        if _drain(received):
            return lost
    return MOST_LOST


async def _all_arrive(sender: socket.socket, received: socket.socket, there: tuple[str, int]) -> None:
    for _ in range(20):
        sender.sendto(b"payload", there)
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    assert _drain(received) == [b"payload"] * 20


async def _is_without_sas(path: KernelDataPath) -> bool:
    for _ in range(100):
        if (await path.current()).sad == ():
            return True
        await asyncio.sleep(0.05)
    return False


def _drain(received: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(received.recv(2048))
        except BlockingIOError:
            return found
