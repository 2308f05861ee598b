import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress

from agent.gdoi.failures import FailureCause
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.sa import DataSA, GroupSA, SecurityProtocol, Spi
from agent.gsa.update import DeletedSA, GsaUpdate
from agent.member.needs import SPREAD_S, Need
from agent.member.registration import Registration
from agent.member.timing import Timing
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa
from tests.unit.member.support import GCKS, GROUP, data_sa, group_sa

TIMING = Timing(2.0, 300.0)


def registration(*servers: str, chance: float = 0.0) -> Registration:
    return Registration(GROUP, servers or ("ks1",), TIMING, lambda: chance)


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
    fresh.failed(FailureCause.NO_ANSWER, "no answer", 5.0)
    assert fresh.ask(5.0) == "ks2"
    fresh.failed(FailureCause.NOT_A_MEMBER, "not a member of group 1234", 6.0)
    assert [(failure.server, failure.cause) for failure in fresh.failures] == [
        ("ks1", FailureCause.NO_ANSWER),
        ("ks2", FailureCause.NOT_A_MEMBER),
    ]
    assert fresh.deadline == 8.0
    assert fresh.ask(7.9) is None
    assert fresh.ask(8.0) == "ks1"
    fresh.failed(FailureCause.NO_ANSWER, "no answer", 9.0)
    assert [failure.server for failure in fresh.failures] == ["ks1"]


def test_success_clears_failures_and_the_wait() -> None:
    fresh = registration("ks1", "ks2")
    fresh.ask(0.0)
    fresh.failed(FailureCause.NO_ANSWER, "no answer", 1.0)
    fresh.ask(1.0)
    fresh.succeeded(group_sa(data_sa(256, expires=3600.0)), 2.0)
    assert (fresh.failures, fresh.server, fresh.usable(2.0)) == ((), "ks2", True)
    fresh.hint(10.0)
    assert fresh.ask(10.0) == "ks1"


def test_an_answer_nobody_waits_for_changes_nothing() -> None:
    fresh = registration()
    fresh.failed(FailureCause.NO_ANSWER, "no answer", 1.0)
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
    fresh = registration(chance=1.0)
    fresh.ask(0.0)
    fresh.succeeded(group_sa(data_sa(256, expires=1000.0)), 0.0)
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
    assert waits == [2.0, 4.0, 8.0, 16.0]
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
        fresh.failed(FailureCause.NO_ANSWER, "no answer", now)
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
    fresh.failed(FailureCause.NO_ANSWER, "no answer", 1.0)
    fresh.change_servers(("ks2", "ks3"), TIMING, gone=False, now=1.5)
    assert fresh.failures == ()
    assert fresh.ask(1.5) == "ks2"
    fresh.change_servers(("ks3",), TIMING, gone=True, now=2.0)
    assert fresh.ask(2.0) == "ks3"
    fresh.succeeded(group_sa(data_sa(256)), 3.0)
    fresh.change_servers(("ks4",), TIMING, gone=False, now=4.0)
    assert fresh.deadline is None


def test_an_expired_gsa_is_held_but_not_usable() -> None:
    fresh = registered(group_sa(data_sa(256, expires=100.0)))
    assert fresh.usable(99.9)
    assert not fresh.usable(100.0)
    assert fresh.held is not None
    assert fresh.held.gcks == GCKS
    assert not math.isinf(fresh.expires() or 0.0)


def fail(fresh: Registration, now: float, cause: FailureCause = FailureCause.NO_ANSWER) -> None:
    fresh.failed(cause, cause.value, now)


def failed_over(*, return_s: float | None, lifetime_s: float = 10_000.0) -> Registration:
    """Registered at 0 with ks2, since ks1 gave no answer."""
    timing = Timing(2.0, 300.0, return_s=return_s)
    fresh = Registration(GROUP, ("ks1", "ks2", "ks3"), timing, lambda: 0.5)
    assert fresh.ask(-20.0) == "ks1"
    fail(fresh, 0.0)
    assert fresh.ask(0.0) == "ks2"
    fresh.succeeded(group_sa(data_sa(256, expires=lifetime_s)), 0.0)
    return fresh


def test_a_start_may_wait() -> None:
    fresh = registration()
    fresh.begin(130.0)
    assert fresh.ask(100.0) is None
    assert fresh.deadline == 130.0
    assert fresh.ask(130.0) == "ks1"


def test_tries_are_counted_until_one_succeeds() -> None:
    fresh = registration("ks1", "ks2")
    for now in (0.0, 1.0):
        fresh.ask(now)
        fail(fresh, now)
    assert fresh.tries == 2
    fresh.ask(100.0)
    assert fresh.tries == 3
    fresh.succeeded(group_sa(data_sa(256)), 100.0)
    assert fresh.tries == 0


def test_a_key_server_that_has_nothing_now_is_asked_once_more_before_the_next() -> None:
    fresh = registration("ks1", "ks2")
    fresh.ask(0.0)
    fail(fresh, 0.0, FailureCause.REFUSED)
    assert fresh.ask(0.5) is None
    assert fresh.ask(1.0) == "ks1"
    fail(fresh, 1.0, FailureCause.REFUSED)
    assert [failure.server for failure in fresh.failures] == ["ks1", "ks1"]
    assert fresh.ask(1.0) == "ks2"


def test_the_preferred_key_server_is_tried_while_another_serves_and_its_failure_changes_nothing() -> None:
    fresh = failed_over(return_s=300.0)
    assert fresh.deadline == 300.0
    assert fresh.ask(300.0) == "ks1"
    fail(fresh, 324.0)
    assert fresh.usable(324.0)
    assert fresh.server == "ks2"
    assert fresh.ask(324.0) is None, "ks2 serves: nobody else is asked"
    assert fresh.deadline == 624.0
    assert fresh.ask(624.0) == "ks1"
    fresh.succeeded(group_sa(data_sa(300, expires=20_000.0)), 624.0)
    assert fresh.server == "ks1"
    assert fresh.deadline is not None
    assert fresh.deadline > 924.0, "it is preferred: nothing to return to"


def test_a_renewal_does_not_wait_for_a_preferred_key_server_that_is_down() -> None:
    fresh = failed_over(return_s=1e6, lifetime_s=400.0)
    assert fresh.deadline is not None
    assert fresh.ask(fresh.deadline) == "ks2"
    fail(fresh, 150.0)
    assert fresh.ask(150.0) == "ks1"
    fail(fresh, 160.0)
    assert fresh.ask(160.0) == "ks3"


def test_without_a_time_of_return_the_renewal_tries_the_preferred_one_first() -> None:
    fresh = failed_over(return_s=None, lifetime_s=400.0)
    assert fresh.deadline is not None
    assert fresh.ask(fresh.deadline) == "ks1"


def test_what_was_lost_on_key_servers_that_are_down_counts_against_the_end() -> None:
    fresh = failed_over(return_s=None, lifetime_s=400.0)
    assert fresh.deadline == pytest.approx(380.0 - 0.675 * 380.0)


def test_a_hint_asks_the_key_server_that_serves() -> None:
    fresh = failed_over(return_s=300.0)
    fresh.hint(50.0)
    assert fresh.ask(50.0) == "ks2"


def test_sas_without_end_are_no_reason_not_to_return() -> None:
    fresh = failed_over(return_s=300.0, lifetime_s=math.inf)
    assert fresh.held is not None
    assert fresh.deadline == 300.0


def test_a_return_that_lasts_past_the_renewal_goes_on_with_the_others() -> None:
    fresh = failed_over(return_s=100.0, lifetime_s=400.0)
    assert fresh.ask(100.0) == "ks1"
    fail(fresh, 200.0)
    assert fresh.deadline is not None
    now = fresh.deadline
    assert 200.0 < now < 210.0
    assert fresh.ask(now) == "ks2"


def test_a_lead_that_is_configured_is_taken_as_it_is() -> None:
    fresh = Registration(GROUP, ("ks1",), Timing(2.0, 300.0, lead_s=100.0), lambda: 0.0)
    fresh.ask(0.0)
    fresh.succeeded(group_sa(data_sa(256, expires=3600.0)), 0.0)
    assert fresh.deadline == pytest.approx(3600.0 - 150.0)


def test_another_order_after_a_reload_is_followed_in_time() -> None:
    fresh = registered(group_sa(data_sa(256, expires=10_000.0)))
    fresh.change_servers(("ks0", "ks1"), Timing(2.0, 300.0, return_s=300.0), gone=False, now=10.0)
    assert fresh.deadline == 235.0
    assert fresh.ask(235.0) == "ks0"


def goose(spi: int, *, expires: float | None = None, send_from: float = 0.0) -> Iec61850SA:
    """An SA of IEC 61850."""
    return Iec61850SA(
        spi=spi,
        selector=OidSelector("1.2.840.10070.61850.8.1.2", b"\x01"),
        transform=IecTransform.parse("aes-gcm-128"),
        confidentiality_key=Secret(spi.to_bytes(20)),
        authentication_key=Secret(b""),
        expires=expires,
        send_from=send_from,
    )


def test_sas_of_iec_61850_are_renewed_in_time_as_others_are() -> None:
    fresh = registration()
    fresh.ask(0.0)
    fresh.succeeded(replace(group_sa(), iec61850=(goose(300, expires=400.0),)), 0.0)
    assert fresh.usable(0.0)
    assert fresh.expires() == 400.0
    assert fresh.deadline == pytest.approx(160.0)
    fresh.ask(160.0)
    both = (goose(300, expires=400.0), goose(301, expires=700.0, send_from=350.0))
    fresh.succeeded(replace(group_sa(), iec61850=both), 160.0)
    assert fresh.deadline == pytest.approx(700.0 - 1.5 * 100.0), "the change-over shows the lead"


def test_an_old_sa_of_iec_61850_stays_until_its_end_and_its_keys_go_then() -> None:
    fresh = registration()
    fresh.ask(0.0)
    old, older = goose(300, expires=400.0), goose(299, expires=50.0)
    fresh.succeeded(replace(group_sa(), iec61850=(older, old)), 0.0)
    fresh.hint(60.0)
    fresh.ask(60.0)
    fresh.succeeded(replace(group_sa(), iec61850=(goose(301, expires=700.0),)), 60.0)
    assert fresh.held is not None
    assert [sa.spi for sa in fresh.held.iec61850] == [300, 301]
    assert older.confidentiality_key.reveal() == bytes(20)
    assert old.confidentiality_key.reveal() != bytes(20)
    fresh.forget(70.0)
    assert old.confidentiality_key.reveal() == bytes(20)


def test_a_key_server_that_is_lost_is_asked_last_until_it_serves_again() -> None:
    fresh = registration("ks1", "ks2")
    fresh.ask(0.0)
    fresh.succeeded(group_sa(data_sa(256, expires=400.0)), 0.0)
    fresh.lost("ks1")
    fresh.hint(100.0)
    assert fresh.ask(100.0) == "ks2"
    fail(fresh, 101.0)
    assert fresh.ask(101.0) == "ks1"
    fresh.succeeded(group_sa(data_sa(257, expires=900.0)), 101.0)
    fresh.hint(200.0)
    assert fresh.ask(200.0) == "ks1"


def rekey(*data: DataSA, at: float, **more: Any) -> GsaUpdate:
    return GsaUpdate(GROUP, 1, at, data=data, **more)


@pytest.mark.requirement("ACK-4-04")
def test_what_a_rekey_renewed_needs_no_registration() -> None:
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    assert member.deadline == 160.0
    assert member.rekeyed(rekey(data_sa(0x101, expires=500.0), at=100.0), 100.0) == ()
    assert member.expires() == 500.0
    assert member.deadline is not None
    assert 160.0 < member.deadline < 500.0
    assert member.ask(160.0) is None


def test_a_group_that_holds_nothing_is_not_rekeyed() -> None:
    told = rekey(data_sa(0x101), at=0.0, iec61850=(goose(300, expires=100.0),))
    assert registration().rekeyed(told, 0.0) == told.data
    assert told.iec61850[0].authentication_key.reveal().strip(b"\0") == b""


def test_a_rekey_while_a_registration_is_under_way_is_taken_and_newer_than_what_that_gives() -> None:
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    assert member.ask(160.0) == "ks1"
    member.rekeyed(rekey(data_sa(0x101, expires=900.0), at=161.0), 161.0)
    assert member.asking == "ks1"
    member.succeeded(group_sa(data_sa(0x100, expires=400.0)), 162.0)
    assert member.held is not None
    assert [sa.spi for sa in member.held.data] == [0x100, 0x101]


def test_what_a_rekey_took_away_does_not_come_back_by_a_registration_that_was_under_way() -> None:
    esp = SecurityProtocol.ESP
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    member.ask(160.0)
    gone = (DeletedSA(esp, Spi(0x100)), DeletedSA(esp, Spi(0x200)))
    member.rekeyed(rekey(data_sa(0x101, expires=900.0), at=161.0, deleted=gone, deactivation_delay_s=10), 161.0)
    member.prune(180.0)
    given = (data_sa(0x200, expires=400.0), data_sa(0x100, expires=400.0), data_sa(0x102, expires=900.0))
    member.succeeded(group_sa(*given), 190.0)
    assert {sa.spi for sa in member.serving(190.0)} == {0x101, 0x102}
    member.ask(member.deadline or 0.0)
    member.succeeded(group_sa(data_sa(0x100, expires=900.0)), 500.0)
    assert 0x100 in {sa.spi for sa in member.serving(500.0)}


def test_a_rekey_sa_that_a_rekey_replaced_or_took_away_does_not_come_back_either() -> None:
    old, new = rekey_sa(expires=9000.0), rekey_sa(spi=b"n" * 16, expires=3000.0)
    for told, left in ((new, new), (None, None)):
        member = registered(replace(group_sa(data_sa(0x100, expires=400.0)), rekey=old))
        member.ask(160.0)
        member.rekeyed(rekey(at=161.0, rekey=told, deletes_rekey=told is None), 161.0)
        member.succeeded(replace(group_sa(data_sa(0x100, expires=400.0)), rekey=old), 162.0)
        assert member.held is not None
        assert member.held.rekey is left
    member.ask(member.deadline or 0.0)
    member.succeeded(replace(group_sa(data_sa(0x100, expires=900.0)), rekey=old), 400.0)
    assert member.held is not None
    assert member.held.rekey is old


def test_copies_of_a_key_are_dropped_and_so_is_what_is_over() -> None:
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    told = rekey(data_sa(0x101, expires=900.0), at=100.0)
    member.rekeyed(told, 100.0)
    copy = rekey(data_sa(0x101, expires=900.0), at=102.0)
    assert member.rekeyed(copy, 102.0) == copy.data
    assert member.prune(399.0) == ()
    assert [sa.spi for sa in member.prune(401.0)] == [0x100]
    assert member.prune(401.0) == ()
    assert registration().prune(0.0) == ()


def test_a_rekey_sa_near_its_end_with_no_successor_is_asked_for() -> None:
    held = replace(group_sa(data_sa(0x100)), rekey=rekey_sa(expires=1000.0))
    member = registered(held)
    assert member.deadline == 1000.0 - 0.5 * 60.0
    member.rekeyed(rekey(at=500.0, rekey=rekey_sa(spi=b"n" * 16, expires=3000.0)), 500.0)
    assert member.deadline == 3000.0 - 0.5 * 125.0
    short = registered(replace(held, rekey=rekey_sa(expires=1.0)))
    assert short.deadline == 1.0


def test_a_rekey_sa_that_is_over_is_asked_for_at_ever_longer_intervals() -> None:
    over = replace(group_sa(data_sa(0x100)), rekey=rekey_sa(expires=10.0))
    member = Registration(GROUP, ("ks1",), TIMING, lambda: 1.0)
    now, waits = 20.0, []
    for _ in range(4):
        assert member.ask(now) == "ks1"
        member.succeeded(over, now)
        assert member.deadline is not None
        waits.append(member.deadline - now)
        now = member.deadline
    assert waits == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("need", Need)
def test_a_need_makes_it_register_soon_with_the_key_server_that_serves(need: Need) -> None:
    member = registration("ks1", "ks2")
    member.timing = replace(TIMING, return_s=600.0)
    member.ask(0.0)
    member.failed(FailureCause.NO_ANSWER, "no answer", 0.0)
    assert member.ask(0.0) == "ks2"
    member.succeeded(group_sa(data_sa(0x100, expires=4000.0)), 0.0)
    member.need(need, 100.0)
    assert need in member.needs
    least, most = SPREAD_S[need]
    assert member.deadline == 100.0 + least
    member.need(need, 100.0 + most)
    assert member.deadline == 100.0 + least
    assert member.ask(100.0 + least) == "ks2"
    assert not member.needs


def test_a_need_that_is_settled_is_none() -> None:
    member = registered(group_sa(data_sa(0x100, expires=4000.0)))
    usual = member.deadline
    member.need(Need.MISSED, 10.0)
    member.settled(Need.MISSED)
    assert member.deadline == usual


def test_a_need_that_comes_up_during_a_registration_makes_another() -> None:
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    member.ask(160.0)
    member.need(Need.MISSED, 160.0)
    member.succeeded(group_sa(data_sa(0x100, expires=400.0)), 161.0)
    assert member.ask(162.0) == "ks1"


def test_rekeys_do_not_put_off_the_return_to_the_preferred_key_server() -> None:
    member = Registration(GROUP, ("ks1", "ks2"), replace(TIMING, return_s=600.0), lambda: 0.0)
    member.ask(0.0)
    member.failed(FailureCause.NO_ANSWER, "no answer", 0.0)
    member.ask(0.0)
    member.succeeded(group_sa(data_sa(0x100, expires=4000.0)), 0.0)
    assert member.deadline == 450.0
    for number in range(1, 5):
        member.rekeyed(rekey(data_sa(0x100 + number, expires=4000.0 + number), at=100.0 * number), 100.0 * number)
        assert member.deadline == 450.0
    assert member.ask(450.0) == "ks1"


def test_an_sa_that_ends_with_its_successor_at_hand_is_no_reason_to_register() -> None:
    member = registered(group_sa(data_sa(0x100, expires=400.0)))
    member.rekeyed(rekey(data_sa(0x101, expires=900.0), at=100.0), 100.0)
    usual = member.deadline
    destination = IPAddress("239.1.1.1")
    member.near_end(SecurityProtocol.ESP, 0x100, destination, 110.0)
    member.wear_out(SecurityProtocol.ESP, 0x100, destination, 110.0)
    assert member.deadline == usual
    member.near_end(SecurityProtocol.ESP, 0x101, destination, 110.0)
    assert member.deadline == 110.0


@pytest.mark.requirement("MIPSEC-4.1.1-10")
def test_a_group_that_rests_asks_for_nothing_before_somebody_wants_it() -> None:
    resting = registered(group_sa(data_sa(256, expires=3600.0)))
    assert not resting.resting
    (dropped,) = resting.rest(100.0)
    assert dropped.spi == 256
    assert (resting.resting, resting.held, resting.deadline) == (True, None, None)
    assert resting.ask(10_000.0) is None
    resting.hint(10_000.0)
    assert not resting.resting
    assert resting.ask(10_000.0) == "ks1"


def test_a_resting_group_is_not_woken_by_other_key_servers() -> None:
    resting = registration()
    resting.rest(0.0)
    resting.change_servers(("ks2",), TIMING, False, 1.0)
    assert resting.ask(2.0) is None
    resting.hint(3.0)
    assert resting.ask(3.0) == "ks2"


@pytest.mark.requirement("MIPSEC-4.1.1-11")
def test_nothing_else_than_being_configured_starts_a_registration_that_is_always_ready() -> None:
    assert registration().ask(0.0) == "ks1"
