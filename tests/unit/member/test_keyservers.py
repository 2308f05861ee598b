import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.errors import LocalError
from agent.gdoi.events import (
    Dropped,
    MemberEvent,
    PeerSaid,
    PhaseOneClosed,
    PhaseOneEstablished,
    PhaseOneFailed,
    RegistrationFailed,
)
from agent.gdoi.failures import FailureCause
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.natt import MARKER
from agent.member.keyservers import KeyServers, LocalPorts
from agent.member.setup import ServerSetup, prepare
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.member.support import GCKS, GROUP, configuration

PEER = Endpoint(IPAddress("127.0.0.1"), 848)
SECOND = """
[[key_servers]]
name = "ks2"
address = "::1"
identity = { type = "fqdn", value = "ks2.example" }
psk_file = "ks1.psk"
groups = [1234]
transforms = ["aes-gcm-16-128"]
"""


class World:
    """Key servers, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[str, MemberEvent]] = []
        self.pushed: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue()
        self.servers = KeyServers(
            SystemClock(),
            SystemEntropy(),
            lambda name, event: self.told.append((name, event)),
            lambda *datagram: self.pushed.put_nowait(datagram),
        )

    def setups(self, *, second: bool = False, port: int = 848) -> dict[str, ServerSetup]:
        path = configuration(self.folder, port=port)
        if second:
            path.write_text(path.read_text() + SECOND)
        return dict(prepare(path).servers)


def run(folder: Path, body: Callable[[World], Awaitable[None]]) -> World:
    async def whole() -> World:
        world = World(folder)
        try:
            await body(world)
        finally:
            world.servers.close()
        return world

    return asyncio.run(whole())


def test_what_did_not_change_keeps_its_engine(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        assert world.servers.configure(world.setups(), LocalPorts()) == frozenset()
        first = world.servers.servers["ks1"]
        assert world.servers.configure(world.setups(second=True), LocalPorts()) == frozenset()
        assert world.servers.servers["ks1"] is first
        assert list(world.servers.servers) == ["ks1", "ks2"]
        assert world.servers.configure(world.setups(), LocalPorts()) == {"ks2"}
        assert world.servers.servers["ks1"] is first
        assert world.servers.configure(world.setups(port=849), LocalPorts()) == {"ks1"}
        assert world.servers.servers["ks1"] is not first

    run(tmp_path, body)


def test_another_local_port_changes_all_and_one_in_use_changes_nothing(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts())
        first = world.servers.servers["ks1"]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind(("::", 0))
            taken = other.getsockname()[1]
            with pytest.raises(LocalError, match="is in use"):
                world.servers.configure(world.setups(second=True), LocalPorts(taken))
        assert world.servers.servers == {"ks1": first}
        assert world.servers.configure(world.setups(), LocalPorts(taken)) == {"ks1"}

    run(tmp_path, body)


def test_a_key_server_is_told_from_others_by_address_and_port(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def body(world: World) -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            real.bind(("127.0.0.1", 0))
            real.settimeout(5)
            world.servers.configure(world.setups(port=real.getsockname()[1]), LocalPorts())
            world.servers.servers["ks1"].register(GROUP, SystemClock().monotonic())
            _, member = await asyncio.to_thread(real.recvfrom, 65535)
            stranger.sendto(b"hello", member)
            real.sendto(b"garbage", member)
            await asyncio.sleep(0.05)
        assert world.servers.servers["ks1"].dropped == 1
        assert [type(event) for _, event in world.told] == [Dropped]

    run(tmp_path, body)
    dropped = [record for record in caplog.records if record.getMessage() == "datagram dropped"]
    assert len(dropped) == 2


def test_how_phase_1_stands_is_remembered(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts())
        server = world.servers.servers["ks1"]
        events: list[tuple[MemberEvent, bool | None]] = [
            (PeerSaid(PEER, 24, "AUTHENTICATION-FAILED", authenticated=False), None),
            (PhaseOneFailed(PEER, FailureCause.WRONG_KEY, "wrong key?", final=False), None),
            (PhaseOneFailed(PEER, FailureCause.NO_ANSWER, "no answer"), False),
            (PhaseOneEstablished(PEER, GCKS, "psk", "suite", bytes(16)), True),
            (PhaseOneClosed(PEER, GCKS, "idle"), False),
        ]
        for event, established in events:
            world.servers._handle("ks1", event)
            phase_one = server.phase_one
            assert (None if phase_one is None else phase_one.established) is established
        assert [event for _, event in world.told] == [event for event, _ in events]

    run(tmp_path, body)


def test_the_same_garbage_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts())
        for _ in range(50):
            world.servers._handle("ks1", Dropped(PEER, "no cookie of ours"))
            world.servers._handle("ks1", PeerSaid(PEER, 16, "PAYLOAD-MALFORMED", authenticated=False))
        assert world.servers.servers["ks1"].dropped == 50

    run(tmp_path, body)
    assert len(caplog.records) == 2


def test_what_is_heard_while_phase_1_is_under_way_is_shown_until_its_end(tmp_path: Path) -> None:
    heard = PeerSaid(PEER, 14, "GCKS says NO-PROPOSAL-CHOSEN (unauthenticated)", authenticated=False)

    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts())
        server = world.servers.servers["ks1"]
        for end, detail in (
            (PhaseOneEstablished(PEER, GCKS, "psk", "suite", bytes(16)), "fqdn:ks1.example by psk, suite"),
            (PhaseOneFailed(PEER, FailureCause.NO_PROPOSAL_CHOSEN, "no suite in common"), "no suite in common"),
        ):
            world.servers._handle("ks1", heard)
            assert server.detail == heard.text
            world.servers._handle("ks1", end)
            assert server.detail == detail
        world.servers._handle("ks1", PeerSaid(PEER, 24, "GCKS says no", authenticated=True))
        assert server.detail == "no suite in common"

    run(tmp_path, body)


def test_a_silent_key_server_is_shown_and_logged_long_before_it_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.member.keyservers._SHOWN_S", 0.05)
    monkeypatch.setattr("agent.member.keyservers._LOGGED_S", 0.05)
    caplog.set_level("INFO")

    async def body(world: World) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            peer = Endpoint(PEER.address, silent.getsockname()[1])
            world.servers.configure(world.setups(port=peer.port), LocalPorts())
            server = world.servers.servers["ks1"]
            server.register(GROUP, SystemClock().monotonic())
            assert server.detail is None
            await asyncio.sleep(0.15)
            assert server.detail == f"no answer for 0 s from {peer}"
            server.feed(b"garbage", peer, peer)
            assert server.detail is None
            world.servers._handle("ks1", PeerSaid(peer, 14, "GCKS says no", authenticated=False))
            await asyncio.sleep(0.15)
            assert server.detail == server.heard == "GCKS says no"
            server.heard = None
            world.servers._handle("ks1", RegistrationFailed(GROUP, FailureCause.NO_ANSWER, "no answer"))
            await asyncio.sleep(0.15)
            assert server.detail is None

    run(tmp_path, body)
    assert [record.getMessage() for record in caplog.records if "no answer" in record.getMessage()] == [
        "no answer yet, asking on"
    ]


def test_a_port_for_nats_that_is_in_use_gives_way_to_any(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 0))  # as the key servers' own port is bound
            taken = other.getsockname()[1]
            world.servers.configure(world.setups(), LocalPorts(natt=taken))
            first, second = world.servers._ports[4].endpoints
            assert taken not in (first.port, second.port)
            with pytest.raises(LocalError, match="is in use"):
                world.servers.configure(world.setups(), LocalPorts(taken))

    run(tmp_path, body)


def test_a_key_server_is_known_by_its_port_behind_a_nat_too(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts(natt=0))
        server = world.servers.servers["ks1"]
        assert server.endpoints == {PEER, Endpoint(IPAddress("127.0.0.1"), 4500)}
        assert set(world.servers._by_endpoint) == server.endpoints
        world.servers.configure(world.setups(), LocalPorts())
        assert world.servers.servers["ks1"].endpoints == {PEER}

    run(tmp_path, body)


def test_a_key_server_that_no_longer_answers_is_told_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts())
        world.servers._handle("ks1", PhaseOneClosed(PEER, GCKS, "the GCKS is silent", FailureCause.PEER_DEAD))
        phase_one = world.servers.servers["ks1"].phase_one
        assert phase_one is not None
        assert not phase_one.established

    run(tmp_path, body)
    assert [record.levelname for record in caplog.records if record.message == "Phase 1 closed"] == ["WARNING"]


@pytest.mark.parametrize("natt", [False, True])
@pytest.mark.requirement("ACK-3-01")
def test_a_unicast_rekey_goes_to_who_takes_rekeys_and_its_acknowledgement_back(tmp_path: Path, natt: bool) -> None:
    """Whoever sends it: its Rekey SA tells. At the port for NAT traversal both are marked."""
    push = b"s" * 16 + bytes([18, 0x10, ExchangeType.GROUPKEY_PUSH, 1]) + bytes(20)

    async def body(world: World) -> None:
        world.servers.configure(world.setups(), LocalPorts(natt=0))
        port = world.servers._ports[4].endpoints[natt].port
        marker = MARKER if natt else b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gcks:
            gcks.bind(("127.0.0.1", 0))
            gcks.sendto(marker + push, ("127.0.0.1", port))
            payload, peer, local = await asyncio.wait_for(world.pushed.get(), 5)
            assert (payload, peer.port, local) == (push, gcks.getsockname()[1], Endpoint(PEER.address, port))
            world.servers.send(Datagram(b"ack", peer, local))
            gcks.settimeout(5)
            assert gcks.recvfrom(100) == (marker + b"ack", ("127.0.0.1", port))
            gcks.sendto(push if natt else MARKER + push, ("127.0.0.1", port))
            await asyncio.sleep(0.1)
            assert world.pushed.empty()

    run(tmp_path, body)
