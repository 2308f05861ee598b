"""The ISAKMP header (RFC 2408 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from agent.errors import Malformed
from agent.gdoi.isakmp.constants import COOKIE_OCTETS, ISAKMP_VERSION, HeaderFlags, NotifyType
from agent.wire.layout import U8, U32, Layout, Row, octets
from agent.wire.reader import Reader

__all__ = ["HEADER", "NO_COOKIE", "Header"]

HEADER: Final = Layout(
    "ISAKMP header",
    (
        Row("initiator_cookie", octets(COOKIE_OCTETS), "keeps its Phase 1 place whichever side sends"),
        Row("responder_cookie", octets(COOKIE_OCTETS), "zero in the very first message"),
        Row("next_payload", U8, "type of the first payload"),
        Row("version", U8, "major 4 bits, minor 4 bits"),
        Row("exchange", U8, "exchange type"),
        Row("flags", U8, "0x01 Encryption, 0x02 Commit, 0x04 Authentication Only"),
        Row("message_id", U32, "0 in Phase 1"),
        Row("length", U32, "octets of header and payloads, after encryption"),
    ),
)

NO_COOKIE: Final = bytes(COOKIE_OCTETS)
"""The responder cookie of the first message of Phase 1."""

_DEFINED_FLAGS: Final = sum(HeaderFlags)


@dataclass(frozen=True, slots=True)
class Header:
    """An ISAKMP header of version 1.0 (RFC 2408 3.1).

    `initiator_cookie`, `responder_cookie`: 8 octets each. `next_payload`, `exchange`: registry numbers.
    `flags`: HeaderFlags, as one number. `message_id`: 32-bit, 0 in Phase 1. `length`: octets of the whole message,
    padding included.
    """

    initiator_cookie: bytes
    responder_cookie: bytes
    next_payload: int
    exchange: int
    flags: int
    message_id: int
    length: int

    @classmethod
    def of(cls, cookies: bytes, next_payload: int, exchange: int, flags: int, message_id: int, length: int) -> Self:
        """The header of a message of ours; `cookies`: both, the initiator's first."""
        initiator, responder = cookies[:COOKIE_OCTETS], cookies[COOKIE_OCTETS:]
        return cls(initiator, responder, next_payload, exchange, flags, message_id, length)

    @property
    def cookies(self) -> bytes:
        """Initiator cookie then responder cookie: the name of an exchange, and of the SA that it yields."""
        return self.initiator_cookie + self.responder_cookie

    @classmethod
    def parse(cls, datagram: bytes) -> Self:
        """The header of a datagram. Raises Malformed with the notify number of RFC 2408 5.1 and 5.2."""
        reader = Reader(datagram)
        initiator, responder, next_payload, version, exchange, flags, message_id, length = HEADER.read(reader)
        if version != ISAKMP_VERSION:
            same_major = version >> 4 == ISAKMP_VERSION >> 4
            notify = NotifyType.INVALID_MINOR_VERSION if same_major else NotifyType.INVALID_MAJOR_VERSION
            raise Malformed(f"ISAKMP version {version >> 4}.{version & 15}, not 1.0", notify=notify)
        if flags & ~_DEFINED_FLAGS:
            raise Malformed(f"undefined flags in 0x{flags:02x}", notify=NotifyType.INVALID_FLAGS)
        if length != len(datagram):
            raise Malformed(
                f"header Length is {length}, the datagram has {len(datagram)} octets",
                notify=NotifyType.UNEQUAL_PAYLOAD_LENGTHS,
            )
        if not any(initiator):
            raise Malformed("initiator cookie is zero", notify=NotifyType.INVALID_COOKIE)
        return cls(initiator, responder, next_payload, exchange, flags, message_id, length)

    def build(self, length: int | None = None) -> bytes:
        """The 28 octets; `length`: in place of what the header says."""
        return HEADER.build(
            self.initiator_cookie,
            self.responder_cookie,
            self.next_payload,
            ISAKMP_VERSION,
            self.exchange,
            self.flags,
            self.message_id,
            self.length if length is None else length,
        )
