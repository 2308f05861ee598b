"""Databases as a whole in a real kernel: counts, hashing, the default policy, lists of mixed requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xfrm import (
    Address,
    DefaultAction,
    DefaultChange,
    DefaultPolicy,
    Direction,
    HashThreshold,
    KernelRefused,
    Origin,
    Policy,
    PolicyType,
    SadInfo,
    Selector,
    SpiRequest,
    XfrmMonitor,
    XfrmSocket,
    requests,
)

pytestmark = pytest.mark.needs_xfrm

POLICY = Policy(Selector.of("10.1.0.0/16", "10.2.0.0/16"), Direction.OUT, priority=5)
OPEN = DefaultPolicy(DefaultAction.ACCEPT, DefaultAction.ACCEPT, DefaultAction.ACCEPT)


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


def test_the_sad_is_counted(kernel: XfrmSocket) -> None:
    before = kernel.get_sad_info()
    assert before == SadInfo(0, before.hash_buckets, before.hash_buckets_max)
    assert 0 < before.hash_buckets <= before.hash_buckets_max
    kernel.allocate_spi(SpiRequest(Address.of("10.9.0.1"), Address.of("10.9.0.2")))
    assert kernel.get_sad_info().count == 1


def test_the_spd_is_counted_by_direction(kernel: XfrmSocket) -> None:
    for direction in (Direction.IN, Direction.OUT, Direction.OUT, Direction.FWD):
        destination = f"10.{len(kernel.dump_policies())}.0.0/16"
        kernel.add_policy(Policy(Selector.of("10.1.0.0/16", destination), direction))
    info = kernel.get_spd_info()
    assert (info.inbound, info.outbound, info.forward) == (1, 2, 1)
    assert (info.socket_inbound, info.socket_outbound, info.socket_forward) == (0, 0, 0)
    assert 0 < info.hash_buckets <= info.hash_buckets_max


def test_hash_thresholds_are_set_one_by_one(kernel: XfrmSocket) -> None:
    before = kernel.get_spd_info()
    assert (before.ipv4_threshold, before.ipv6_threshold) == (HashThreshold(32, 32), HashThreshold(128, 128))
    kernel.set_spd_thresholds(ipv4=HashThreshold(24, 16))
    kernel.set_spd_thresholds(ipv6=HashThreshold(64, 56))
    after = kernel.get_spd_info()
    assert (after.ipv4_threshold, after.ipv6_threshold) == (HashThreshold(24, 16), HashThreshold(64, 56))
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.set_spd_thresholds(ipv4=HashThreshold(33, 0))


def test_what_happens_without_a_policy_is_set_and_reported(kernel: XfrmSocket) -> None:
    assert kernel.get_default() == OPEN
    with XfrmMonitor() as monitor:
        kernel.set_default(DefaultPolicy(outbound=DefaultAction.BLOCK))
        closed = DefaultPolicy(DefaultAction.ACCEPT, DefaultAction.ACCEPT, DefaultAction.BLOCK)
        assert kernel.get_default() == closed
        assert monitor.next_event(timeout_s=10) == DefaultChange(closed, Origin(0, 0))
    kernel.set_default(OPEN)
    assert kernel.get_default() == OPEN


def test_a_list_has_an_outcome_for_gets_and_dumps_too(kernel: XfrmSocket) -> None:
    sub = Policy(POLICY.selector, Direction.OUT, type=PolicyType.SUB)
    outcomes = kernel.request_many(
        [
            requests.add_policy(POLICY),
            requests.add_policy(sub),
            requests.add_policy(POLICY),
            requests.get_policy(POLICY.id),
            requests.dump_policies(),
            requests.delete_policy(POLICY.id),
            requests.get_policy(POLICY.id),
            requests.get_spd_info(),
        ]
    )
    refused = [outcome.refusal and outcome.refusal.index for outcome in outcomes]
    assert refused == [None, None, 2, None, None, None, 6, None]
    assert [len(outcome.answers()) for outcome in outcomes] == [0, 0, 0, 1, 2, 0, 0, 1]
    assert [type(answer).__name__ for answer in outcomes[4].answers()] == ["Policy", "Policy"]
    assert [policy.configuration() for policy in kernel.dump_policies(PolicyType.SUB)] == [sub]
    assert kernel.dump_policies(PolicyType.MAIN) == []


def test_a_policy_is_got_by_its_number(kernel: XfrmSocket) -> None:
    kernel.add_policy(POLICY)
    (found,) = kernel.dump_policies()
    elsewhere = Policy(Selector.of("0.0.0.0/0", "0.0.0.0/0"), Direction.OUT).id
    by_number = type(elsewhere)(elsewhere.selector, Direction.OUT, index=found.index)
    assert kernel.get_policy(by_number).configuration() == POLICY
    kernel.delete_policy(by_number)
    assert kernel.dump_policies() == []
