import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.errors import LocalError
from agent.service import control
from agent.service.broadcast import Broadcast, Subscription
from agent.service.control import SCHEMA_VERSION, Caller, ControlServer, ask, follow


async def echo(arguments: Mapping[str, Any]) -> Any:
    return {"got": dict(arguments)}


async def refuse(_: Mapping[str, Any]) -> Any:
    raise LocalError("not now: try later")


def served(path: Path, use: Callable[[], Awaitable[Any]], *, group: str | None = None) -> Any:
    async def body() -> Any:
        server = ControlServer(path, {"echo": echo, "refuse": refuse}, group=group)
        await server.start()
        try:
            return await use()
        finally:
            await server.close()

    return asyncio.run(body())


def raw(path: Path, octets: bytes) -> list[Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            return [json.loads(line) for line in answers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.sock"


def test_a_command_is_answered(path: Path) -> None:
    async def use() -> Any:
        return await asyncio.to_thread(ask, path, "echo", {"group": 7})

    assert served(path, use) == {"got": {"group": 7}}
    assert not path.exists()


@pytest.mark.parametrize(("command", "says"), [("refuse", "not now: try later"), ("none", "known: echo, refuse")])
def test_a_refusal_names_its_cause(path: Path, command: str, says: str) -> None:
    async def use() -> None:
        with pytest.raises(LocalError, match=says) as caught:
            await asyncio.to_thread(ask, path, command)
        assert caught.value.exit_status == os.EX_UNAVAILABLE

    served(path, use)


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"hello\n", "no JSON object"),
        (b"\xff\n", "no JSON object"),
        (b"[" * 60_000 + b"\n", "no JSON object"),
        (b"[]\n", "speaks version"),
        (b'{"version": 99, "command": "echo"}\n', "speaks version"),
        (b'{"version": 1, "command": ["echo"]}\n', "unknown command"),
        (b'{"version": 1, "command": "echo", "arguments": [1]}\n', "arguments are"),
    ],
)
def test_what_is_no_request_is_told_so(path: Path, octets: bytes, says: str) -> None:
    async def use() -> list[Any]:
        return await asyncio.to_thread(raw, path, octets)

    (answer,) = served(path, use)
    assert answer["version"] == SCHEMA_VERSION
    assert says in answer["error"]


def test_an_endless_request_ends_the_connection_and_not_the_daemon(path: Path) -> None:
    async def use() -> Any:
        with suppress(ConnectionError):  # what is left unread when the daemon closes resets the connection
            assert await asyncio.to_thread(raw, path, b"x" * 1_000_000) == []
        return await asyncio.to_thread(ask, path, "echo")

    assert served(path, use) == {"got": {}}


def test_several_requests_go_over_one_connection(path: Path) -> None:
    async def use() -> list[Any]:
        return await asyncio.to_thread(raw, path, b'{"version": 1, "command": "echo"}\n' * 3)

    assert len(served(path, use)) == 3


def test_the_socket_is_for_owner_and_group(path: Path) -> None:
    async def use() -> os.stat_result:
        return await asyncio.to_thread(path.stat)

    status = served(path, use)
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid == os.getegid()


def test_a_stranger_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        monkeypatch.setattr(
            "agent.service.control.struct.unpack",
            lambda form, octets: (1, 4343, 4343) if form == "=iII" else (4344,),
        )
        with pytest.raises(LocalError, match="not allowed"):
            await asyncio.to_thread(ask, path, "echo")

    served(path, use)


def test_an_unknown_group_is_told(path: Path) -> None:
    async def use() -> None:
        pytest.fail("it started")

    with pytest.raises(LocalError, match="no group nobody-has-this") as caught:
        served(path, use, group="nobody-has-this")
    assert caught.value.exit_status == os.EX_NOUSER


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()

    async def use() -> None:
        second = ControlServer(path, {})
        with pytest.raises(LocalError, match="served by a daemon that runs") as caught:
            await second.start()
        assert caught.value.exit_status == os.EX_UNAVAILABLE

    served(path, use)


def test_a_file_that_is_no_socket_stays(path: Path) -> None:
    path.write_text("precious")

    async def use() -> None:
        pytest.fail("it started")

    with pytest.raises(LocalError, match="is no socket") as caught:
        served(path, use)
    assert caught.value.exit_status == os.EX_CANTCREAT
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def use() -> None:
        pytest.fail("it started")

    with pytest.raises(LocalError, match=r"no folder .*/none: create it, .* mode 0750"):
        served(tmp_path / "none" / "x.sock", use)


def test_no_daemon_is_one_line_with_the_next_step(path: Path) -> None:
    with pytest.raises(LocalError, match=f"no daemon answers at {path}: start it") as caught:
        ask(path, "status")
    assert caught.value.exit_status == os.EX_UNAVAILABLE


def test_a_daemon_that_hangs_up_or_hangs_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(LocalError, match="does not answer") as caught:
            ask(path, "status", timeout_s=0.05)
        assert caught.value.exit_status == os.EX_TEMPFAIL


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"5\n", "gave no answer"),
        (b"[[1]]\n", "gave no answer"),
        (b"[" * 100_000, "gave no answer"),
        (b'{"version": 1}\n', "another version"),
        (b'{"version": 1, "event": 1}\n', "another version"),
    ],
)
def test_what_is_no_daemon_of_ours_is_told(path: Path, line: bytes, says: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            client, _ = other.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(line)

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(LocalError, match=says):
            ask(path, "status")
        answering.join()


def test_an_idle_client_does_not_hold_the_stop(path: Path) -> None:
    idle = socket.socket(socket.AF_UNIX)

    async def use() -> None:
        await asyncio.to_thread(idle.connect, str(path))
        await asyncio.to_thread(ask, path, "echo")

    served(path, use)
    assert idle.recv(1) == b""
    idle.close()


def test_clients_are_bounded(path: Path) -> None:
    async def use() -> None:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(16)]
        for client in idle:
            await asyncio.to_thread(client.connect, str(path))
        await asyncio.sleep(0.05)
        with pytest.raises(LocalError, match="too many clients"):
            await asyncio.to_thread(ask, path, "echo")
        for client in idle:
            client.close()

    served(path, use)


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="too long: set control_socket") as caught:
        asyncio.run(ControlServer(tmp_path / ("x" * 150), {}).start())
    assert caught.value.exit_status == os.EX_CANTCREAT


def test_a_second_daemon_can_ask_before_it_touches_anything(path: Path) -> None:
    second = ControlServer(path, {})
    second.refuse_second()

    async def use() -> None:
        with pytest.raises(LocalError, match="served by a daemon that runs"):
            second.refuse_second()

    served(path, use)
    assert not path.exists()


def test_a_refusal_that_comes_before_the_request_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()

        def refuse_at_once() -> None:
            client, _ = daemon.accept()
            client.sendall(b'{"version": 1, "error": "too many clients at once: try again"}\n')
            client.close()

        refusing = threading.Thread(target=refuse_at_once)
        refusing.start()
        with pytest.raises(LocalError, match="too many clients"):
            ask(path, "echo", {"long": "x" * 1_000_000})
        refusing.join()


class Following:
    """A daemon that serves one subscription, and a client that follows it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = Broadcast()
        self.callers: list[Caller] = []
        self.got: list[Any] = []

    def subscribe(self, arguments: Mapping[str, Any], caller: Caller) -> Subscription:
        self.callers.append(caller)
        if arguments.get("keys") and not caller.owner:
            raise LocalError("not yours")
        return self.source.subscribe()

    def run(self, use: Callable[[], Awaitable[None]]) -> None:
        async def body() -> None:
            server = ControlServer(self.path, {"echo": echo}, subscriptions={"events": self.subscribe})
            await server.start()
            try:
                await use()
            finally:
                await server.close()

        asyncio.run(body())

    def take(self, count: int) -> None:
        events = follow(self.path, "events")
        self.got.extend(next(events) for _ in range(count))
        events.close()  # type: ignore[attr-defined]  # a generator, which ends its connection

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():  # noqa: ASYNC110  # another thread brings it about
                await asyncio.sleep(0.01)


def test_a_subscription_hands_events_on_until_its_client_goes(path: Path) -> None:
    daemon = Following(path)

    async def use() -> None:
        client = asyncio.create_task(asyncio.to_thread(daemon.take, 2))
        await daemon.until(lambda: bool(daemon.source._subscriptions))
        daemon.source.publish({"event": "one"})
        daemon.source.publish({"event": "two"})
        await client
        assert daemon.got == [{"event": "one"}, {"event": "two"}]
        await daemon.until(lambda: not daemon.source._subscriptions)
        assert daemon.callers[0].owner

    daemon.run(use)


def test_a_subscription_may_be_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Following(path)
    monkeypatch.setattr(control, "_caller", lambda _: Caller(4242, frozenset({os.getegid()}), owner=False))

    async def use() -> None:
        with pytest.raises(LocalError, match="not yours"):
            await asyncio.to_thread(next, follow(path, "events", {"keys": True}))

    daemon.run(use)


def test_subscribers_leave_room_for_who_asks(path: Path) -> None:
    daemon = Following(path)

    async def use() -> None:
        clients = [threading.Thread(target=daemon.take, args=(1,)) for _ in range(8)]
        for client in clients:
            client.start()
        await daemon.until(lambda: len(daemon.source._subscriptions) == 8)
        with pytest.raises(LocalError, match="8 subscribers are there already"):
            await asyncio.to_thread(next, follow(path, "events"))
        assert await asyncio.to_thread(ask, path, "echo") == {"got": {}}
        daemon.source.publish({"event": "end"})
        for client in clients:
            await asyncio.to_thread(client.join, 5)
        assert daemon.got == [{"event": "end"}] * 8

    daemon.run(use)


def test_a_daemon_that_stops_ends_its_subscriptions(path: Path) -> None:
    daemon = Following(path)
    followed: list[Any] = []
    threads: list[threading.Thread] = []

    async def use() -> None:
        client = threading.Thread(target=lambda: followed.extend(follow(path, "events")))
        client.start()
        threads.append(client)
        await daemon.until(lambda: bool(daemon.source._subscriptions))
        daemon.source.publish({"event": "last"})
        await asyncio.sleep(0.05)

    daemon.run(use)
    threads[0].join(5)
    assert followed == [{"event": "last"}]
    assert not daemon.source._subscriptions
