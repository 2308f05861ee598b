"""Counters and expiry of a real kernel's SAs: asked for, set, reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from xfrm import (
    Acquire,
    Address,
    AeadAlgorithm,
    AeFlag,
    Aevent,
    AeventReport,
    Direction,
    Event,
    Expire,
    KernelRefused,
    Key,
    Lifetime,
    Mode,
    Origin,
    Policy,
    PolicyExpire,
    ReplayWindow,
    SaId,
    SecurityAssociation,
    Selector,
    SequenceState,
    Template,
    Thresholds,
    Usage,
    XfrmMonitor,
    XfrmSocket,
)
from xfrm.monitor import ALL_GROUPS

pytestmark = pytest.mark.needs_esp

A, B = Address.of("10.9.0.1"), Address.of("10.9.0.2")
GCM = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128)
SMALL = SecurityAssociation(A, B, 0x1234, mode=Mode.TUNNEL, reqid=7, aead=GCM, replay=ReplayWindow(32))
LARGE = dataclasses.replace(SMALL, spi=0x1235, replay=ReplayWindow(64, esn=True))
POLICY = Policy(
    Selector.of("10.1.0.0/16", "10.2.0.0/16"), Direction.OUT, templates=(Template(A, B, mode=Mode.TUNNEL, reqid=7),)
)


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


@pytest.fixture
def monitor(kernel: XfrmSocket) -> Iterator[XfrmMonitor]:
    for sa in (SMALL, LARGE):
        kernel.add_sa(sa)
    kernel.add_policy(POLICY)
    with XfrmMonitor(ALL_GROUPS) as opened:
        yield opened


def next_of(monitor: XfrmMonitor) -> Event:
    event = monitor.next_event(timeout_s=30)
    assert event is not None, "no event within 30 s"
    return event


@pytest.mark.usefixtures("monitor")
def test_counters_and_thresholds_are_asked_for(kernel: XfrmSocket) -> None:
    got = kernel.get_aevent(SMALL.id)
    assert (got.sa_id, got.source, got.reqid) == (SMALL.id, A, 7)
    assert (got.sequence, got.extended_window_packets) == (SequenceState(), None)
    assert got.usage is not None
    assert (got.usage.octets, got.usage.packets) == (0, 0)
    assert got.thresholds is not None
    assert got.thresholds.replay_packets == 2  # net.core.xfrm_aevent_rseqth
    assert kernel.get_aevent(LARGE.id).extended_window_packets == 64
    with pytest.raises(KernelRefused, match="ESRCH"):
        kernel.get_aevent(SaId(B, 0x9999))


@pytest.mark.parametrize(
    ("sa", "sequence", "packets"),
    [(SMALL, SequenceState(5, 6, (3,)), None), (LARGE, SequenceState(2**33 + 5, 2**32 + 6, (1, 2)), 64)],
    ids=["window in the struct", "window and ESN in the attribute"],
)
def test_numbers_and_counters_are_set_and_reported(
    kernel: XfrmSocket, monitor: XfrmMonitor, sa: SecurityAssociation, sequence: SequenceState, packets: int | None
) -> None:
    usage = Usage(1000, 10, 1700000000, 1700000001)
    kernel.update_aevent(
        Aevent(sa.id, A, sequence=sequence, extended_window_packets=packets, usage=usage, thresholds=Thresholds(100))
    )
    event = next_of(monitor)
    assert isinstance(event, AeventReport)
    assert event.origin == Origin(kernel.asyncore.port, 5 - 1)
    assert event.aevent.flags == AeFlag.XFRM_AE_CU
    got = kernel.get_aevent(sa.id)
    for seen in (event.aevent, got):
        assert (seen.sequence, seen.extended_window_packets, seen.usage) == (sequence, packets, usage)
    assert got.thresholds is not None
    assert got.thresholds.replay_packets == 100
    assert kernel.get_sa(sa.id).sequence == sequence


@pytest.mark.usefixtures("monitor")
def test_an_update_of_nothing_is_refused(kernel: XfrmSocket) -> None:
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.update_aevent(Aevent(SMALL.id, A))
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.update_aevent(Aevent(LARGE.id, A, sequence=SequenceState(1), extended_window_packets=4096))


def test_an_sa_starts_with_counters_and_thresholds_it_is_given(kernel: XfrmSocket) -> None:
    usage = Usage(1000, 10, 1700000000, 1700000001)
    kernel.add_sa(dataclasses.replace(SMALL, initial_usage=usage, thresholds=Thresholds(50)))
    assert kernel.get_sa(SMALL.id).usage == usage
    thresholds = kernel.get_aevent(SMALL.id).thresholds
    assert thresholds is not None
    assert thresholds.replay_packets == 50


def test_an_sa_is_made_to_expire(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    for hard in (False, True):
        kernel.expire_sa(SMALL.id, hard=hard)
        event = next_of(monitor)
        assert isinstance(event, Expire)
        assert (event.hard, event.sa.id) == (hard, SMALL.id)
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.expire_sa(SMALL.id, hard=True)
    assert [sa.id for sa in kernel.dump_sas()] == [LARGE.id]


def test_a_policy_is_made_to_expire(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    for hard in (False, True):
        kernel.expire_policy(POLICY.id, hard=hard)
        event = next_of(monitor)
        assert isinstance(event, PolicyExpire)
        assert (event.hard, event.policy.configuration()) == (hard, POLICY)
    assert kernel.dump_policies() == []
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.expire_policy(POLICY.id, hard=True)


def test_a_policys_lifetime_is_reported(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    short = dataclasses.replace(POLICY, lifetime=Lifetime(hard_add_s=1))
    kernel.update_policy(short)
    next_of(monitor)
    event = next_of(monitor)
    assert isinstance(event, PolicyExpire)
    assert (event.hard, event.policy.configuration()) == (True, short)


def test_key_management_is_asked_on_request(kernel: XfrmSocket, monitor: XfrmMonitor) -> None:
    flow = Selector.of("10.1.0.1", "10.2.0.1")
    kernel.acquire(Acquire(SaId(B, 0), A, flow, POLICY, 77))
    event = next_of(monitor)
    assert isinstance(event, Acquire)
    assert (event.sa_id, event.source, event.selector) == (SaId(B, 0), A, flow)
    assert event.policy.configuration() == POLICY
