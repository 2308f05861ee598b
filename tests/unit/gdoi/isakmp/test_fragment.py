"""Fragments: what they look like, and what is held of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress

from agent.errors import Malformed, PeerError, Unexpected
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags
from agent.gdoi.isakmp.fragment import (
    MAX_FRAGMENTS,
    MAX_MESSAGE_OCTETS,
    Fragment,
    Reassembler,
    is_fragment,
    split,
)
from agent.gdoi.isakmp.header import HEADER, Header
from agent.wire.endpoint import Endpoint

PEER = Endpoint(IPAddress("192.0.2.10"), 848)
COOKIES = bytes(range(1, 17))


def message(octets: int, cookies: bytes = COOKIES, next_payload: int = 8, fill: bytes = b"\xaa") -> bytes:
    header = Header(
        cookies[:8],
        cookies[8:],
        next_payload,
        ExchangeType.IDENTITY_PROTECTION,
        HeaderFlags.ENCRYPTION,
        0,
        HEADER.size + octets,
    )
    return header.build() + (fill * octets)[:octets]


def feed(held: Reassembler, datagram: bytes, peer: Endpoint = PEER, now: float = 0.0) -> bytes | None:
    return held.take(Header.parse(datagram), datagram, peer, now)


def test_a_message_that_fits_goes_as_it_is() -> None:
    assert split(message(100), 128) == (message(100),)


def test_a_fragment_to_the_octet() -> None:
    whole = message(72)
    first, second = split(whole, 36 + 60)
    fragment_id = first[32:34]
    assert fragment_id != bytes(2)
    # Cookies as in the message, Next Payload 132, exchange 2, no flags, Message ID 0, Length; then the payload.
    assert first.hex() == (
        COOKIES.hex() + "8410020000000000" + "00000060" + "00000044" + fragment_id.hex() + "0100" + whole[:60].hex()
    )
    assert second.hex() == (
        COOKIES.hex() + "8410020000000000" + "0000004c" + "00000030" + fragment_id.hex() + "0201" + whole[60:].hex()
    )
    assert is_fragment(Header.parse(first))
    assert not is_fragment(Header.parse(whole))


def test_a_message_sent_again_is_fragmented_alike_and_another_differently() -> None:
    assert split(message(500), 128) == split(message(500), 128)
    assert split(message(500), 128)[0][32:34] != split(message(500, fill=b"b"), 128)[0][32:34]


def test_a_message_too_large_for_so_many_small_pieces_goes_in_larger_ones() -> None:
    pieces = split(message(40_000), 128)
    assert len(pieces) == MAX_FRAGMENTS
    held = Reassembler()
    assert [feed(held, piece) for piece in pieces][-1] == message(40_000)


@given(st.integers(1, 5000), st.integers(40, 1280), st.randoms(use_true_random=False), st.integers(0, 3))
def test_pieces_in_any_order_and_doubled_make_the_message(
    octets: int, limit: int, chance: random.Random, doubles: int
) -> None:
    whole = message(octets)
    pieces = list(split(whole, limit))
    if len(pieces) == 1:
        return
    assert all(len(piece) <= limit for piece in pieces) or len(pieces) > MAX_FRAGMENTS * 3 // 4
    last = chance.choice(pieces)
    others = [piece for piece in pieces if piece is not last]
    chance.shuffle(others)
    held = Reassembler()
    for piece in others + others[:doubles]:
        assert feed(held, piece) is None
    assert feed(held, last) == whole
    assert held.octets == 0


def test_a_new_message_takes_the_place_of_one_that_lacks_a_piece() -> None:
    held = Reassembler()
    old, new = split(message(500), 200), split(message(500, fill=b"n"), 200)
    feed(held, old[0])
    assert [feed(held, piece) for piece in new][-1] == message(500, fill=b"n")
    assert held.octets == 0


def test_peers_and_exchanges_are_kept_apart() -> None:
    held = Reassembler()
    pieces = split(message(500), 200)
    assert feed(held, pieces[0], Endpoint(IPAddress("192.0.2.11"), 848)) is None
    assert [feed(held, piece) for piece in pieces][-1] == message(500)
    other = split(message(500, bytes(range(2, 18))), 200)
    assert feed(held, other[0]) is None
    assert [feed(held, piece) for piece in pieces][-1] == message(500)


def test_what_takes_too_long_is_forgotten() -> None:
    held = Reassembler()
    pieces = split(message(300), 200)
    feed(held, pieces[0])
    assert feed(held, pieces[1], now=10.0) is None
    assert feed(held, pieces[0], now=10.1) == message(300)


def test_an_address_has_so_many_messages_and_all_have_so_many_octets() -> None:
    held = Reassembler()
    starts = [split(message(3000, bytes([number]) * 16), 1500)[0] for number in range(1, 10)]
    for start in starts:
        feed(held, start)
    assert held.octets == 8 * (1500 - 36)
    for number in range(2000):
        peer = Endpoint(IPAddress(0xC6120000 + number), 848)
        feed(held, starts[0], peer)
    assert held.octets <= 1 << 20


def test_more_pieces_or_octets_than_a_message_has_are_refused() -> None:
    held = Reassembler()
    first = split(message(3000), 1500)[0]
    late = bytearray(first)
    late[34] = MAX_FRAGMENTS + 1
    with pytest.raises(Unexpected, match="more than 64 pieces"):
        feed(held, bytes(late))
    *most, last = split(message(120_000), 1500)[: -(-MAX_MESSAGE_OCTETS // (120_028 // 64))]
    for piece in most:
        feed(held, piece)
    with pytest.raises(Unexpected, match=str(MAX_MESSAGE_OCTETS)):
        feed(held, last)


@pytest.mark.parametrize(
    ("place", "octet", "words"),
    [(28, 132, "one payload"), (34, 0, "number 0"), (31, 3, "one payload"), (31, 200, "wants")],
    ids=["another behind it", "number 0", "shorter than its header", "longer than the datagram"],
)
def test_what_is_no_fragment_is_refused(place: int, octet: int, words: str) -> None:
    bent = bytearray(split(message(300), 200)[0])
    bent[place] = octet
    bent[30] = 0
    with pytest.raises(Malformed, match=words):
        feed(Reassembler(), bytes(bent))


def test_the_message_inside_is_of_the_same_exchange_and_no_fragment() -> None:
    inside = message(60, bytes(range(2, 18)))
    nested = message(60, next_payload=Fragment.TYPE)
    for whole in (inside, nested):
        body = Fragment(7, 1, last=True, data=whole).build()
        datagram = message(4 + len(body), next_payload=Fragment.TYPE)[: HEADER.size]
        datagram += bytes(2) + (4 + len(body)).to_bytes(2) + body
        with pytest.raises(Malformed, match="other cookies or is a fragment"):
            feed(Reassembler(), datagram)


@given(st.binary(max_size=120), st.integers(0, 255))
def test_any_octets_behind_the_header_are_taken_or_refused(junk: bytes, next_payload: int) -> None:
    datagram = message(len(junk), next_payload=next_payload)[: HEADER.size] + junk
    held = Reassembler()
    try:
        feed(held, datagram)
    except PeerError:
        return
    assert held.octets <= len(junk)


def test_one_exchange_has_so_many_messages_whatever_addresses_they_come_from() -> None:
    """Who knows the cookies of a peer behind a NAT may forge any address: nobody else loses room to that."""
    held = Reassembler()
    first, *rest = split(message(500, bytes(range(2, 18))), 200)
    feed(held, first)
    start = split(message(500), 200)[0]
    for number in range(3000):
        feed(held, start, Endpoint(IPAddress(0xC6120000 + number), 4500))
    assert held.octets == 9 * (200 - 36)
    assert [feed(held, piece) for piece in rest][-1] == message(500, bytes(range(2, 18)))
    assert held.octets == 8 * (200 - 36)


def test_all_exchanges_together_have_so_many_messages() -> None:
    held = Reassembler()
    for number in range(1500):
        cookies = bytes(range(8)) + number.to_bytes(8)
        feed(held, split(message(100, cookies), 100)[0], Endpoint(IPAddress(0xC6120000 + number), 848))
    assert held.octets == 1024 * (100 - 36)
