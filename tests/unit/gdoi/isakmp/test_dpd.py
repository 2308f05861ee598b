"""R-U-THERE and its ACK, to the octet."""

from __future__ import annotations

import pytest

from agent.gdoi.isakmp.chain import Chain, build_chain, parse_chain
from agent.gdoi.isakmp.dpd import DpdNotify, acknowledges, answer, ask, first_number, questions
from agent.gdoi.isakmp.payloads import INFORMATIONAL, Notification
from tests.unit.gdoi.pair import Counted

COOKIES = bytes(range(1, 17))


def chain_of(*payloads: Notification) -> Chain:
    first, octets = build_chain(payloads)
    return parse_chain(first, octets, INFORMATIONAL)


def test_the_form_of_the_two() -> None:
    assert ask(COOKIES, 0x01020304).build().hex() == "00000001" + "01" + "10" + "8d28" + COOKIES.hex() + "01020304"
    assert answer(COOKIES, b"\1\2\3\4").build().hex() == "00000001" + "01" + "10" + "8d29" + COOKIES.hex() + "01020304"


def test_the_first_number_has_room_to_grow() -> None:
    numbers = {first_number(Counted(str(seed))) for seed in range(50)}
    assert len(numbers) == 50
    assert all(number < 1 << 31 for number in numbers)


def test_questions_of_this_sa_are_found_and_only_so_many() -> None:
    stranger = Notification(1, 1, DpdNotify.R_U_THERE, bytes(16), bytes(4))
    nameless = Notification(1, 1, DpdNotify.R_U_THERE, b"", b"none")
    assert questions(chain_of(ask(COOKIES, 7), stranger, nameless), COOKIES) == [b"\0\0\0\7", b"none"]
    assert len(questions(chain_of(*[ask(COOKIES, number) for number in range(9)]), COOKIES)) == 2


@pytest.mark.parametrize("data", [b"", b"\0\0\7", bytes(5)])
def test_a_number_of_another_length_is_no_question(data: bytes) -> None:
    assert questions(chain_of(Notification(1, 1, DpdNotify.R_U_THERE, COOKIES, data)), COOKIES) == []


def test_an_ack_is_for_one_number() -> None:
    chain = chain_of(answer(COOKIES, b"\0\0\0\7"))
    assert acknowledges(chain, COOKIES, 7)
    assert not acknowledges(chain, COOKIES, 8)
    assert not acknowledges(chain, bytes(16), 7)
    assert not acknowledges(chain_of(ask(COOKIES, 7)), COOKIES, 7)
