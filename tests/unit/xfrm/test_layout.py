from typing import Annotated, NamedTuple

import pytest

from xfrm.errors import DecodeError, EncodeError
from xfrm.layout import BE16, BE32, S32, U8, U16, U32, U64, InAddr, Layout


class Inner(NamedTuple):
    spi: BE32 = 0
    proto: U8 = 0


class Outer(NamedTuple):
    tag: U8 = 0
    inner: Inner = Inner()
    port: BE16 = 0
    many: U64 = 0
    signed: S32 = 0


OUTER = Layout(Outer, size=32, name="outer")


def test_pads_follow_c_and_are_written_out() -> None:
    assert OUTER.format == "=B3xIB3xH2xQi4x"
    assert [row.offset for row in OUTER.rows] == [0, 4, 8, 12, 16, 24]
    assert OUTER.align == 8


def test_big_endian_fields_travel_in_network_order() -> None:
    packed = OUTER.pack(Outer(1, Inner(0x01020304, 50), 0x0506, 7, -2))
    assert packed[4:8] == bytes([1, 2, 3, 4])
    assert packed[12:14] == bytes([5, 6])
    assert OUTER.unpack(packed) == Outer(1, Inner(0x01020304, 50), 0x0506, 7, -2)


def test_unpack_takes_an_offset_and_leaves_the_rest() -> None:
    packed = OUTER.pack(Outer(tag=9))
    assert OUTER.unpack(b"xy" + packed + b"z", 2) == Outer(tag=9)


def test_unpack_of_too_little_says_where() -> None:
    with pytest.raises(DecodeError, match="struct outer has 32 octets, 31 left") as caught:
        OUTER.unpack(bytes(33), 2)
    assert caught.value.offset == 2


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Outer(tag=256), "tag"),
        (Outer(inner=Inner(2**32)), "inner.spi"),
        (Outer(port=65536), "port"),
        (Outer(many=-1), "many"),
        (Outer(signed=2**31), "signed"),
    ],
)
def test_pack_names_the_field_that_does_not_fit(value: Outer, path: str) -> None:
    with pytest.raises(EncodeError, match=f"struct outer: {path} does not fit a number"):
        OUTER.pack(value)


class Octets(NamedTuple):
    address: InAddr


def test_octets_are_filled_and_never_cut() -> None:
    layout = Layout(Octets, size=16, name="octets")
    assert layout.pack(Octets(b"\x01")) == b"\x01" + bytes(15)
    with pytest.raises(EncodeError, match="address is longer than 16 octets"):
        layout.pack(Octets(bytes(17)))


def test_a_wrong_type_is_an_encode_error() -> None:
    layout = Layout(Octets, size=16, name="octets")
    with pytest.raises(EncodeError, match="struct octets"):
        layout.pack(Octets(5))  # type: ignore[arg-type]  # the mistake under test


def test_the_uapis_size_is_demanded() -> None:
    with pytest.raises(TypeError, match="comes out with 32 octets, the uapi has 30"):
        _ = Layout(Outer, size=30, name="outer").rows


class Bare(NamedTuple):
    number: int


class Odd(NamedTuple):
    number: Annotated[int, "no kind"]


@pytest.mark.parametrize("record", [Bare, Odd])
def test_a_field_without_a_uapi_type_is_refused(record: type[Bare | Odd]) -> None:
    with pytest.raises(TypeError, match="field number has no uapi type"):
        Layout(record, size=4, name="bare").unpack(bytes(4))


class Short(NamedTuple):
    a: U16
    b: U32


def test_repr_names_the_struct() -> None:
    assert repr(Layout(Short, size=8, name="short")) == "<Layout of struct short, 8 octets>"


def test_what_is_looked_up_before_the_first_use_works_after_it() -> None:
    layout = Layout(Outer, size=32, name="outer")
    pack, unpack = layout.pack, layout.unpack
    assert layout.unpack(layout.pack(Outer(tag=3))) == unpack(pack(Outer(tag=3))) == Outer(tag=3)


class Wide(NamedTuple):
    inner: Inner = Inner()
    port: BE16 = 0
    rest: Inner = Inner()
    address: InAddr = b""


WIDE = Layout(Wide, size=36, name="wide")


def test_a_packer_takes_values_one_by_one() -> None:
    record = Wide(Inner(0x01020304, 50), 0x0506, Inner(7, 8), b"\x09")
    assert WIDE.packer()(0x01020304, 50, 0x0506, 7, 8, b"\x09") == WIDE.pack(record)


def test_a_packer_takes_structs_whole_or_leaves_them_out() -> None:
    packed = Layout(Inner, size=8, name="inner").pack(Inner(0x01020304, 50))
    wanted = WIDE.pack(Wide(Inner(0x01020304, 50), 5, Inner(), b"\x09"))
    assert WIDE.packer(octets=("inner",), zeros=("rest",))(packed, 5, b"\x09") == wanted
    assert WIDE.packer(octets=("inner",), zeros=("rest",))(b"", 5, b"\x09") == WIDE.pack(Wide(port=5, address=b"\x09"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((bytes(9), 5, b""), "struct wide: inner is longer than 8 octets"),
        ((b"", 65536, b""), "struct wide: port does not fit a number of 16 bits"),
        ((b"", 5, 6), "struct wide: address does not fit 16 octets"),
    ],
)
def test_a_packer_names_the_field_that_does_not_fit(values: tuple[object, ...], words: str) -> None:
    with pytest.raises(EncodeError, match=words):
        WIDE.packer(octets=("inner",), zeros=("rest",))(*values)
