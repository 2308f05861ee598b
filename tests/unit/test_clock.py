"""agent.clock: the system's clocks and generator behind their ports."""

from __future__ import annotations

from datetime import timedelta

from agent.clock import SystemClock, SystemEntropy


def test_monotonic_never_steps_back_and_utc_is_aware() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.utc().utcoffset() == timedelta(0)


def test_entropy_gives_as_many_octets_as_asked_and_never_the_same() -> None:
    entropy = SystemEntropy()
    assert len(entropy.octets(33)) == 33
    assert entropy.octets(16) != entropy.octets(16)
