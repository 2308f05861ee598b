"""Protected messages under a Phase 1 SA (RFC 2409 5.5, 5.7 and appendix B): GROUPKEY-PULL and Informational.

Everything after the header is one CBC stream. Each Message ID has its own chain of IVs: the first comes from the last
ciphertext block of Phase 1, each later one is the last ciphertext block of the message before it, whoever sent that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.crypto.ciphers import CbcCipher, CbcKey, pad_zero
from agent.crypto.ikev1 import phase2_iv
from agent.crypto.prf import HashAlgorithm, equal, prf
from agent.errors import Malformed, NotAuthenticated
from agent.gdoi.isakmp.chain import Chain, Payload, build_chain, build_frames, interpret, split_frames
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType, PayloadType
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.payloads import INFORMATIONAL
from agent.secret import Secret

__all__ = ["Channel", "ChannelKeys", "decrypt_message", "encrypt_message"]


def encrypt_message(header: Header, chain: bytes, key: CbcKey, iv: bytes) -> bytes:
    """The datagram of a protected message; its Length counts the padding (RFC 2409 appendix B).

    `header`: with the Encryption flag set; its length is set here. The last block of the result is the next IV.
    """
    body = key.encrypt(iv, pad_zero(chain, key.block_octets))
    return header.build(HEADER.size + len(body)) + body


def decrypt_message(datagram: bytes, key: CbcKey, iv: bytes) -> bytes:
    """What follows the header, in clear and with its padding. Raises Malformed when it is not whole blocks."""
    body = datagram[HEADER.size :]
    if not body or len(body) % key.block_octets:
        raise Malformed(f"{len(body)} encrypted octets are not whole blocks of {key.block_octets}")
    return key.decrypt(iv, body)


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """What Phase 1 leaves for Phase 2. `cookies`: both, initiator's first; `last_block`: Phase 1's last ciphertext."""

    cookies: bytes
    cipher: CbcCipher
    hash: HashAlgorithm
    key: Secret
    skeyid_a: Secret
    last_block: bytes = field(repr=False)


class Channel:
    """Seals and opens the messages of one Phase 1 SA.

    `open` changes nothing: `accept` advances the IV, once the message proved good and new (RFC 2409 10).
    `cipher`: the cipher under the key of `keys`, where it is in use already. `octets`: what it has protected so far,
    both ways.
    """

    __slots__ = ("_cipher", "_ivs", "_keys", "block_octets", "octets")

    def __init__(self, keys: ChannelKeys, cipher: CbcKey | None = None) -> None:
        self._keys: Final = keys
        self._cipher: Final = cipher or CbcKey(keys.cipher, keys.key)
        self._ivs: dict[int, bytes] = {}
        self.block_octets: Final = self._cipher.block_octets
        self.octets = 0

    @property
    def cookies(self) -> bytes:
        """Initiator cookie then responder cookie: the name of the SA."""
        return self._keys.cookies

    def prf(self, data: bytes) -> bytes:
        """prf(SKEYID_a, data): what every HASH of Phase 2 is made by."""
        return prf(self._keys.hash, self._keys.skeyid_a, data)

    def seal(self, exchange: ExchangeType, message_id: int, first_type: int, chain: bytes) -> bytes:
        """The datagram of a message of ours; advances the IV of its Message ID."""
        keys = self._keys
        header = Header.of(keys.cookies, first_type, exchange, HeaderFlags.ENCRYPTION, message_id, HEADER.size)
        datagram = encrypt_message(header, chain, self._cipher, self._iv(message_id))
        self._ivs[message_id] = datagram[-self.block_octets :]
        self.octets += len(datagram)
        return datagram

    def open(self, header: Header, datagram: bytes) -> bytes:
        """The plaintext chain of a peer's message, padding included. Raises Malformed."""
        return decrypt_message(datagram, self._cipher, self._iv(header.message_id))

    def accept(self, header: Header, datagram: bytes) -> None:
        """Advance the IV over a message that proved good and new."""
        self._ivs[header.message_id] = datagram[-self.block_octets :]
        self.octets += len(datagram)

    def forget(self, message_id: int) -> None:
        """End the IV chain of an exchange that is over."""
        self._ivs.pop(message_id, None)

    def seal_informational(self, message_id: int, payloads: Sequence[Payload]) -> bytes:
        """HDR*, HASH, N/D: `message_id` is that of no other exchange (RFC 2409 5.7)."""
        first_type, chain = build_chain(payloads)
        digest = self.prf(message_id.to_bytes(4) + chain)
        sealed = self.seal(
            ExchangeType.INFORMATIONAL,
            message_id,
            PayloadType.HASH,
            build_frames([(PayloadType.HASH, digest)], first_type) + chain,
        )
        self.forget(message_id)
        return sealed

    def open_informational(self, header: Header, datagram: bytes) -> Chain:
        """The payloads of a protected Informational whose HASH holds. Raises Malformed, NotAuthenticated."""
        frames = split_frames(header.next_payload, self.open(header, datagram), block_octets=self.block_octets)
        if frames[0].type != PayloadType.HASH:
            raise Malformed("a protected Informational begins with a HASH", notify=NotifyType.INVALID_PAYLOAD_TYPE)
        if not equal(self.prf(header.message_id.to_bytes(4) + frames.after(0)), frames[0].body):
            raise NotAuthenticated("the HASH of an Informational does not hold")
        self.octets += len(datagram)
        return interpret(frames, INFORMATIONAL)

    def wipe(self) -> None:
        """Overwrite the keys; the channel is of no use afterwards."""
        self._cipher.wipe()
        self._keys.skeyid_a.wipe()
        self._ivs.clear()

    def _iv(self, message_id: int) -> bytes:
        keys = self._keys
        known = self._ivs.get(message_id)
        return known if known is not None else phase2_iv(keys.hash, keys.last_block, message_id, self.block_octets)
