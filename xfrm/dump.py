"""Dumps, without I/O: multipart answers put together, and interruption noticed (NLM_F_DUMP_INTR)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from xfrm.constants import NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError, KernelRefused, Overrun
from xfrm.frame import Frame, Reply, frame, read_done, read_error
from xfrm.requests import Request
from xfrm.window import SequenceNumbers

__all__ = ["Dump"]

T = TypeVar("T")


class Dump(Generic[T]):
    """One dump on its way: `datagram` to send; replies go to `feed` until `complete`; then `entries` has them all.

    `read`: what makes an entry of a part, at once, so that no more than a datagram waits to be read. `interrupted`: the
    database changed meanwhile, so entries may be missing or come twice. `unreadable`: what `read` raised first; the
    rest of the dump is taken nevertheless, since the socket has no other until it is.
    """

    def __init__(
        self, request: Request, numbers: SequenceNumbers, read: Callable[[Frame], T], *, port: int = 0
    ) -> None:
        self._request: Final = request
        self._number: Final = numbers.take(1)
        self._read: Final = read
        self.entries: list[T] = []
        self.unreadable: DecodeError | None = None
        self.interrupted = False
        self.complete = False
        self.datagram: Final = frame(request.kind.type, request.kind.flags, self._number, port, request.body)

    def feed(self, frames: Sequence[Frame]) -> None:
        """Take parts; those of other requests are dropped.

        Raises KernelRefused where the kernel refuses the dump or breaks it off, Overrun where it lost parts,
        DecodeError for an end that cannot be read.
        """
        for message in frames:
            if message.type == NetlinkControl.NLMSG_OVERRUN:
                raise Overrun("the kernel reports lost parts of a dump")
            if message.sequence != self._number or message.type == NetlinkControl.NLMSG_NOOP:
                continue
            if message.flags & NetlinkFlag.NLM_F_DUMP_INTR:
                self.interrupted = True
            if message.type == NetlinkControl.NLMSG_DONE:
                self._end(read_done(message))
            elif message.type == NetlinkControl.NLMSG_ERROR:
                self._end(read_error(message))  # a dump is never acknowledged: an error is its end
            else:
                self._take(message)

    def _take(self, message: Frame) -> None:
        if self.unreadable is not None:
            return
        try:
            self.entries.append(self._read(message))
        except DecodeError as error:
            self.unreadable = error

    def _end(self, reply: Reply) -> None:
        self.complete = True
        if reply.errno:
            raise KernelRefused(reply.errno, reply.extack, self._request)
