"""Request sockets: SAs and policies added, updated, deleted, got, dumped and flushed.

`AsyncXfrmSocket` is the socket, `XfrmSocket` the same for programs without an event loop. A request socket joins no
groups: notifications carry the requester's number and port id and would pass for replies. Events: `xfrm.monitor`.

Sockets are pyroute2's (network namespaces, buffers, event loop handling); the path of a request is this library's:
windows with one acknowledgement and an outcome for each request, matched by number.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket as stdlib_socket
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pyroute2.netlink.core import SyncAPI
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from xfrm import requests
from xfrm.constants import NETLINK_XFRM, PolicyType, Protocol
from xfrm.dump import Dump
from xfrm.errors import DecodeError, DumpInterrupted, KernelRefused, Overrun, Timeout, XfrmError
from xfrm.frame import Frame, split
from xfrm.messages import Message
from xfrm.nl import MarshalXfrm
from xfrm.policy import Policy, PolicyId
from xfrm.requests import Outcome, Request
from xfrm.state import SaId, SecurityAssociation
from xfrm.structs import USERPOLICY_INFO, USERSA_INFO
from xfrm.window import SequenceNumbers, Window, cut

__all__ = ["AsyncXfrmSocket", "XfrmEndpoint", "XfrmSocket"]

_SEND_OCTETS: Final = 1024 * 1024
_RECEIVE_OCTETS: Final = 4 * 1024 * 1024
_DUMP_ATTEMPTS: Final = 5
_BUSY_S: Final = 0.005
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_KERNEL_PORT: Final = 0
_SO_RCVBUFFORCE: Final = 33

T = TypeVar("T")


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
    rmem_max where CAP_NET_ADMIN allows. It serves the thread and the event loop that opened it, and no others.
    """

    marshal_class = MarshalXfrm

    def __init__(self, *, netns: str | None, receive_octets: int) -> None:
        # pyroute2's default flags would create a missing namespace.
        super().__init__(
            family=NETLINK_XFRM, netns=netns, flags=0, ext_ack=True, sndbuf=_SEND_OCTETS, rcvbuf=receive_octets
        )
        self._netns: Final = netns
        self._receive_octets: Final = receive_octets

    def setup_socket(self) -> stdlib_socket.socket:
        """The socket, bound to a port id of the kernel's choice. Raises OSError."""
        try:
            opened = super().setup_socket()
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such network namespace", self._netns) from None
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
        if getattr(self.local, "transport", None) is not None:
            return
        self.local.transport, self.local.protocol = await self.event_loop.create_datagram_endpoint(
            lambda: _Receiver(self), sock=self.socket
        )

    def check_usable(self) -> None:
        """Raise OSError where it is closed, RuntimeError in another thread: pyroute2 would open a second socket."""
        if self.status["closed"]:
            raise OSError(errno.EBADF, "the socket is closed")
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
        """Close it; a second time does nothing."""
        if not self.status["closed"]:
            self.status["closed"] = True
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


class AsyncXfrmSocket(XfrmEndpoint):
    """A request socket for asyncio; use it in `async with`. Calls are worked off one after the other.

    `timeout_s`: seconds without any reply after which Timeout is raised. Every call raises Overrun, Timeout or OSError
    where the way to the kernel fails: what was done must then be read back. Calls for one item raise KernelRefused;
    `request_many` gives an Outcome for each instead.
    """

    def __init__(self, *, netns: str | None = None, timeout_s: float = 5.0) -> None:
        super().__init__(netns=netns, receive_octets=_RECEIVE_OCTETS)
        self._timeout_s: Final = timeout_s
        self._numbers: Final = SequenceNumbers()
        self._turn: Final = asyncio.Lock()
        self._conversation: Window | Dump | None = None
        self._done: asyncio.Future[None] | None = None
        self._patience: asyncio.Timeout | None = None

    def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
        """Take a datagram; anything but the kernel's is dropped."""
        conversation = self._conversation
        if conversation is None or addr[0] != _KERNEL_PORT:
            return
        try:
            conversation.feed(split(data))
        except XfrmError as error:
            self._finish(error)
            return
        if conversation.complete:
            self._finish(None)
        elif self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self.event_loop.time() + self._timeout_s)

    def receive_failed(self, error: Exception) -> None:
        """Fail the conversation; the socket itself stays usable."""
        lost = isinstance(error, OSError) and error.errno == errno.ENOBUFS
        self._finish(Overrun("the receive buffer overflowed and replies were lost") if lost else error)

    def receive_ended(self, error: Exception | None) -> None:
        """Fail the conversation."""
        self._finish(error or OSError(errno.EBADF, "the socket was closed"))

    def _finish(self, error: Exception | None) -> None:
        if self._done is None or self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    async def _converse(self, conversation: Window | Dump, what: str) -> None:
        self._conversation = conversation
        self._done = self.event_loop.create_future()
        try:
            self.send(conversation.datagram)
            async with asyncio.timeout(self._timeout_s) as self._patience:
                await self._done
        except TimeoutError:
            raise Timeout(f"{what}: no answer within {self._timeout_s} s") from None
        finally:
            self._conversation = self._done = self._patience = None

    async def request_many(self, items: Iterable[Request]) -> list[Outcome]:
        """Ask for all of a list, mixed as it comes and in its order; one outcome each, also after refusals.

        Not for dumps and gets.
        """
        every = list(items)
        outcomes: list[Outcome] = []
        async with self._turn:
            await self.setup_endpoint()
            for first, part in cut(every):
                window = Window(part, self._numbers, port=self.port, first_index=first)
                await self._converse(window, f"{len(part)} requests from index {first} on")
                outcomes.extend(window.outcomes())
        return outcomes

    async def request(self, item: Request) -> Frame | None:
        """Ask for one thing; the kernel's answer where it has one. Raises KernelRefused."""
        async with self._turn:
            await self.setup_endpoint()
            window = Window([item], self._numbers, port=self.port)
            await self._converse(window, item.describe())
        refusal = window.outcomes()[0].refusal
        if refusal is not None:
            raise refusal
        return window.replies.get(0)

    async def dump(self, item: Request) -> list[Message]:
        """Every entry a dump request gives. Raises KernelRefused, DecodeError, DumpInterrupted."""
        async with self._turn:
            await self.setup_endpoint()
            for _ in range(_DUMP_ATTEMPTS):
                dump = await self._dump_once(item)
                if not dump.interrupted:
                    return [Message.parse(part) for part in dump.frames]
        raise DumpInterrupted(f"{item.describe()}: changed while it was read, {_DUMP_ATTEMPTS} times over")

    async def _dump_once(self, item: Request) -> Dump:
        # The kernel has one dump a socket. One that was given up (cancelled, timed out) goes on until its rest is read.
        patience = self.event_loop.time() + self._timeout_s
        while True:
            dump = Dump(item, self._numbers, port=self.port)
            try:
                await self._converse(dump, item.describe())
            except KernelRefused as refusal:
                if refusal.errno != errno.EBUSY or self.event_loop.time() > patience:
                    raise
                await asyncio.sleep(_BUSY_S)
            else:
                return dump

    async def add_sa(self, sa: SecurityAssociation) -> None:
        """Add an SA. Raises KernelRefused: EEXIST where its name is taken, ENOSYS without the algorithm."""
        await self.request(requests.add_sa(sa))

    async def update_sa(self, sa: SecurityAssociation) -> None:
        """Update an SA; its key stays what it was. Raises KernelRefused: ESRCH where there is none."""
        await self.request(requests.update_sa(sa))

    async def delete_sa(self, sa_id: SaId) -> None:
        """Delete an SA. Raises KernelRefused: ESRCH where there is none."""
        await self.request(requests.delete_sa(sa_id))

    async def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        """One SA. Raises KernelRefused: ESRCH where there is none."""
        return _read_sa(_answer(await self.request(requests.get_sa(sa_id))))

    async def dump_sas(self) -> list[SecurityAssociation]:
        """Every SA. Raises DumpInterrupted, DecodeError."""
        return [_read_sa(message) for message in await self.dump(requests.dump_sas())]

    async def flush_sas(self, protocol: int = Protocol.IPSEC_PROTO_ANY) -> None:
        """Delete every SA of a protocol."""
        await self.request(requests.flush_sas(protocol))

    async def add_policy(self, policy: Policy) -> None:
        """Add a policy. Raises KernelRefused: EEXIST where its name is taken."""
        await self.request(requests.add_policy(policy))

    async def update_policy(self, policy: Policy) -> None:
        """Replace a policy, or add it. Raises KernelRefused."""
        await self.request(requests.update_policy(policy))

    async def delete_policy(self, policy_id: PolicyId) -> None:
        """Delete a policy. Raises KernelRefused: ENOENT where there is none."""
        await self.request(requests.delete_policy(policy_id))

    async def get_policy(self, policy_id: PolicyId) -> Policy:
        """One policy. Raises KernelRefused: ENOENT where there is none."""
        return _read_policy(_answer(await self.request(requests.get_policy(policy_id))))

    async def dump_policies(self) -> list[Policy]:
        """Every policy; those of sockets have directions above FWD. Raises DumpInterrupted, DecodeError."""
        return [_read_policy(message) for message in await self.dump(requests.dump_policies())]

    async def flush_policies(self, type_: int = PolicyType.MAIN) -> None:
        """Delete every policy of a type."""
        await self.request(requests.flush_policies(type_))


def _answer(frame: Frame | None) -> Message:
    if frame is None:
        raise DecodeError("an acknowledgement without the answer")
    return Message.parse(frame)


def _read_sa(message: Message) -> SecurityAssociation:
    return SecurityAssociation.decode(message.read(USERSA_INFO), message.attributes)


def _read_policy(message: Message) -> Policy:
    return Policy.decode(message.read(USERPOLICY_INFO), message.attributes)


class XfrmSocket(SyncAPI):
    """A request socket without an event loop; use it in `with`, outside of any running loop.

    Arguments and errors are those of AsyncXfrmSocket.
    """

    def __init__(self, *, netns: str | None = None, timeout_s: float = 5.0) -> None:
        self.asyncore: Final = open_sync(AsyncXfrmSocket(netns=netns, timeout_s=timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, code: int = errno.ECONNRESET) -> None:
        """Close it; a second time does nothing."""
        self.asyncore.close(code)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return run_sync(self.asyncore, work)

    def request_many(self, items: Iterable[Request]) -> list[Outcome]:
        """Ask for all of a list, mixed as it comes and in its order; one outcome each, also after refusals."""
        return self._run(self.asyncore.request_many(items))

    def request(self, item: Request) -> Frame | None:
        """Ask for one thing; the kernel's answer where it has one. Raises KernelRefused."""
        return self._run(self.asyncore.request(item))

    def add_sa(self, sa: SecurityAssociation) -> None:
        """Add an SA. Raises KernelRefused: EEXIST where its name is taken, ENOSYS without the algorithm."""
        self._run(self.asyncore.add_sa(sa))

    def update_sa(self, sa: SecurityAssociation) -> None:
        """Update an SA; its key stays what it was. Raises KernelRefused: ESRCH where there is none."""
        self._run(self.asyncore.update_sa(sa))

    def delete_sa(self, sa_id: SaId) -> None:
        """Delete an SA. Raises KernelRefused: ESRCH where there is none."""
        self._run(self.asyncore.delete_sa(sa_id))

    def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        """One SA. Raises KernelRefused: ESRCH where there is none."""
        return self._run(self.asyncore.get_sa(sa_id))

    def dump_sas(self) -> list[SecurityAssociation]:
        """Every SA. Raises DumpInterrupted, DecodeError."""
        return self._run(self.asyncore.dump_sas())

    def flush_sas(self, protocol: int = Protocol.IPSEC_PROTO_ANY) -> None:
        """Delete every SA of a protocol."""
        self._run(self.asyncore.flush_sas(protocol))

    def add_policy(self, policy: Policy) -> None:
        """Add a policy. Raises KernelRefused: EEXIST where its name is taken."""
        self._run(self.asyncore.add_policy(policy))

    def update_policy(self, policy: Policy) -> None:
        """Replace a policy, or add it. Raises KernelRefused."""
        self._run(self.asyncore.update_policy(policy))

    def delete_policy(self, policy_id: PolicyId) -> None:
        """Delete a policy. Raises KernelRefused: ENOENT where there is none."""
        self._run(self.asyncore.delete_policy(policy_id))

    def get_policy(self, policy_id: PolicyId) -> Policy:
        """One policy. Raises KernelRefused: ENOENT where there is none."""
        return self._run(self.asyncore.get_policy(policy_id))

    def dump_policies(self) -> list[Policy]:
        """Every policy; those of sockets have directions above FWD. Raises DumpInterrupted, DecodeError."""
        return self._run(self.asyncore.dump_policies())

    def flush_policies(self, type_: int = PolicyType.MAIN) -> None:
        """Delete every policy of a type."""
        self._run(self.asyncore.flush_policies(type_))


def run_sync(endpoint: XfrmEndpoint, work: Coroutine[Any, Any, T]) -> T:
    """Do some work in the loop of `open_sync`. Raises what `check_usable` and the work raise."""
    try:
        endpoint.check_usable()  # before pyroute2 makes a new loop, which nobody would close
    except (OSError, RuntimeError):
        work.close()
        raise
    return endpoint.event_loop.run_until_complete(work)


E = TypeVar("E", bound=XfrmEndpoint)


def open_sync(endpoint: E) -> E:
    """An endpoint with an event loop of its own, which its close() ends. Raises RuntimeError inside a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        endpoint.local.keep_event_loop = True
        endpoint.status["event_loop"] = "new"
        try:
            endpoint.event_loop.run_until_complete(endpoint.setup_endpoint())
        except OSError:
            endpoint.close()
            raise
        return endpoint
    raise RuntimeError("inside a running event loop use the asynchronous socket")
