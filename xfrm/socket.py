"""Request sockets: SAs and policies added, updated, deleted, got, dumped and flushed, and all else there is to ask.

`AsyncXfrmSocket` is the socket, `XfrmSocket` the same for programs without an event loop. A request socket joins no
groups: notifications carry the requester's number and port id and would pass for replies. Events: `xfrm.monitor`.

The path of a request is this library's: windows with one acknowledgement and an outcome for each request, matched by
number.
"""

from __future__ import annotations

import asyncio
import errno
import socket as stdlib_socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from xfrm.calls import XfrmCalls
from xfrm.dump import Dump
from xfrm.endpoint import SyncEndpoint, XfrmEndpoint, twin
from xfrm.errors import DumpInterrupted, KernelRefused, Overrun, Timeout, XfrmError
from xfrm.frame import Frame, split
from xfrm.messages import Message
from xfrm.requests import Outcome, Request
from xfrm.window import SequenceNumbers, Window, cut

__all__ = ["AsyncXfrmSocket", "XfrmSocket"]

_RECEIVE_OCTETS: Final = 4 * 1024 * 1024
_DUMP_ATTEMPTS: Final = 5
_BUSY_S: Final = 0.005
_KERNEL_PORT: Final = 0
_BUFFER_OCTETS: Final = 64 * 1024  # the kernel makes no part of a dump longer than 32 KiB

T = TypeVar("T")


class AsyncXfrmSocket(XfrmEndpoint, XfrmCalls):
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
        self._buffer: Final = bytearray(_BUFFER_OCTETS)
        self._conversation: Window | Dump[Any] | None = None
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

    def _take_waiting(self) -> bool:
        """Take a datagram that is there already; False where there is none."""
        buffer = self._buffer
        try:
            octets, sender = self.socket.recvfrom_into(buffer, 0, stdlib_socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            self.receive_failed(error)
            return False
        data = bytes(memoryview(buffer)[:octets])
        buffer[:octets] = bytes(octets)  # a dump has keys
        self.enqueue(data, sender)
        return True

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

    async def _converse(self, conversation: Window | Dump[Any], what: str) -> None:
        self._conversation = conversation
        done = self._done = self.event_loop.create_future()
        try:
            self.send(conversation.datagram)
            # The kernel works in the sender's context: the answer is there when send returns. The loop has its turn
            # after each datagram, and waits for what is not there yet.
            while self._take_waiting():
                await asyncio.sleep(0)
                if done.done():
                    break
            else:
                async with asyncio.timeout(self._timeout_s) as self._patience:
                    await done
            done.result()
        except TimeoutError:
            raise Timeout(f"{what}: no answer within {self._timeout_s} s") from None
        finally:
            if not done.cancel() and not done.cancelled():
                done.exception()  # seen, also where this call was cancelled before
            self._conversation = self._done = self._patience = None

    async def request_many(self, items: Iterable[Request]) -> list[Outcome]:
        """Ask for all of a list, mixed as it comes and in its order; one outcome each, also after refusals.

        An iterator is drawn on window by window, so that requests are made while others are done, and the event loop
        never waits for all of them; what it raises ends the call, and what was done by then must be read back.
        An outcome has what was answered: see `Outcome.answers`. A dump that was interrupted every time is refused with
        EINTR.
        """
        outcomes: list[Outcome] = []
        async with self._turn:
            await self.setup_endpoint()
            port = self.port
            for first, part in cut(items):
                if part[0].is_dump:
                    outcomes.append(await self._dump_outcome(part[0], first))
                    continue
                window = Window(part, self._numbers, port=port, first_index=first)
                await self._converse(window, f"{len(part)} requests from index {first} on")
                outcomes.extend(window.outcomes())
        return outcomes

    async def request(self, item: Request) -> Frame | None:
        """Ask for one thing; the kernel's answer where it has one. Raises KernelRefused, ValueError for a dump."""
        if item.is_dump:
            raise ValueError(f"{item.describe()}: a dump is for dump, dump_entries or request_many")
        async with self._turn:
            await self.setup_endpoint()
            window = Window([item], self._numbers, port=self.port)
            await self._converse(window, item.describe())
        refusal = window.outcomes()[0].refusal
        if refusal is not None:
            raise refusal
        return window.replies.get(0)

    async def dump_entries(self, item: Request, read: Callable[[Frame], T]) -> list[T]:
        """Every entry a dump request gives, each made by `read` as it comes.

        Raises KernelRefused, DumpInterrupted, DecodeError where `read` does, and ValueError for what is no dump.
        """
        if not item.is_dump:
            raise ValueError(f"{item.describe()}: is no dump")
        async with self._turn:
            await self.setup_endpoint()
            return await self._dump_whole(item, read)

    async def dump_frames(self, item: Request) -> Sequence[Frame]:
        """Every entry a dump request gives. Raises KernelRefused, DumpInterrupted."""
        return await self.dump_entries(item, lambda frame: frame)

    async def dump(self, item: Request) -> list[Message]:
        """Every entry a dump request gives, as messages. Raises KernelRefused, DecodeError, DumpInterrupted."""
        return await self.dump_entries(item, Message.parse)

    async def _dump_outcome(self, item: Request, index: int) -> Outcome:
        try:
            return Outcome(item, None, tuple(await self._dump_whole(item, lambda frame: frame)))
        except KernelRefused as refusal:
            return Outcome(item, KernelRefused(refusal.errno, refusal.extack, item, index))
        except DumpInterrupted:
            # Raised, it would take the outcomes of the requests before it along.
            return Outcome(item, KernelRefused(errno.EINTR, "changed while it was read, every time", item, index))

    async def _dump_whole(self, item: Request, read: Callable[[Frame], T]) -> list[T]:
        for _ in range(_DUMP_ATTEMPTS):
            dump = await self._dump_once(item, read)
            if not dump.interrupted:
                if dump.unreadable is not None:
                    raise dump.unreadable
                return dump.entries
        raise DumpInterrupted(f"{item.describe()}: changed while it was read, {_DUMP_ATTEMPTS} times over")

    async def _dump_once(self, item: Request, read: Callable[[Frame], T]) -> Dump[T]:
        # The kernel has one dump a socket. One that was given up (cancelled, timed out) goes on until its rest is read.
        patience = self.event_loop.time() + self._timeout_s
        while True:
            dump = Dump(item, self._numbers, read, port=self.port)
            try:
                await self._converse(dump, item.describe())
            except KernelRefused as refusal:
                if refusal.errno != errno.EBUSY or self.event_loop.time() > patience:
                    raise
                await asyncio.sleep(_BUSY_S)
            else:
                return dump


class XfrmSocket(SyncEndpoint[AsyncXfrmSocket]):
    """A request socket without an event loop; use it in `with`, outside of any running loop.

    Arguments, methods and errors are those of AsyncXfrmSocket.
    """

    def __init__(self, *, netns: str | None = None, timeout_s: float = 5.0) -> None:
        super().__init__(AsyncXfrmSocket(netns=netns, timeout_s=timeout_s))

    request_many = twin(AsyncXfrmSocket.request_many)
    request = twin(AsyncXfrmSocket.request)
    dump = twin(AsyncXfrmSocket.dump)
    dump_frames = twin(AsyncXfrmSocket.dump_frames)
    dump_entries = twin(AsyncXfrmSocket.dump_entries)
    add_sa = twin(AsyncXfrmSocket.add_sa)
    update_sa = twin(AsyncXfrmSocket.update_sa)
    delete_sa = twin(AsyncXfrmSocket.delete_sa)
    get_sa = twin(AsyncXfrmSocket.get_sa)
    dump_sas = twin(AsyncXfrmSocket.dump_sas)
    flush_sas = twin(AsyncXfrmSocket.flush_sas)
    allocate_spi = twin(AsyncXfrmSocket.allocate_spi)
    expire_sa = twin(AsyncXfrmSocket.expire_sa)
    get_aevent = twin(AsyncXfrmSocket.get_aevent)
    update_aevent = twin(AsyncXfrmSocket.update_aevent)
    migrate = twin(AsyncXfrmSocket.migrate)
    migrate_sa = twin(AsyncXfrmSocket.migrate_sa)
    get_sad_info = twin(AsyncXfrmSocket.get_sad_info)
    add_policy = twin(AsyncXfrmSocket.add_policy)
    update_policy = twin(AsyncXfrmSocket.update_policy)
    delete_policy = twin(AsyncXfrmSocket.delete_policy)
    get_policy = twin(AsyncXfrmSocket.get_policy)
    dump_policies = twin(AsyncXfrmSocket.dump_policies)
    flush_policies = twin(AsyncXfrmSocket.flush_policies)
    expire_policy = twin(AsyncXfrmSocket.expire_policy)
    acquire = twin(AsyncXfrmSocket.acquire)
    get_spd_info = twin(AsyncXfrmSocket.get_spd_info)
    set_spd_thresholds = twin(AsyncXfrmSocket.set_spd_thresholds)
    get_default = twin(AsyncXfrmSocket.get_default)
    set_default = twin(AsyncXfrmSocket.set_default)
