"""Netlink framing: struct nlmsghdr, messages in a datagram, and the kernel's error replies (linux/netlink.h)."""

from __future__ import annotations

import struct
from functools import partial
from typing import Final, NamedTuple

from xfrm.constants import NetlinkFlag
from xfrm.errors import DecodeError

__all__ = ["ATTRIBUTE_HEADER", "HEADER", "Frame", "Reply", "aligned", "frame", "read_done", "read_error", "split"]

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""
ATTRIBUTE_HEADER: Final = struct.Struct("=HH")
"""struct nlattr: length (header included), type."""
_ERROR: Final = struct.Struct("=i")
_MAX_ERRNO: Final = 4095
"""The largest error number of a kernel, MAX_ERRNO (linux/err.h)."""
_ECHOED_HEADER: Final = 4
"""Where struct nlmsgerr has the header of the request it answers."""
_NLMSGERR_ATTR_MSG: Final = 1
_NLA_TYPE_MASK: Final = 0x3FFF


class Frame(NamedTuple):
    """One message of a datagram: the header's fields and the octets after it."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes

    def __repr__(self) -> str:
        # A body may hold keys.
        return f"Frame(type={self.type}, flags=0x{self.flags:x}, sequence={self.sequence}, {len(self.body)} octets)"


class Reply(NamedTuple):
    """What NLMSG_ERROR or NLMSG_DONE says: `errno`, positive, 0 for success; `extack`: the kernel's words or empty."""

    errno: int
    extack: str


def aligned(length: int) -> int:
    """The length with padding to four octets (NLMSG_ALIGN, NLA_ALIGN)."""
    return (length + 3) & ~3


def frame(type_: int, flags: int, sequence: int, port: int, body: bytes) -> bytes:
    """A message ready to send or to be followed by another: padded, its length without the padding."""
    length = HEADER.size + len(body)
    return HEADER.pack(length, type_, flags, sequence, port) + body + bytes(-length & 3)


def split(datagram: bytes) -> list[Frame]:
    """The messages of a datagram. Raises DecodeError where a length contradicts what is there."""
    frames: list[Frame] = []
    unpack, make = HEADER.unpack_from, partial(tuple.__new__, Frame)
    offset, end, head = 0, len(datagram), HEADER.size
    while offset < end:
        if end - offset < head:
            raise DecodeError(f"a message header has {head} octets, {end - offset} left", offset=offset)
        length, type_, flags, sequence, port = unpack(datagram, offset)
        if not head <= length <= end - offset:
            raise DecodeError(f"a message says it has {length} octets, {end - offset} left", offset=offset)
        frames.append(make((type_, flags, sequence, port, datagram[offset + head : offset + length])))
        offset += length + 3 & ~3
    return frames


def read_error(message: Frame) -> Reply:
    """What a frame of type NLMSG_ERROR says (errno 0: an acknowledgement). Raises DecodeError."""
    errno = _read_errno(message.body)
    if not message.flags & NetlinkFlag.NLM_F_ACK_TLVS:
        return Reply(errno, "")
    if len(message.body) < _ECHOED_HEADER + HEADER.size:
        raise DecodeError("an error reply without the header it answers", offset=len(message.body))
    # Without NLM_F_CAPPED the whole request is echoed before the attributes.
    echoed = HEADER.size
    if not message.flags & NetlinkFlag.NLM_F_CAPPED:
        echoed = aligned(HEADER.unpack_from(message.body, _ECHOED_HEADER)[0])
    return Reply(errno, _read_text(message.body, _ECHOED_HEADER + echoed))


def read_done(message: Frame) -> Reply:
    """What a frame of type NLMSG_DONE says: old kernels send no error with it. Raises DecodeError."""
    if not message.body:
        return Reply(0, "")
    errno = _read_errno(message.body)
    tlvs = message.flags & NetlinkFlag.NLM_F_ACK_TLVS
    return Reply(errno, _read_text(message.body, _ERROR.size) if tlvs else "")


def _read_errno(body: bytes) -> int:
    if len(body) < _ERROR.size:
        raise DecodeError(f"an error number has {_ERROR.size} octets, {len(body)} left")
    # A dump ends with the last callback's length, zero or above; errors are below zero.
    errno = max(0, -int(_ERROR.unpack_from(body)[0]))
    if errno > _MAX_ERRNO:
        raise DecodeError(f"{errno} is no error number")
    return errno


def _read_text(body: bytes, offset: int) -> str:
    while len(body) - offset >= ATTRIBUTE_HEADER.size:
        length, type_ = ATTRIBUTE_HEADER.unpack_from(body, offset)
        if not ATTRIBUTE_HEADER.size <= length <= len(body) - offset:
            raise DecodeError(f"an attribute says it has {length} octets, {len(body) - offset} left", offset=offset)
        if type_ & _NLA_TYPE_MASK == _NLMSGERR_ATTR_MSG:
            text = body[offset + ATTRIBUTE_HEADER.size : offset + length].partition(b"\0")[0]
            return text.decode("utf-8", "replace")
        offset += aligned(length)
    return ""
