"""Windows of requests, without I/O: numbering, one acknowledgement a window, and an outcome for each request.

The kernel works a window off inside one send, in order, and goes on after a refusal. It reports refusals in any case,
with the request's number; NLM_F_ACK on the last request alone therefore tells that the whole window is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from xfrm.constants import NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError, KernelRefused, Overrun
from xfrm.frame import HEADER, Frame, read_error
from xfrm.requests import Outcome, Request

__all__ = ["MAX_WINDOW_COST", "MAX_WINDOW_OCTETS", "SequenceNumbers", "Window", "cut"]

MAX_WINDOW_COST: Final = 400
"""Policies in a window; an SA costs two. sendmsg runs a whole window inside the kernel, and the event loop waits."""
MAX_WINDOW_OCTETS: Final = 256 * 1024
"""Octets of a window, well under the send buffer: beyond that the kernel answers EMSGSIZE to the whole of it."""
_ACK: Final = NetlinkFlag.NLM_F_ACK.value


class SequenceNumbers:
    """A socket's counter of message numbers: 1 to 2**32 - 1, then again; 0 is the kernel's own."""

    __slots__ = ("_next",)

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def take(self, count: int) -> int:
        """The first of `count` consecutive numbers."""
        if self._next + count > 2**32:
            self._next = 1
        first = self._next
        self._next += count
        return first


def cut(requests: Iterable[Request]) -> Iterator[tuple[int, list[Request]]]:
    """The requests in windows within the limits (or of one request), each with the index of its first.

    A dump stands alone: its answer has an end of its own. No more is taken from `requests` than the next window needs.
    """
    first = cost = octets = 0
    part: list[Request] = []
    alone, head = False, HEADER.size
    for request in requests:
        kind, body = request.kind, request.kept
        request_octets = head + len(request.body if body is None else body)
        is_dump = kind.is_dump
        cost += kind.cost
        octets += request_octets
        if part and (cost > MAX_WINDOW_COST or octets > MAX_WINDOW_OCTETS or alone or is_dump):
            yield first, part
            first += len(part)
            part, cost, octets = [], kind.cost, request_octets
        alone = is_dump
        part.append(request)
    if part:
        yield first, part


class Window:
    """One window on its way: `datagram` to send; replies go to `feed` until `complete`; then `outcomes`.

    `first_index`: where its first request stands in the caller's list. `replies` has what came that was no
    acknowledgement, by place in the window: the answer to a GET.
    """

    def __init__(
        self, requests: Sequence[Request], numbers: SequenceNumbers, *, port: int = 0, first_index: int = 0
    ) -> None:
        if not requests:
            raise ValueError("a window has at least one request")
        self._requests: Final = requests
        self._first: Final = numbers.take(len(requests))
        self._first_index: Final = first_index
        self._refusals: dict[int, KernelRefused] = {}
        self.replies: dict[int, Frame] = {}
        self.complete = False
        self.datagram: Final = self._compose(port)

    def _compose(self, port: int) -> bytes:
        pack, size = HEADER.pack, HEADER.size
        last = self._first + len(self._requests) - 1
        parts: list[bytes] = []
        for number, request in enumerate(self._requests, self._first):
            kind, body = request.kind, request.hand_over()
            octets = len(body)
            flags = kind.flags | _ACK if number == last else kind.flags
            parts += (pack(size + octets, kind.type, flags, number, port), body)
            if octets & 3:
                parts.append(bytes(-octets & 3))
        return b"".join(parts)

    def feed(self, frames: Sequence[Frame]) -> None:
        """Take replies; those with numbers of no request of this window are late answers to others and are dropped.

        Raises Overrun where the kernel says that it lost replies, DecodeError for a reply that cannot be read.
        """
        for message in frames:
            place = message.sequence - self._first
            if message.type == NetlinkControl.NLMSG_OVERRUN:
                raise Overrun("the kernel reports lost replies")
            if not 0 <= place < len(self._requests) or message.type == NetlinkControl.NLMSG_NOOP:
                continue
            if message.type == NetlinkControl.NLMSG_DONE:
                raise DecodeError("the end of a dump where none was asked for")
            if message.type != NetlinkControl.NLMSG_ERROR:
                self.replies[place] = message
                continue
            self._answered(place, message)

    def _answered(self, place: int, message: Frame) -> None:
        reply = read_error(message)
        if reply.errno:
            request = self._requests[place]
            self._refusals[place] = KernelRefused(reply.errno, reply.extack, request, self._first_index + place)
        if place == len(self._requests) - 1:
            self.complete = True

    def outcomes(self) -> list[Outcome]:
        """One for each request, in order. Only of a complete window: before that, silence does not mean success."""
        if not self.complete:
            raise RuntimeError("the window is not complete")
        if not self._refusals and not self.replies:
            return list(map(Outcome, self._requests))
        return [
            Outcome(request, self._refusals.get(place), self._replies_to(place))
            for place, request in enumerate(self._requests)
        ]

    def _replies_to(self, place: int) -> tuple[Frame, ...]:
        reply = self.replies.get(place)
        return () if reply is None else (reply,)
