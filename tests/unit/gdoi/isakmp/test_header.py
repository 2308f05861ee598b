"""agent.gdoi.isakmp.header: what RFC 2408 5.1 and 5.2 have checked of every message."""

from __future__ import annotations

import dataclasses

import pytest

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import HeaderFlags
from agent.gdoi.isakmp.header import NO_COOKIE, Header

HEADER = Header(b"initiate", NO_COOKIE, 1, 2, HeaderFlags.NONE, 0, 32)
DATAGRAM = HEADER.build() + bytes(4)


@pytest.mark.requirement("P1-2408-3.1-01", "GDOI-5-01")
def test_build_and_parse() -> None:
    assert HEADER.build().hex() == "696e6974696174650000000000000000011002000000000000000020"
    assert Header.parse(DATAGRAM) == HEADER
    protected = dataclasses.replace(HEADER, flags=HeaderFlags.ENCRYPTION, message_id=0xA1B2C3D4, exchange=32)
    assert Header.parse(protected.build() + bytes(4)) == protected


def test_both_cookies_are_its_name() -> None:
    cookies = b"initiate" + b"responds"
    header = Header.of(cookies, 1, 2, HeaderFlags.NONE, 0, 28)
    assert (header.initiator_cookie, header.responder_cookie, header.cookies) == (b"initiate", b"responds", cookies)


@pytest.mark.requirement("P1-2408-5.1-01", "P1-2408-5.2-01", "P1-2408-3.1-02", "P1-2408-3.1-03")
@pytest.mark.parametrize(
    ("offset", "value", "notify", "text"),
    [
        (17, 0x20, 5, "version 2.0"),
        (17, 0x11, 6, "version 1.1"),
        (17, 0x00, 5, "version 0.0"),
        (19, 0x08, 8, "undefined flags"),
        (19, 0x81, 8, "undefined flags"),
        (27, 31, 30, "header Length is 31"),
        (24, 1, 30, "header Length is"),
    ],
)
def test_a_wrong_field_is_refused_with_its_notify(offset: int, value: int, notify: int, text: str) -> None:
    octets = bytearray(DATAGRAM)
    octets[offset] = value
    with pytest.raises(Malformed, match=text) as caught:
        Header.parse(bytes(octets))
    assert caught.value.notify == notify


def test_a_zero_initiator_cookie_is_refused() -> None:
    with pytest.raises(Malformed, match="cookie is zero") as caught:
        Header.parse(bytes(8) + DATAGRAM[8:])
    assert caught.value.notify == 4


@pytest.mark.parametrize("length", [0, 1, 27])
def test_less_than_a_header_is_refused(length: int) -> None:
    with pytest.raises(Malformed):
        Header.parse(DATAGRAM[:length])
