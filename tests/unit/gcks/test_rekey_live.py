"""gckd whole and a member's engines over loopback: GROUPKEY-PUSH out, acknowledgement back, and what gckctl says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.errors import LocalError
from agent.gcks.service import KeyServer
from agent.gdoi.events import RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gdoi.rekey_events import Rekeyed, RekeyEvent
from agent.gdoi.rekey_member import RekeyMember
from agent.gsa.identity import GroupId
from agent.service.control import ask
from agent.service.udp import DatagramPort
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import free_port, key_server_file, name, served_group, until
from tests.unit.gcks.test_live import PERMISSIVE, Member

VIDEO = GroupId.of_number(1234)
MEMBERS = {"sender": ("127.0.0.2", "key of sender"), "receiver": ("127.0.0.3", "key of receiver")}
GROUP = "239.9.9.9"
MULTICAST = f'destination = "{GROUP}"\ninterface = "lo"'
UNICAST = 'transport = "unicast"'


def kek(port: int, transport: str, acknowledgement: str, lkh: bool) -> str:
    return f"""
[groups.kek]
source = "127.0.0.1"
port = {port}
{transport}
acknowledgement = "{acknowledgement}"
copies = 2
copy_pause_s = 0.4
ack_wait_s = 1
{"[groups.kek.lkh]" if lkh else ""}
"""


class Host:
    """The key server's host, and the port that rekeys leave by and arrive at."""

    def __init__(self, folder: Path, transport: str, acknowledgement: str, *, lkh: bool) -> None:
        self.port, self.socket = free_port(), folder / "gckd.sock"
        flow = 'destination = "239.1.1.1", protocol = "udp", port = 5000'
        group = served_group(1234, "video", {"sender": "sender", "receiver": "receiver"}, flow, lifetime_s=600)
        self.unicast = transport == UNICAST
        text = group + kek(self.port, transport, acknowledgement, lkh)
        self.file = key_server_file(folder, self.port, MEMBERS, text)

    def run(self, body: Callable[[KeyServer], Awaitable[None]]) -> None:
        async def inside() -> None:
            server = KeyServer(self.file)
            async with asyncio.TaskGroup() as tasks:
                await server.start(tasks)
                try:
                    await body(server)
                finally:
                    await server.stop()

        asyncio.run(inside())

    async def gckctl(self, command: str, **arguments: object) -> Any:
        return await asyncio.to_thread(ask, self.socket, command, arguments)

    async def settled(self) -> list[dict[str, Any]]:
        """The rekeys of the group once none is under way."""
        rows: list[dict[str, Any]] = []

        async def over() -> bool:
            rows[:] = (await self.gckctl("rekeys", group="video"))[0]["rekeys"]
            return bool(rows) and all(row["state"] not in ("sending", "waiting") for row in rows)

        await until(over)
        return rows


class Listening:
    """A member that registered and hears rekeys; each that it takes is acknowledged at once."""

    def __init__(self, host: Host, title: str) -> None:
        address, key = MEMBERS[title]
        self.address = IPAddress(address)
        self.member = Member(host, address, name(f"{title}.example"), key)
        self.engine = RekeyMember(SystemEntropy(), ack_jitter_s=0.0)
        self.events: list[RekeyEvent] = []
        self._clock = SystemClock()
        self._host = host
        self._port = DatagramPort.bind([self.address], host.port)
        self._group: socket.socket | None = None

    async def start(self) -> None:
        given = await self.member.registered(VIDEO)
        self.engine.watch(given, entry=PERMISSIVE.entries[0], address=self.address, now=self._clock.monotonic())
        if self._host.unicast:
            self.member.port.start(self._take)
        else:
            self._group = joined(self._host.port)
            asyncio.get_running_loop().add_reader(self._group, self._read)

    def _read(self) -> None:
        assert self._group is not None
        payload, (address, port) = self._group.recvfrom(65535)
        self._take(payload, Endpoint(IPAddress(address), port), Endpoint(IPAddress(GROUP), self._host.port))

    def _take(self, datagram: bytes, peer: Endpoint, local: Endpoint) -> None:
        now = self._clock.monotonic()
        self.engine.receive(datagram, peer, local, now)
        for event in self.engine.events():
            self.events.append(event)
            if isinstance(event, Rekeyed):
                self.engine.acknowledge(event.group, event.update.sequence, now)
        self.engine.fire(now + 0.001)
        for answer in self.engine.outgoing():
            (self.member.port if self._host.unicast else self._port).send(answer)

    @property
    def rekeyed(self) -> list[Rekeyed]:
        return [event for event in self.events if isinstance(event, Rekeyed)]

    def close(self) -> None:
        if self._group is not None:
            asyncio.get_running_loop().remove_reader(self._group)
            self._group.close()
        self._port.close()
        self.member.close()


def joined(port: int) -> socket.socket:
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    heard.bind((GROUP, port))
    membership = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), socket.if_nametoindex("lo"))
    heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return heard


@pytest.fixture(autouse=True)
def _own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.logs.configure", lambda _form: None)  # pytest keeps its own handlers


@pytest.mark.requirement("ACK-2-01", "ACK-5-01", "ACK-5-04", "ACK-7.3-01", "ACK-1-01", "MIPSEC-4.2-01", "MSEC-4.4-01")
@pytest.mark.parametrize("transport", [MULTICAST, UNICAST], ids=["multicast", "unicast"])
@pytest.mark.parametrize("acknowledgement", ["kek-sha2-256", "lkh-sha2-512"])
def test_a_rekey_on_request_reaches_every_member_and_is_acknowledged(
    tmp_path: Path, transport: str, acknowledgement: str
) -> None:
    host = Host(tmp_path, transport, acknowledgement, lkh=acknowledgement.startswith("lkh"))

    async def body(_server: KeyServer) -> None:
        members = [Listening(host, "sender"), Listening(host, "receiver")]
        for member in members:
            await member.start()
        report = await host.gckctl("rekey", group="video", kek=True)
        assert report["cause"] == "requested"
        assert len(report["pushes"]) == 2
        rows = await host.settled()
        assert [(row["state"], row["expected"], row["acknowledged"]) for row in rows] == [("acknowledged", 2, 2)] * 2
        for member in members:
            spis = [sa.spi for event in member.rekeyed for sa in event.update.data]
            assert len(set(spis)) == 1
            assert any(event.update.rekey is not None for event in member.rekeyed)
        assert all(row["kek"] for row in await host.gckctl("groups"))
        status = await host.gckctl("status")
        assert (status["rekeys"]["rekeys"], status["rekeys"]["acknowledgements"]) == (2, 4)
        for member in members:
            member.close()

    host.run(body)


def test_an_evicted_member_is_shut_out_until_it_is_admitted(tmp_path: Path) -> None:
    host = Host(tmp_path, MULTICAST, "lkh-sha2-256", lkh=True)

    async def body(_server: KeyServer) -> None:
        stays, goes = Listening(host, "sender"), Listening(host, "receiver")
        await stays.start()
        await goes.start()
        await host.gckctl("evict", group="1234", member="receiver")
        rows = await host.settled()
        assert {(row["state"], row["expected"], row["acknowledged"]) for row in rows} == {("acknowledged", 1, 1)}
        assert not any(event.update.data or event.update.rekey for event in goes.rekeyed)
        outcome = await goes.member.register(VIDEO)
        assert isinstance(outcome, RegistrationFailed)
        assert outcome.cause is FailureCause.NOT_A_MEMBER
        (row,) = await host.gckctl("rekeys")
        assert row["evicted"] == ["receiver"]
        states = {each["member"]: each["state"] for each in await host.gckctl("members")}
        assert states == {"sender": "registered", "receiver": "evicted"}
        await host.gckctl("admit", group="video", member="receiver")
        await goes.member.registered(VIDEO)
        with pytest.raises(LocalError, match="not evicted"):
            await host.gckctl("admit", group="video", member="receiver")
        stays.close()
        goes.close()

    host.run(body)


def test_what_gckctl_cannot_do_says_why(tmp_path: Path) -> None:
    host = Host(tmp_path, MULTICAST, "kek-sha2-256", lkh=False)

    async def body(_server: KeyServer) -> None:
        for command, arguments, says in (
            ("rekey", {"group": "audio"}, r"'audio' is no group served: 1234 \(video\)"),
            ("evict", {"group": "video", "member": "nobody"}, "is the name of no member"),
            ("rekeys", {"limit": "many"}, "limit: a whole number"),
        ):
            with pytest.raises(LocalError, match=says):
                await host.gckctl(command, **arguments)

    host.run(body)
