"""pyroute2's classes against our codecs: equal bytes for every message and attribute."""

import logging
import struct
from typing import Any

import pytest

from xfrm import attributes as rows
from xfrm import structs
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import Attribute, ReplayEsn
from xfrm.constants import Family, MessageType
from xfrm.frame import aligned, frame
from xfrm.layout import Layout
from xfrm.messages import MESSAGES, MessageSpec
from xfrm.nl import MarshalXfrm, fields_of, message_class, message_classes

SECRET = b"abcdefghijklmnopqrst"

CODEC_VALUES: dict[Attribute[Any], Any] = {
    rows.ALG_AUTH: Algorithm("hmac(sha1)", Key(bytes(20))),
    rows.ALG_CRYPT: Algorithm("cbc(aes)", Key(bytes(16))),
    rows.ALG_COMP: Algorithm("deflate", Key(b"")),
    rows.ALG_AEAD: AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128),
    rows.ALG_AUTH_TRUNC: AuthAlgorithm("hmac(sha256)", Key(bytes(32)), 128),
    rows.TMPL: tuple(
        structs.XfrmUserTmpl(structs.XfrmId(bytes(16), spi), saddr=b"\x01" * 16, reqid=5) for spi in (1, 2)
    ),
    rows.REPLAY_ESN_VAL: ReplayEsn(structs.XfrmReplayStateEsn(2, 1, 2, 3, 4, 64), (5, 6)),
}


def flat(layout: Layout[Any]) -> tuple[dict[str, Any], Any]:
    """Distinct values for every field of a struct, as pyroute2 takes them and as our record."""
    values = {row.path: bytes([i + 1]) * row.kind.size if row.is_octets else i for i, row in enumerate(layout.rows)}
    record = layout.unpack(bytes(layout.size))
    for path, value in values.items():
        record = replaced(record, path.split("."), value)
    return {path.replace(".", "_"): value for path, value in values.items()}, record


def replaced(record: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = replaced(getattr(record, path[0]), path[1:], value)
    return record._replace(**{path[0]: value})


def attribute_values(row: Attribute[Any]) -> tuple[Any, Any]:
    """A value for an attribute, as pyroute2 takes it and as our codec does."""
    if row in CODEC_VALUES:
        return CODEC_VALUES[row], CODEC_VALUES[row]
    if isinstance(row.codec, rows.StructCodec):
        return flat(row.codec.layout)
    return 7, 7


@pytest.mark.parametrize("spec", MESSAGES.values(), ids=lambda spec: spec.type.name)
def test_messages_with_all_their_attributes_have_equal_bytes(spec: MessageSpec) -> None:
    fields, record = flat(spec.layout) if spec.layout else ({}, None)
    head = spec.layout.pack(record) if spec.layout else b""
    theirs: list[list[Any]] = []
    ours = b""
    for row in dict.fromkeys(spec.attributes):
        their_value, our_value = attribute_values(row)
        theirs.append([row.number.name, their_value])
        ours += row.encode(our_value)
    message = message_class(spec)()
    message.update(fields)
    message["attrs"] = theirs
    message["header"] = {"type": int(spec.type), "flags": 5, "sequence_number": 6, "pid": 7}
    message.encode()
    assert bytes(message.data) == frame(
        spec.type, 5, 6, 7, head + bytes(aligned(len(head)) - len(head)) * bool(ours) + ours
    )


@pytest.mark.parametrize("spec", MESSAGES.values(), ids=lambda spec: spec.type.name)
def test_pyroute2_reads_what_we_write(spec: MessageSpec) -> None:
    fields, record = flat(spec.layout) if spec.layout else ({}, None)
    body = spec.layout.pack(record) if spec.layout else b""
    for row in dict.fromkeys(spec.attributes):
        body += row.encode(attribute_values(row)[1])
    (message,) = MarshalXfrm().parse(frame(spec.type, 0, 6, 7, body))
    assert message["header"]["type"] == spec.type
    assert {name: message[name] for name in fields} == fields
    for row in dict.fromkeys(spec.attributes):
        value, expected = message.get_attr(row.number.name), attribute_values(row)[0]
        if isinstance(expected, dict):
            assert {name: value[name] for name in expected} == expected
        else:
            assert value == expected


def test_every_attribute_of_the_table_is_in_some_message() -> None:
    used = {row.number for spec in MESSAGES.values() for row in spec.attributes}
    assert used == set(rows.ATTRIBUTES) - {rows.PROTO.number}


def test_unset_fields_are_packed_as_zeros() -> None:
    message = message_classes()[MessageType.XFRM_MSG_GETPOLICY]()
    message.encode()
    assert bytes(message.data[16:]) == bytes(64)


def test_fields_have_pads_of_their_own() -> None:
    assert fields_of(structs.ID) == (("daddr", "=16s"), ("spi", ">I"), ("proto", "=B"), ("__pad_20", "3x"))


def test_a_key_is_not_shown_by_a_message_pyroute2_has_read() -> None:
    body = structs.USERSA_INFO.pack(structs.XfrmUsersaInfo()) + rows.ALG_AEAD.encode(CODEC_VALUES[rows.ALG_AEAD])
    (message,) = MarshalXfrm().parse(frame(MessageType.XFRM_MSG_NEWSA, 0, 6, 7, body))
    assert message.get_attr("XFRMA_ALG_AEAD") == CODEC_VALUES[rows.ALG_AEAD]
    assert SECRET.decode() not in repr(message)
    assert SECRET.hex() not in repr(message)


def test_an_attribute_that_cannot_be_read_says_so() -> None:
    body = structs.USERPOLICY_INFO.pack(structs.XfrmUserpolicyInfo()) + rows.RawAttribute(5, b"short").encode()
    (message,) = MarshalXfrm().parse(frame(MessageType.XFRM_MSG_NEWPOLICY, 0, 6, 7, body))
    assert message.get_attr("XFRMA_TMPL").startswith("undecoded: 5 octets are no multiple")


def test_pyroute2_logs_no_values(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert logging.getLogger("pyroute2").level >= logging.WARNING
    message = message_classes()[MessageType.XFRM_MSG_GETSA]()
    message["family"] = "secret words"
    with pytest.raises(struct.error):
        message.encode()
    assert "secret words" not in caplog.text
    assert "struct.error" in caplog.text


def test_a_dump_of_policies_reads_as_pyroute2_messages() -> None:
    body = structs.USERPOLICY_INFO.pack(
        structs.XfrmUserpolicyInfo(sel=structs.XfrmSelector(family=Family.AF_INET, dport=848), priority=7)
    )
    messages = list(MarshalXfrm().parse(frame(MessageType.XFRM_MSG_NEWPOLICY, 2, 6, 7, body) * 2))
    assert [(message["sel_dport"], message["priority"]) for message in messages] == [(848, 7)] * 2
