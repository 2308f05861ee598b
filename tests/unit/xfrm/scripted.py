"""A request socket whose kernel is a script, for the tests of sockets and their calls."""

import asyncio
import errno
import socket as stdlib_socket
import struct
from collections.abc import Callable

from xfrm.address import Address
from xfrm.aevent import Aevent
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.constants import Direction, MessageType, NetlinkControl, NetlinkFlag
from xfrm.frame import Frame, frame, split
from xfrm.info import DefaultPolicy, SadInfo, SpdInfo
from xfrm.policy import Policy
from xfrm.selector import Selector
from xfrm.socket import AsyncXfrmSocket
from xfrm.state import SecurityAssociation

SA = SecurityAssociation(
    Address.of("10.0.0.1"),
    Address.of("239.1.1.1"),
    0x1234,
    aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128),
)
POLICY = Policy(Selector.of("10.0.0.1", "239.1.1.1"), Direction.OUT)
MULTI, INTR = int(NetlinkFlag.NLM_F_MULTI), int(NetlinkFlag.NLM_F_DUMP_INTR)

Answer = Callable[[Frame], bytes]


def answer(request: Frame, errno_: int = 0) -> bytes:
    body = struct.pack("=i", -errno_) + bytes(16)
    return frame(NetlinkControl.NLMSG_ERROR, int(NetlinkFlag.NLM_F_CAPPED), request.sequence, 0, body)


def done(request: Frame, flags: int = 0) -> bytes:
    return frame(NetlinkControl.NLMSG_DONE, MULTI | flags, request.sequence, 0, bytes(4))


def accept(request: Frame) -> bytes:
    return answer(request) if request.flags & NetlinkFlag.NLM_F_ACK else b""


class ScriptedSocket(AsyncXfrmSocket):
    """The kernel's part is a function of each request; replies come in the loop's next turn, as one datagram."""

    script: Answer = staticmethod(accept)
    sender = 0

    def __init__(self, *, netns: str | None = None, timeout_s: float = 1.0) -> None:
        super().__init__(netns=netns, timeout_s=timeout_s)
        self.sent: list[Frame] = []

    def setup_socket(self) -> stdlib_socket.socket:
        opened, self.to_endpoint = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
        return opened

    @property
    def port(self) -> int:
        return 4711

    def send(self, data: bytes, flags: int = 0) -> int:
        frames = split(data)
        self.sent.extend(frames)
        replies = b"".join([self.script(request) for request in frames])
        if replies:
            self.event_loop.call_soon(self.enqueue, replies, (self.sender, 0))
        return len(data)

    def close(self, code: int = errno.ECONNRESET) -> None:
        super().close(code)
        if hasattr(self, "to_endpoint"):
            self.to_endpoint.close()


def run(script: Answer, work: Callable[[ScriptedSocket], object], timeout_s: float = 1.0) -> object:
    async def main() -> object:
        async with ScriptedSocket(timeout_s=timeout_s) as kernel:
            kernel.script = script
            return await work(kernel)  # type: ignore[misc]  # each test's own coroutine

    return asyncio.run(main(), debug=True)


ANSWERS = {
    MessageType.XFRM_MSG_GETSA: (MessageType.XFRM_MSG_NEWSA, SA.encode()),
    MessageType.XFRM_MSG_GETPOLICY: (MessageType.XFRM_MSG_NEWPOLICY, POLICY.encode()),
    MessageType.XFRM_MSG_ALLOCSPI: (MessageType.XFRM_MSG_NEWSA, SA.encode()),
    MessageType.XFRM_MSG_GETAE: (MessageType.XFRM_MSG_NEWAE, Aevent(SA.id, SA.source, 5).encode()),
    MessageType.XFRM_MSG_GETSADINFO: (MessageType.XFRM_MSG_NEWSADINFO, SadInfo(1, 2, 3).encode()),
    MessageType.XFRM_MSG_GETSPDINFO: (MessageType.XFRM_MSG_NEWSPDINFO, SpdInfo(1, 2, 3).encode()),
    MessageType.XFRM_MSG_GETDEFAULT: (MessageType.XFRM_MSG_GETDEFAULT, DefaultPolicy(outbound=1).encode()),
}


def full(request: Frame) -> bytes:
    """A kernel that has one of everything."""
    kind, body = ANSWERS.get(MessageType(request.type), (None, b""))
    if kind is None:
        return accept(request)
    if request.flags & NetlinkFlag.NLM_F_DUMP == NetlinkFlag.NLM_F_DUMP:
        return frame(kind, MULTI, request.sequence, 0, body) * 2 + done(request)
    return frame(kind, 0, request.sequence, 0, body) + accept(request)
