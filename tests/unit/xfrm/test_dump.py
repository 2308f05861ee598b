import struct

import pytest

from xfrm import requests
from xfrm.constants import MessageType, NetlinkControl, NetlinkFlag
from xfrm.dump import Dump
from xfrm.errors import DecodeError, KernelRefused, Overrun
from xfrm.frame import Frame, split
from xfrm.window import SequenceNumbers

MULTI = int(NetlinkFlag.NLM_F_MULTI)
INTR = int(NetlinkFlag.NLM_F_DUMP_INTR)


def dump() -> Dump[Frame]:
    return Dump(requests.dump_policies(), SequenceNumbers(5), lambda frame: frame, port=4711)


def part(body: bytes, flags: int = MULTI, number: int = 5) -> Frame:
    return Frame(MessageType.XFRM_MSG_NEWPOLICY, flags, number, 4711, body)


def done(errno: int = 0, flags: int = MULTI) -> Frame:
    return Frame(NetlinkControl.NLMSG_DONE, flags, 5, 4711, struct.pack("=i", -errno))


def test_the_request_is_a_dump() -> None:
    (frame,) = split(dump().datagram)
    assert (frame.type, frame.flags, frame.sequence, frame.port) == (MessageType.XFRM_MSG_GETPOLICY, 0x301, 5, 4711)
    assert frame.body == b""


def test_parts_are_put_together_until_the_end() -> None:
    going = dump()
    going.feed([part(b"1"), part(b"2")])
    assert not going.complete
    going.feed([part(b"3"), done()])
    assert going.complete
    assert not going.interrupted
    assert [frame.body for frame in going.entries] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("at", ["part", "end"])
def test_an_interruption_is_noticed_wherever_it_is_told(at: str) -> None:
    going = dump()
    going.feed([part(b"1", MULTI | (INTR if at == "part" else 0)), done(0, MULTI | (INTR if at == "end" else 0))])
    assert going.complete
    assert going.interrupted


def test_parts_of_others_are_dropped() -> None:
    going = dump()
    going.feed([part(b"1", number=4), Frame(NetlinkControl.NLMSG_NOOP, INTR, 5, 0, b""), done()])
    assert (going.entries, going.interrupted) == ([], False)


def test_a_refused_dump() -> None:
    going = dump()
    body = struct.pack("=i", -1) + bytes(16)
    with pytest.raises(KernelRefused, match="dump policies: EPERM"):
        going.feed([Frame(NetlinkControl.NLMSG_ERROR, int(NetlinkFlag.NLM_F_CAPPED), 5, 0, body)])


def test_a_dump_that_breaks_off() -> None:
    going = dump()
    with pytest.raises(KernelRefused, match="ENOMEM"):
        going.feed([part(b"1"), done(12)])


def test_lost_parts_and_a_broken_end() -> None:
    with pytest.raises(Overrun):
        dump().feed([Frame(NetlinkControl.NLMSG_OVERRUN, 0, 0, 0, b"")])
    with pytest.raises(DecodeError):
        dump().feed([Frame(NetlinkControl.NLMSG_DONE, MULTI, 5, 0, b"\0")])


def test_what_cannot_be_read_is_told_at_the_end_and_the_rest_is_taken() -> None:
    def read(frame: Frame) -> bytes:
        if frame.body == b"2":
            raise DecodeError("no such thing")
        return frame.body

    going = Dump(requests.dump_policies(), SequenceNumbers(5), read)
    going.feed([part(b"1"), part(b"2"), part(b"3")])
    assert not going.complete
    going.feed([done()])
    assert going.complete
    assert str(going.unreadable) == "no such thing (at octet 0)"
    assert going.entries == [b"1"]
