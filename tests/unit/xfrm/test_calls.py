"""Typed calls over a kernel that is a script: what is asked, and what is made of the answer."""

import pytest

from tests.unit.xfrm.scripted import MULTI, POLICY, SA, ScriptedSocket, accept, answer, done, full, run
from xfrm import attributes as rows
from xfrm.aevent import Aevent
from xfrm.attributes import AttributeSet
from xfrm.constants import Direction, MessageType, PolicyType
from xfrm.errors import DecodeError
from xfrm.events import Acquire
from xfrm.frame import Frame, frame
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo
from xfrm.migration import Migration, SaMigration
from xfrm.selector import AddressFilter
from xfrm.spi import SpiRequest
from xfrm.thresholds import Thresholds


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


def test_get_without_an_answer() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(DecodeError, match="without the answer"):
            await kernel.get_sa(SA.id)

    run(accept, work)


def test_every_call_asks_its_question() -> None:
    async def work(kernel: ScriptedSocket) -> list[str]:
        assert (await kernel.allocate_spi(SpiRequest(SA.source, SA.destination))).spi == SA.spi
        assert await kernel.get_aevent(SA.id) == Aevent(SA.id, SA.source, 5)
        assert await kernel.get_sad_info() == SadInfo(1, 2, 3)
        assert await kernel.get_spd_info() == SpdInfo(1, 2, 3)
        assert await kernel.get_default() == DefaultPolicy(outbound=1)
        await kernel.update_aevent(Aevent(SA.id, SA.source, thresholds=Thresholds(1)))
        await kernel.expire_sa(SA.id, hard=True)
        await kernel.expire_policy(POLICY.id, hard=False)
        await kernel.acquire(Acquire(SA.id, SA.source, POLICY.selector, POLICY, 1))
        await kernel.migrate(Migration(POLICY.selector, Direction.OUT, ()))
        await kernel.migrate_sa(SaMigration(SA.id, SA.source, SA.destination))
        await kernel.set_spd_thresholds(ipv4=HashThreshold(1, 2))
        await kernel.set_default(DefaultPolicy(inbound=1))
        return [MessageType(sent.type).name.removeprefix("XFRM_MSG_") for sent in kernel.sent]

    asked = ["ALLOCSPI", "GETAE", "GETSADINFO", "GETSPDINFO", "GETDEFAULT", "NEWAE", "EXPIRE", "POLEXPIRE", "ACQUIRE"]
    assert run(full, work) == [*asked, "MIGRATE", "MIGRATE_STATE", "NEWSPDINFO", "SETDEFAULT"]


def test_filters_of_dumps() -> None:
    async def work(kernel: ScriptedSocket) -> None:
        assert len(await kernel.dump_sas(protocol=50, addresses=AddressFilter.of("10.0.0.0/8", "0.0.0.0/0"))) == 2
        asked = AttributeSet.parse(kernel.sent[0].body)
        assert asked.get(rows.PROTO) == 50
        assert rows.ADDRESS_FILTER in asked
        assert len(await kernel.dump_policies(PolicyType.MAIN)) == 2
        assert await kernel.dump_policies(PolicyType.SUB) == []

    run(full, work)


def test_an_answer_of_another_kind_is_said() -> None:
    def script(request: Frame) -> bytes:
        return frame(MessageType.XFRM_MSG_NEWPOLICY, 0, request.sequence, 0, POLICY.encode()) + answer(request)

    async def work(kernel: ScriptedSocket) -> None:
        with pytest.raises(DecodeError, match="SecurityAssociation was asked for, the answer is Policy"):
            await kernel.get_sa(SA.id)

    run(script, work)


def test_other_attributes_of_an_answer_are_kept() -> None:
    def script(request: Frame) -> bytes:
        body = SA.encode() + rows.RawAttribute(99, b"later").encode()
        return frame(MessageType.XFRM_MSG_NEWSA, 0, request.sequence, 0, body) + answer(request)

    async def work(kernel: ScriptedSocket) -> None:
        assert (await kernel.get_sa(SA.id)).other == (rows.RawAttribute(99, b"later"),)

    run(script, work)
