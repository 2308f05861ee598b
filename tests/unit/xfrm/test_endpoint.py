"""What all sockets share: options, namespaces, and the hooks of pyroute2 that are leaned on."""

import errno
import socket as stdlib_socket

import pytest
from pyroute2.netlink.core import AsyncCoreSocket, SyncAPI
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

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
    endpoint = AsyncXfrmSocket()
    opened: object = endpoint.setup_socket()
    assert opened is raw
    assert raw.options[SOL_NETLINK, NETLINK_CAP_ACK] == 1
    assert ((stdlib_socket.SOL_SOCKET, SO_RCVBUFFORCE) in raw.options) is not bool(refused)
    assert raw.bound == (0, 0)
    assert not raw.closed
    assert endpoint.status["ext_ack"] is True
    assert endpoint.status["family"] == 6


def test_a_socket_without_its_options_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RecordingSocket({NETLINK_CAP_ACK: errno.ENOPROTOOPT})
    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", lambda self: raw)
    with pytest.raises(OSError, match="refused"):
        XfrmSocket()
    assert raw.closed


def test_a_missing_namespace_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", missing)
    with pytest.raises(FileNotFoundError, match="no such network namespace: 'west'"):
        XfrmSocket(netns="west")
