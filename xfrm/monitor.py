"""Monitors: the kernel's events, in order, with a note wherever some were lost.

A full receive buffer (ENOBUFS) or a slow reader costs events, never the monitor: an Overrun stands where they are
missing, and says to dump and compare.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Iterable
from typing import Final, Self

from xfrm.constants import Group
from xfrm.endpoint import SyncEndpoint, XfrmEndpoint, run_sync
from xfrm.errors import DecodeError
from xfrm.events import Event, Overrun, Unknown, read_event
from xfrm.frame import split

__all__ = ["ALL_GROUPS", "DEFAULT_GROUPS", "AsyncXfrmMonitor", "EventQueue", "XfrmMonitor"]

ALL_GROUPS: Final = tuple(Group)
"""Every group."""
DEFAULT_GROUPS: Final = tuple(group for group in Group if group is not Group.XFRMNLGRP_AEVENTS)
"""The groups a monitor joins unless told otherwise: all but AEVENTS, which costs the kernel an event for every few
packets (net.core.xfrm_aevent_rseqth) as soon as anybody listens."""
_RECEIVE_OCTETS: Final = 8 * 1024 * 1024
_QUEUE_EVENTS: Final = 16384
_KERNEL_PORT: Final = 0


class EventQueue:
    """A bounded queue. What does not fit is dropped, counted, and stands in the queue as one Overrun at its place."""

    __slots__ = ("_events", "_limit")

    def __init__(self, limit: int) -> None:
        self._events: deque[Event] = deque()
        self._limit: Final = limit

    def put(self, event: Event) -> None:
        """Append it, or count it as lost."""
        if len(self._events) < self._limit:
            self._events.append(event)
            return
        last = self._events[-1]
        if isinstance(last, Overrun):
            # Of what the kernel lost the number is unknown, and so is the sum.
            self._events[-1] = Overrun(None if last.lost is None or isinstance(event, Overrun) else last.lost + 1)
        else:
            self._events.append(event if isinstance(event, Overrun) else Overrun(1))

    def pop(self) -> Event | None:
        """The oldest, None where there is none."""
        return self._events.popleft() if self._events else None

    def __len__(self) -> int:
        return len(self._events)


class AsyncXfrmMonitor(XfrmEndpoint):
    """Events for asyncio: `async with AsyncXfrmMonitor() as monitor:` and `async for event in monitor:`.

    `groups`: which to join. `queue_events`: how many may wait for a slow reader. One reader at a time. The iteration
    ends when the monitor is closed. Opening raises OSError, EPERM without CAP_NET_ADMIN.
    """

    def __init__(
        self,
        groups: Iterable[Group] = DEFAULT_GROUPS,
        *,
        netns: str | None = None,
        queue_events: int = _QUEUE_EVENTS,
        receive_octets: int = _RECEIVE_OCTETS,
    ) -> None:
        super().__init__(netns=netns, receive_octets=receive_octets)
        self._groups: Final = tuple(groups)
        self._queue: Final = EventQueue(queue_events)
        self._arrived: Final = asyncio.Event()
        self._joined = False

    async def setup_endpoint(self) -> None:
        """Join the event loop and the groups; done on entry."""
        await super().setup_endpoint()
        if not self._joined:
            for group in self._groups:
                self.add_membership(group)
            self._joined = True

    def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
        """Take a datagram; anything but the kernel's is dropped."""
        if addr[0] != _KERNEL_PORT:
            return
        try:
            for frame in split(data):
                self._queue.put(read_event(frame))
        except DecodeError as error:
            self._queue.put(Unknown(0, str(error)))
        self._arrived.set()

    def receive_failed(self, error: Exception) -> None:
        """Note the loss; the socket stays usable."""
        lost = isinstance(error, OSError) and error.errno == errno.ENOBUFS
        self._queue.put(Overrun() if lost else Unknown(0, str(error)))
        self._arrived.set()

    def receive_ended(self, error: Exception | None) -> None:
        """Wake the reader for the end."""
        self._arrived.set()

    def pop(self) -> Event | None:
        """The next event if one has arrived."""
        return self._queue.pop()

    async def next_event(self) -> Event | None:
        """The next event, waited for; None once the monitor is closed and its events are read."""
        while True:
            event = self._queue.pop()
            if event is not None or self.status["closed"]:
                return event
            self._arrived.clear()
            await self._arrived.wait()

    def close(self, code: int = errno.ECONNRESET) -> None:
        """Leave the groups and close; a waiting reader gets what is left, then the end."""
        super().close(code)
        self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.next_event()
        if event is None:
            raise StopAsyncIteration
        return event


class XfrmMonitor(SyncEndpoint[AsyncXfrmMonitor]):
    """Events without an event loop: `with XfrmMonitor() as monitor:` and `monitor.next_event(timeout_s=1.0)`.

    Arguments and errors are those of AsyncXfrmMonitor.
    """

    def __init__(
        self,
        groups: Iterable[Group] = DEFAULT_GROUPS,
        *,
        netns: str | None = None,
        queue_events: int = _QUEUE_EVENTS,
        receive_octets: int = _RECEIVE_OCTETS,
    ) -> None:
        super().__init__(
            AsyncXfrmMonitor(groups, netns=netns, queue_events=queue_events, receive_octets=receive_octets)
        )

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None after `timeout_s` seconds without one, or closed and read to the end.

        Without a timeout it waits.
        """
        if self.asyncore.status["closed"]:
            return self.asyncore.pop()

        async def wait() -> Event | None:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self.asyncore.next_event()
            except TimeoutError:
                return None

        return run_sync(self.asyncore, wait())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.next_event()
        if event is None:
            raise StopIteration
        return event
