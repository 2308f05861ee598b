import struct

import pytest

from xfrm.constants import NetlinkControl, NetlinkFlag
from xfrm.errors import DecodeError
from xfrm.frame import Frame, Reply, aligned, frame, read_done, read_error, split

ERROR, DONE = NetlinkControl.NLMSG_ERROR, NetlinkControl.NLMSG_DONE
TLVS, CAPPED = int(NetlinkFlag.NLM_F_ACK_TLVS), int(NetlinkFlag.NLM_F_CAPPED)


def tlv(type_: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), type_) + payload + bytes(-len(payload) & 3)


def test_a_message_is_padded_and_its_length_is_not() -> None:
    message = frame(0x1C, 5, 6, 7, b"x")
    assert message == struct.pack("=IHHII", 17, 0x1C, 5, 6, 7) + b"x\0\0\0"
    assert [aligned(n) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]


def test_messages_of_a_datagram_come_apart_again() -> None:
    datagram = frame(1, 2, 3, 4, b"abc") + frame(5, 6, 7, 8, b"")
    assert split(datagram) == [Frame(1, 2, 3, 4, b"abc"), Frame(5, 6, 7, 8, b"")]
    assert split(b"") == []
    assert split(frame(1, 0, 0, 0, b"a")[:17]) == [Frame(1, 0, 0, 0, b"a")]


@pytest.mark.parametrize(
    "datagram",
    [
        bytes(3),
        frame(1, 2, 3, 4, b"abcd")[:-1],
        struct.pack("=IHHII", 15, 1, 2, 3, 4),
        struct.pack("=IHHII", 0, 1, 2, 3, 4),
        frame(1, 2, 3, 4, b"") + bytes(8),
    ],
)
def test_lengths_that_contradict_the_datagram(datagram: bytes) -> None:
    with pytest.raises(DecodeError):
        split(datagram)


def test_a_frame_does_not_show_its_body() -> None:
    assert "secret" not in repr(Frame(1, 2, 3, 4, b"secret"))


def test_an_acknowledgement_has_errno_0() -> None:
    body = struct.pack("=i", 0) + struct.pack("=IHHII", 20, 16, 5, 1, 0)
    assert read_error(Frame(ERROR, CAPPED, 1, 0, body)) == Reply(0, "")


def test_the_kernels_words_come_after_the_header_of_a_capped_reply() -> None:
    body = struct.pack("=i", -17) + struct.pack("=IHHII", 500, 16, 5, 1, 0)
    body += tlv(2, struct.pack("=I", 44)) + tlv(1, b"State exists\0")
    assert read_error(Frame(ERROR, CAPPED | TLVS, 1, 0, body)) == Reply(17, "State exists")


def test_the_kernels_words_come_after_the_echo_of_an_uncapped_reply() -> None:
    body = struct.pack("=i", -22) + frame(16, 5, 1, 0, b"12345") + tlv(1, b"no\0")
    assert read_error(Frame(ERROR, TLVS, 1, 0, body)) == Reply(22, "no")


def test_a_reply_without_words() -> None:
    body = struct.pack("=i", -1) + struct.pack("=IHHII", 500, 16, 5, 1, 0)
    assert read_error(Frame(ERROR, CAPPED, 1, 0, body)) == Reply(1, "")
    assert read_error(Frame(ERROR, CAPPED | TLVS, 1, 0, body + tlv(3, b"abcd"))) == Reply(1, "")


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (0, b"\0\0\0"),
        (CAPPED, struct.pack("=i", -4096) + bytes(16)),
        (CAPPED, struct.pack("=i", -(2**31)) + bytes(16)),
        (TLVS, struct.pack("=i", -1) + bytes(15)),
        (TLVS | CAPPED, struct.pack("=i", -1) + bytes(16) + struct.pack("=HH", 3, 1)),
        (TLVS | CAPPED, struct.pack("=i", -1) + bytes(16) + struct.pack("=HH", 9, 1) + b"abcd"),
    ],
)
def test_a_broken_reply_is_a_decode_error(flags: int, body: bytes) -> None:
    with pytest.raises(DecodeError):
        read_error(Frame(ERROR, flags, 1, 0, body))


def test_the_end_of_a_dump() -> None:
    assert read_done(Frame(DONE, 0, 1, 0, b"")) == Reply(0, "")
    assert read_done(Frame(DONE, 0, 1, 0, struct.pack("=i", 0))) == Reply(0, "")
    assert read_done(Frame(DONE, 0, 1, 0, struct.pack("=i", 20))) == Reply(0, "")
    failed = struct.pack("=i", -12) + tlv(1, b"why\0")
    assert read_done(Frame(DONE, TLVS, 1, 0, failed)) == Reply(12, "why")
    assert read_done(Frame(DONE, 0, 1, 0, failed)) == Reply(12, "")
    with pytest.raises(DecodeError):
        read_done(Frame(DONE, 0, 1, 0, b"\0"))
