"""Which messages tell of a change, in which order; and the instants of a handover."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gcks.rekey_plan import Change, Handover, RekeyCause, Step, gentle_end_s, steps
from agent.gcks.schedule import Span
from agent.gsa.identity import GroupId
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA

VIDEO = GroupId.of_number(1234)
OLD, NEW = b"o" * 16, b"n" * 16
TEK = Spi(0x1000)
GONE = DeletedSA(SecurityProtocol.ESP, Spi(0x2000))


def planned(cause: RekeyCause, *, new: bool = True, reachable: bool = True) -> tuple[Step, ...]:
    change = Change(
        VIDEO,
        cause,
        OLD,
        NEW if new else None,
        teks=(TEK,),
        replaced=(GONE,),
        protocols=frozenset({SecurityProtocol.ESP, None}),
        reachable=reachable,
    )
    return steps(change, itertools.count(7))


@given(st.sampled_from(RekeyCause), st.booleans(), st.booleans())
@pytest.mark.requirement("GDOI-7.4.1-01")
def test_no_message_has_a_new_kek_and_new_teks_and_teks_go_under_the_newest_kek(
    cause: RekeyCause, new: bool, reachable: bool
) -> None:
    for step in planned(cause, new=new, reachable=reachable):
        assert not (step.kek and step.teks)
        if step.teks:
            assert step.under == (NEW if new else OLD)
        if step.kek:
            assert step.under == OLD


@given(st.sampled_from(RekeyCause), st.booleans())
def test_who_cannot_be_told_a_kek_is_told_no_tek_either(cause: RekeyCause, new: bool) -> None:
    (step,) = planned(cause, new=new, reachable=False)
    assert step.deletes_rekey
    assert not step.teks
    assert step.under == OLD


@pytest.mark.requirement("GDOI-7.4.1-02")
def test_an_eviction_is_two_messages_in_this_order() -> None:
    first, second = planned(RekeyCause.EVICTION)
    assert (first.number, first.under, first.kek, first.teks) == (7, OLD, NEW, ())
    assert (second.number, second.under, second.kek, second.teks, second.deleted) == (8, NEW, None, (TEK,), (GONE,))
    assert first.carries == f"KEK 0x{NEW.hex()}"
    assert second.carries == "TEK 0x00001000, Delete of TEK 0x00002000"


@pytest.mark.requirement("GDOI-3.5-08")
@pytest.mark.parametrize("cause", [RekeyCause.SIDS_EXHAUSTED, RekeyCause.GROUP_REMOVED])
def test_a_clean_slate_deletes_all_of_every_protocol_and_the_kek(cause: RekeyCause) -> None:
    (step,) = planned(cause)
    assert step.deleted == (DeletedSA(SecurityProtocol.ESP, EVERY_SPI), DeletedSA(None, EVERY_SPI))
    assert step.deletes_rekey
    assert step.carries == "Delete of every TEK, Delete of the KEK"


def test_a_message_that_would_say_nothing_is_left_out() -> None:
    assert steps(Change(VIDEO, RekeyCause.KEK_RENEWAL, OLD), itertools.count(1)) == ()


@given(st.floats(0, 600))
def test_whichever_copies_are_heard_receivers_hold_the_sa_first_and_keep_the_old_one_long_enough(
    copies_s: float,
) -> None:
    handover = Handover.after(copies_s)
    # A receiver hears the last copy alone, a sender the first one.
    assert handover.activation_s >= copies_s + 1
    # A sender hears the last copy alone and counts from there, a receiver the first one.
    assert handover.end_s >= copies_s + handover.activation_s + 1


def test_members_that_register_again_have_their_lead_but_no_more_than_a_minute() -> None:
    assert Handover.by_registration(10) == Handover(15, 20)
    assert Handover.by_registration(4000) == Handover(90, 120)
    assert Handover(15, 20).successor(3600, 1000.0) == Span(1000.0, 1015.0, 4600.0)


@pytest.mark.parametrize(("lifetime_s", "end_s"), [(60, 90), (1800, 90), (3600, 180), (86_400, 3600)])
def test_a_tek_of_a_replaced_policy_ends_as_deployed(lifetime_s: float, end_s: float) -> None:
    assert gentle_end_s(Span(0.0, 0.0, lifetime_s)) == end_s
