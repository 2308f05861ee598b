"""What all sockets share: options, namespaces, and the hooks of pyroute2 that are leaned on."""

import asyncio
import errno
import os
import socket as stdlib_socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pyroute2.netlink.core import AsyncCoreSocket, SyncAPI
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from tests.unit.xfrm.scripted import SA, ScriptedSocket
from xfrm import endpoint
from xfrm import socket as xfrm_socket
from xfrm.socket import AsyncXfrmSocket, XfrmSocket


def test_the_hooks_of_pyroute2_we_lean_on_are_there() -> None:
    for name in ("setup_socket", "setup_endpoint", "enqueue", "send", "close", "_check_tid", "socket", "event_loop"):
        assert hasattr(AsyncNetlinkSocket, name)
    assert issubclass(AsyncNetlinkSocket, AsyncCoreSocket)
    assert hasattr(AsyncNetlinkSocket, "add_membership")
    assert hasattr(SyncAPI, "close")


class RecordingSocket:
    """A socket that only notes what is done to it."""

    def __init__(self, refuses: dict[int, int]) -> None:
        self.options: dict[tuple[int, int], int] = {}
        self.bound: object = None
        self.closed = False
        self._refuses = refuses

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option in self._refuses:
            raise OSError(self._refuses[option], "refused")
        self.options[level, option] = value

    def bind(self, address: object) -> None:
        self.bound = address

    def close(self) -> None:
        self.closed = True


SOL_NETLINK, NETLINK_CAP_ACK, SO_RCVBUFFORCE = 270, 10, 33


@pytest.mark.parametrize("refused", [{}, {SO_RCVBUFFORCE: errno.EPERM}], ids=["root", "no CAP_NET_ADMIN"])
def test_options_keep_keys_out_of_replies_and_losses_rare(
    refused: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = RecordingSocket(refused)
    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", lambda self: raw)
    made = AsyncXfrmSocket()
    opened: object = made.setup_socket()
    assert opened is raw
    assert raw.options[SOL_NETLINK, NETLINK_CAP_ACK] == 1
    assert ((stdlib_socket.SOL_SOCKET, SO_RCVBUFFORCE) in raw.options) is not bool(refused)
    assert raw.bound == (0, 0)
    assert not raw.closed
    assert made.status["ext_ack"] is True
    assert made.status["family"] == 6


def test_a_socket_without_its_options_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RecordingSocket({NETLINK_CAP_ACK: errno.ENOPROTOOPT})
    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", lambda self: raw)
    with pytest.raises(OSError, match="refused"):
        XfrmSocket()
    assert raw.closed


def test_a_missing_namespace_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", lambda self: made.append(self.spec["netns"]))
    with pytest.raises(FileNotFoundError, match="no such network namespace: 'west'"):
        XfrmSocket(netns="west")
    assert made == []


def test_a_socket_of_a_namespace_is_made_without_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    # pyroute2 would make it in a child process, which in a program with threads may never answer.
    raw = RecordingSocket({})
    names: list[str | None] = []

    def inside(name: str | None, work: Callable[[], object]) -> object:
        names.append(name)
        return work()

    monkeypatch.setattr(endpoint, "in_namespace", inside)

    def make(self: Any) -> RecordingSocket:
        names.append(self.spec["netns"])
        return raw

    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", make)
    opened: object = AsyncXfrmSocket(netns="west").setup_socket()
    assert opened is raw
    assert names == ["west", None]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> XfrmSocket:
    monkeypatch.setattr(xfrm_socket, "AsyncXfrmSocket", ScriptedSocket)
    return XfrmSocket()


def in_a_thread(work: Callable[[], object]) -> BaseException | None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_another_thread_does_not_close_it_by_half(kernel: XfrmSocket) -> None:
    assert "serves the thread that made it" in str(in_a_thread(kernel.close))
    kernel.delete_sa(SA.id)
    kernel.close()
    assert in_a_thread(kernel.close) is None
    with pytest.raises(OSError, match="the socket is closed"):
        kernel.delete_sa(SA.id)


def test_a_running_loop_leaves_a_synchronous_socket_as_it_is(kernel: XfrmSocket) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use the asynchronous socket"):
            kernel.delete_sa(SA.id)
        with pytest.raises(RuntimeError, match="use the asynchronous socket"):
            kernel.close()

    asyncio.run(main())
    kernel.delete_sa(SA.id)
    kernel.close()


def test_a_forked_child_leaves_it_to_its_parent(kernel: XfrmSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the child closed would be taken out of the event loop's epoll, which it shares with its parent.
    status = os.fork()
    if not status:
        refused = 1
        try:
            kernel.delete_sa(SA.id)
        except RuntimeError as error:
            refused = int("serves the process that made it" not in str(error))
        kernel.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(status, 0)[1]) == 0
    scripted = kernel.asyncore
    heard: list[bytes] = []
    monkeypatch.setattr(scripted, "enqueue", lambda data, addr: heard.append(data))
    assert isinstance(scripted, ScriptedSocket)
    scripted.to_endpoint.send(b"still heard")
    scripted.event_loop.run_until_complete(asyncio.sleep(0.01))
    assert heard == [b"still heard"]
    kernel.close()


def test_another_event_loop_is_turned_away() -> None:
    kernel = ScriptedSocket()

    async def use() -> None:
        await kernel.delete_sa(SA.id)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    with pytest.raises(RuntimeError, match="serves the event loop that opened it"):
        asyncio.run(use())
    loop.run_until_complete(use())
    kernel.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_it_is_closed_after_its_event_loop_too() -> None:
    kernel = ScriptedSocket()
    asyncio.run(kernel.delete_sa(SA.id))
    descriptor = kernel.socket.fileno()
    with pytest.raises(RuntimeError, match="serves the event loop that opened it"):
        asyncio.run(kernel.delete_sa(SA.id))
    kernel.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
