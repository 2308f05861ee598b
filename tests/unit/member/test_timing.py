"""Waits, and how chance spreads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.member.timing import Timing, between

chances = st.floats(0, 1)


@given(st.integers(1, 100), chances)
def test_the_wait_may_be_anything_up_to_a_bound_that_doubles(rounds: int, chance: float) -> None:
    timing = Timing(2.0, 300.0)
    full = min(300.0, 2.0 * 2.0 ** (rounds - 1))
    assert 1.0 <= timing.wait_s(rounds, chance) <= full
    assert (timing.wait_s(rounds, 0.0), timing.wait_s(rounds, 1.0)) == (1.0, full)


def test_the_longest_wait_bounds_the_first_too() -> None:
    assert Timing(10.0, 4.0).wait_s(1, 1.0) == 4.0


@given(chances)
def test_a_second_try_is_spread(chance: float) -> None:
    assert 1.0 <= Timing(2.0, 300.0).again_wait_s(chance) <= 2.0


@given(chances)
def test_a_return_is_spread_around_its_time(chance: float) -> None:
    wait_s = Timing(2.0, 300.0, return_s=100.0).return_wait_s(chance)
    assert wait_s is not None
    assert 75.0 <= wait_s <= 125.0
    assert Timing(2.0, 300.0).return_wait_s(chance) is None


def test_between() -> None:
    assert [between((2.0, 4.0), chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 3.0, 4.0]
