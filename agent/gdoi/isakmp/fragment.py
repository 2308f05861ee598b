"""Fragments of ISAKMP messages, as deployed for IKEv1: a message too large for the path goes in pieces above UDP.

No RFC has it. The peer announces it by the vendor ID "FRAGMENTATION"; each piece travels in a datagram of its own::

    ISAKMP header          cookies, exchange and Message ID of the message, no flags, Next Payload 132
    generic header         Next Payload 0
    Fragment ID (2)        one for all pieces of a message
    Fragment Number (1)    from 1
    Flags (1)              0x01 in the last
    Fragment Data          the next octets of the whole message, its own ISAKMP header first

Nothing of a fragment is authenticated, so what is held of them is bounded in number, octets and time, by message, by
exchange, by address and in all; the message put together is checked like one that came whole.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypeAlias

from netaddr import IPAddress

from agent.errors import Malformed, Unexpected
from agent.gdoi.isakmp.chain import GENERIC_HEADER
from agent.gdoi.isakmp.constants import HeaderFlags
from agent.gdoi.isakmp.header import HEADER, Header
from agent.wire.endpoint import Endpoint
from agent.wire.layout import U8, U16, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = [
    "MAX_FRAGMENTS",
    "MAX_MESSAGE_OCTETS",
    "Fragment",
    "Reassembler",
    "is_fragment",
    "split",
]

MAX_FRAGMENTS: Final = 64
"""Pieces of one message: enough for 64 KiB in pieces of 1 KiB."""
MAX_MESSAGE_OCTETS: Final = 65507
"""Octets of a message put together: what UDP over IPv4 could carry whole."""
_MAX_SHARE: Final = 8
"""Messages put together at once of one address, and of one exchange, as a peer behind a NAT may have any address."""
_MAX_MESSAGES: Final = 1024
"""Messages in all; the oldest makes room."""
_MAX_OCTETS: Final = 1 << 20
"""Octets held in all; the oldest message makes room."""
_LIFE_S: Final = 10.0
"""Seconds a message may take to come in whole: longer than a retransmission's pause."""
_LAST: Final = 0x01

_FRAGMENT: Final = Layout(
    "Fragment",
    (
        Row("fragment_id", U16, "one for all pieces of a message"),
        Row("number", U8, "from 1"),
        Row("flags", U8, "0x01 in the last piece; others are ignored"),
    ),
)
_OVERHEAD: Final = HEADER.size + GENERIC_HEADER.size + _FRAGMENT.size


@dataclass(frozen=True, slots=True)
class Fragment:
    """A Fragment payload. `fragment_id`: names the message, 16 bits; `number`: from 1; `last`: whether none follows."""

    TYPE: ClassVar[int] = 132

    fragment_id: int
    number: int
    last: bool
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed for number 0 and for no data."""
        with reading(body, "Fragment") as reader:
            fragment_id, number, flags = _FRAGMENT.read(reader)
            if not number or not reader.remaining:
                raise reader.malformed("a fragment of number 0 or without data")
            return cls(fragment_id, number, bool(flags & _LAST), reader.rest())

    def build(self) -> bytes:
        """The body."""
        return _FRAGMENT.build(self.fragment_id, self.number, _LAST if self.last else 0) + self.data


def is_fragment(header: Header) -> bool:
    """Whether a datagram of that header carries a Fragment payload."""
    return header.next_payload == Fragment.TYPE


def split(message: bytes, limit: int) -> Sequence[bytes]:
    """The datagrams of at most `limit` octets that carry a message: itself where it fits, else fragments.

    The Fragment ID comes from the message, so that a message sent again goes out octet for octet as before. What
    MAX_FRAGMENTS pieces of that size cannot carry goes in larger ones, which IP fragments then.
    """
    if len(message) <= limit:
        return (message,)
    room = max(limit - _OVERHEAD, -(-len(message) // MAX_FRAGMENTS))
    count = -(-len(message) // room)
    fragment_id = int.from_bytes(hashlib.sha256(message).digest()[:2]) or 1
    pieces = [message[at : at + room] for at in range(0, len(message), room)]
    return tuple(
        _datagram(message, Fragment(fragment_id, number, number == count, piece))
        for number, piece in enumerate(pieces, 1)
    )


def _datagram(message: bytes, fragment: Fragment) -> bytes:
    whole = Header.parse(message)
    body = fragment.build()
    length = _OVERHEAD - _FRAGMENT.size + len(body)
    header = Header.of(whole.cookies, Fragment.TYPE, whole.exchange, HeaderFlags.NONE, whole.message_id, length)
    return header.build() + GENERIC_HEADER.build(0, GENERIC_HEADER.size + len(body)) + body


@dataclass(slots=True)
class _Message:
    """A message that comes in pieces. `began`: monotonic seconds; `count`: its number of pieces, 0 until known."""

    began: float
    fragment_id: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    octets: int = 0
    count: int = 0

    def take(self, fragment: Fragment) -> bytes | None:
        """Take a piece; the whole message once it is there. A piece that came before is not looked at."""
        if fragment.number not in self.pieces:
            self.pieces[fragment.number] = fragment.data
            self.octets += len(fragment.data)
        if fragment.last:
            self.count = fragment.number
        if not self.count or not all(number in self.pieces for number in range(1, self.count + 1)):
            return None
        return b"".join(self.pieces[number] for number in range(1, self.count + 1))


_Key: TypeAlias = tuple[bytes, Endpoint]
"""Both cookies, and who sent it."""


class Reassembler:
    """Puts messages together, one at a time for each pair of cookies and each peer, within bounds.

    The caller lets in only what has cookies that it knows.
    """

    def __init__(self) -> None:
        self._messages: OrderedDict[_Key, _Message] = OrderedDict()
        self._shares: dict[bytes | IPAddress, OrderedDict[_Key, None]] = {}
        self._octets = 0

    @property
    def octets(self) -> int:
        """What is held, in octets of Fragment Data."""
        return self._octets

    def take(self, header: Header, datagram: bytes, peer: Endpoint, now: float) -> bytes | None:
        """Take a datagram with a Fragment payload: the message once it is whole.

        Raises Malformed for a fragment, or a whole, that does not parse; Unexpected for one past a limit.
        """
        fragment = _parse(datagram)
        key = header.cookies, peer
        self._forget_old(now)
        message = self._messages.get(key)
        if message is None or message.fragment_id != fragment.fragment_id:
            message = self._begin(key, _Message(now, fragment.fragment_id))
        before = message.octets
        if fragment.number > MAX_FRAGMENTS or before + len(fragment.data) > MAX_MESSAGE_OCTETS:
            raise Unexpected(f"a fragmented message of more than {MAX_FRAGMENTS} pieces or {MAX_MESSAGE_OCTETS} octets")
        whole = message.take(fragment)
        self._octets += message.octets - before
        if whole is not None:
            self._drop(key)
            _require_same(header, whole)
            return whole
        while self._octets > _MAX_OCTETS:
            self._drop(next(iter(self._messages)))
        return None

    def _forget_old(self, now: float) -> None:
        while self._messages:
            key, oldest = next(iter(self._messages.items()))
            if now < oldest.began + _LIFE_S:
                return
            self._drop(key)

    def _begin(self, key: _Key, message: _Message) -> _Message:
        """A new message takes the place of the one before it, or of the oldest of its address, its exchange or all."""
        if key in self._messages:
            self._drop(key)
        for name in _sharing(key):
            share = self._shares.get(name, ())
            if len(share) >= _MAX_SHARE:
                self._drop(next(iter(share)))
        if len(self._messages) >= _MAX_MESSAGES:
            self._drop(next(iter(self._messages)))
        for name in _sharing(key):
            self._shares.setdefault(name, OrderedDict())[key] = None
        self._messages[key] = message
        return message

    def _drop(self, key: _Key) -> None:
        self._octets -= self._messages.pop(key).octets
        for name in _sharing(key):
            del self._shares[name][key]
            if not self._shares[name]:
                del self._shares[name]


def _sharing(key: _Key) -> tuple[bytes, IPAddress]:
    """Whose share of the room a message takes: its exchange's and its address's."""
    return key[0], key[1].address


def _parse(datagram: bytes) -> Fragment:
    reader = Reader(datagram)
    reader.take(HEADER.size, "header")
    following, length = GENERIC_HEADER.read(reader)
    if following or length < GENERIC_HEADER.size:
        raise reader.malformed(f"a fragment is one payload, not {following} behind it", notify=0)
    body = reader.inner(length - GENERIC_HEADER.size, "Fragment")
    reader.end("a datagram with a fragment")
    return Fragment.parse(body)


def _require_same(header: Header, whole: bytes) -> None:
    """The message inside must be of the exchange that its fragments named, and no fragment itself."""
    inner = Header.parse(whole)
    if inner.cookies != header.cookies or is_fragment(inner):
        raise Malformed("the message in the fragments has other cookies or is a fragment", notify=0)
