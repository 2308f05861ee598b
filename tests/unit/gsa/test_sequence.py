"""agent.gsa.sequence: where a sender that came back counts on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gsa.flow import Flow
from agent.gsa.sequence import INACCURACY_S, PIECES, FirstSequence, first_sequence
from tests.unit.member.support import data_sa

MAP = FirstSequence()
LAST = 2**32 - 1
DAY = 86_400
LIFETIMES = st.floats(min_value=0, max_value=100 * DAY)
SINGLE = Flow.parse("239.1.1.1", "192.0.2.10")


def rate(remaining_s: float) -> int:
    """What a sender may send with so much left."""
    return next(piece.rate for piece in PIECES if remaining_s <= piece.until_s)


def test_the_map_leaves_a_reserve_and_begins_at_one() -> None:
    assert MAP.at(0) == MAP.at(-5) == LAST - 100_000_000
    assert MAP.at(3600) == MAP.at(0) - 3600 * 600_000
    assert MAP.at(DAY) == MAP.at(3600) - (DAY - 3600) * 15_000
    assert MAP.at(30 * DAY) > 75_000_000
    assert MAP.at(1e12) == 1
    assert MAP.covers_s > 100 * DAY


@given(LIFETIMES, LIFETIMES, st.sampled_from([0.1, 1.0, 3.0]))
def test_the_less_is_left_the_higher_it_begins(one: float, other: float, factor: float) -> None:
    least, most = sorted((one, other))
    assert FirstSequence(factor).at(least) >= FirstSequence(factor).at(most)


@given(LIFETIMES)
def test_there_are_numbers_for_all_that_is_left(remaining_s: float) -> None:
    """At the map's own rates, and then a hundred million more."""
    to_come = sum(
        max(0.0, min(remaining_s, piece.until_s) - before) * piece.rate
        for piece, before in zip(PIECES, (0.0, *(piece.until_s for piece in PIECES)), strict=False)
    )
    assert MAP.at(remaining_s) + to_come <= LAST - 100_000_000 + 1


@given(st.data())
def test_a_later_start_is_above_all_that_was_sent(data: st.DataObject) -> None:
    """At half the rates, from 6 s on; whichever way the two lifetimes were rounded."""
    lifetime_s = data.draw(st.floats(min_value=10, max_value=100 * DAY))
    begun_s = data.draw(st.floats(min_value=7, max_value=lifetime_s))
    ran_s = data.draw(st.floats(min_value=2 * INACCURACY_S, max_value=begun_s))
    seems_longer_s = data.draw(st.floats(min_value=0, max_value=INACCURACY_S))
    left_s = begun_s - ran_s
    sent = ran_s * rate(begun_s) / 2  # the lowest rate of the whole run
    later = MAP.at(left_s + seems_longer_s)
    assert later > MAP.at(begun_s) + sent - 2
    assert later > sent - 2, "also where it had begun at 1, with a TEK that a rekey brought"


def test_a_factor_scales_the_rates_and_what_they_cover() -> None:
    faster = FirstSequence(2.0)
    assert faster.at(0) - faster.at(100) == 2 * (MAP.at(0) - MAP.at(100))
    assert 57 * 60 < faster.covers_s < 59 * 60
    assert faster.at(faster.covers_s + 1) == 1 < faster.at(faster.covers_s - 1)
    with pytest.raises(ValueError, match="above 0, got 0"):
        FirstSequence(0)


@pytest.mark.parametrize(
    ("flow", "expires", "rekeyed", "now", "first"),
    [
        (SINGLE, 3600.0, None, 0.0, MAP.at(3600)),
        (SINGLE, 3600.0, None, 1200.0, MAP.at(2400)),
        (Flow.parse("239.1.1.1"), 3600.0, None, 0.0, 1),
        (SINGLE, None, None, 0.0, 1),
        (SINGLE, 3600.0, 100.0, 100.0, 1),
        (SINGLE, 3600.0, 100.0, 101.9, 1),
        (SINGLE, 3600.0, 100.0, 102.0, MAP.at(3498)),
    ],
    ids=["registered", "later", "many senders", "without end", "rekeyed", "just now", "added again"],
)
def test_only_who_may_have_sent_before_begins_higher(
    flow: Flow, expires: float | None, rekeyed: float | None, now: float, first: int
) -> None:
    sa = replace(data_sa(0x1001, expires=expires), flow=flow, rekeyed=rekeyed)
    assert first_sequence(MAP, sa, flow, now) == first
    assert first_sequence(None, sa, flow, now) == 1
