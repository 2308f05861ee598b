"""What request sockets and monitors share: a NETLINK_XFRM socket in a network namespace, and a loop of its own.

Sockets are pyroute2's: network namespaces, buffers, event loop handling.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket as stdlib_socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from pyroute2.netlink.core import SyncAPI
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from xfrm.constants import NETLINK_XFRM
from xfrm.namespace import in_namespace
from xfrm.nl import MarshalXfrm

__all__ = ["SyncEndpoint", "XfrmEndpoint", "open_sync", "run_sync", "twin"]

_SEND_OCTETS: Final = 1024 * 1024
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_SO_RCVBUFFORCE: Final = 33

T = TypeVar("T")
P = ParamSpec("P")
A = TypeVar("A")


class _Receiver(asyncio.DatagramProtocol):
    """Hands datagrams and errors to the endpoint; pyroute2's own would make ENOBUFS the end of the socket."""

    def __init__(self, endpoint: XfrmEndpoint) -> None:
        self._endpoint = endpoint

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._endpoint.enqueue(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._endpoint.receive_failed(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.receive_ended(exc)


class XfrmEndpoint(AsyncNetlinkSocket, ABC):
    """What request sockets and monitors share: a NETLINK_XFRM socket in a namespace, with the options we rely on.

    `netns`: a name under /run/netns, None for this process's own. `receive_octets`: of the receive buffer, beyond
    rmem_max where CAP_NET_ADMIN allows. It serves the process, the thread and the event loop that opened it, and no
    others: RuntimeError says so, and changes nothing.
    """

    marshal_class = MarshalXfrm

    def __init__(self, *, netns: str | None, receive_octets: int) -> None:
        super().__init__(family=NETLINK_XFRM, ext_ack=True, sndbuf=_SEND_OCTETS, rcvbuf=receive_octets)
        self._netns: Final = netns
        self._receive_octets: Final = receive_octets
        self._process: Final = os.getpid()

    def setup_socket(self) -> stdlib_socket.socket:
        """The socket, bound to a port id of the kernel's choice. Raises OSError."""
        # pyroute2's own way into a namespace forks a child, which in a program with threads may never answer.
        opened = in_namespace(self._netns, super().setup_socket)
        try:
            # Without CAP_ACK an error reply echoes the request, keys included.
            opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            with contextlib.suppress(PermissionError):  # SO_RCVBUF was set before, within rmem_max
                opened.setsockopt(stdlib_socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._receive_octets)
            opened.bind((0, 0))
        except OSError:
            opened.close()
            raise
        return opened

    async def setup_endpoint(self) -> None:
        """Join the event loop; done by the first use."""
        self.check_usable()
        loop = getattr(self.local, "event_loop", None)
        if loop is not None and loop is not asyncio.get_running_loop():
            raise RuntimeError("a socket of XFRM serves the event loop that opened it")
        if getattr(self.local, "transport", None) is not None:
            return
        self.local.transport, self.local.protocol = await self.event_loop.create_datagram_endpoint(
            lambda: _Receiver(self), sock=self.socket
        )

    def check_usable(self) -> None:
        """Raise OSError where it is closed, RuntimeError in another thread or process."""
        if self.status["closed"]:
            raise OSError(errno.EBADF, "the socket is closed")
        if os.getpid() != self._process:
            raise RuntimeError("a socket of XFRM serves the process that made it")
        # pyroute2 would open a second socket.
        self._check_tid(level=logging.ERROR, message="a socket of XFRM serves the thread that made it")

    @property
    def port(self) -> int:
        """The socket's port id, which events name as the origin of what it asked for."""
        return int(self.socket.getsockname()[0])

    @abstractmethod
    def receive_failed(self, error: Exception) -> None:
        """An error was reported by the socket; ENOBUFS says that messages were lost."""

    @abstractmethod
    def receive_ended(self, error: Exception | None) -> None:
        """The transport is gone."""

    def close(self, code: int = errno.ECONNRESET) -> None:
        """Close it; a second time does nothing, and in a forked child nothing but that. Raises RuntimeError."""
        if self.status["closed"]:
            return
        if os.getpid() != self._process:
            # The child shares its parent's epoll: taken out of that, the socket would be deaf in the parent.
            self.status["closed"] = True
            return
        self.check_usable()
        self.status["closed"] = True
        loop = getattr(self.local, "event_loop", None)
        if loop is not None and loop.is_closed() and hasattr(self.local, "transport"):
            del self.local.transport  # its end would be the closed loop's work
        super().close(code)

    async def __aenter__(self) -> Self:
        try:
            await self.setup_endpoint()
        except OSError:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await asyncio.sleep(0)  # the transport ends in the loop's next turn


def _demand_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("inside a running event loop use the asynchronous socket")


def run_sync(endpoint: XfrmEndpoint, work: Coroutine[Any, Any, T]) -> T:
    """Do some work in the loop of `open_sync`. Raises what `open_sync`, `check_usable` and the work raise."""
    try:
        _demand_no_loop()
        endpoint.check_usable()  # before pyroute2 makes a new loop, which nobody would close
    except (OSError, RuntimeError):
        work.close()
        raise
    return endpoint.event_loop.run_until_complete(work)


E = TypeVar("E", bound=XfrmEndpoint)


def open_sync(endpoint: E) -> E:
    """An endpoint with an event loop of its own, which its close() ends. Raises RuntimeError inside a running loop."""
    _demand_no_loop()
    endpoint.local.keep_event_loop = True
    endpoint.status["event_loop"] = "new"
    try:
        endpoint.event_loop.run_until_complete(endpoint.setup_endpoint())
    except OSError:
        endpoint.close()
        raise
    return endpoint


E_co = TypeVar("E_co", bound=XfrmEndpoint, covariant=True)


class SyncEndpoint(SyncAPI, Generic[E_co]):
    """What the synchronous classes share: `asyncore`, the asynchronous one that does the work, and `with`."""

    def __init__(self, endpoint: E_co) -> None:
        self.asyncore: Final = open_sync(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, code: int = errno.ECONNRESET) -> None:
        """Close it; a second time does nothing. Raises RuntimeError inside a running loop or in another thread."""
        if not self.asyncore.status["closed"]:
            _demand_no_loop()
        self.asyncore.close(code)


def twin(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncEndpoint[XfrmEndpoint], P], T]:
    """The synchronous method that does the same as an asynchronous one of the class behind it."""

    def call(self: SyncEndpoint[XfrmEndpoint], /, *args: P.args, **kwargs: P.kwargs) -> T:
        work: Coroutine[Any, Any, T] = getattr(self.asyncore, method.__name__)(*args, **kwargs)
        return run_sync(self.asyncore, work)

    functools.update_wrapper(call, method)
    return call
