"""pyroute2's classes against our codecs: equal bytes for every message and attribute."""

import json
import logging
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from pyroute2.decoder import main as decoder
from pyroute2.netlink.nlsocket import NetlinkSocket

from xfrm import attributes as rows
from xfrm import control_structs, structs
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import Attribute
from xfrm.codecs import FlagCodec, ReplayEsn, StructCodec
from xfrm.constants import NETLINK_XFRM, Family, MessageType, NetlinkFlag
from xfrm.frame import aligned, frame
from xfrm.layout import Layout
from xfrm.messages import MESSAGES, MessageSpec
from xfrm.nl import POLICY, MarshalXfrm, fields_of, message_class, message_classes, register
from xfrm.values import SecurityContext

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
    rows.SEC_CTX: SecurityContext(b"user:role:type:s0"),
    rows.MIGRATE: tuple(control_structs.XfrmUserMigrate(new_daddr=b"\x02" * 16, reqid=reqid) for reqid in (7, 8)),
}
ANY = bytes(16)
READ: dict[Attribute[Any], Any] = {
    rows.ALG_AUTH: {"name": "hmac(sha1)", "key": "<Key 20 octets>"},
    rows.ALG_CRYPT: {"name": "cbc(aes)", "key": "<Key 16 octets>"},
    rows.ALG_COMP: {"name": "deflate", "key": "<Key 0 octets>"},
    rows.ALG_AEAD: {"name": "rfc4106(gcm(aes))", "key": "<Key 20 octets>", "icv_bits": 128},
    rows.ALG_AUTH_TRUNC: {"name": "hmac(sha256)", "key": "<Key 32 octets>", "icv_bits": 128},
    rows.TMPL: [
        {
            "id": {"daddr": ANY, "spi": spi, "proto": 0},
            "saddr": b"\x01" * 16,
            "reqid": 5,
            **dict.fromkeys(("family", "mode", "share", "optional", "aalgos", "ealgos", "calgos"), 0),
        }
        for spi in (1, 2)
    ],
    rows.REPLAY_ESN_VAL: {
        "state": {"bmp_len": 2, "oseq": 1, "seq": 2, "oseq_hi": 3, "seq_hi": 4, "replay_window": 64},
        "bitmap": [5, 6],
    },
    rows.SEC_CTX: {"context": b"user:role:type:s0", "algorithm": 1, "doi": 1},
    rows.MIGRATE: [
        {
            **dict.fromkeys(("old_daddr", "old_saddr", "new_saddr"), ANY),
            "new_daddr": b"\x02" * 16,
            "reqid": reqid,
            **dict.fromkeys(("proto", "mode", "reserved", "old_family", "new_family"), 0),
        }
        for reqid in (7, 8)
    ],
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
    if isinstance(row.codec, StructCodec):
        return flat(row.codec.layout)
    if isinstance(row.codec, FlagCodec):
        return True, True
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
        value, expected = message.get_attr(row.number.name), READ.get(row, attribute_values(row)[0])
        if isinstance(expected, dict):
            assert {name: value[name] for name in expected} == expected
        else:
            assert value == expected


def test_every_attribute_of_the_table_is_in_some_message() -> None:
    used = {row.number for spec in MESSAGES.values() for row in spec.attributes}
    assert used == {*rows.ATTRIBUTES, *rows.SAD_ATTRIBUTES, *rows.SPD_ATTRIBUTES}


def test_unset_fields_are_packed_as_zeros() -> None:
    message = message_classes()[MessageType.XFRM_MSG_GETPOLICY]()
    message.encode()
    assert bytes(message.data[16:]) == bytes(64)


def test_fields_have_pads_of_their_own() -> None:
    assert fields_of(structs.ID) == (("daddr", "=16s"), ("spi", ">I"), ("proto", "=B"), ("__pad_20", "3x"))


def test_a_key_is_not_shown_by_a_message_pyroute2_has_read() -> None:
    body = structs.USERSA_INFO.pack(structs.XfrmUsersaInfo()) + rows.ALG_AEAD.encode(CODEC_VALUES[rows.ALG_AEAD])
    (message,) = MarshalXfrm().parse(frame(MessageType.XFRM_MSG_NEWSA, 0, 6, 7, body))
    assert message.get_attr("XFRMA_ALG_AEAD") == READ[rows.ALG_AEAD]
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


def test_a_dump_request_has_attributes_only() -> None:
    flags = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_DUMP)
    filtered, whole = MarshalXfrm().parse(
        frame(MessageType.XFRM_MSG_GETSA, flags, 6, 7, rows.PROTO.encode(50))
        + frame(MessageType.XFRM_MSG_GETPOLICY, flags, 6, 7, b"")
    )
    assert filtered.get_attr("XFRMA_PROTO") == 50
    assert "spi" not in filtered
    assert (whole["header"]["type"], whole["attrs"]) == (MessageType.XFRM_MSG_GETPOLICY, [])


def test_a_socket_of_pyroute2_takes_the_policy() -> None:
    with NetlinkSocket(family=NETLINK_XFRM) as socket:
        register(socket)
        assert socket.marshal.msg_map[MessageType.XFRM_MSG_NEWSA] is POLICY[MessageType.XFRM_MSG_NEWSA]


def packet(datagram: bytes) -> bytes:
    """A record of a capture of nlmon: the pcap header, then the cooked one of LINKTYPE_NETLINK."""
    cooked = struct.pack(">HHIIHH", 4, 824, 0, 0, 0, NETLINK_XFRM)
    return struct.pack("=IIII", 0, 0, len(cooked + datagram), len(cooked + datagram)) + cooked + datagram


def test_pyroute2s_decoder_prints_a_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = structs.USERSA_INFO.pack(structs.XfrmUsersaInfo(reqid=5)) + rows.ALG_AEAD.encode(CODEC_VALUES[rows.ALG_AEAD])
    capture = tmp_path / "nlmon.pcap"
    header = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 253)
    capture.write_bytes(header + packet(frame(MessageType.XFRM_MSG_NEWSA, 0, 6, 7, body)))
    words = ["-c", "xfrm.nl.MarshalXfrm", "-f", "pcap", "-d", str(capture), "-m", "ll_header{family=6}"]
    monkeypatch.setattr(sys, "argv", ["pyroute2-decoder", *words])
    decoder.run()
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["exception"] is None
    assert shown["data"]["reqid"] == 5
    assert shown["data"]["attrs"] == [["XFRMA_ALG_AEAD", READ[rows.ALG_AEAD]]]
