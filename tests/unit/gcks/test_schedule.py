"""The schedule of TEK renewal: make before break, at most two at a time, short lifetimes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gcks.schedule import (
    LONGEST_ATD_S,
    Renewal,
    Span,
    activation_delay_s,
    deactivation_delay_s,
    margin_s,
    serves,
)


@pytest.mark.parametrize(
    ("lifetime_s", "expected"),
    [(20, 5), (240, 60), (600, 60), (3600, 180), (86_400, 4320), (10_000_000, LONGEST_ATD_S / 2)],
)
def test_margin_is_60_s_or_5_percent_but_never_over_a_quarter(lifetime_s: float, expected: float) -> None:
    assert margin_s(lifetime_s) == expected


def test_first_tek_is_used_at_once() -> None:
    renewal = Renewal.of(3600)
    assert renewal.due(None) == float("-inf")
    assert renewal.successor(None, 100.0) == Span(100.0, 100.0, 3700.0)


def test_successor_is_made_two_margins_before_the_end_and_used_half_a_margin_before() -> None:
    renewal = Renewal.of(3600)
    first = renewal.successor(None, 0.0)
    assert renewal.due(first) == 3600 - 2 * 180
    second = renewal.successor(first, renewal.due(first))
    assert second == Span(3240.0, 3600.0 - 90.0, 3240.0 + 3600.0)


def test_successor_made_late_waits_no_longer_than_the_old_one_lives() -> None:
    renewal = Renewal.of(3600)
    first = renewal.successor(None, 0.0)
    assert renewal.successor(first, 3590.0).activates == 3600.0
    assert renewal.successor(first, 3600.0) == Span(3600.0, 3600.0, 7200.0)


@given(st.floats(8, 1e7), st.integers(2, 12))
def test_at_most_two_teks_of_a_line_live_and_senders_always_have_one(lifetime_s: float, generations: int) -> None:
    renewal = Renewal.of(lifetime_s)
    spans = [renewal.successor(None, 0.0)]
    for _ in range(generations):
        spans.append(renewal.successor(spans[-1], renewal.due(spans[-1])))
    for one, two in pairwise(spans):
        assert one.created < two.created < two.activates < one.expires
        # members come back one and a half leads before the end, so each has a whole lead to be there before the switch
        assert two.activates - (one.expires - 1.5 * renewal.lead_s) == pytest.approx(renewal.lead_s, rel=1e-6)
    for one, three in zip(spans, spans[2:], strict=False):
        assert three.created >= one.expires - 1e-6 * lifetime_s


@pytest.mark.parametrize(
    ("lifetime_s", "lead_s", "activation_s", "allowed"),
    [
        (7, None, None, "at least 8 s"),
        (100, 26, None, "1 to 25 s"),
        (100, 0.5, None, "1 to 25 s"),
        (100, 20, 20, "between 20 s"),
        (100, 20, 40, "and 40 s"),
    ],
)
def test_a_schedule_that_breaks_before_it_makes_is_refused_with_what_is_allowed(
    lifetime_s: float, lead_s: float | None, activation_s: float | None, allowed: str
) -> None:
    with pytest.raises(ValueError, match=allowed):
        Renewal.of(lifetime_s, lead_s=lead_s, activation_s=activation_s)


@pytest.mark.requirement("MSA-4.2.1-01", "MIPSEC-4.2.1-02")
def test_activation_delay_is_the_group_owners_to_choose() -> None:
    renewal = Renewal.of(3600, lead_s=100, activation_s=120)
    first = renewal.successor(None, 0.0)
    second = renewal.successor(first, renewal.due(first))
    assert activation_delay_s([[first, second]], second.created) == 120


def test_atd_is_the_longest_wait_rounded_up_and_none_where_nothing_waits() -> None:
    old, new = Span(0, 0, 100), Span(80, 95.5, 180)
    assert activation_delay_s([[old, new]], 90.2) == 6
    assert activation_delay_s([[old, new], [old, Span(80, 97, 180)]], 90.0) == 7
    assert activation_delay_s([[old]], 90.0) is None
    assert activation_delay_s([[new]], 90.0) is None, "without an older one the sender uses it at once"
    assert activation_delay_s([[old, new]], 95.5) is None
    assert activation_delay_s([], 0.0) is None


def test_dtd_is_when_the_last_older_tek_ends_and_after_atd() -> None:
    old, new = Span(0, 0, 100), Span(80, 95.5, 180)
    assert deactivation_delay_s([[old, new]], 90.2) == 10
    assert deactivation_delay_s([[old]], 90.0) is None


def test_delays_fit_the_attribute() -> None:
    old, new = Span(0, 0, 1e6), Span(0, 9e5, 2e6)
    assert activation_delay_s([[old, new]], 0.0) == LONGEST_ATD_S
    assert deactivation_delay_s([[old, new]], 0.0) == LONGEST_ATD_S


def test_a_tek_about_to_end_is_not_given_out() -> None:
    assert serves(Span(0, 0, 100), 98.9)
    assert not serves(Span(0, 0, 100), 99.0)
