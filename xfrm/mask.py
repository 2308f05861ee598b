"""Messages without their keys, for captures that leave the host: lengths and everything else stay as they were."""

from __future__ import annotations

from typing import Final

from xfrm import structs
from xfrm.attributes import ATTRIBUTES
from xfrm.constants import AttributeType, NetlinkControl, NetlinkFlag
from xfrm.frame import ATTRIBUTE_HEADER, HEADER, aligned
from xfrm.messages import MESSAGES

__all__ = ["mask_keys"]

_ERRNO_OCTETS: Final = 4
_NLMSG_MIN_TYPE: Final = 0x10
_NLA_TYPE_MASK: Final = 0x3FFF
# Name and lengths, which come before the key.
_HEAD_OCTETS: Final[dict[int, int]] = {
    AttributeType.XFRMA_ALG_AUTH: structs.ALGO.size,
    AttributeType.XFRMA_ALG_CRYPT: structs.ALGO.size,
    AttributeType.XFRMA_ALG_COMP: structs.ALGO.size,
    AttributeType.XFRMA_ALG_AEAD: structs.ALGO_AEAD.size,
    AttributeType.XFRMA_ALG_AUTH_TRUNC: structs.ALGO_AUTH.size,
}


def mask_keys(datagram: bytes) -> bytes:
    """The datagram with zeros for the octets of every key. Raises nothing.

    So is what this library cannot tell from a key: unknown messages and attributes, and what contradicts its length.
    """
    masked = bytearray(datagram)
    _mask_messages(masked, 0, len(masked))
    return bytes(masked)


def _mask_messages(octets: bytearray, offset: int, end: int) -> None:
    while offset < end:
        if end - offset < HEADER.size:
            _zero(octets, offset, end)
            return
        length, type_, flags, _, _ = HEADER.unpack_from(octets, offset)
        if not HEADER.size <= length <= end - offset:
            _zero(octets, offset + HEADER.size, end)
            return
        _mask_body(octets, (type_, flags), offset + HEADER.size, offset + length)
        offset += aligned(length)


def _mask_body(octets: bytearray, head: tuple[int, int], start: int, end: int) -> None:
    type_, flags = head
    if type_ == NetlinkControl.NLMSG_ERROR and not flags & NetlinkFlag.NLM_F_CAPPED:
        # The whole request follows the errno where the socket did not ask for its header alone.
        _mask_echo(octets, start + _ERRNO_OCTETS, end)
    elif type_ >= _NLMSG_MIN_TYPE:
        spec = MESSAGES.get(type_)
        if spec is None:
            _zero(octets, start, end)
            return
        first = start + aligned(spec.struct_octets(flags))
        _mask_attributes(octets, first, end, spec.numbers is AttributeType)


def _mask_echo(octets: bytearray, start: int, end: int) -> None:
    length = HEADER.unpack_from(octets, start)[0] if end - start >= HEADER.size else 0
    if HEADER.size <= length <= end - start:
        _mask_messages(octets, start, start + length)
    else:
        _zero(octets, start, end)


def _mask_attributes(octets: bytearray, offset: int, end: int, of_entries: bool) -> None:
    while offset < end:
        length, type_ = (
            ATTRIBUTE_HEADER.unpack_from(octets, offset) if end - offset >= ATTRIBUTE_HEADER.size else (0, 0)
        )
        if not ATTRIBUTE_HEADER.size <= length <= end - offset:
            _zero(octets, offset, end)
            return
        number = type_ & _NLA_TYPE_MASK
        if of_entries and not _is_open(number):
            _zero(octets, offset + ATTRIBUTE_HEADER.size + _HEAD_OCTETS.get(number, 0), offset + length)
        offset += aligned(length)


def _is_open(number: int) -> bool:
    row = ATTRIBUTES.get(number)
    return (row is not None and not row.secret) or number == AttributeType.XFRMA_PAD


def _zero(octets: bytearray, start: int, end: int) -> None:
    if start < end:
        octets[start:end] = bytes(end - start)
