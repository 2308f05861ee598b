"""Block ciphers in CBC, as IKEv1 messages and GROUPKEY-PUSH use them (RFC 2409 appendix B, RFC 3602)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms, modes

from agent.errors import LocalError
from agent.secret import Secret

__all__ = ["CBC_CIPHERS", "CbcCipher", "CbcFacts", "decrypt_cbc", "encrypt_cbc", "pad_zero"]


class CbcCipher(Enum):
    """A cipher that protects ISAKMP messages; the value is its name in configuration files."""

    AES_CBC = "aes-cbc"
    TRIPLE_DES_CBC = "3des-cbc"


@dataclass(frozen=True, slots=True)
class CbcFacts:
    """Block length in octets, and the key lengths in bits that are allowed.

    `fixed_key`: there is one key length, which no attribute may name (RFC 2409 appendix A).
    `primitive`: the library's cipher under a key; raises LocalError where the library has it no more.
    """

    block_octets: int
    key_bits: tuple[int, ...]
    primitive: Callable[[bytes], BlockCipherAlgorithm]
    fixed_key: bool = False


def _triple_des(key: bytes) -> BlockCipherAlgorithm:
    # Deferred: the library keeps it among what it means to drop, and nearly nobody configures it.
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    except ImportError as error:
        raise LocalError("the installed cryptography has no 3DES: configure an aes-cbc suite on both sides") from error
    return TripleDES(key)


CBC_CIPHERS: Final[dict[CbcCipher, CbcFacts]] = {
    CbcCipher.AES_CBC: CbcFacts(16, (128, 192, 256), algorithms.AES),
    CbcCipher.TRIPLE_DES_CBC: CbcFacts(8, (192,), _triple_des, fixed_key=True),
}


def pad_zero(plaintext: bytes, block_octets: int) -> bytes:
    """Fill the last block with zero octets; nothing is added to whole blocks (RFC 2409 appendix B)."""
    return plaintext + bytes(-len(plaintext) % block_octets)


def encrypt_cbc(cipher: CbcCipher, key: Secret, iv: bytes, plaintext: bytes) -> bytes:
    """CBC over whole blocks. Raises ValueError when the plaintext is none."""
    facts = CBC_CIPHERS[cipher]
    context = Cipher(facts.primitive(key.reveal()), modes.CBC(iv)).encryptor()
    return context.update(plaintext) + context.finalize()


def decrypt_cbc(cipher: CbcCipher, key: Secret, iv: bytes, ciphertext: bytes) -> bytes:
    """The inverse of `encrypt_cbc`. Raises ValueError when the ciphertext is not whole blocks."""
    facts = CBC_CIPHERS[cipher]
    context = Cipher(facts.primitive(key.reveal()), modes.CBC(iv)).decryptor()
    return context.update(ciphertext) + context.finalize()
