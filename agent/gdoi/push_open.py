"""A GROUPKEY-PUSH as it comes in, up to what its signature covers (RFC 6407 4.4).

::

    HDR*, SEQ, [D ...,] [SA, KD,] SIG       HDR: cookies = SPI of the Rekey SA, flags = Encryption alone, Message ID 0

Nothing here looks at a payload but SEQ and SIG: what a member has to refuse costs it a decryption and a walk over
generic headers, and a signature only when the number is a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.errors import Malformed
from agent.gdoi.contexts import PUSH, PUSH_RFC3547
from agent.gdoi.isakmp.chain import Chain, interpret, split_frames
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType, name_of
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.kd import SEQ
from agent.gdoi.push_cipher import decrypted
from agent.gdoi.tolerances import Tolerances
from agent.gsa.rekey import KEK_CIPHERS
from agent.gsa.sa import RekeySA

__all__ = ["SIGNED_PREFIX", "OpenedPush", "cookies_of", "open_push"]

SIGNED_PREFIX: Final = b"rekey"
"""What stands before the header in the octets signed, so that they are of no other use (RFC 6407 4)."""

_COOKIE_PAIR_OCTETS: Final = 16


@dataclass(frozen=True, slots=True)
class OpenedPush:
    """A decrypted GROUPKEY-PUSH of the right form; whether it is authentic is not known yet.

    `sequence`: of its SEQ payload. `signed`: what SIG is over; `signature`: the SIG body. `frames`: its payloads, none
    of them interpreted.
    """

    sequence: int
    signed: bytes = field(repr=False)
    signature: bytes
    frames: Chain = field(repr=False)

    def payloads(self, tolerances: Tolerances) -> Chain:
        """The payloads, each parsed: for a message whose signature holds. Raises Malformed."""
        return interpret(self.frames, PUSH_RFC3547 if tolerances.rfc3547 else PUSH)


def cookies_of(datagram: bytes) -> bytes:
    """The cookie pair, which names the Rekey SA; fewer octets when there are not so many."""
    return datagram[:_COOKIE_PAIR_OCTETS]


def open_push(datagram: bytes, rekey: RekeySA, tolerances: Tolerances) -> OpenedPush:
    """The message, whose cookies are the SPI of `rekey`, decrypted by its KEK.

    Raises Malformed for a wrong header, length, order of payloads or padding.
    """
    header = Header.parse(datagram)
    if header.exchange != ExchangeType.GROUPKEY_PUSH:
        raise Malformed(
            f"exchange type {name_of(ExchangeType, header.exchange)}, not GROUPKEY_PUSH",
            notify=NotifyType.INVALID_EXCHANGE_TYPE,
        )
    if header.flags != HeaderFlags.ENCRYPTION:
        raise Malformed(f"flags 0x{int(header.flags):02x}, not Encryption alone", notify=NotifyType.INVALID_FLAGS)
    if header.message_id:
        raise Malformed(f"Message ID 0x{header.message_id:08x}, not 0", notify=NotifyType.INVALID_MESSAGE_ID)
    if header.next_payload != PayloadType.SEQ:
        raise Malformed(f"it begins with {name_of(PayloadType, header.next_payload)}, not SEQ")
    block = KEK_CIPHERS[rekey.key_algorithm].block_octets
    ciphertext = datagram[HEADER.size :]
    if not ciphertext or len(ciphertext) % block:
        raise Malformed(f"{len(ciphertext)} octets behind the header, which are no whole blocks of {block}")
    plaintext = decrypted(rekey.key_algorithm, rekey.key, rekey.iv, ciphertext)
    frames = split_frames(header.next_payload, plaintext, block_octets=block)
    _require_order(frames.types, tolerances)
    last = frames[-1]
    signed = SIGNED_PREFIX + datagram[: HEADER.size] + frames.octets[: last.offset]
    return OpenedPush(SEQ.parse(frames[0].body).number, signed, last.body, frames)


def _require_order(types: tuple[int, ...], tolerances: Tolerances) -> None:
    """SEQ, Deletes, SA and KD or neither, SIG; before it a CERT from a peer of RFC 3547. Raises Malformed."""
    middle = list(types[1:-1])
    if tolerances.rfc3547 and middle and middle[-1] == PayloadType.CERT:
        middle.pop()
    while middle and middle[0] == PayloadType.DELETE:
        middle.pop(0)
    deletes_alone = not middle and PayloadType.DELETE in types
    if types[-1] != PayloadType.SIG or not (deletes_alone or middle == [PayloadType.SA, PayloadType.KD]):
        names = ", ".join(name_of(PayloadType, type_) for type_ in types)
        raise Malformed(f"{names} is no GROUPKEY-PUSH", notify=NotifyType.INVALID_PAYLOAD_TYPE)
