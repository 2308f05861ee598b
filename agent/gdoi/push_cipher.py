"""Encryption by the keys of a Rekey SA: of GROUPKEY-PUSH messages and of the keys in an LKH_UPDATE_ARRAY.

CBC with the IV that came with the key, for each message the same one (RFC 6407 5.6.2.1); the first block of a message
holds its sequence number, so that no two begin alike. The last block is filled with zeros.
"""

from __future__ import annotations

from typing import Final

from agent.crypto.ciphers import CbcCipher, decrypt_cbc, encrypt_cbc, pad_zero
from agent.gsa.rekey import KEK_CIPHERS
from agent.secret import Secret

__all__ = ["decrypted", "encrypted", "padded_octets"]

_CBC: Final = {
    "aes-cbc-128": CbcCipher.AES_CBC,
    "aes-cbc-192": CbcCipher.AES_CBC,
    "aes-cbc-256": CbcCipher.AES_CBC,
    "3des-cbc": CbcCipher.TRIPLE_DES_CBC,
}
"""The cipher of each of KEK_CIPHERS."""


def padded_octets(algorithm: str, octets: int) -> int:
    """What `octets` of plaintext become."""
    return octets + -octets % KEK_CIPHERS[algorithm].block_octets


def encrypted(algorithm: str, key: Secret, iv: bytes, plaintext: bytes) -> bytes:
    """`plaintext` with its last block filled, encrypted; `algorithm`: a name of KEK_CIPHERS."""
    return encrypt_cbc(_CBC[algorithm], key, iv, pad_zero(plaintext, KEK_CIPHERS[algorithm].block_octets))


def decrypted(algorithm: str, key: Secret, iv: bytes, ciphertext: bytes) -> bytes:
    """The plaintext, filling included. Raises ValueError for no whole blocks."""
    return decrypt_cbc(_CBC[algorithm], key, iv, ciphertext)
