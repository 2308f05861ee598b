"""Any octets of netlink or of a capture decode, or raise a DecodeError; what decodes is shown, and no key with it.

The first octet chooses: a datagram taken apart, an event, a reply, a capture, hexadecimal text, or keys masked.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from scripts.lib.fuzz.mutate import NETLINK
from xfrm import (
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Direction,
    Key,
    Mark,
    Policy,
    RawAttribute,
    ReplayWindow,
    SecurityAssociation,
    Selector,
    Template,
)
from xfrm.capture import capture_header, capture_record, is_capture, read_capture, read_hex
from xfrm.constants import MessageType, NetlinkFlag
from xfrm.dissect import dissect
from xfrm.errors import DecodeError, EncodeError
from xfrm.events import read_event
from xfrm.frame import frame, read_done, read_error, split
from xfrm.mask import mask_keys
from xfrm.messages import MESSAGES
from xfrm.tool.decode import message_lines
from xfrm.tool.eventtext import event_lines
from xfrm.tool.jsonable import event_object, message_object

FORMS: Final = NETLINK
WORDS: Final = (b"rfc4106(gcm(aes))\0", b"cbc(aes)\0", *(struct.pack("=HH", 8, number) for number in range(1, 36)))
LEAST_KEY_OCTETS: Final = 8
AT_NS: Final = 1_795_462_218_396_094_123


def keys_of(record: object) -> list[str]:
    """The keys in a record that are long enough to stand in no text by chance."""
    found: list[Key] = []
    waiting = [record]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Key):
            found.append(value)
        elif isinstance(value, tuple):
            waiting += value
        elif hasattr(value, "__match_args__"):
            waiting += [getattr(value, name) for name in value.__match_args__]
    return [octets.hex() for key in found if len(octets := key.reveal()) >= LEAST_KEY_OCTETS and len(set(octets)) > 4]


def taken_apart(data: bytes) -> None:
    for message in dissect(data):
        shown = "\n".join(message_lines(message, AT_NS)) + json.dumps(message_object(message, AT_NS))
        shown += repr(message.content)
        list(message_lines(message, None, show_keys=True))
        assert not any(key in shown for key in keys_of(message.content)), "a key in a text"
        written_again(message.content)


def written_again(content: Any) -> None:
    """What a record was read from it writes, or says why it cannot.

    Octets without a meaning are not kept, so that the first reading may differ from the second; the third may not.
    """
    if not isinstance(content, (SecurityAssociation, Policy)):
        return
    number = MessageType.XFRM_MSG_NEWSA if isinstance(content, SecurityAssociation) else MessageType.XFRM_MSG_NEWPOLICY
    try:
        body = content.encode()
    except EncodeError:
        return
    second = read_back(number, body)
    written = second.encode()
    assert read_back(number, written).encode() == written


def read_back(number: MessageType, body: bytes) -> Any:
    """The record that was written."""
    [message] = dissect(frame(number, 0, 1, 2, body))
    assert message.reason == ""
    assert message.content is not None
    return message.content


def reported(data: bytes) -> None:
    for each in split(data):
        event = read_event(each)
        list(event_lines(event, AT_NS))
        json.dumps(event_object(event, AT_NS))
        repr(event)


def answered(data: bytes) -> None:
    for each in split(data):
        for read in (read_error, read_done):
            reply = read(each)
            assert reply.errno >= 0


def captured(data: bytes) -> None:
    if not is_capture(data):
        data = capture_header() + data
    for each in read_capture(data):
        if each.is_xfrm:
            taken_apart(each.datagram)


def written(data: bytes) -> None:
    octets = read_hex(data.decode("latin-1"))
    assert read_hex(octets.hex()) == octets


def masked(data: bytes) -> None:
    hidden = mask_keys(data)
    assert len(hidden) == len(data)
    assert mask_keys(hidden) == hidden
    try:
        before, after = dissect(data), dissect(hidden)
    except DecodeError:
        return
    for old, new in zip(before, after, strict=True):
        assert not set(keys_of(old.content)) & set(keys_of(new.content)), "a key that stayed"


WAYS: Final[tuple[Callable[[bytes], None], ...]] = (
    *(taken_apart, taken_apart, reported, answered, captured, written, masked),
)


def one_input(data: bytes) -> None:
    if not data:
        return
    try:
        WAYS[data[0] % len(WAYS)](data[1:])
    except DecodeError as error:
        assert error.offset >= 0
        assert "\n" not in str(error)


def seeds() -> Iterator[tuple[str, bytes]]:
    source, group = Address.of("192.0.2.1"), Address.of("239.1.1.1")
    key = Key(bytes(range(1, 21)))
    sa = SecurityAssociation(source, group, 0x1001, aead=AeadAlgorithm("rfc4106(gcm(aes))", key, 128))
    cbc = SecurityAssociation(
        source,
        group,
        0x1002,
        encryption=Algorithm("cbc(aes)", Key(bytes(range(16)))),
        integrity=AuthAlgorithm("hmac(sha256)", Key(bytes(range(32))), 128),
        selector=Selector.of("192.0.2.1", "239.1.1.1", 17, destination_port=5000),
        replay=ReplayWindow(4096),
        mark=Mark(7, 0xFF),
        other=(RawAttribute(99, b"kept"),),
    )
    policy = Policy(
        Selector.of("192.0.2.0/24", "239.1.1.1"), Direction.OUT, templates=(Template(source, group, reqid=7),)
    )
    for number, body in enumerate((sa.encode(), cbc.encode(), policy.encode())):
        kind = MessageType.XFRM_MSG_NEWPOLICY if number == 2 else MessageType.XFRM_MSG_NEWSA
        datagram = frame(kind, NetlinkFlag.NLM_F_REQUEST, 1, 2, body)
        for way in range(len(WAYS)):
            yield f"record-{number}-{way}", bytes([way]) + datagram
        yield f"capture-{number}", b"\4" + capture_header() + capture_record(datagram, AT_NS)
        yield f"hex-{number}", b"\5" + datagram.hex(" ").encode()
    for type_, spec in MESSAGES.items():
        body = bytes(spec.struct_octets(0))
        for flags in (0, NetlinkFlag.NLM_F_REQUEST):
            yield f"empty-{type_}-{int(flags)}", b"\0" + frame(type_, flags, 1, 2, body)
        yield f"event-{type_}", b"\2" + frame(type_, 0, 1, 2, body)
    error = struct.pack("=i", -22) + struct.pack("=IHHII", 16, 16, 5, 1, 2) + struct.pack("=HH", 8, 1) + b"bad\0"
    yield "error", b"\3" + frame(2, 0x300, 1, 2, error)
    yield "done", b"\3" + frame(3, 2, 1, 2, struct.pack("=i", 0))
