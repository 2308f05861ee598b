import pytest

from xfrm import attributes as rows
from xfrm import structs
from xfrm.constants import AttributeType, MessageType, NetlinkFlag, SadAttributeType, SpdAttributeType
from xfrm.errors import DecodeError
from xfrm.frame import Frame
from xfrm.messages import MESSAGES, Message, MessageSpec


def test_the_table_is_keyed_by_number_and_names_table_rows_only() -> None:
    tables = {
        AttributeType: rows.ATTRIBUTES,
        SadAttributeType: rows.SAD_ATTRIBUTES,
        SpdAttributeType: rows.SPD_ATTRIBUTES,
    }
    assert list(MESSAGES) == list(MessageType)
    for number, spec in MESSAGES.items():
        assert number == spec.type
        assert all(tables[spec.numbers][row.number] is row for row in spec.attributes)


@pytest.mark.parametrize("spec", MESSAGES.values(), ids=lambda spec: spec.type.name)
def test_struct_and_attributes_are_told_apart(spec: MessageSpec) -> None:
    size = spec.layout.size if spec.layout else 0
    body = bytes(size) + bytes(-size & 3) + rows.IF_ID.encode(5)
    message = Message.parse(Frame(spec.type, 0, 7, 8, body))
    assert message.attributes.get(rows.IF_ID) == 5
    assert (message.type, message.sequence, message.port) == (spec.type, 7, 8)
    if spec.layout:
        with pytest.raises(DecodeError, match=f"{spec.type.name} has at least {size} octets"):
            Message.parse(Frame(spec.type, 0, 7, 8, bytes(size - 1)))


def test_a_message_that_ends_with_an_unpadded_struct() -> None:
    message = Message.parse(Frame(MessageType.XFRM_MSG_FLUSHSA, 0, 1, 0, b"\xff"))
    assert message.read(structs.USERSA_FLUSH).proto == 255
    assert not list(message.attributes)


def test_another_type_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match=r"unknown\(999\)"):
        Message.parse(Frame(999, 0, 1, 0, bytes(500)))


def test_a_message_does_not_show_its_body() -> None:
    frame = Frame(MessageType.XFRM_MSG_NEWSA, 0, 1, 0, bytes(224) + rows.RawAttribute(18, b"secret").encode())
    assert "secret" not in repr(Message.parse(frame))


@pytest.mark.parametrize("type_", [MessageType.XFRM_MSG_GETSA, MessageType.XFRM_MSG_GETPOLICY])
def test_a_dump_request_has_no_struct(type_: MessageType) -> None:
    dump, get = int(NetlinkFlag.NLM_F_DUMP), int(NetlinkFlag.NLM_F_REQUEST)
    assert Message.parse(Frame(type_, dump, 1, 0, rows.PROTO.encode(50))).attributes.get(rows.PROTO) == 50
    assert not list(Message.parse(Frame(type_, dump, 1, 0, b"")).attributes)
    with pytest.raises(DecodeError):
        Message.parse(Frame(type_, get, 1, 0, rows.PROTO.encode(50)))


def test_a_request_to_replace_is_no_dump() -> None:
    replace = int(NetlinkFlag.NLM_F_REPLACE | NetlinkFlag.NLM_F_CREATE)
    assert MESSAGES[MessageType.XFRM_MSG_GETSA].struct_octets(replace) == structs.USERSA_ID.size
    assert MESSAGES[MessageType.XFRM_MSG_NEWSA].struct_octets(int(NetlinkFlag.NLM_F_DUMP)) == structs.USERSA_INFO.size
