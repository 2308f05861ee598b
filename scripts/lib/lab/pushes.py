"""GROUPKEY-PUSH as an outsider with a key reads and writes it (RFC 6407 4), by no code of what is under test.

::

    cookies = SPI of the KEK (16 octets) | next payload, version, exchange type, flags | Message ID | length
    AES-CBC with the IV that came with the key: SEQ, ..., SIG, zeros
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["GROUPKEY_PUSH", "HEADER_OCTETS", "KeyOfPush", "Payload", "cut", "forged", "is_push", "payloads"]

GROUPKEY_PUSH = 33
HEADER_OCTETS = 28
SEQ, SIG = 18, 9
_BLOCK = 16
_EXCHANGE_AT, _LENGTH_AT, _FIRST_AT = 18, 24, 16


def is_push(datagram: bytes) -> bool:
    """Whether a datagram is a GROUPKEY-PUSH by its header."""
    return len(datagram) > HEADER_OCTETS and datagram[_EXCHANGE_AT] == GROUPKEY_PUSH


@dataclass(frozen=True, slots=True)
class KeyOfPush:
    """A KEK, or a key of the hierarchy: AES key and its IV."""

    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Whole blocks in clear, whatever it is."""
        decryptor = Cipher(AES(self.key), CBC(self.iv)).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()

    def encrypt(self, plaintext: bytes) -> bytes:
        """Filled with zeros and encrypted."""
        encryptor = Cipher(AES(self.key), CBC(self.iv)).encryptor()
        return encryptor.update(plaintext + bytes(-len(plaintext) % _BLOCK)) + encryptor.finalize()

    def opens(self, datagram: bytes) -> bytes | None:
        """The payloads in clear if they look like a GROUPKEY-PUSH: a SEQ first and a chain that ends in a SIG."""
        body = datagram[HEADER_OCTETS:]
        if not body or len(body) % _BLOCK:
            return None
        first = self.decrypt(body[:_BLOCK])
        if first[1] or first[2:4] != b"\x00\x08":
            return None
        clear = self.decrypt(body)
        try:
            chain = list(payloads(datagram[_FIRST_AT], clear))
        except ValueError:
            return None
        return clear if chain and chain[0].kind == SEQ and chain[-1].kind == SIG else None


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload by its place. `start`: of its generic header; `end`: behind its body."""

    kind: int
    start: int
    end: int


def payloads(first: int, clear: bytes) -> Iterator[Payload]:
    """The chain of payloads. Raises ValueError if it is none."""
    kind, at = first, 0
    while kind:
        if at + 4 > len(clear):
            raise ValueError("the chain goes on behind the end")
        following, reserved, length = struct.unpack_from("!BBH", clear, at)
        if reserved or length < 4 or at + length > len(clear):
            raise ValueError("no generic header")
        yield Payload(kind, at, at + length)
        kind, at = following, at + length


def forged(genuine: bytes, key: KeyOfPush, sequence: int, signer: ec.EllipticCurvePrivateKey | None) -> bytes:
    """What an insider makes of a genuine message: another sequence number, and a signature of its own.

    Without `signer` the signature is the genuine one, which does not fit any more. Raises ValueError if `key` does not
    open the message.
    """
    clear = key.opens(genuine)
    if clear is None:
        raise ValueError("the key does not open the message")
    last = list(payloads(genuine[_FIRST_AT], clear))[-1]
    clear = clear[:4] + struct.pack("!I", sequence) + clear[8 : last.end]
    if signer is not None:
        signed = b"rekey" + genuine[:HEADER_OCTETS] + clear[: last.start]
        r, s = decode_dss_signature(signer.sign(signed, ec.ECDSA(SHA256())))
        clear = clear[: last.start + 4] + r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return genuine[:HEADER_OCTETS] + key.encrypt(clear)


def cut(genuine: bytes, octets: int) -> bytes:
    """The message shortened, its header's length made to fit."""
    return genuine[:_LENGTH_AT] + struct.pack("!I", octets) + genuine[HEADER_OCTETS:octets]
