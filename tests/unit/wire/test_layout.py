"""agent.wire.layout: tables compile to codecs that hold their constants."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.wire.layout import U8, U16, U32, Layout, Row, octets
from agent.wire.reader import Reader

BOX = Layout(
    "box",
    (
        Row("cookie", octets(2), "opaque"),
        Row("RESERVED", U8, constant=0, notify=13),
        Row("length", U16),
        Row("number", U32, "a number"),
    ),
)


def test_values_go_both_ways_and_constants_are_written() -> None:
    built = BOX.build(b"ab", 5, 0xC0FFEE01)
    assert built == b"ab\0\0\x05\xc0\xff\xee\x01"
    assert len(built) == BOX.size
    assert BOX.read(Reader(built)) == (b"ab", 5, 0xC0FFEE01)


def test_a_constant_that_differs_is_malformed_with_its_notify() -> None:
    with pytest.raises(Malformed, match="box at octet 3: RESERVED is 7, not 0") as caught:
        BOX.read(Reader(b"ab\x07\0\0\0\0\0\0", base=3))
    assert caught.value.notify == 13


def test_too_few_octets_are_malformed() -> None:
    with pytest.raises(Malformed, match="box wants 9 octets, 8 are left"):
        BOX.read(Reader(bytes(8)))


@pytest.mark.parametrize("values", [(), (b"ab", 5), (b"ab", 1 << 16, 1), (b"ab", -1, 1), (5, 5, 5)])
def test_values_that_do_not_fit_are_our_own_error(values: tuple[int | bytes, ...]) -> None:
    with pytest.raises(ValueError, match="box does not take"):
        BOX.build(*values)


def test_the_text_form_has_offsets_lengths_and_notes() -> None:
    assert BOX.box().splitlines() == [
        "box, 9 octets",
        "  0   2  cookie  opaque",
        "  2   1  RESERVED = 0",
        "  3   2  length",
        "  5   4  number  a number",
    ]


def test_one_value_and_no_constant_are_tables_too() -> None:
    one = Layout("one", (Row("zero", U8, constant=0), Row("number", U16)))
    assert one.build(7) == b"\0\0\7"
    assert one.read(Reader(b"\0\0\7")) == (7,)
    with pytest.raises(ValueError, match="one does not take 2 values"):
        one.build(7, 8)


def test_the_values_are_those_of_the_rows_whatever_they_are_called() -> None:
    odd = Layout('a table\'s "name" \\ {x}', (Row("not a name!", U8), Row("v0", U8)))
    assert odd.read(Reader(odd.build(1, 2))) == (1, 2)
