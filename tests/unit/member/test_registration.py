import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gsa.sa import GroupSA
from agent.member.registration import Registration, Retry
from tests.unit.member.support import GCKS, GROUP, data_sa, group_sa

RETRY = Retry(2.0, 300.0)


def registration(*servers: str, chance: float = 0.0) -> Registration:
    return Registration(GROUP, servers or ("ks1",), RETRY, lambda: chance)


def registered(held: GroupSA, now: float = 0.0) -> Registration:
    fresh = registration()
    assert fresh.ask(now) == "ks1"
    fresh.succeeded(held, now)
    return fresh


def test_a_new_group_is_registered_at_once_with_the_first_key_server() -> None:
    fresh = registration("ks1", "ks2")
    assert fresh.ask(0.0) == "ks1"
    assert fresh.ask(0.0) is None
    assert fresh.deadline is None


def test_the_next_key_server_is_asked_when_one_fails_and_then_all_wait() -> None:
    fresh = registration("ks1", "ks2", chance=1.0)
    fresh.ask(0.0)
    fresh.failed("no-answer", "no answer", 5.0)
    assert fresh.ask(5.0) == "ks2"
    fresh.failed("not-a-member", "not a member of group 1234", 6.0)
    assert [(failure.server, failure.cause) for failure in fresh.failures] == [
        ("ks1", "no-answer"),
        ("ks2", "not-a-member"),
    ]
    assert fresh.deadline == 8.0
    assert fresh.ask(7.9) is None
    assert fresh.ask(8.0) == "ks1"
    fresh.failed("no-answer", "no answer", 9.0)
    assert [failure.server for failure in fresh.failures] == ["ks1"]


@given(st.integers(1, 100), st.floats(0, 1))
def test_the_wait_doubles_up_to_its_bound_with_jitter(rounds: int, chance: float) -> None:
    full = min(300.0, 2.0 * 2.0 ** (rounds - 1))
    assert full / 2 <= RETRY.wait_s(rounds, chance) <= full


def test_success_clears_failures_and_the_wait() -> None:
    fresh = registration("ks1", "ks2")
    fresh.ask(0.0)
    fresh.failed("no-answer", "no answer", 1.0)
    fresh.ask(1.0)
    fresh.succeeded(group_sa(data_sa(256, expires=3600.0)), 2.0)
    assert (fresh.failures, fresh.server, fresh.usable(2.0)) == ((), "ks2", True)
    fresh.hint(10.0)
    assert fresh.ask(10.0) == "ks1"


def test_an_answer_nobody_waits_for_changes_nothing() -> None:
    fresh = registration()
    fresh.failed("no-answer", "no answer", 1.0)
    assert fresh.failures == ()


def test_the_first_sas_are_asked_for_again_while_three_fifths_of_the_rest_are_left() -> None:
    for chance, left in ((0.0, 0.6), (1.0, 0.75)):
        fresh = registration(chance=chance)
        fresh.ask(0.0)
        fresh.succeeded(group_sa(data_sa(256, expires=400.0)), 0.0)
        # The lifetime may have been 400 s or years: a successor comes 200 s or less before the end.
        assert fresh.deadline == pytest.approx(400.0 * (1.0 - left))


def test_the_lead_is_as_long_as_the_key_server_s_change_over_shows() -> None:
    fresh = registered(group_sa(data_sa(256, expires=3600.0)))
    fresh.hint(1800.0)
    assert fresh.ask(1800.0) == "ks1"
    successor = replace(data_sa(257, expires=5400.0), send_from=3150.0)
    fresh.succeeded(group_sa(data_sa(256, expires=3600.0), successor), 1800.0)
    assert fresh.deadline == pytest.approx(5400.0 - 1.5 * 900.0)


def test_what_a_registration_took_counts_against_the_end() -> None:
    fresh = registration()
    fresh.ask(0.0)
    fresh.succeeded(group_sa(data_sa(256, expires=110.0)), 10.0)
    assert fresh.deadline == pytest.approx(100.0 - 0.6 * 90.0)


@given(st.integers(8, 200_000), st.floats(0, 1))
def test_a_renewed_sa_is_replaced_after_its_successor_exists_and_before_it_is_sent_on(
    lifetime_s: int, chance: float
) -> None:
    """The key server's side: successor at 2 m before the end, change-over at m / 2 before it."""
    m = min(max(60.0, lifetime_s / 20), lifetime_s / 4)
    fresh = registration(chance=chance)
    fresh.ask(0.0)
    first = data_sa(256, expires=lifetime_s)
    fresh.succeeded(group_sa(first), 0.0)
    now = lifetime_s - m
    ends = 2.0 * lifetime_s - 2.0 * m
    assert fresh.ask(now) == "ks1"
    fresh.succeeded(group_sa(first, data_sa(257, expires=ends)), now)
    assert fresh.deadline is not None
    assert m / 2 < ends - fresh.deadline < 2 * m


def test_where_there_is_nothing_newer_it_asks_again_when_two_fifths_of_the_rest_are_over() -> None:
    fresh = registered(group_sa(data_sa(256, expires=400.0)))
    assert fresh.ask(300.0) == "ks1"
    fresh.succeeded(group_sa(data_sa(256, expires=400.0)), 300.0)
    assert fresh.deadline == pytest.approx(340.0)
    fresh.ask(376.0)
    fresh.succeeded(group_sa(data_sa(256, expires=376.5)), 376.0)
    assert fresh.deadline == pytest.approx(377.0)


def test_the_flow_that_ends_first_decides() -> None:
    early, late = data_sa(256, expires=100.0, to="239.1.1.1"), data_sa(257, expires=1000.0, to="239.1.1.2")
    assert registered(group_sa(early, late)).expires() == 100.0
    renewed = data_sa(258, expires=2000.0, to="239.1.1.1")
    assert registered(group_sa(early, late, renewed)).expires() == 1000.0


def test_sas_without_end_are_not_renewed_until_something_wants_it() -> None:
    fresh = registered(group_sa(data_sa(256)))
    assert (fresh.deadline, fresh.expires(), fresh.usable(1e9)) == (None, None, True)
    fresh.hint(1000.0)
    assert fresh.deadline == 1000.0


def test_hints_do_not_make_a_storm() -> None:
    fresh = registered(group_sa(data_sa(256)), now=100.0)
    for now in (100.0, 101.0, 104.9):
        fresh.hint(now)
        assert fresh.ask(now) is None
    assert fresh.deadline == 105.0


def test_an_sa_that_the_data_path_ended_stays_ended_also_when_it_is_given_again() -> None:
    fresh = registered(group_sa(data_sa(256, expires=1000.0)))
    assert fresh.held is not None
    (sa,) = fresh.held.data
    fresh.wear_out(sa.protocol, 999, sa.flow.destination.ip, 50.0)
    assert fresh.usable(50.0)
    fresh.wear_out(sa.protocol, sa.spi, sa.flow.destination.ip, 50.0)
    assert not fresh.usable(50.0)
    assert [held.spi for held in fresh.held.data] == [256]
    waits = []
    now = 50.0
    for _ in range(4):
        assert fresh.ask(now) == "ks1"
        fresh.succeeded(group_sa(data_sa(256, expires=1000.0)), now)
        assert not fresh.usable(now)
        waits.append((fresh.deadline or 0.0) - now)
        now = fresh.deadline or 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0]
    fresh.ask(now)
    fresh.succeeded(group_sa(data_sa(257, expires=now + 1000.0)), now)
    assert fresh.usable(now)


def test_sas_that_ended_on_the_way_are_a_fruitless_round() -> None:
    fresh = registered(group_sa(data_sa(256, expires=5.0)), now=10.0)
    assert not fresh.usable(10.0)
    assert fresh.deadline == 11.0


def test_a_hint_cuts_the_wait_short() -> None:
    fresh, now = registration(chance=1.0), 0.0
    for _ in range(8):
        fresh.ask(now)
        fresh.failed("no-answer", "no answer", now)
        waits_until = now = fresh.deadline or 0.0
    fresh.hint(now - 100.0)
    assert fresh.deadline == now - 100.0 < waits_until


def test_the_old_sa_stays_until_it_ends_when_the_new_gsa_is_without_it() -> None:
    fresh = registered(group_sa(data_sa(256, expires=100.0), data_sa(255 + 2, expires=50.0)))
    fresh.hint(60.0)
    fresh.ask(60.0)
    dropped = fresh.succeeded(group_sa(data_sa(300, expires=200.0)), 60.0)
    assert fresh.held is not None
    assert [sa.spi for sa in fresh.held.data] == [256, 300]
    assert [sa.spi for sa in dropped] == [257]


def test_an_sa_that_both_have_keeps_being_sent_on_and_its_old_copy_is_dropped() -> None:
    fresh = registered(group_sa(data_sa(256, expires=100.0)))
    fresh.hint(60.0)
    fresh.ask(60.0)
    again, new = data_sa(256, expires=100.0), data_sa(300, expires=200.0)
    dropped = fresh.succeeded(group_sa(replace(again, send_from=90.0), replace(new, send_from=90.0)), 60.0)
    assert fresh.held is not None
    assert [(sa.spi, sa.send_from) for sa in fresh.held.data] == [(256, 0.0), (300, 90.0)]
    assert [sa.spi for sa in dropped] == [256]
    assert dropped[0].cipher_key is not fresh.held.data[0].cipher_key


def test_what_is_forgotten_is_registered_anew() -> None:
    fresh = registered(group_sa(data_sa(256, expires=100.0)))
    assert [sa.spi for sa in fresh.forget(10.0)] == [256]
    assert (fresh.held, fresh.server, fresh.usable(10.0)) == (None, None, False)
    assert fresh.ask(10.0) == "ks1"
    assert registration().forget(0.0) == ()


def test_other_key_servers_after_a_reload() -> None:
    fresh = registration("ks1")
    fresh.ask(0.0)
    fresh.failed("no-answer", "no answer", 1.0)
    fresh.change_servers(("ks2", "ks3"), RETRY, gone=False, now=1.5)
    assert fresh.failures == ()
    assert fresh.ask(1.5) == "ks2"
    fresh.change_servers(("ks3",), RETRY, gone=True, now=2.0)
    assert fresh.ask(2.0) == "ks3"
    fresh.succeeded(group_sa(data_sa(256)), 3.0)
    fresh.change_servers(("ks4",), RETRY, gone=False, now=4.0)
    assert fresh.deadline is None


def test_an_expired_gsa_is_held_but_not_usable() -> None:
    fresh = registered(group_sa(data_sa(256, expires=100.0)))
    assert fresh.usable(99.9)
    assert not fresh.usable(100.0)
    assert fresh.held is not None
    assert fresh.held.gcks == GCKS
    assert not math.isinf(fresh.expires() or 0.0)
