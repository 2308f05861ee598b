"""agent.wire.reader: bounds hold before a length is used, and failures name the octet."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.wire.reader import Reader, reading


def test_integers_are_big_endian_and_the_position_moves() -> None:
    reader = Reader(bytes.fromhex("01020304050607ff"))
    assert (reader.u8(), reader.u16(), reader.u32()) == (1, 0x0203, 0x04050607)
    assert (reader.remaining, reader.offset) == (1, 7)
    assert reader.rest() == b"\xff"
    reader.end()


@pytest.mark.parametrize("count", [4, 2**31, -1])
def test_more_than_is_left_is_refused_and_moves_nothing(count: int) -> None:
    reader = Reader(b"abc", base=10)
    with pytest.raises(Malformed, match=r"octet 10: name wants -?\d+ octets, 3 are left"):
        reader.take(count, "name")
    assert reader.rest() == b"abc"


def test_a_block_bounds_and_must_be_consumed() -> None:
    reader = Reader(b"abcdef")
    reader.u8()
    with pytest.raises(Malformed, match="octet 2: block has 1 octets too many"), reader.block(2) as inner:
        inner.u8()
    with reader.block(1) as inner:
        with pytest.raises(Malformed, match="octet 3: field wants 2 octets, 1 are left"):
            inner.u16()
        assert inner.rest() == b"d"
    with reader.block(reader.remaining) as inner:
        assert inner.rest() == b"ef"
    assert reader.remaining == 0


def test_a_block_longer_than_what_is_left_is_refused() -> None:
    with pytest.raises(Malformed, match="payload wants 5 octets"), Reader(b"abcd").block(5, "payload"):
        pytest.fail("the block was entered")


def test_reading_takes_octets_or_a_reader_and_wants_all_consumed() -> None:
    with reading(b"a", "X") as reader:
        assert reader.u8() == 97
    outer = Reader(b"ab", base=5)
    with pytest.raises(Malformed, match="octet 6: X has 1 octets too many"), reading(outer, "X") as reader:
        reader.u8()


def test_the_error_carries_the_notify_asked_for() -> None:
    assert Reader(b"").malformed("x", notify=13).notify == 13
    assert Reader(b"").malformed("x").notify == 16
