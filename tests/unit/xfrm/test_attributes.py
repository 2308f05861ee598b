import struct

import pytest

from xfrm import attributes as rows
from xfrm import structs
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import AttributeSet, RawAttribute, numbers_of
from xfrm.codecs import ReplayEsn
from xfrm.constants import AttributeType
from xfrm.errors import DecodeError, EncodeError


def nlattr(type_: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), type_) + payload + bytes(-len(payload) & 3)


def test_the_table_is_keyed_by_number() -> None:
    assert len(rows.ATTRIBUTES) == 40
    assert all(number == row.number for number, row in rows.ATTRIBUTES.items())
    assert repr(rows.MARK) == "<Attribute XFRMA_MARK>"


def test_rows_with_keys_are_marked() -> None:
    secret = {row.number.name for row in rows.ATTRIBUTES.values() if row.secret}
    assert secret == {
        "XFRMA_ALG_AUTH",
        "XFRMA_ALG_CRYPT",
        "XFRMA_ALG_COMP",
        "XFRMA_ALG_AEAD",
        "XFRMA_ALG_AUTH_TRUNC",
    }


def test_an_aead_is_laid_out_as_the_uapi_says() -> None:
    key = bytes(range(20))
    encoded = rows.ALG_AEAD.encode(AeadAlgorithm("rfc4106(gcm(aes))", Key(key), 96))
    name = b"rfc4106(gcm(aes))".ljust(64, b"\0")
    assert encoded == nlattr(18, name + struct.pack("=II", 160, 96) + key)


def test_encryption_and_integrity_are_laid_out_as_the_uapi_says() -> None:
    key = bytes(range(16))
    encoded = rows.ALG_CRYPT.encode(Algorithm("cbc(aes)", Key(key)))
    assert encoded == nlattr(2, b"cbc(aes)".ljust(64, b"\0") + struct.pack("=I", 128) + key)
    encoded = rows.ALG_AUTH_TRUNC.encode(AuthAlgorithm("hmac(sha256)", Key(key * 2), 128))
    assert encoded == nlattr(20, b"hmac(sha256)".ljust(64, b"\0") + struct.pack("=II", 256, 128) + key * 2)


def test_a_key_of_the_wrong_length_is_refused_before_it_is_sent() -> None:
    with pytest.raises(EncodeError, match="takes a key"):
        rows.ALG_AEAD.encode(AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(16)), 128))


def test_what_a_kernel_holds_is_read_even_where_our_table_would_refuse_it() -> None:
    body = b"rfc4106(gcm(aes))".ljust(64, b"\0") + struct.pack("=II", 8, 1) + b"k"
    assert rows.ALG_AEAD.codec.decode(body) == AeadAlgorithm("rfc4106(gcm(aes))", Key(b"k"), 1)
    # The kernel rounds up to octets, and one SA whose key another program gave 7 bits must not hide all others.
    odd = b"n".ljust(64, b"\0") + struct.pack("=II", 7, 1)
    assert rows.ALG_AEAD.codec.decode(odd + b"k") == AeadAlgorithm("n", Key(b"k"), 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(71),
        b"n".ljust(64, b"\0") + struct.pack("=II", 8, 1),  # key missing
        b"n".ljust(64, b"\0") + struct.pack("=II", 8, 1) + b"kk",  # key too long
        b"n".ljust(64, b"\0") + struct.pack("=II", 9, 1) + b"k",  # one bit more than the octets
        b"n".ljust(64, b"\0") + struct.pack("=II", 2**32 - 1, 1) + b"k",
        b"n" * 64 + struct.pack("=II", 0, 1),  # name without an end
        bytes(64) + struct.pack("=II", 0, 1),  # no name
        b"n\0n".ljust(64, b"\0") + struct.pack("=II", 0, 1),  # something after the name
        b"\xff".ljust(64, b"\0") + struct.pack("=II", 0, 1),  # no ASCII
    ],
)
def test_a_broken_algorithm_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        rows.ALG_AEAD.codec.decode(body)


@pytest.mark.parametrize(
    ("row", "body"),
    [
        (rows.MARK, bytes(7)),
        (rows.MARK, bytes(9)),
        (rows.IF_ID, bytes(3)),
        (rows.LASTUSED, bytes(4)),
        (rows.TMPL, bytes(65)),
        (rows.TMPL, bytes(64 * 7)),
        (rows.REPLAY_ESN_VAL, bytes(23)),
        (rows.REPLAY_ESN_VAL, bytes(28)),
        (rows.REPLAY_ESN_VAL, struct.pack("=I", 129) + bytes(20 + 4 * 129)),
        (rows.ALG_CRYPT, bytes(67)),
        (rows.ALG_AUTH_TRUNC, bytes(71)),
    ],
)
def test_lengths_are_exact(row: rows.Attribute[object], body: bytes) -> None:
    with pytest.raises(DecodeError):
        row.codec.decode(body)


def test_templates_are_an_array() -> None:
    two = (structs.XfrmUserTmpl(reqid=1), structs.XfrmUserTmpl(reqid=2))
    encoded = rows.TMPL.encode(two)
    assert len(encoded) == 4 + 128
    assert [template.reqid for template in rows.TMPL.codec.decode(encoded[4:])] == [1, 2]
    assert rows.TMPL.codec.decode(b"") == ()
    with pytest.raises(EncodeError, match="at most 6"):
        rows.TMPL.encode(two * 4)


def test_the_replay_bitmap_has_the_length_it_says() -> None:
    value = ReplayEsn(structs.XfrmReplayStateEsn(bmp_len=2, replay_window=64), (1, 2))
    assert rows.REPLAY_ESN_VAL.encode(value)[4:][24:] == struct.pack("=II", 1, 2)
    for bad in (
        ReplayEsn(structs.XfrmReplayStateEsn(bmp_len=1), (1, 2)),
        ReplayEsn(structs.XfrmReplayStateEsn(bmp_len=129), (0,) * 129),
        ReplayEsn(structs.XfrmReplayStateEsn(bmp_len=1), (2**32,)),
    ):
        with pytest.raises(EncodeError):
            rows.REPLAY_ESN_VAL.encode(bad)


def test_a_number_out_of_range_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match="8 bits"):
        rows.PROTO.encode(256)


def test_a_set_keeps_everything_in_order_and_builds_what_it_parsed() -> None:
    data = nlattr(77 | 0x8000, b"abc") + nlattr(31, struct.pack("=I", 5)) + nlattr(21, struct.pack("=II", 1, 2))
    found = AttributeSet.parse(b"head" + data, 4)
    assert found.encode() == data
    assert [(raw.number, raw.type) for raw in found] == [(77, 77 | 0x8000), (31, 31), (21, 21)]
    assert found.get(rows.IF_ID) == 5
    assert found.get(rows.MARK) == structs.XfrmMark(1, 2)
    assert found.get(rows.PROTO) is None
    assert rows.IF_ID in found
    assert rows.PROTO not in found
    assert repr(found) == "<AttributeSet unknown(77) XFRMA_IF_ID XFRMA_MARK>"


def test_of_two_the_last_counts() -> None:
    data = nlattr(31, struct.pack("=I", 5)) + nlattr(31, struct.pack("=I", 6))
    assert AttributeSet.parse(data).get(rows.IF_ID) == 6


def test_the_last_attribute_may_lack_its_padding() -> None:
    assert AttributeSet.parse(nlattr(25, b"\x32")[:5]).get(rows.PROTO) == 50


@pytest.mark.parametrize(
    "data", [bytes(3), struct.pack("=HH", 3, 1), struct.pack("=HH", 5, 1), nlattr(31, bytes(4)) + bytes(2)]
)
def test_lengths_that_contradict_the_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        AttributeSet.parse(data)


def test_what_is_left_without_some_rows_and_without_filling() -> None:
    data = nlattr(31, bytes(4)) + nlattr(AttributeType.XFRMA_PAD, b"") + nlattr(99, b"x")
    found = AttributeSet.parse(data)
    assert found.without(numbers_of([rows.IF_ID])) == (RawAttribute(99, b"x"),)
    assert found.excluding(rows.IF_ID).encode() == nlattr(AttributeType.XFRMA_PAD, b"") + nlattr(99, b"x")


def test_an_attribute_too_long_for_its_length_field() -> None:
    assert len(RawAttribute(99, bytes(65531)).encode()) == 65536
    with pytest.raises(EncodeError, match="65531"):
        RawAttribute(99, bytes(65532)).encode()


def test_a_raw_attribute_does_not_show_its_payload() -> None:
    assert "secret" not in repr(RawAttribute(18, b"secret"))
    assert str(RawAttribute(18, b"secret")) == "XFRMA_ALG_AEAD"
