"""Chains of payloads: the generic payload header (RFC 2408 3.2) and what it frames.

Splitting a chain into frames looks at nothing but generic headers, so that a HASH over the raw octets can be checked
before any payload is interpreted (RFC 6407 3.3). Which parser a payload type has depends on the exchange: payload 1
is the ISAKMP form of the SA in Phase 1 and GDOI's own form in GROUPKEY-PULL. A Context is that choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, TypeAlias, TypeVar

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import NotifyType, PayloadType, name_of
from agent.wire.layout import U8, U16, Layout, Row
from agent.wire.reader import Reader

__all__ = [
    "FRAMES",
    "GENERIC_HEADER",
    "MAX_PAYLOADS",
    "PRIVATE_PAYLOADS",
    "Chain",
    "Context",
    "ParsedPayload",
    "Payload",
    "TypedPayload",
    "Unknown",
    "build_chain",
    "build_frames",
    "framed",
    "interpret",
    "parse_chain",
    "split_frames",
    "type_of",
]

GENERIC_HEADER: Final = Layout(
    "generic payload header",
    (
        Row("next_payload", U8, "type of the payload after this one, 0 after the last"),
        Row("RESERVED", U8, constant=0),
        Row("length", U16, "octets of the payload, these four included"),
    ),
)

MAX_PAYLOADS: Final = 64
"""Payloads in one chain: room for many VIDs, CRs and certificates, and an end to chains built to keep us busy."""
PRIVATE_PAYLOADS: Final = frozenset(range(128, 256))
"""Payload types for private use; kept as Unknown (RFC 2408 3.1)."""


class TypedPayload(Protocol):
    """A payload of a class of its own: TYPE is its payload type."""

    TYPE: ClassVar[PayloadType]

    def build(self) -> bytes:
        """The body, without generic header."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A payload kept as it came: `type` and the octets after the generic header."""

    type: int
    raw: bytes = field(repr=False)

    def build(self) -> bytes:
        """The octets kept."""
        return self.raw


Payload: TypeAlias = TypedPayload | Unknown
"""Any payload."""


@dataclass(frozen=True, slots=True)
class Context:
    """Which payload types belong to a kind of message, and how each is parsed.

    `parsers`: type to parser; `kept`: further types that are tolerated and stay Unknown.
    Any other type is INVALID-PAYLOAD-TYPE (RFC 2408 5.3).
    """

    name: str
    parsers: Mapping[int, Callable[[Reader], Payload]]
    kept: frozenset[int] = PRIVATE_PAYLOADS

    def parse(self, type_: int, body: bytes, offset: int) -> Payload:
        """The payload in `body`, all of it. `offset`: of the body, for messages only. Raises Malformed."""
        parser = self.parsers.get(type_)
        if parser is not None:
            reader = Reader(body, offset)
            payload = parser(reader)
            reader.end(_NAMES[type_])
            return payload
        if type_ in self.kept:
            return Unknown(type_, body)
        raise Reader(body, offset).malformed(
            f"payload {name_of(PayloadType, type_)} does not belong to {self.name}",
            notify=NotifyType.INVALID_PAYLOAD_TYPE,
        )


FRAMES: Final = Context("frames", {}, frozenset(range(1, 256)))
"""Keeps every payload uninterpreted."""


@dataclass(frozen=True, slots=True)
class ParsedPayload:
    """A payload at its place in a message.

    `body`: its octets without generic header, as sent; `raw`: with it. `offset`: of `raw` in the chain.
    Octets stay out of the repr: a KD is among them.
    """

    type: int
    body: bytes = field(repr=False)
    payload: Payload
    raw: bytes = field(repr=False)
    offset: int

    @property
    def end(self) -> int:
        """Offset of the octet after it."""
        return self.offset + len(self.raw)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chain:
    """A parsed chain: the payloads in order, and what came behind the last one.

    `octets`: the chain as sent, `padding` not included.
    """

    payloads: tuple[ParsedPayload, ...]
    octets: bytes = field(repr=False)
    padding: bytes = field(repr=False)

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[ParsedPayload]:
        return iter(self.payloads)

    def __getitem__(self, index: int) -> ParsedPayload:
        return self.payloads[index]

    @property
    def types(self) -> tuple[int, ...]:
        """The payload types in order."""
        return tuple([parsed.type for parsed in self.payloads])

    def after(self, index: int) -> bytes:
        """The raw octets behind payload `index` up to the end of the chain: what a Phase 2 HASH covers."""
        return self.octets[self.payloads[index].end :]

    def all(self, kind: type[T]) -> tuple[T, ...]:
        """The payloads of a class, in order."""
        return tuple([parsed.payload for parsed in self.payloads if isinstance(parsed.payload, kind)])

    def one(self, kind: type[T]) -> T:
        """The only payload of a class. Raises Malformed when there is none or more than one."""
        found = self.all(kind)
        if len(found) != 1:
            raise Malformed(f"{len(found)} {kind.__name__} payloads where one belongs")
        return found[0]


def type_of(payload: Payload) -> int:
    """The payload type: the class's TYPE, or what an Unknown says."""
    return payload.type if isinstance(payload, Unknown) else payload.TYPE


_HEADER_OCTETS: Final = GENERIC_HEADER.size
_NAMES: Final = tuple(f"payload {name_of(PayloadType, type_)}" for type_ in range(256))
"""What errors call a payload, by its type."""
_TOO_SHORT: Final = "payload length {} is shorter than its header"


def framed(reader: Reader, name: str) -> tuple[int, Reader]:
    """Next Payload and the body of the payload that begins here; `name`: what errors call it. Raises Malformed."""
    following, length = GENERIC_HEADER.read(reader)
    if length < _HEADER_OCTETS:
        raise reader.malformed(_TOO_SHORT.format(length))
    return following, reader.inner(length - _HEADER_OCTETS, name)


def split_frames(first_type: int, data: bytes, *, block_octets: int = 0) -> Chain:
    """The chain as frames, each payload an Unknown; nothing but generic headers is looked at.

    `first_type`: Next Payload of what came before the chain. `block_octets`: the cipher's block size for a decrypted
    message: so many octets at most may follow the last payload; 0, none, for a message in clear. A whole block may,
    as deployed peers add one to what is whole blocks already (RFC 2409 appendix B).
    Raises Malformed.
    """
    return parse_chain(first_type, data, FRAMES, block_octets=block_octets)


def parse_chain(first_type: int, data: bytes, context: Context, *, block_octets: int = 0) -> Chain:
    """The payloads of `data`, each parsed as `context` says; arguments as for `split_frames`. Raises Malformed."""
    reader = Reader(data)
    found: list[ParsedPayload] = []
    type_ = first_type
    if not type_:
        raise reader.malformed("no payload", notify=NotifyType.INVALID_PAYLOAD_TYPE)
    offset = 0
    while type_:
        if len(found) == MAX_PAYLOADS:
            raise reader.malformed(f"more than {MAX_PAYLOADS} payloads")
        following, length = GENERIC_HEADER.read(reader)
        if length < _HEADER_OCTETS:
            raise reader.malformed(_TOO_SHORT.format(length))
        body = reader.take(length - _HEADER_OCTETS, _NAMES[type_])
        payload = context.parse(type_, body, offset + _HEADER_OCTETS)
        end = offset + length
        found.append(ParsedPayload(type_, body, payload, data[offset:end], offset))
        type_, offset = following, end
    padding = reader.rest()
    if len(padding) > block_octets:
        raise Reader(b"", offset).malformed(f"{len(padding)} octets follow the last payload")
    return Chain(tuple(found), data[:offset], padding)


def interpret(frames: Chain, context: Context) -> Chain:
    """The same chain with its payloads parsed as `context` says. Raises Malformed."""
    found = []
    for frame in frames.payloads:
        payload = context.parse(frame.type, frame.body, frame.offset + _HEADER_OCTETS)
        found.append(ParsedPayload(frame.type, frame.body, payload, frame.raw, frame.offset))
    return Chain(tuple(found), frames.octets, b"")


def build_frames(bodies: Sequence[tuple[int, bytes]], last_next: int = PayloadType.NONE) -> bytes:
    """Bodies with their types under generic headers, nothing for none; `last_next`: Next Payload of the last one.

    Raises ValueError for a body that does not fit a payload.
    """
    built: list[bytes] = []
    following = last_next
    for type_, body in reversed(bodies):
        built += (body, GENERIC_HEADER.build(following, _HEADER_OCTETS + len(body)))
        following = type_
    return b"".join(reversed(built))


def build_chain(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    """The type of the first payload and the octets of the chain. Raises ValueError for no payload, or one too long."""
    if not payloads:
        raise ValueError("a message has at least one payload")
    return type_of(payloads[0]), build_frames([(type_of(payload), payload.build()) for payload in payloads])
