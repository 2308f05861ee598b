"""Request sockets over a kernel that is a script: what is sent, what is made of replies, what ends a wait."""

import asyncio
import errno
import socket as stdlib_socket
import struct
import threading
from collections.abc import Callable

import pytest
from pyroute2.netlink.core import AsyncCoreSocket, SyncAPI
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from xfrm import attributes as rows
from xfrm import requests
from xfrm import socket as xfrm_socket
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.constants import Direction, MessageType, NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError, DumpInterrupted, KernelRefused, Overrun, Timeout
from xfrm.frame import Frame, frame, split
from xfrm.policy import Policy
from xfrm.selector import Selector
from xfrm.socket import AsyncXfrmSocket, XfrmSocket
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
        opened, self._other = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
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
        if hasattr(self, "_other"):
            self._other.close()


def run(script: Answer, work: Callable[[ScriptedSocket], object], timeout_s: float = 1.0) -> object:
    async def main() -> object:
        async with ScriptedSocket(timeout_s=timeout_s) as kernel:
            kernel.script = script
            return await work(kernel)  # type: ignore[misc]  # each test's own coroutine

    return asyncio.run(main(), debug=True)


def test_single_calls_send_their_request() -> None:
    async def work(kernel: ScriptedSocket) -> list[str]:
        await kernel.add_sa(SA)
        await kernel.update_sa(SA)
        await kernel.delete_sa(SA.id)
        await kernel.flush_sas()
        await kernel.add_policy(POLICY)
        await kernel.update_policy(POLICY)
        await kernel.delete_policy(POLICY.id)
        await kernel.flush_policies()
        assert {sent.port for sent in kernel.sent} == {4711}
        assert [sent.sequence for sent in kernel.sent] == list(range(1, 9))
        return [MessageType(sent.type).name.removeprefix("XFRM_MSG_") for sent in kernel.sent]

    names = ["NEWSA", "UPDSA", "DELSA", "FLUSHSA", "NEWPOLICY", "UPDPOLICY", "DELPOLICY", "FLUSHPOLICY"]
    assert run(accept, work) == names


def test_a_refusal_of_one_is_raised() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(KernelRefused, match=r"add SA .*: EEXIST"):
            await kernel.add_sa(SA)
        kernel.script = accept
        await kernel.add_sa(SA)

    run(lambda request: answer(request, errno.EEXIST), work)


def test_of_many_each_has_its_outcome_across_windows() -> None:
    def script(request: Frame) -> bytes:
        return answer(request, errno.EEXIST) if request.sequence in (2, 40, 100) else accept(request)

    async def work(kernel: ScriptedSocket) -> None:
        outcomes = await kernel.request_many(requests.add_sa(SA) for _ in range(100))
        assert len(outcomes) == 100
        refused = {outcome.refusal.index for outcome in outcomes if outcome.refusal}
        assert refused == {1, 39, 99}
        asked = [sent.sequence for sent in kernel.sent if sent.flags & NetlinkFlag.NLM_F_ACK]
        assert asked == [32, 64, 96, 100]
        assert await kernel.request_many([]) == []

    run(script, work)


def test_get_reads_the_answer() -> None:
    def script(request: Frame) -> bytes:
        kind = (
            MessageType.XFRM_MSG_NEWSA if request.type == MessageType.XFRM_MSG_GETSA else MessageType.XFRM_MSG_NEWPOLICY
        )
        body = SA.encode() if kind is MessageType.XFRM_MSG_NEWSA else POLICY.encode()
        return frame(kind, 0, request.sequence, 0, body) + answer(request)

    async def work(kernel: ScriptedSocket) -> None:
        assert (await kernel.get_sa(SA.id)).configuration() == SA
        assert (await kernel.get_policy(POLICY.id)).configuration() == POLICY

    run(script, work)


def test_get_without_an_answer() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(DecodeError, match="without the answer"):
            await kernel.get_sa(SA.id)

    run(accept, work)


def test_dumps_are_typed() -> None:
    def script(request: Frame) -> bytes:
        if request.type == MessageType.XFRM_MSG_GETSA:
            parts = frame(MessageType.XFRM_MSG_NEWSA, MULTI, request.sequence, 0, SA.encode())
        else:
            parts = frame(MessageType.XFRM_MSG_NEWPOLICY, MULTI, request.sequence, 0, POLICY.encode())
        return parts * 3 + done(request)

    async def work(kernel: ScriptedSocket) -> None:
        assert [sa.configuration() for sa in await kernel.dump_sas()] == [SA] * 3
        assert [policy.configuration() for policy in await kernel.dump_policies()] == [POLICY] * 3

    run(script, work)


def test_an_interrupted_dump_is_repeated_and_given_up_in_the_end() -> None:
    interruptions = [2]

    def script(request: Frame) -> bytes:
        interruptions[0] -= 1
        return done(request, INTR if interruptions[0] >= 0 else 0)

    async def work(kernel: ScriptedSocket) -> None:
        assert await kernel.dump_sas() == []
        assert len(kernel.sent) == 3
        interruptions[0] = 100
        with pytest.raises(DumpInterrupted, match="5 times over"):
            await kernel.dump_sas()
        assert len(kernel.sent) == 8

    run(script, work)


def test_a_dump_waits_for_the_rest_of_one_that_was_given_up() -> None:
    busy = [3]

    def script(request: Frame) -> bytes:
        busy[0] -= 1
        return answer(request, errno.EBUSY) if busy[0] >= 0 else done(request)

    async def work(kernel: ScriptedSocket) -> None:
        assert await kernel.dump_sas() == []
        assert len(kernel.sent) == 4
        busy[0] = 10**6
        with pytest.raises(KernelRefused, match="EBUSY"):
            await kernel.dump_sas()

    run(script, work, timeout_s=0.05)


def test_silence_ends_in_a_timeout_and_late_replies_harm_nothing() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(Timeout, match=r"delete SA dst 239\.1\.1\.1 .*: no answer within 0\.05 s"):
            await kernel.delete_sa(SA.id)
        kernel.enqueue(answer(kernel.sent[0], errno.ESRCH), (0, 0))
        kernel.script = accept
        await kernel.delete_sa(SA.id)

    run(lambda request: b"", work, timeout_s=0.05)


def test_parts_of_a_dump_keep_the_wait_alive() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        waiting = asyncio.ensure_future(kernel.dump_policies())
        for _ in range(6):
            await asyncio.sleep(0.05)
            part = frame(MessageType.XFRM_MSG_NEWPOLICY, MULTI, kernel.sent[0].sequence, 0, POLICY.encode())
            kernel.enqueue(part, (0, 0))
        kernel.enqueue(done(kernel.sent[0]), (0, 0))
        assert len(await waiting) == 6

    run(lambda request: b"", work, timeout_s=0.2)


def test_what_is_not_the_kernels_is_dropped() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        kernel.sender = 99
        with pytest.raises(Timeout):
            await kernel.delete_sa(SA.id)

    run(accept, work, timeout_s=0.05)


def test_an_overrun_fails_the_request_and_leaves_the_socket_usable() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        kernel.event_loop.call_soon(kernel.receive_failed, OSError(errno.ENOBUFS, "No buffer space available"))
        with pytest.raises(Overrun, match="replies were lost"):
            await kernel.delete_sa(SA.id)
        kernel.script = accept
        await kernel.delete_sa(SA.id)
        kernel.receive_failed(OSError(errno.ENOBUFS, "with nobody waiting"))

    run(lambda request: b"", work)


def test_other_errors_of_the_socket_are_raised_as_they_are() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        kernel.event_loop.call_soon(kernel.receive_failed, OSError(errno.EIO, "broken"))
        with pytest.raises(OSError, match="broken"):
            await kernel.delete_sa(SA.id)

    run(lambda request: b"", work)


def test_a_reply_that_cannot_be_read() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(DecodeError):
            await kernel.delete_sa(SA.id)

    run(lambda request: b"\x01\x02\x03", work)


def test_a_failed_send_is_raised_and_forgotten() -> None:
    class Failing(ScriptedSocket):
        def send(self, data: bytes, flags: int = 0) -> int:
            raise OSError(errno.EMSGSIZE, "too long")

    async def main() -> None:
        async with Failing() as kernel:
            with pytest.raises(OSError, match="too long"):
                await kernel.delete_sa(SA.id)

    asyncio.run(main(), debug=True)


def test_calls_take_turns() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        await asyncio.gather(*(kernel.delete_sa(SA.id) for _ in range(5)))
        assert [sent.sequence for sent in kernel.sent] == [1, 2, 3, 4, 5]

    run(accept, work)


def test_a_cancelled_call_leaves_the_socket_usable() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        waiting = asyncio.ensure_future(kernel.delete_sa(SA.id))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        kernel.script = accept
        await kernel.delete_sa(SA.id)

    run(lambda request: b"", work)


def test_closing_ends_a_wait_and_later_calls() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        waiting = asyncio.ensure_future(kernel.delete_sa(SA.id))
        await asyncio.sleep(0)
        kernel.close()
        kernel.close()
        with pytest.raises(OSError, match="the socket was closed"):
            await waiting
        with pytest.raises(OSError, match="the socket is closed"):
            await kernel.delete_sa(SA.id)

    run(lambda request: b"", work)


def test_another_thread_is_turned_away() -> None:
    async def main() -> None:
        caught: list[BaseException] = []
        async with ScriptedSocket() as kernel:

            def use() -> None:
                try:
                    asyncio.run(kernel.delete_sa(SA.id))
                except RuntimeError as error:
                    caught.append(error)

            thread = threading.Thread(target=use)
            thread.start()
            await asyncio.to_thread(thread.join)
        assert "serves the thread that made it" in str(caught[0])

    asyncio.run(main())


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfrm_socket, "AsyncXfrmSocket", ScriptedSocket)


@pytest.mark.usefixtures("scripted")
def test_the_synchronous_socket_does_the_same() -> None:
    with XfrmSocket(timeout_s=1) as kernel:
        kernel.add_sa(SA)
        kernel.update_sa(SA)
        kernel.delete_sa(SA.id)
        kernel.flush_sas()
        kernel.add_policy(POLICY)
        kernel.update_policy(POLICY)
        kernel.delete_policy(POLICY.id)
        kernel.flush_policies()
        assert kernel.request(requests.flush_sas()) is None
        assert [outcome.ok for outcome in kernel.request_many([requests.delete_sa(SA.id)] * 2)] == [True, True]
        scripted = kernel.asyncore
        assert isinstance(scripted, ScriptedSocket)
        scripted.script = lambda request: done(request)
        assert kernel.dump_sas() == []
        assert kernel.dump_policies() == []
        scripted.script = lambda request: answer(request, errno.ESRCH)
        with pytest.raises(KernelRefused, match="ESRCH"):
            kernel.get_sa(SA.id)
        with pytest.raises(KernelRefused, match="ESRCH"):
            kernel.get_policy(POLICY.id)
    kernel.close()
    with pytest.raises(OSError, match="the socket is closed"):
        kernel.flush_sas()


@pytest.mark.usefixtures("scripted")
def test_the_synchronous_socket_turns_another_thread_away() -> None:
    caught: list[BaseException] = []
    with XfrmSocket(timeout_s=1) as kernel:

        def use() -> None:
            try:
                kernel.flush_sas()
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert "serves the thread that made it" in str(caught[0])


@pytest.mark.usefixtures("scripted")
def test_the_synchronous_socket_refuses_to_block_a_loop() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use the asynchronous socket"):
            XfrmSocket()

    asyncio.run(main())


def test_the_hooks_of_pyroute2_we_lean_on_are_there() -> None:
    for name in ("setup_socket", "setup_endpoint", "enqueue", "send", "close", "_check_tid", "socket", "event_loop"):
        assert hasattr(AsyncNetlinkSocket, name)
    assert issubclass(AsyncNetlinkSocket, AsyncCoreSocket)
    assert hasattr(AsyncNetlinkSocket, "add_membership")
    assert hasattr(SyncAPI, "close")


def test_other_attributes_of_an_answer_are_kept() -> None:
    def script(request: Frame) -> bytes:
        body = SA.encode() + rows.RawAttribute(99, b"later").encode()
        return frame(MessageType.XFRM_MSG_NEWSA, 0, request.sequence, 0, body) + answer(request)

    async def work(kernel: ScriptedSocket) -> None:
        assert (await kernel.get_sa(SA.id)).other == (rows.RawAttribute(99, b"later"),)

    run(script, work)


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


def test_the_loops_transport_feeds_the_endpoint() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        waiting = asyncio.ensure_future(kernel.delete_sa(SA.id))
        await asyncio.sleep(0)
        kernel.local.protocol.datagram_received(answer(kernel.sent[0]), (0, 0))
        await waiting
        waiting = asyncio.ensure_future(kernel.delete_sa(SA.id))
        await asyncio.sleep(0)
        kernel.local.protocol.error_received(OSError(errno.ENOBUFS, "No buffer space available"))
        with pytest.raises(Overrun):
            await waiting

    run(lambda request: b"", work)
