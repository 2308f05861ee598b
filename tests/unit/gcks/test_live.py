"""gckd whole, with real members over loopback UDP: registrations, refusals told on both sides, renewal, restart."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.gcks.service import KeyServer
from agent.gdoi.events import MemberEvent, PhaseOneClosed, Registered, RegistrationFailed
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials
from agent.gdoi.member import MemberEngine
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.settings import MemberSettings
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry
from agent.gsa.identity import GroupId, Identity
from agent.gsa.pad import PadId
from agent.gsa.sa import DataSA, Direction, GroupSA
from agent.secret import Secret
from agent.service.pump import Pump
from agent.service.udp import DatagramPort
from agent.wire.endpoint import Endpoint
from tests.unit.gcks.support import free_port, key_server_file, name, served_group, until

MEMBERS = {
    "sender": ("127.0.0.2", "key of sender"),
    "receiver": ("127.0.0.3", "key of receiver"),
    "six": ("::1", "key of six"),
}
GROUPS = served_group(
    1234,
    "video",
    {"sender": "sender", "receiver": "receiver", "six": "receiver"},
    'destination = "239.1.1.1", protocol = "udp", port = 5000',
    lifetime_s=600,
) + served_group(
    1235,
    "telemetry",
    {"receiver": "both"},
    'destination = "ff3e::8000:1", protocol = "udp", port = 5000',
    transform="aes-cbc-128+hmac-sha2-256",
)
VIDEO, TELEMETRY = GroupId.of_number(1234), GroupId.of_number(1235)
KEY_SERVER = name("ks1.example")


class SkewedClock(SystemClock):
    """The host's clocks, moved ahead by hand."""

    __slots__ = ("ahead_s",)

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    def utc(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)


class Served(Protocol):
    """Where a key server is, on loopback."""

    port: int


class Member:
    """A member with one address, identity and key; `register` gives what came of it."""

    def __init__(self, host: Served, address: str, identity: Identity, key: str, gpad: Gpad | None = None) -> None:
        here = IPAddress(address)
        there = Endpoint(IPAddress("127.0.0.1" if here.version == 4 else "::1"), host.port)
        self._clock = SystemClock()
        self.port = DatagramPort.bind([here], 0)
        settings = MemberSettings(there, self.port.endpoints[0], identity, retry=RetryPolicy(first_s=0.1, retries=2))
        credentials = StaticCredentials({there.address: PeerKey(Secret(key.encode()))})
        self.engine = MemberEngine(
            settings, credentials, gpad or PERMISSIVE, SystemEntropy(), lambda: datetime.now(UTC)
        )
        self.events: list[MemberEvent] = []
        self._pump = Pump[MemberEvent](self.engine, self.port.send, self.events.append, self._clock)
        self.port.start(self._pump.feed)

    async def register(self, group: GroupId) -> Registered | RegistrationFailed:
        self.events.clear()
        self.engine.register(group, self._clock.monotonic())
        self._pump.turn()
        outcome: list[Registered | RegistrationFailed] = []

        async def ended() -> bool:
            outcome.extend(event for event in self.events if isinstance(event, Registered | RegistrationFailed))
            return bool(outcome)

        await until(ended)
        return outcome[0]

    async def registered(self, group: GroupId) -> GroupSA:
        outcome = await self.register(group)
        assert isinstance(outcome, Registered), outcome
        return outcome.group_sa

    def close(self) -> None:
        self.engine.close(self._clock.monotonic())
        self._pump.turn()
        self._pump.close()
        self.port.close()


def gpad(*flows: str, identity: Identity = KEY_SERVER) -> Gpad:
    transforms = frozenset(map(Transform.parse, ("aes-gcm-16-128", "aes-cbc-128+hmac-sha2-256")))
    groups = frozenset({VIDEO, TELEMETRY, GroupId.of_number(9)})
    return Gpad((GpadEntry("ks1", (PadId.of(identity),), groups, tuple(map(Flow.parse, flows)), transforms),))


PERMISSIVE = gpad("239.1.1.0/24", "ff3e::8000:0/112")


class Host:
    """The key server's host: its file, clock and port outlive its runs."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.port = SkewedClock(), free_port(socket.AF_INET6)
        self.file = key_server_file(folder, self.port, MEMBERS, GROUPS, listen=("127.0.0.1", "::1"))

    def run(self, body: Callable[[KeyServer], Awaitable[None]]) -> None:
        async def inside() -> None:
            server = KeyServer(self.file, clock=self.clock)
            async with asyncio.TaskGroup() as tasks:
                await server.start(tasks)
                try:
                    await body(server)
                finally:
                    await server.stop()

        asyncio.run(inside())

    def sender(self, key: str = "key of sender", **more: Gpad) -> Member:
        return Member(self, "127.0.0.2", name("sender.example"), key, **more)

    def receiver(self) -> Member:
        return Member(self, "127.0.0.3", name("receiver.example"), "key of receiver")

    def six(self) -> Member:
        return Member(self, "::1", name("six.example"), "key of six")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr("agent.logs.configure", lambda _form: None)  # pytest keeps its own handlers
    return Host(tmp_path)


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(str(getattr(record, "facts", {}).get("reason", "")) for record in caplog.records)


@pytest.mark.requirement("GKM-3.1-01", "CTR-4-01", "5374:CTR-4-05")
def test_members_get_equal_keys_over_ipv4_and_ipv6_each_with_its_direction_and_sid(host: Host) -> None:
    async def body(_server: KeyServer) -> None:
        members = [host.sender(), host.receiver(), host.six()]
        given = [await member.registered(VIDEO) for member in members]
        assert [sa.gcks for sa in given] == [KEY_SERVER] * 3
        sas = [group_sa.data[0] for group_sa in given]
        assert [sa.direction for sa in sas] == [
            Direction.SENDER_ONLY,
            Direction.RECEIVER_ONLY,
            Direction.RECEIVER_ONLY,
        ]
        assert sas[0].spi == sas[1].spi == sas[2].spi
        assert sas[0].cipher_key == sas[1].cipher_key == sas[2].cipher_key
        assert sas[0].flow == Flow.parse("239.1.1.1", protocol=17, port=5000)
        assert [group_sa.sender_ids for group_sa in given] == [(0,), (1,), (2,)]
        assert {group_sa.sender_id_bits for group_sa in given} == {16}
        telemetry = await members[1].registered(TELEMETRY)
        assert telemetry.data[0].direction is Direction.SYMMETRIC
        assert telemetry.sender_ids == ()
        for member in members:
            member.close()

    host.run(body)


def test_refusals_name_the_cause_on_both_sides(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def refused(member: Member, group: GroupId) -> RegistrationFailed:
        outcome = await member.register(group)
        member.close()
        assert isinstance(outcome, RegistrationFailed), outcome
        return outcome

    async def body(server: KeyServer) -> None:
        no_member = await refused(host.sender(), TELEMETRY)
        assert no_member.cause is FailureCause.NOT_A_MEMBER
        assert "not a member of group 1235" in no_member.text
        assert "not a member of group 1235" in reasons(caplog)

        unknown = await refused(host.sender(), GroupId.of_number(9))
        assert unknown.cause is FailureCause.UNKNOWN_GROUP
        assert "group 9 is not known here" in reasons(caplog)

        outside = await refused(host.sender(gpad=gpad("239.9.9.0/24")), VIDEO)
        assert outside.cause is FailureCause.POLICY_OUTSIDE_GPAD
        await until(lambda: said(caplog, "239.9.9.0/24", "lies outside the flows"))

        not_in_gpad = await refused(host.sender(gpad=gpad("239.1.1.0/24", identity=name("other.example"))), VIDEO)
        assert not_in_gpad.cause is FailureCause.GCKS_NOT_IN_GPAD
        await until(lambda: said(caplog, "does not list this GCKS"))

        wrong_key = await refused(host.sender("another key"), VIDEO)
        assert wrong_key.cause is FailureCause.WRONG_KEY
        assert "wrong pre-shared key?" in reasons(caplog)

        stranger = await refused(Member(host, "127.0.0.9", name("sender.example"), "key of sender"), VIDEO)
        assert stranger.cause is FailureCause.UNKNOWN_PEER

        posing = await refused(Member(host, "127.0.0.3", name("sender.example"), "key of receiver"), VIDEO)
        assert posing.cause is FailureCause.UNKNOWN_IDENTITY
        assert "0 registrations" in server.summary()

    host.run(body)


async def said(caplog: pytest.LogCaptureFixture, *any_of: str) -> bool:
    return any(text in reasons(caplog) for text in any_of)


def test_renewal_gives_old_and_new_and_a_restart_keeps_both(host: Host) -> None:
    sas: list[DataSA] = []

    async def renew(server: KeyServer) -> None:
        member = host.receiver()
        (old,) = (await member.registered(VIDEO)).data
        member.close()
        host.clock.ahead_s += 480.0
        server.wake()
        await until(lambda: leading(server))
        member = host.receiver()
        group_sa = await member.registered(VIDEO)
        first, new = group_sa.data
        assert first.spi == old.spi
        assert first.cipher_key == old.cipher_key
        assert new.spi != old.spi
        assert group_sa.activation_delay_s is not None
        assert 80 <= group_sa.activation_delay_s <= 90
        assert first.expires is not None
        assert new.send_from < first.expires
        sas.extend((first, new))
        member.close()

    async def restarted(_server: KeyServer) -> None:
        member = host.sender()
        group_sa = await member.registered(VIDEO)
        assert [(sa.spi, sa.cipher_key) for sa in group_sa.data] == [(sa.spi, sa.cipher_key) for sa in sas]
        assert group_sa.sender_ids == (2,), "two SIDs were given before"
        member.close()

    host.run(renew)
    host.run(restarted)


async def leading(server: KeyServer) -> bool:
    return "leading" in [row["state"] for row in await server.groups_view({})]


def test_a_reload_ends_the_phase_1_sas_of_credentials_that_hold_no_more(host: Host) -> None:
    async def body(server: KeyServer) -> None:
        sender, receiver = host.sender(), host.receiver()
        for member in (sender, receiver):
            await member.registered(VIDEO)
            member.events.clear()
        psk = host.file.parent / "sender.psk"
        psk.write_bytes(b"a key of another device")
        await server.reload()

        async def closed() -> bool:
            return any(isinstance(event, PhaseOneClosed) for event in sender.events)

        await until(closed)
        assert isinstance(await sender.register(VIDEO), RegistrationFailed)
        await receiver.registered(VIDEO)
        assert [type(event) for event in receiver.events] == [Registered], "on the SA that it has"
        sender.close()
        receiver.close()

    host.run(body)


def test_what_gckctl_shows_afterwards(host: Host) -> None:
    async def body(server: KeyServer) -> None:
        member = host.sender()
        await member.registered(VIDEO)
        member.close()
        rows = {row["member"]: row for row in await server.members_view({}) if row["group"] == "1234"}
        assert (rows["sender"]["state"], rows["sender"]["address"]) == ("registered", "127.0.0.2")
        assert rows["receiver"]["state"] == "never"
        assert server.summary() == "2 groups, 1 registrations, 0 refusals"

    host.run(body)
