"""Notify and Delete payloads as Informational exchanges carry them (RFC 2408 3.14, 3.15, 4.8; RFC 2409 5.7).

Until the Phase 1 SA stands, an Informational goes in clear; a clear one is trusted for nothing. No Informational is
ever answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.gdoi.isakmp.chain import Chain, build_chain
from agent.gdoi.isakmp.constants import Doi, ExchangeType, HeaderFlags, NotifyType, ProtocolId, name_of
from agent.gdoi.isakmp.dpd import DpdNotify
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import Delete, Notification

__all__ = [
    "MAX_TEXT_OCTETS",
    "Said",
    "clear_notify",
    "delete_phase_one",
    "deletes_phase_one",
    "is_error",
    "notify_of",
    "said",
]

MAX_TEXT_OCTETS: Final = 512
"""Of a peer's words, or of ours: a sentence or two, never a flood in a log."""
_FIRST_STATUS: Final = 16384
"""Notify types from here on are status, below are errors (RFC 2408 3.14.1)."""


@dataclass(frozen=True, slots=True)
class Said:
    """One Notify of a peer. `notify`: its type; `words`: its data as text, printable, empty when it is none."""

    notify: int
    words: str

    def __str__(self) -> str:
        name = name_of(NotifyType, self.notify).replace("_", "-")
        return f"{name}: {self.words}" if self.words else name


def notify_of(cookies: bytes, notify: int, text: str = "") -> Notification:
    """A Notify about the Phase 1 SA: DOI 0, Protocol 1, both cookies as SPI; `text` as UTF-8 data."""
    return Notification(Doi.ISAKMP, ProtocolId.ISAKMP, notify, cookies, _cut(text))


def delete_phase_one(cookies: bytes) -> Delete:
    """The Delete of a Phase 1 SA: DOI 0, Protocol 1, both cookies as SPI."""
    return Delete(Doi.ISAKMP, ProtocolId.ISAKMP, len(cookies), (cookies,))


def clear_notify(cookies: bytes, message_id: int, notify: int) -> bytes:
    """The datagram of a Notify in clear, for the peer's operator (RFC 2409 5.7: no SA stands yet)."""
    first_type, chain = build_chain([notify_of(cookies, notify)])
    length = HEADER.size + len(chain)
    header = Header.of(cookies, first_type, ExchangeType.INFORMATIONAL, HeaderFlags.NONE, message_id, length)
    return header.build() + chain


def said(chain: Chain) -> tuple[Said, ...]:
    """All that the Notify payloads of a message say, but for dead peer detection, which is for nobody's eyes."""
    return tuple(
        Said(payload.notify_type, _words(payload.data))
        for payload in chain.all(Notification)
        if payload.notify_type not in tuple(DpdNotify)
    )


def is_error(notify: int) -> bool:
    """Whether a notify type is an error."""
    return 0 < notify < _FIRST_STATUS


def deletes_phase_one(chain: Chain, cookies: bytes) -> bool:
    """Whether a Delete names this Phase 1 SA: any DOI, as peers differ, and an SPI that is both cookies."""
    return any(cookies in payload.spis for payload in chain.all(Delete))


def _cut(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:MAX_TEXT_OCTETS]


def _words(data: bytes) -> str:
    """Notification data as one line of printable text; what is not text is left out whole."""
    try:
        text = data[:MAX_TEXT_OCTETS].decode("utf-8").strip("\0 \r\n")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
