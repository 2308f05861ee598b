from __future__ import annotations

import pytest

from agent.gdoi.retransmit import Retransmission, RetryPolicy


@pytest.mark.requirement("P1-2408-5.1-02")
def test_pauses_grow_to_a_ceiling_and_end() -> None:
    policy = RetryPolicy(first_s=1.0, factor=3.0, ceiling_s=5.0, retries=3)
    flight = Retransmission(b"x", policy, 100.0)
    times = []
    while True:
        assert not flight.due(flight.deadline - 0.001)
        assert flight.due(flight.deadline)
        now = flight.deadline
        if flight.again(now) is None:
            break
        times.append(now)
    assert times == [101.0, 104.0, 109.0]
    assert now == 114.0


@pytest.mark.parametrize("values", [{"first_s": 0.0}, {"factor": 1.0}, {"ceiling_s": 0.1}, {"retries": -1}], ids=str)
def test_a_policy_that_does_not_back_off_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="back-off"):
        RetryPolicy(**values)  # type: ignore[arg-type]  # keywords of two types


def test_without_retries_the_first_is_the_last() -> None:
    flight = Retransmission(b"x", RetryPolicy(retries=0), 0.0)
    assert flight.again(flight.deadline) is None
