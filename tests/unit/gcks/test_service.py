"""gckd's shell: start, reload, stop, and what gckctl is told; the engine is a stand-in that never hears anything."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config.loader import ConfigErrors
from agent.errors import LocalError
from agent.gcks.database import StoreError
from agent.gcks.service import KeyServer
from agent.service.control import ask
from agent.wire.endpoint import Datagram
from tests.unit.gcks.support import FakeClock, FakeEntropy, free_port, key_server_file, served_group, until

MEMBERS = {"sender": ("127.0.0.2", "a key")}
GROUP = served_group(
    1234,
    "video",
    {"sender": "sender"},
    'destination = "239.1.1.1", protocol = "udp", port = 5000',
    lifetime_s=20,
)


class SilentEngine:
    """Takes the place of KeyServerEngine; counts what the shell does to it."""

    def __init__(self, *_: object) -> None:
        self.heard: list[bytes] = []
        self.closed = False
        self._out: list[Datagram] = []

    def receive(self, datagram: bytes, peer: Any, local: Any, now: float) -> None:
        self.heard.append(datagram)
        self._out.append(Datagram(b"echo " + datagram, peer, local))

    def fire(self, now: float) -> None:
        raise AssertionError("there is no deadline")

    def outgoing(self) -> list[Datagram]:
        drained, self._out = self._out, []
        return drained

    def deadline(self) -> None:
        return None

    def prepare(self) -> None:
        """Nothing ahead."""

    def events(self) -> list[object]:
        return []

    def reconsider(self, outdated: object) -> None:
        assert callable(outdated)

    def close(self, now: float) -> None:
        self.closed = True


class Host:
    """A folder with a configuration, and a key server run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.port = folder, FakeClock(), free_port()
        self.file = key_server_file(folder, self.port, MEMBERS, GROUP)

    def change(self, *replacements: tuple[str, str]) -> None:
        """Write the file anew with these texts replaced."""
        text = self.file.read_text()
        for before, after in replacements:
            assert before in text
            text = text.replace(before, after)
        self.file.write_text(text)

    def run(self, body: Callable[[KeyServer], Awaitable[None]]) -> None:
        async def inside() -> None:
            server = KeyServer(self.file, clock=self.clock, entropy=FakeEntropy())
            async with asyncio.TaskGroup() as tasks:
                await server.start(tasks)
                try:
                    await body(server)
                finally:
                    await server.stop()

        try:
            asyncio.run(inside())
        except* LocalError as group:
            (error,) = group.exceptions
            raised = error
        else:
            return
        raise raised

    async def renewed(self) -> bool:
        return len(await self.ask("groups")) == 2

    async def ask(self, command: str, **arguments: object) -> Any:
        return await asyncio.to_thread(ask, self.folder / "gckd.sock", command, arguments)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr("agent.gcks.service.KeyServerEngine", SilentEngine)
    monkeypatch.setattr("agent.logs.configure", lambda _form: None)  # pytest keeps its own handlers
    return Host(tmp_path)


def test_what_gckctl_is_told(host: Host) -> None:
    async def body(server: KeyServer) -> None:
        status = await host.ask("status")
        assert status["identity"] == "fqdn:ks1.example"
        assert status["listening"] == [f"127.0.0.1:{host.port}"]
        assert (status["groups"], status["members"], status["refusals"]) == (1, 1, [])
        assert status["counts"]["registered"] == 0
        (group,) = await host.ask("groups")
        assert (group["group"], group["state"], group["remaining_s"]) == ("1234", "active", 20)
        (member,) = await host.ask("members")
        assert (member["member"], member["state"]) == ("sender", "never")
        assert server.summary() == "1 groups, 0 registrations, 0 refusals"

    host.run(body)
    assert not (host.folder / "gckd.sock").exists()


def test_datagrams_reach_the_engine_and_answers_the_peer(host: Host) -> None:
    async def body(_server: KeyServer) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(5)
            await asyncio.to_thread(peer.sendto, b"hello", ("127.0.0.1", host.port))
            assert await asyncio.to_thread(peer.recv, 100) == b"echo hello"

    host.run(body)


def test_teks_are_renewed_in_time_and_survive_a_restart(host: Host) -> None:
    spis: list[str] = []

    async def first(server: KeyServer) -> None:
        host.clock.advance(10.0)
        server.wake()
        await until(host.renewed)
        rows = await host.ask("groups")
        assert [row["state"] for row in rows] == ["active", "leading"]
        spis.extend(row["spi"] for row in rows)

    async def second(_server: KeyServer) -> None:
        assert [row["spi"] for row in await host.ask("groups")] == spis

    host.run(first)
    host.run(second)


def test_a_store_that_fails_is_told_and_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(server: KeyServer) -> None:
        async def full() -> None:
            raise StoreError("disk full")

        async def told() -> bool:
            return "the store failed: no TEK renewed, it is tried again" in caplog.messages

        with monkeypatch.context() as patch:
            patch.setattr("agent.gcks.keeper.TekKeeper.tick", lambda _self: full())
            server.wake()
            await until(told)
        host.clock.advance(10.0)
        server.wake()
        await until(host.renewed)

    host.run(body)


def test_reload_serves_what_the_file_says_now(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def body(server: KeyServer) -> None:
        host.change(("id = 1234", "id = 1235"), ('[{ name = "sender", role = "sender" }]', "[]"))
        await server.reload()
        assert [row["group"] for row in await host.ask("groups")] == ["1235"]
        assert "member removed: it holds its SAs until they end" in caplog.messages

    host.run(body)


def test_reload_of_a_wrong_file_changes_nothing(host: Host) -> None:
    async def body(server: KeyServer) -> None:
        host.change(("aes-gcm-16-128", "rot13"))
        with pytest.raises(ConfigErrors):
            await server.reload()
        assert (await host.ask("groups"))[0]["transform"] == "aes-gcm-16-128"

    host.run(body)


def test_reload_that_the_store_fails_serves_on_as_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(server: KeyServer) -> None:
        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        host.change(("id = 1234", "id = 1235"), ("port = 5000", "port = 5001"))
        with monkeypatch.context() as patch:
            patch.setattr("agent.gcks.store.Store.run", full)
            with pytest.raises(StoreError):
                await server.reload()
        assert [row["group"] for row in await host.ask("groups")] == ["1234"]
        await server.reload()
        assert [row["group"] for row in await host.ask("groups")] == ["1235"]

    host.run(body)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [("port = {port}", "port = 1", r"\[gckd\]"), ("ks1.example", "ks2.example", r"\[identity\]")],
)
def test_reload_says_what_takes_a_restart(host: Host, before: str, after: str, named: str) -> None:
    async def body(server: KeyServer) -> None:
        host.change((before.format(port=host.port), after))
        with pytest.raises(LocalError, match=f"{named} changed, which takes a restart"):
            await server.reload()

    host.run(body)


async def nothing(_server: KeyServer) -> None:
    pass


def test_a_port_in_use_is_named_and_the_store_free_again(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", host.port))
        with pytest.raises(LocalError, match=r"is in use: stop the other program") as caught:
            host.run(nothing)
        assert caught.value.exit_status == os.EX_UNAVAILABLE
    host.run(nothing)


def test_a_control_socket_that_cannot_be_is_named_and_the_port_free_again(host: Host) -> None:
    (host.folder / "gckd.sock").write_text("no socket")
    with pytest.raises(LocalError, match="is no socket"):
        host.run(nothing)
    (host.folder / "gckd.sock").unlink()
    host.run(nothing)


def test_a_second_gckd_on_one_store_is_refused(host: Host) -> None:
    async def body(_server: KeyServer) -> None:
        other = KeyServer(host.file, clock=host.clock, entropy=FakeEntropy())
        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(StoreError, match="another gckd"):
                await other.start(tasks)
        await other.stop()

    host.run(body)


def test_the_audit_log_is_told_and_keeps_who_was_removed(host: Host) -> None:
    async def body(server: KeyServer) -> None:
        async def written() -> bool:
            return bool(await host.ask("audit"))

        host.change(('[{ name = "sender", role = "sender" }]', "[]"))
        await server.reload()
        await until(written)
        (row,) = await host.ask("audit", group="1234", member="sender", since="2026-01-01", limit=5)
        assert (row["event"], row["group"], row["member"]) == ("member-removed", "1234", "sender")
        assert await host.ask("audit", member="fqdn:stranger.example") == []
        assert await host.ask("audit", since="2026-03-02T00:00:00+00:00") == []

    host.run(body)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"group": "nobody"}, "'nobody' is no number"),
        ({"member": "nobody"}, "'nobody' is the name of no member now, and no TYPE:VALUE"),
        ({"member": "fqdn:"}, "an identity is not empty"),
        ({"since": "yesterday"}, "since: an instant as in"),
        ({"limit": 0}, "limit: 1 to 20000, got 0"),
    ],
)
def test_what_the_audit_log_cannot_be_asked(host: Host, arguments: dict[str, object], says: str) -> None:
    async def body(_server: KeyServer) -> None:
        with pytest.raises(LocalError, match=says):
            await host.ask("audit", **arguments)

    host.run(body)


def test_members_behind_a_nat_are_served_on_a_port_of_their_own(host: Host) -> None:
    natt = free_port()
    host.change(("nat_traversal = false", f"nat_traversal_port = {natt}"))

    async def body(server: KeyServer) -> None:
        assert [endpoint.port for endpoint in server.port.endpoints] == [host.port, natt]

    host.run(body)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", natt))
        with pytest.raises(LocalError, match="or set nat_traversal = false, if no member is behind a NAT"):
            host.run(nothing)
    host.run(nothing)


def test_the_file_of_members_is_read_again_on_reload(host: Host) -> None:
    listing = host.folder / "members.csv"
    listing.write_text("name,type,identity,address,psk,groups\n")
    listing.chmod(0o600)
    host.file.write_text(host.file.read_text() + '[authorization]\nmembers_file = "members.csv"\n')

    async def body(server: KeyServer) -> None:
        assert len(await host.ask("members")) == 1
        listing.write_text(listing.read_text() + "relay7,fqdn,relay7.example,192.0.2.7,key,1234:receiver\n")
        await server.reload()
        assert [row["member"] for row in await host.ask("members")] == ["sender", "relay7"]
        listing.write_text(listing.read_text() + "relay7\n")
        with pytest.raises(ConfigErrors):
            await server.reload()
        assert len(await host.ask("members")) == 2

    host.run(body)
