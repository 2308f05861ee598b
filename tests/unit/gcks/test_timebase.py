"""The two clocks: spans go to the store and come back, also when the wall clock was set."""

from __future__ import annotations

import pytest

from agent.gcks.schedule import Span
from agent.gcks.timebase import Timebase
from tests.unit.gcks.support import FakeClock


def test_there_and_back() -> None:
    base = Timebase.read(FakeClock())
    span = Span(10.0, 20.0, 30.0)
    assert base.from_utc(base.to_utc(span)) == span
    assert base.to_utc(span).created == pytest.approx(base.utc - 990.0)


def test_a_restart_of_the_host_keeps_what_remains() -> None:
    stored = Timebase(5000.0, 1_000_000.0).to_utc(Span(5000.0, 5000.0, 8600.0))
    assert Timebase(3.0, 1_000_600.0).from_utc(stored) == Span(-597.0, -597.0, 3003.0)


def test_a_wall_clock_that_went_back_gives_one_lifetime_at_most() -> None:
    stored = Span(1_000_000.0, 1_000_100.0, 1_003_600.0)
    assert Timebase(50.0, 900_000.0).from_utc(stored) == Span(50.0, 150.0, 3650.0)


def test_a_set_wall_clock_is_seen_and_a_slewed_one_is_not() -> None:
    clock = FakeClock()
    base = Timebase.read(clock)
    clock.advance(1e6)
    clock.set_wall(1.5)
    assert not base.stepped(Timebase.read(clock))
    clock.set_wall(-4.0)
    assert base.stepped(Timebase.read(clock))
