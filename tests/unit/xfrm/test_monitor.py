"""Monitors without a kernel: the queue, what datagrams become, and the end."""

import asyncio
import errno
import socket as stdlib_socket
from collections.abc import Iterable

import pytest

from xfrm import monitor as xfrm_monitor
from xfrm.constants import Group, MessageType, Protocol
from xfrm.events import Event, Origin, Overrun, SaFlush, Unknown
from xfrm.frame import frame
from xfrm.monitor import DEFAULT_GROUPS, AsyncXfrmMonitor, EventQueue, XfrmMonitor


def flush(number: int) -> SaFlush:
    return SaFlush(Protocol.ESP, Origin(0, number))


def datagram(*numbers: int) -> bytes:
    return b"".join([frame(MessageType.XFRM_MSG_FLUSHSA, 0, number, 0, b"\x32") for number in numbers])


def drained(queue: EventQueue) -> list[Event]:
    return list(iter(queue.pop, None))


def test_a_queue_is_in_order() -> None:
    queue = EventQueue(3)
    for number in range(3):
        queue.put(flush(number))
    assert len(queue) == 3
    assert drained(queue) == [flush(0), flush(1), flush(2)]
    assert queue.pop() is None


def test_what_does_not_fit_is_counted_in_its_place() -> None:
    queue = EventQueue(2)
    for number in range(5):
        queue.put(flush(number))
    assert queue.pop() == flush(0)
    assert queue.pop() == flush(1)
    queue.put(flush(5))
    assert drained(queue) == [Overrun(3), flush(5)]


def test_a_full_queue_never_grows() -> None:
    queue = EventQueue(2)
    for number in range(100):
        queue.put(flush(number))
    assert len(queue) == 3


def test_a_kernel_overrun_makes_the_count_unknown() -> None:
    queue = EventQueue(1)
    queue.put(flush(0))
    queue.put(Overrun())
    queue.put(flush(1))
    assert drained(queue) == [flush(0), Overrun(None)]
    queue.put(flush(0))
    queue.put(flush(1))
    queue.put(Overrun())
    assert drained(queue) == [flush(0), Overrun(None)]


class DeafMonitor(AsyncXfrmMonitor):
    """A monitor on a socket that no kernel writes to."""

    def __init__(self, groups: Iterable[Group] = DEFAULT_GROUPS, **options: int | str | None) -> None:
        super().__init__(groups, queue_events=int(options.get("queue_events") or 4))
        self.joined: list[int] = []

    def setup_socket(self) -> stdlib_socket.socket:
        opened, self._other = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
        return opened

    def add_membership(self, group: int) -> None:
        self.joined.append(group)

    def close(self, code: int = errno.ECONNRESET) -> None:
        super().close(code)
        if hasattr(self, "_other"):
            self._other.close()


def test_events_come_in_order_with_losses_in_their_place() -> None:
    async def main() -> None:
        async with DeafMonitor() as monitor:
            assert monitor.joined == [1, 2, 3, 4, 6, 7, 8]  # not AEVENTS
            monitor.enqueue(datagram(1, 2), (0, 0))
            monitor.receive_failed(OSError(errno.ENOBUFS, "No buffer space available"))
            monitor.enqueue(datagram(3), (0, 0))
            assert [await anext(monitor) for _ in range(4)] == [flush(1), flush(2), Overrun(), flush(3)]
            monitor.enqueue(datagram(4), (0, 0))
            assert await anext(monitor) == flush(4)

    asyncio.run(main(), debug=True)


def test_groups_are_chosen_and_joined_once() -> None:
    async def main() -> None:
        async with DeafMonitor([Group.EXPIRE]) as monitor:
            await monitor.setup_endpoint()
            assert monitor.joined == [Group.EXPIRE]

    asyncio.run(main(), debug=True)


def test_a_monitor_that_may_not_join_is_closed() -> None:
    class Forbidden(DeafMonitor):
        def add_membership(self, group: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    async def main() -> None:
        monitor = Forbidden()
        with pytest.raises(PermissionError):
            await monitor.__aenter__()
        assert await monitor.next_event() is None
        await asyncio.sleep(0)

    asyncio.run(main(), debug=True)


def test_what_is_not_the_kernels_or_does_not_parse() -> None:
    async def main() -> None:
        async with DeafMonitor() as monitor:
            monitor.enqueue(datagram(1), (99, 0))
            monitor.enqueue(datagram(2) + b"\x01", (0, 0))
            monitor.receive_failed(OSError(errno.EIO, "broken"))
            broken, failed = await anext(monitor), await anext(monitor)
            assert isinstance(broken, Unknown)
            assert "a message header has 16 octets" in broken.reason
            assert failed == Unknown(0, "[Errno 5] broken")

    asyncio.run(main(), debug=True)


def test_a_waiting_reader_is_woken_and_a_closed_monitor_ends() -> None:
    async def main() -> None:
        async with DeafMonitor() as monitor:
            waiting = asyncio.ensure_future(monitor.next_event())
            await asyncio.sleep(0)
            monitor.enqueue(datagram(1), (0, 0))
            assert await waiting == flush(1)
            monitor.enqueue(datagram(2), (0, 0))
            monitor.close()
            assert [event async for event in monitor] == [flush(2)]
            assert await monitor.next_event() is None

    asyncio.run(main(), debug=True)


def test_closing_ends_a_wait() -> None:
    async def main() -> None:
        async with DeafMonitor() as monitor:
            waiting = asyncio.ensure_future(monitor.next_event())
            await asyncio.sleep(0)
            monitor.close()
            assert await waiting is None

    asyncio.run(main(), debug=True)


def test_the_synchronous_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfrm_monitor, "AsyncXfrmMonitor", DeafMonitor)
    with XfrmMonitor() as monitor:
        assert monitor.next_event(timeout_s=0.01) is None
        monitor.asyncore.enqueue(datagram(1, 2), (0, 0))
        assert monitor.next_event() == flush(1)
        assert next(iter(monitor)) == flush(2)
        monitor.asyncore.enqueue(datagram(3), (0, 0))
        assert monitor.next_event() == flush(3)
        monitor.asyncore.enqueue(datagram(4, 5), (0, 0))
    assert monitor.next_event() == flush(4)
    assert list(monitor) == [flush(5)]
