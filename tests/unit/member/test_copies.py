from collections.abc import Iterable
from dataclasses import replace

import pytest

from agent.gsa.update import GsaUpdate
from agent.member.copies import HeardRekeys, content_of
from tests.unit.member.support import GROUP, data_sa

ONE, TWO = b"1" * 16, b"2" * 16


def hear(heard: HeardRekeys, numbers: Iterable[tuple[int, str]], *, last: int = 0, series: bytes = ONE) -> HeardRekeys:
    """Numbers and contents, with the gaps that an engine tells of."""
    for number, content in numbers:
        if number != last + 1:
            heard.gap(series, last + 1, number)
        heard.heard(series, number, content)
        last = number
    return heard


def test_a_gap_is_a_missed_rekey_where_rekeys_are_not_repeated() -> None:
    assert not hear(HeardRekeys(), [(1, "a"), (2, "b")]).missed
    assert hear(HeardRekeys(), [(1, "a"), (3, "c")]).missed


def test_a_lost_copy_is_not_missed_once_it_shows_that_there_are_copies() -> None:
    heard = hear(HeardRekeys(), [(2, "a")])
    assert heard.missed
    assert not hear(heard, [(3, "a")], last=2).missed
    assert not hear(heard, [(5, "b"), (6, "b")], last=3).missed


@pytest.mark.requirement("GKM-5.3-01")
def test_all_copies_of_a_rekey_lost_are_a_missed_rekey() -> None:
    heard = hear(HeardRekeys(), [(1, "a"), (2, "a"), (3, "a"), (7, "c")])
    assert heard.missed
    heard.caught_up(ONE)
    assert not heard.missed
    assert not hear(heard, [(8, "c"), (10, "d"), (11, "d")], last=7).missed


def test_copies_of_two_rekeys_may_come_in_turns() -> None:
    heard = hear(HeardRekeys(), [(1, "a"), (2, "a"), (3, "a")])
    assert not hear(heard, [(4, "b"), (6, "b"), (7, "c")], last=3).missed
    assert hear(heard, [(9, "e"), (11, "e"), (13, "e")], last=7).missed


def test_each_rekey_sa_has_numbers_of_its_own() -> None:
    heard = hear(HeardRekeys(), [(100, "a"), (101, "a")], last=99)
    assert not hear(heard, [(1, "b"), (2, "b")], series=TWO).missed
    assert not hear(heard, [(102, "a"), (104, "c")], last=101).missed
    assert hear(heard, [(107, "d")], last=104).missed


def test_a_late_copy_under_the_rekey_sa_before_the_one_registered_for_is_no_miss() -> None:
    heard = hear(HeardRekeys(), [(1, "a"), (2, "a"), (3, "a")])
    heard.caught_up(TWO)
    assert not hear(heard, [(19, "kek")], last=3).missed
    assert not hear(heard, [(1, "b")], series=TWO).missed
    assert hear(heard, [(5, "d")], last=1, series=TWO).missed


def test_the_numbers_of_a_rekey_sa_that_a_rekey_brings_count_from_the_first() -> None:
    heard = HeardRekeys()
    heard.caught_up(ONE)
    hear(heard, [(1, "kek"), (2, "kek")])
    heard.follows(TWO)
    assert hear(heard, [(3, "b")], series=TWO).missed


def test_what_it_remembers_is_bounded() -> None:
    heard = HeardRekeys()
    for number in range(100, 200):
        heard.gap(bytes([number]) * 16, 1, 1 + 2**31)
    assert heard.missed
    for number in range(100):
        hear(heard, [(1, "a")], series=bytes([number]) * 16)
    assert not heard.missed


def test_copies_have_one_content_whatever_their_number_and_times() -> None:
    first = GsaUpdate(GROUP, 1, 10.0, data=(data_sa(0x100, expires=100.0),), activation_delay_s=8)
    copy = GsaUpdate(GROUP, 2, 12.0, data=(data_sa(0x100, expires=101.0),), activation_delay_s=6)
    assert content_of(first) == content_of(copy)
    assert content_of(first) != content_of(replace(first, deletes_all_data=True))
    assert content_of(first) != content_of(replace(first, data=(data_sa(0x101),)))
