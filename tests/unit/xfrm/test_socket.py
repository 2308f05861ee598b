"""Request sockets over a kernel that is a script: what is sent, what is made of replies, what ends a wait."""

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine, Iterator

import pytest

from tests.unit.xfrm.scripted import (
    INTR,
    MULTI,
    POLICY,
    SA,
    Answer,
    ScriptedSocket,
    accept,
    answer,
    done,
    full,
    run,
)
from xfrm import requests
from xfrm import socket as xfrm_socket
from xfrm.calls import XfrmCalls
from xfrm.constants import MessageType, NetlinkFlag
from xfrm.errors import DecodeError, DumpInterrupted, KernelRefused, Overrun, Timeout
from xfrm.frame import Frame, frame, split
from xfrm.info import SadInfo
from xfrm.socket import AsyncXfrmSocket, XfrmSocket


def test_a_refusal_of_one_is_raised() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(KernelRefused, match=r"add SA .*: EEXIST"):
            await kernel.add_sa(SA)
        kernel.script = accept
        await kernel.add_sa(SA)

    run(lambda request: answer(request, errno.EEXIST), work)


def test_of_many_each_has_its_outcome_across_windows() -> None:
    def script(request: Frame) -> bytes:
        return answer(request, errno.EEXIST) if request.sequence in (2, 240, 600) else accept(request)

    async def work(kernel: ScriptedSocket) -> None:
        outcomes = await kernel.request_many(requests.add_sa(SA) for _ in range(600))
        assert len(outcomes) == 600
        refused = {outcome.refusal.index for outcome in outcomes if outcome.refusal}
        assert refused == {1, 239, 599}
        asked = [sent.sequence for sent in kernel.sent if sent.flags & NetlinkFlag.NLM_F_ACK]
        assert asked == [200, 400, 600]
        assert await kernel.request_many([]) == []

    run(script, work)


def test_a_list_may_have_gets_and_dumps() -> None:
    def script(request: Frame) -> bytes:
        refused = request.type == MessageType.XFRM_MSG_GETPOLICY and not request.flags & NetlinkFlag.NLM_F_ACK
        return answer(request, errno.EPERM) if refused else full(request)

    async def work(kernel: ScriptedSocket) -> None:
        gets = [requests.get_sa(SA.id), requests.delete_sa(SA.id), requests.get_sad_info()]
        outcomes = await kernel.request_many([*gets, requests.dump_sas(), requests.dump_policies(), gets[0]])
        assert [outcome.ok for outcome in outcomes] == [True, True, True, True, False, True]
        assert [len(outcome.answers()) for outcome in outcomes] == [1, 0, 1, 2, 0, 1]
        assert outcomes[2].answers() == [SadInfo(1, 2, 3)]
        refusal = outcomes[4].refusal
        assert refusal is not None
        assert (refusal.errno, refusal.index) == (errno.EPERM, 4)

    run(script, work)


def test_an_interrupted_dump_of_a_list_is_refused_and_the_others_are_done() -> None:
    def script(request: Frame) -> bytes:
        return done(request, INTR) if request.type == MessageType.XFRM_MSG_GETSA else full(request)

    async def work(kernel: ScriptedSocket) -> None:
        outcomes = await kernel.request_many([requests.flush_sas(), requests.dump_sas(), requests.dump_policies()])
        assert [outcome.ok for outcome in outcomes] == [True, False, True]
        refusal = outcomes[1].refusal
        assert refusal is not None
        assert (refusal.errno, refusal.index) == (errno.EINTR, 1)
        assert "changed while it was read" in str(refusal)

    run(script, work)


def test_messages_of_a_dump_are_had_undecoded() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        assert [message.type for message in await kernel.dump(requests.dump_sas())] == [MessageType.XFRM_MSG_NEWSA] * 2

    run(full, work)


def test_a_dump_is_asked_for_as_one_and_nothing_else_is() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(ValueError, match="dump SAs: a dump is for dump, dump_entries or request_many"):
            await kernel.request(requests.dump_sas())
        with pytest.raises(ValueError, match="get info of SAD: is no dump"):
            await kernel.dump(requests.get_sad_info())
        assert kernel.sent == []

    run(full, work)


def test_every_call_has_its_synchronous_twin() -> None:
    calls = {name for name in vars(XfrmCalls) if not name.startswith("_")} | {"request_many", "dump"}
    assert calls <= set(vars(XfrmSocket))
    for name in calls:
        twin = getattr(XfrmSocket, name)
        assert (twin.__name__, twin.__doc__) == (name, getattr(AsyncXfrmSocket, name).__doc__)


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


class WaitingSocket(ScriptedSocket):
    """Replies are there when send returns, as the kernel's are: one datagram for each request that is answered."""

    def send(self, data: bytes, flags: int = 0) -> int:
        for request in split(data):
            self.sent.append(request)
            if reply := self.script(request):
                self.to_endpoint.send(reply)
        return len(data)

    def enqueue(self, data: bytes, addr: tuple[int, int]) -> None:
        super().enqueue(data, (self.sender, 0))


def run_waiting(script: Answer, work: Callable[[WaitingSocket], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with WaitingSocket() as kernel:
            kernel.script = script
            await work(kernel)

    asyncio.run(main(), debug=True)


def test_a_reply_that_waits_already_is_taken_at_once_and_its_octets_are_overwritten() -> None:
    async def work(kernel: WaitingSocket) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        outcomes = await kernel.request_many(requests.add_sa(SA) for _ in range(600))
        counting.cancel()
        assert len(outcomes) == 600
        assert 2 <= turns <= 4, "the loop has its turn between windows, of which there are three, and waits for none"
        assert await kernel.dump_sas() == [await kernel.get_sa(SA.id)] * 2
        assert not any(kernel._buffer)

    run_waiting(full, work)


def test_refusals_that_wait_already_are_all_taken() -> None:
    async def work(kernel: WaitingSocket) -> None:
        outcomes = await kernel.request_many([requests.add_sa(SA)] * 3)
        assert [outcome.refusal.errno for outcome in outcomes if outcome.refusal] == [errno.EEXIST] * 3
        with pytest.raises(KernelRefused):
            await kernel.add_sa(SA)

    run_waiting(lambda request: answer(request, errno.EEXIST), work)


def test_an_overrun_at_once_is_raised() -> None:
    async def work(kernel: WaitingSocket) -> None:
        class Lossy:
            def recvfrom_into(self, *_: object) -> tuple[int, tuple[int, int]]:
                raise OSError(errno.ENOBUFS, "lost")

        whole = kernel.socket
        kernel.local.socket = Lossy()
        with pytest.raises(Overrun):
            await kernel.add_sa(SA)
        kernel.local.socket = whole
        kernel.script = accept

    run_waiting(lambda request: b"", work)


def test_what_requests_are_drawn_from_may_fail_between_windows() -> None:
    def draw() -> Iterator[requests.Request]:
        yield from [requests.add_sa(SA)] * 229
        raise ValueError("no more")

    async def work(kernel: WaitingSocket) -> None:
        with pytest.raises(ValueError, match="no more"):
            await kernel.request_many(draw())
        assert len(kernel.sent) == 200
        await kernel.add_sa(SA)

    run_waiting(accept, work)
