"""agent.clock: the system's clocks and generator behind their ports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from agent.clock import SystemClock, SystemEntropy, iso8601


def test_monotonic_never_steps_back_and_utc_is_aware() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.utc().utcoffset() == timedelta(0)


def test_entropy_gives_as_many_octets_as_asked_and_never_the_same() -> None:
    entropy = SystemEntropy()
    assert len(entropy.octets(33)) == 33
    assert entropy.octets(16) != entropy.octets(16)


def test_an_instant_is_written_in_utc_to_the_second() -> None:
    east = datetime(2026, 1, 31, 14, 0, 0, 999_999, timezone(timedelta(hours=2)))
    assert iso8601(east) == iso8601(east.astimezone(UTC)) == "2026-01-31T12:00:00Z"
