from __future__ import annotations

import pytest

from agent.gdoi.isakmp.chain import build_chain, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.informational import (
    MAX_TEXT_OCTETS,
    clear_notify,
    delete_phase_one,
    deletes_phase_one,
    is_error,
    notify_of,
    said,
)
from agent.gdoi.isakmp.payloads import INFORMATIONAL, Chain, Delete, Notification, Payload

COOKIES = bytes(range(16))


def chain_of(*payloads: Payload) -> Chain:
    first, octets = build_chain(payloads)
    return parse_chain(first, octets, INFORMATIONAL)


@pytest.mark.requirement("P1-2408-5.14-01")
def test_a_clear_notify_is_an_informational_about_the_cookies() -> None:
    datagram = clear_notify(COOKIES, 9, 24)
    header = Header.parse(datagram)
    assert (header.exchange, int(header.flags), header.message_id) == (ExchangeType.INFORMATIONAL, 0, 9)
    chain = parse_chain(header.next_payload, datagram[HEADER.size :], INFORMATIONAL)
    assert chain.one(Notification) == Notification(0, 1, 24, COOKIES, b"")


def test_what_was_said_is_name_and_words() -> None:
    chain = chain_of(notify_of(COOKIES, 24, "not a member of group 7"), Notification(0, 1, 9999), notify_of(b"", 24578))
    assert [str(word) for word in said(chain)] == [
        "AUTHENTICATION-FAILED: not a member of group 7",
        "unknown(9999)",
        "INITIAL-CONTACT",
    ]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"two\nlines", b"\x1b[31mred", "\u202ebidi".encode(), b""])
def test_data_that_is_no_printable_text_is_left_out(data: bytes) -> None:
    assert [word.words for word in said(chain_of(Notification(0, 1, 14, b"", data)))] == [""]


def test_words_are_cut() -> None:
    assert len(notify_of(COOKIES, 14, "x" * 10_000).data) == MAX_TEXT_OCTETS
    assert len(said(chain_of(Notification(0, 1, 14, b"", b"x" * 10_000)))[0].words) == MAX_TEXT_OCTETS
    assert notify_of(COOKIES, 14, "Grüße").data.decode() == "Grüße"


def test_errors_and_status() -> None:
    assert [is_error(notify) for notify in (0, 1, 16383, 16384, 24578)] == [False, True, True, False, False]


@pytest.mark.requirement("P1-2408-5.15-02")
@pytest.mark.parametrize(
    ("delete", "ours"),
    [
        (delete_phase_one(COOKIES), True),
        (Delete(2, 1, 16, (bytes(16), COOKIES)), True),
        (Delete(1, 1, 16, (COOKIES,)), True),
        (Delete(0, 1, 16, (COOKIES[::-1],)), False),
        (Delete(2, 1, 4, (b"abcd",)), False),
    ],
)
def test_a_delete_of_the_phase_1_sa_is_told_by_its_cookies(delete: Delete, ours: bool) -> None:
    assert deletes_phase_one(chain_of(delete), COOKIES) is ours
