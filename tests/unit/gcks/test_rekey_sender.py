"""Rekeys on their way: copies, resends to those who did not answer, unicast lists, a network that refuses."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.gcks import audit, listeners
from agent.gcks.acks import AckLedger
from agent.gcks.audit import AuditEvent, AuditQuery
from agent.gcks.database import StoreError
from agent.gcks.delivery import RekeyDelivery
from agent.gcks.grants import Grant, grant, registrations
from agent.gcks.kek import KekPolicy
from agent.gcks.listeners import Arrival, Listener
from agent.gcks.push import Push
from agent.gcks.push_ports import PushPorts
from agent.gcks.rekey_record import RekeyPhase
from agent.gcks.rekey_sender import RekeySender
from agent.gcks.store import Store
from agent.gcks.trail import Trail
from agent.gsa.identity import GroupId
from agent.gsa.sa import RekeySA
from agent.service.udp import PortSet
from tests.unit.gcks.rekey_support import VIDEO, ack, at, policy, push, rekey_sa, target
from tests.unit.gcks.support import FakeClock, name, until

QUICK = RekeyDelivery(copies=3, pause_s=0.03, ack_wait_s=0.08)
ONE, TWO = name("one.example"), name("two.example")
ADDRESSES = {ONE: "192.0.2.11", TWO: "192.0.2.12"}


class Wire(PushPorts):
    """Ports that keep what they are given; `refuse` makes them fail."""

    def __init__(self) -> None:
        super().__init__(PortSet([]), lambda *_: None)
        self.cast_payloads: list[bytes] = []
        self.told: list[tuple[bytes, str]] = []
        self.refuse: int | None = None

    def cast(self, payload: bytes, policy: KekPolicy) -> None:
        del policy
        self._maybe()
        self.cast_payloads.append(payload)

    def tell(self, payload: bytes, policy: KekPolicy, listener: Listener) -> None:
        del policy
        self._maybe()
        self.told.append((payload, str(listener.endpoint.address)))

    def _maybe(self) -> None:
        if self.refuse is not None:
            raise OSError(self.refuse, "")


@dataclass(slots=True)
class Source:
    """What makes copies: the same under the next number, `left` of them."""

    left: int = 99
    fails: bool = False
    asked: list[int] = field(default_factory=list)

    async def again(self, push: Push) -> Push | None:
        if self.fails:
            raise StoreError("disk full")
        self.left -= 1
        if self.left < 0:
            return None
        self.asked.append(push.sequence)
        sequence = push.sequence + 1
        return replace(push, sequence=sequence, datagram=b"rekey %d" % sequence)

    def rekey_sa(self, group: GroupId, kek_spi: bytes) -> RekeySA | None:
        del group, kek_spi
        return rekey_sa()


@dataclass(slots=True)
class Bench:
    sender: RekeySender
    wire: Wire
    source: Source
    store: Store
    ledger: AckLedger

    async def done(self) -> None:
        async def over() -> bool:
            last = self.sender.records(VIDEO)[-1]
            return last.opened is None and last.phase not in (RekeyPhase.SENDING, RekeyPhase.WAITING)

        await until(over)

    async def sent(self, copies: int) -> None:
        async def there() -> bool:
            return self.sender.records(VIDEO)[-1].copies >= copies

        await until(there)


def run(folder: Path, body: Callable[[Bench], Awaitable[None]], *, register: bool = True) -> None:
    async def inside() -> None:
        clock = FakeClock()
        store = await Store.open(folder / "gckd.db")
        utc = clock.utc().timestamp()
        for identity, address in ADDRESSES.items() if register else ():
            await store.run(grant, Grant(VIDEO, identity, address, "receiver", (), utc, utc + 60))
            await store.run(listeners.heard_from, [Arrival(VIDEO, identity, at(address), 848)])
        wire, source, ledger = Wire(), Source(), AckLedger(lambda _group, _identity: None)
        async with asyncio.TaskGroup() as tasks:
            trail = Trail(store, clock, tasks.create_task)
            sender = RekeySender(wire, store, ledger, trail, clock, spawn=tasks.create_task)
            sender.bind(source)
            await body(Bench(sender, wire, source, store, ledger))
            await sender.close()
        await store.close()

    asyncio.run(inside())


@pytest.mark.requirement("MIPSEC-4.2.1-07")
def test_copies_leave_under_numbers_of_their_own_and_stop_when_all_have_answered(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(1), target(policy(QUICK)))
        await bench.sent(2)
        for identity in ADDRESSES:
            bench.sender.receive(ack(ADDRESSES[identity], 2), at(ADDRESSES[identity]))
        await bench.done()
        (record,) = bench.sender.records(VIDEO)
        assert bench.wire.cast_payloads == [b"rekey 1", b"rekey 2"]
        assert (record.phase, record.sequences, record.expected, record.acknowledged) == (
            RekeyPhase.COMPLETE,
            [1, 2],
            2,
            2,
        )
        assert record.missing == ()

    run(tmp_path, body)


def test_the_same_datagram_again_where_that_is_configured(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(7, awaited=None), target(policy(replace(QUICK, fresh_sequence=False))))
        await bench.done()
        assert bench.wire.cast_payloads == [b"rekey 7"] * 3
        assert bench.source.asked == []
        (record,) = bench.sender.records(VIDEO)
        assert (record.phase, record.sequences, record.acknowledged) == (RekeyPhase.SENT, [7], None)

    run(tmp_path, body)


@pytest.mark.requirement("ACK-6-07", "ACK-6-08", "ACK-6-09")
def test_what_is_missing_is_said_once_more_then_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(1), target(policy(QUICK)))
        await bench.sent(1)
        bench.sender.receive(ack("192.0.2.11"), at("192.0.2.11"))
        await bench.done()
        (record,) = bench.sender.records(VIDEO)
        assert (record.phase, record.sequences) == (RekeyPhase.MISSING, [1, 2, 3, 4])
        assert (record.acknowledged, record.missing) == (1, (TWO,))

        async def written() -> bool:
            return bool(await bench.store.run(audit.entries, AuditQuery(limit=1)))

        await until(written)
        (row,) = [
            each
            for each in await bench.store.run(audit.entries, AuditQuery())
            if each.event is AuditEvent.ACKNOWLEDGEMENT_MISSING
        ]
        assert row.text == "rekey SEQ 1 to 4 was not acknowledged by 1 of 2: fqdn:two.example"

    run(tmp_path, body)
    assert "acknowledgements missing" in caplog.text


@pytest.mark.requirement("ACK-6-10")
def test_late_answers_are_checked_until_the_wait_is_over(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(1), target(policy(replace(QUICK, copies=1))))
        await bench.sent(1)
        await asyncio.sleep(0.05)
        for address in ADDRESSES.values():
            bench.sender.receive(ack(address), at(address))
        await bench.done()
        assert bench.sender.records(VIDEO)[0].phase is RekeyPhase.COMPLETE
        assert bench.ledger.counts == {"acknowledged": 2}

    run(tmp_path, body)


def test_unicast_goes_to_each_who_has_not_answered_and_drops_who_never_does(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        unicast = target(policy(QUICK, destination=None))
        for number in (1, 11, 21, 31):
            bench.sender.send(push(number), unicast)
            await bench.sent(1)
            bench.sender.receive(ack("192.0.2.11", number), at("192.0.2.11"))
            if number == 1:
                bench.sender.receive(ack("192.0.2.12", number), at("192.0.2.12"))
            await bench.done()
        first, second = bench.wire.told[:2]
        assert first == (b"rekey 1 to 192.0.2.11:848", "192.0.2.11")
        assert second == (b"rekey 1 to 192.0.2.12:848", "192.0.2.12")
        to = [address for _, address in bench.wire.told[2:]]
        assert to == ["192.0.2.11", "192.0.2.12", "192.0.2.12", "192.0.2.12"] * 3
        bench.sender.send(push(41), unicast)
        await bench.sent(1)
        assert [address for _, address in bench.wire.told[14:]] == ["192.0.2.11"]

    run(tmp_path, body)


def test_rekeys_of_one_group_leave_in_order(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for number in (1, 2, 3):
            bench.sender.send(push(10 * number), target(policy(QUICK)))
        await bench.done()
        assert bench.wire.cast_payloads[:3] == [b"rekey 10", b"rekey 20", b"rekey 30"]

    run(tmp_path, body)


def test_a_network_that_refuses_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(bench: Bench) -> None:
        bench.wire.refuse = errno.ENETUNREACH
        bench.sender.send(push(1, awaited=None), target(policy(QUICK)))
        await bench.sent(2)
        bench.wire.refuse = None
        await bench.done()
        assert bench.wire.cast_payloads == [b"rekey 3"]
        assert bench.sender.records(VIDEO)[0].phase is RekeyPhase.SENT
        assert bench.sender.counts["unsent"] == 2

    with caplog.at_level(logging.INFO):
        run(tmp_path, body)
    assert caplog.text.count("a rekey did not leave this host") == 1
    assert "rekeys leave this host again" in caplog.text


def test_copies_end_where_nothing_holds_any_more_and_go_on_as_they_were_while_the_store_fails(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.source.left = 1
        bench.sender.send(push(1, awaited=None), target(policy(QUICK)))
        await bench.done()
        assert bench.wire.cast_payloads == [b"rekey 1", b"rekey 2"]
        bench.source.fails = True
        bench.sender.send(push(9, awaited=None), target(policy(QUICK)))
        await bench.done()
        assert bench.wire.cast_payloads[2:] == [b"rekey 9"] * 3

    run(tmp_path, body)


def test_copies_leave_though_nobody_is_known_to_listen(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(1), target(policy(QUICK)))
        await bench.done()
        assert bench.wire.cast_payloads == [b"rekey 1", b"rekey 2", b"rekey 3"]
        assert bench.sender.records(VIDEO)[0].phase is RekeyPhase.COMPLETE

    run(tmp_path, body, register=False)


def test_members_are_held_to_have_what_a_rekey_brought(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        ends = FakeClock().utc().timestamp() + 600
        bench.sender.send(push(1, awaited=None, ends_utc=ends), target(policy(QUICK)))
        await bench.done()

        async def extended() -> bool:
            return [row.expires_utc for row in await bench.store.run(registrations)] == [ends, ends]

        await until(extended)

    run(tmp_path, body)


@pytest.mark.requirement("ACK-6-11")
def test_an_acknowledgement_refused_is_told_at_a_bearable_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(bench: Bench) -> None:
        for number in range(100):
            bench.sender.receive(ack("192.0.2.11", number), at("192.0.2.11"))
        assert bench.ledger.counts == {"refused": 100}

    run(tmp_path, body)
    assert caplog.text.count("acknowledgement refused") == 1


@pytest.mark.requirement("GDOI-4.3-01")
def test_no_rekey_leaves_under_a_lower_number_than_one_before(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        bench.sender.send(push(5, awaited=None), target(policy(QUICK)))
        bench.sender.send(push(4, awaited=None), target(policy(QUICK)))
        await bench.done()
        first, second, *_ = bench.wire.cast_payloads
        assert (first, second) == (b"rekey 5", b"rekey 5")
        assert bench.source.asked[0] == 4

    run(tmp_path, body)
