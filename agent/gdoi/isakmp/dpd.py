"""Dead peer detection (RFC 3706): R-U-THERE and R-U-THERE-ACK, protected Notifies under an established Phase 1 SA."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from agent.clock import Entropy
from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.constants import Doi, ProtocolId
from agent.gdoi.isakmp.payloads import Notification

__all__ = ["DpdNotify", "acknowledges", "answer", "ask", "first_number", "questions"]

_NUMBER_OCTETS: Final = 4
_MAX_ANSWERS: Final = 2
"""R-U-THERE answered in one message; there is one in those of peers that mean it."""


class DpdNotify(IntEnum):
    """Notify message types of RFC 3706 5.2, of the range that RFC 2408 3.14.1 leaves to private use."""

    R_U_THERE = 36136
    R_U_THERE_ACK = 36137


def first_number(entropy: Entropy) -> int:
    """A random sequence number to begin at; its highest bit is clear, so that it grows without wrapping (6.2)."""
    return int.from_bytes(entropy.octets(_NUMBER_OCTETS)) & 0x7FFFFFFF


def ask(cookies: bytes, number: int) -> Notification:
    """R-U-THERE with a sequence number of ours, 32 bits."""
    return Notification(Doi.IPSEC, ProtocolId.ISAKMP, DpdNotify.R_U_THERE, cookies, number.to_bytes(_NUMBER_OCTETS))


def answer(cookies: bytes, number: bytes) -> Notification:
    """R-U-THERE-ACK with the number that was asked with."""
    return Notification(Doi.IPSEC, ProtocolId.ISAKMP, DpdNotify.R_U_THERE_ACK, cookies, number)


def questions(chain: Chain, cookies: bytes) -> list[bytes]:
    """The sequence numbers of the R-U-THERE in a message, as octets; of this SA, or of none named, as some peers do."""
    return _numbers(chain, cookies, DpdNotify.R_U_THERE)[:_MAX_ANSWERS]


def acknowledges(chain: Chain, cookies: bytes, number: int) -> bool:
    """Whether a message has the R-U-THERE-ACK for our sequence number."""
    return number.to_bytes(_NUMBER_OCTETS) in _numbers(chain, cookies, DpdNotify.R_U_THERE_ACK)


def _numbers(chain: Chain, cookies: bytes, kind: DpdNotify) -> list[bytes]:
    return [
        payload.data
        for payload in chain.all(Notification)
        if payload.notify_type == kind and payload.spi in (cookies, b"") and len(payload.data) == _NUMBER_OCTETS
    ]
