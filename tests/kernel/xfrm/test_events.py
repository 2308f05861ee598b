"""Events of a real kernel: policy changes, ACQUIRE, overruns."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import subprocess
from collections.abc import Iterator

import pytest

from xfrm import (
    Acquire,
    Address,
    AsyncXfrmMonitor,
    AsyncXfrmSocket,
    Change,
    Direction,
    Event,
    Family,
    Group,
    Mode,
    Origin,
    Overrun,
    Policy,
    PolicyChange,
    PolicyFlush,
    PolicyType,
    Protocol,
    SaFlush,
    SaId,
    Selector,
    Template,
    XfrmMonitor,
    XfrmSocket,
    requests,
)

pytestmark = pytest.mark.needs_xfrm

ANY4 = Address.any(Family.AF_INET)


def policy(number: int, direction: Direction = Direction.OUT) -> Policy:
    group = f"239.1.{number >> 8}.{number & 255}"
    template = Template(ANY4, Address.of(group), spi=0x1234, reqid=0x1000)
    return Policy(Selector.of("0.0.0.0/0", group), direction, priority=10, templates=(template,))


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket() as opened:
        yield opened


@pytest.fixture
def monitor() -> Iterator[XfrmMonitor]:
    with XfrmMonitor() as opened:
        yield opened


def next_of(monitor: XfrmMonitor) -> Event:
    event = monitor.next_event(timeout_s=10)
    assert event is not None, "no event within 10 s"
    return event


def test_changes_of_policies_are_reported_with_whose_they_are(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    port = kernel.asyncore.port
    kernel.add_policy(policy(1))
    kernel.update_policy(policy(1))
    kernel.delete_policy(policy(1).id)
    kernel.flush_policies()
    for sequence, change in enumerate((Change.ADDED, Change.UPDATED, Change.DELETED), start=1):
        event = next_of(monitor)
        assert isinstance(event, PolicyChange)
        assert (event.change, event.direction, event.selector) == (change, Direction.OUT, policy(1).selector)
        assert event.policy is not None
        assert event.policy.configuration() == policy(1)
        assert event.origin == Origin(port, sequence)


def test_flushes_are_reported(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    port = kernel.asyncore.port
    kernel.add_policy(policy(1))
    kernel.flush_policies()
    assert isinstance(next_of(monitor), PolicyChange)
    assert next_of(monitor) == PolicyFlush(PolicyType.MAIN, Origin(port, 2))
    kernel.flush_sas()
    event = monitor.next_event(timeout_s=0.2)
    # A flush that removes nothing is not reported by every kernel.
    assert event is None or event == SaFlush(Protocol.ANY, Origin(port, 3))


def test_a_packet_without_an_sa_is_an_acquire(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    for command in (
        "link add v0 type veth peer name v1",
        "addr add 10.9.0.1/24 dev v0",
        "link set v0 up",
        "link set v1 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    kernel.add_policy(policy(1))
    assert isinstance(next_of(monitor), PolicyChange)
    group, sender = Address.of("239.1.0.1"), Address.of("10.9.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application:
        application.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.9.0.1"))
        application.bind(("10.9.0.1", 0))
        port = application.getsockname()[1]
        application.sendto(b"hello", (str(group), 5000))
    event = next_of(monitor)
    assert isinstance(event, Acquire)
    assert event.sa_id == SaId(group, 0x1234, Protocol.ESP)
    assert event.source == sender
    flow = Selector.of("10.9.0.1", "239.1.0.1", socket.IPPROTO_UDP, destination_port=5000)
    assert event.selector == dataclasses.replace(flow, source_port=port, ifindex=event.selector.ifindex)
    assert event.policy.templates == policy(1).templates
    assert event.policy.selector == policy(1).selector
    larval = kernel.dump_sas()
    assert [(sa.destination, sa.mode, sa.aead) for sa in larval] == [(group, Mode.TRANSPORT, None)]
    kernel.flush_sas()
    assert kernel.dump_sas() == []


def test_a_flooded_monitor_reports_its_losses_and_goes_on(kernel: XfrmSocket) -> None:
    with XfrmMonitor(receive_octets=8192) as monitor:
        many = [policy(number) for number in range(500)]
        assert all(outcome.ok for outcome in kernel.request_many(requests.add_policy(each) for each in many))
        seen: list[Event] = []
        while (event := monitor.next_event(timeout_s=0.5)) is not None:
            seen.append(event)
        assert any(isinstance(event, Overrun) for event in seen)
        assert sum(isinstance(event, PolicyChange) for event in seen) < 500
        # What it says to do: dump and compare. And the next event arrives.
        assert len(kernel.dump_policies()) == 500
        kernel.delete_policy(policy(7).id)
        last = next_of(monitor)
        assert isinstance(last, PolicyChange)
        assert last.change is Change.DELETED


def test_a_slow_reader_loses_events_and_knows(kernel: XfrmSocket) -> None:
    async def main() -> list[Event]:
        async with AsyncXfrmMonitor(queue_events=10) as monitor, AsyncXfrmSocket() as requester:
            for number in range(30):
                await requester.add_policy(policy(number))
            await asyncio.sleep(0.3)
            monitor.close()
            return [event async for event in monitor]

    kernel.close()  # a synchronous socket is of no use inside a loop
    seen = asyncio.run(main(), debug=True)
    assert [type(event) for event in seen] == [PolicyChange] * 10 + [Overrun]
    assert seen[-1] == Overrun(20)


def test_only_the_groups_asked_for_are_heard(kernel: XfrmSocket) -> None:
    with XfrmMonitor([Group.EXPIRE]) as monitor:
        kernel.add_policy(policy(1))
        assert monitor.next_event(timeout_s=0.2) is None
