"""Structs and framing of xfrm come back, with strategies built from its tables; decoders raise DecodeError only."""

import contextlib
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.property import xfrm_values
from tests.property.xfrm_values import U8, U16, U32
from xfrm import (
    Aevent,
    Migration,
    Policy,
    PolicyId,
    RawAttribute,
    SaMigration,
    SecurityAssociation,
    SpdInfo,
    control_structs,
    structs,
)
from xfrm import attributes as rows
from xfrm.answers import read_answer
from xfrm.attributes import ATTRIBUTES, SAD_ATTRIBUTES, SPD_ATTRIBUTES, AttributeSet
from xfrm.constants import AttributeType, MessageType, NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError
from xfrm.events import Unknown, read_event
from xfrm.frame import Frame, frame, read_done, read_error, split
from xfrm.layout import Layout, Row
from xfrm.messages import MESSAGES, Message

LAYOUTS = (*structs.LAYOUTS, *control_structs.LAYOUTS)
ROWS = [*ATTRIBUTES.values(), *SAD_ATTRIBUTES.values(), *SPD_ATTRIBUTES.values()]
MESSAGE_OF: dict[type, int] = {
    SecurityAssociation: MessageType.XFRM_MSG_NEWSA,
    Policy: MessageType.XFRM_MSG_UPDPOLICY,
    PolicyId: MessageType.XFRM_MSG_DELPOLICY,
    Aevent: MessageType.XFRM_MSG_NEWAE,
    Migration: MessageType.XFRM_MSG_MIGRATE,
    SaMigration: MessageType.XFRM_MSG_MIGRATE_STATE,
    SpdInfo: MessageType.XFRM_MSG_NEWSPDINFO,
}


def field(row: Row) -> st.SearchStrategy[Any]:
    size = row.kind.size
    if row.is_octets:
        return st.binary(min_size=size, max_size=size)
    if row.kind.code.islower():
        return st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
    return st.integers(0, 2 ** (8 * size) - 1)


def records(layout: Layout[Any]) -> st.SearchStrategy[Any]:
    """Any record of a struct, from its table."""

    def build(values: tuple[Any, ...]) -> Any:
        record = layout.unpack(bytes(layout.size))
        for row, value in zip(layout.rows, values, strict=True):
            record = put(record, row.path.split("."), value)
        return record

    return st.tuples(*(field(row) for row in layout.rows)).map(build)


def put(record: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = put(getattr(record, path[0]), path[1:], value)
    return record._replace(**{path[0]: value})


@given(st.data())
def test_every_struct_comes_back(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    record = data.draw(records(layout))
    packed = layout.pack(record)
    assert len(packed) == layout.size
    assert layout.unpack(packed) == record


@given(st.data())
def test_every_struct_reads_any_octets_of_its_length_and_no_fewer(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    octets = data.draw(st.binary(max_size=layout.size + 2))
    try:
        record = layout.unpack(octets)
    except DecodeError:
        assert len(octets) < layout.size
    else:
        assert layout.unpack(layout.pack(record)) == record


@given(st.sampled_from(ROWS), st.binary(max_size=400))
def test_attribute_codecs_raise_decode_errors_only_and_are_inverse(row: rows.Attribute[Any], octets: bytes) -> None:
    try:
        value = row.codec.decode(octets)
    except DecodeError:
        return
    if (
        row.number not in (AttributeType.XFRMA_TMPL, AttributeType.XFRMA_SA, AttributeType.XFRMA_POLICY)
        and not row.secret
    ):
        # Those have pads, or lengths of keys that are checked on the way out only.
        again = row.codec.encode(value)
        assert row.codec.decode(again) == value


@given(st.lists(st.tuples(U16, st.binary(max_size=40)), max_size=8))
def test_attribute_sets_build_what_they_parsed(items: list[tuple[int, bytes]]) -> None:
    octets = b"".join(RawAttribute(type_, payload).encode() for type_, payload in items)
    found = AttributeSet.parse(octets)
    assert [(raw.type, raw.payload) for raw in found] == items
    assert found.encode() == octets


@given(st.lists(st.tuples(U16, U16, U32, U32, st.binary(max_size=40)), max_size=5))
def test_datagrams_come_apart_again(items: list[tuple[int, int, int, int, bytes]]) -> None:
    assert split(b"".join(frame(*item) for item in items)) == [Frame(*item) for item in items]


@given(st.binary(max_size=200), U16)
@example(bytes.fromhex("10000000") + bytes(12), 0)
def test_framing_raises_decode_errors_only(octets: bytes, flags: int) -> None:
    for read in (
        lambda: split(octets),
        lambda: read_error(Frame(NetlinkControl.NLMSG_ERROR, flags, 0, 0, octets)),
        lambda: read_done(Frame(NetlinkControl.NLMSG_DONE, flags, 0, 0, octets)),
        lambda: AttributeSet.parse(octets),
    ):
        try:
            read()
        except DecodeError:
            continue


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, bytes]:
    """A message's struct of any values, and attributes of right and wrong contents."""
    spec = draw(st.sampled_from(list(MESSAGES.values())))
    body = b""
    if spec.layout is not None:
        head = draw(st.one_of(records(spec.layout).map(spec.layout.pack), st.binary(max_size=spec.layout.size)))
        body = head + bytes(-len(head) & 3)
    types = st.sampled_from(list(ATTRIBUTES)) | U16
    sizes = st.sampled_from([0, 1, 4, 6, 8, 12, 16, 24, 64, 68, 72, 76, 80, 128, 168, 224])
    for type_, size in draw(st.lists(st.tuples(types, sizes), max_size=4)):
        body += RawAttribute(type_, draw(st.binary(min_size=size, max_size=size))).encode()
    return spec.type, body + draw(st.binary(max_size=3))


@given(messages(), U32)
def test_events_are_read_or_reported_never_raised(message: tuple[int, bytes], number: int) -> None:
    type_, body = message
    event = read_event(Frame(type_, 0, number, 0, body))
    if isinstance(event, Unknown):
        assert event.reason


# The records of a message, of right contents.
VALID: st.SearchStrategy[Any] = st.one_of(*(xfrm_values.of(kind) for kind in MESSAGE_OF))


def everything_reads(type_: int, body: bytes) -> None:
    """All that decodes a message, each of which raises DecodeError or nothing."""
    for flags in (0, NetlinkFlag.NLM_F_DUMP):
        frame_ = Frame(type_, flags, 0, 0, body)
        assert read_event(frame_) is not None
        try:
            message = Message.parse(frame_)
        except DecodeError:
            continue
        for row in MESSAGES[type_].attributes:
            with contextlib.suppress(DecodeError):
                message.attributes.get(row)
            with contextlib.suppress(DecodeError):
                message.attributes.every(row)
        with contextlib.suppress(DecodeError):
            read_answer(frame_)


@given(VALID, st.data())
def test_damaged_messages_raise_decode_errors_only(value: Any, data: st.DataObject) -> None:
    body = bytearray(value.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFF]) | U8)
    everything_reads(MESSAGE_OF[type(value)], bytes(body))


@given(VALID, st.data())
def test_messages_cut_short_raise_decode_errors_only(value: Any, data: st.DataObject) -> None:
    body = value.encode()
    everything_reads(MESSAGE_OF[type(value)], body[: data.draw(st.integers(0, len(body)))])


@given(VALID, st.sampled_from(list(MESSAGES)))
def test_messages_under_another_type_raise_decode_errors_only(value: Any, type_: int) -> None:
    everything_reads(type_, value.encode())
