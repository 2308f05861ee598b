"""Block ciphers in CBC, as IKEv1 messages and GROUPKEY-PUSH use them (RFC 2409 appendix B, RFC 3602)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, CipherContext, algorithms, modes

from agent.errors import LocalError
from agent.secret import Secret

__all__ = ["CBC_CIPHERS", "CbcCipher", "CbcFacts", "CbcKey", "decrypt_cbc", "encrypt_cbc", "pad_zero"]


class CbcCipher(Enum):
    """A cipher that protects ISAKMP messages; the value is its name in configuration files."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

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


class CbcKey:
    """A cipher under one key, for many messages with an IV each: what is expanded from the key is kept.

    `key` is the caller's as well; `wipe` overwrites it. `block_octets`: of the cipher.
    """

    # A context goes on where its last message ended, as CBC does: the next block is combined with the last ciphertext
    # block. So that a message begins with its own IV, both are put into its first block, and the former cancels out.

    __slots__ = ("_decryptor", "_encryptor", "_opened", "_sealed", "block_octets", "cipher", "key")

    def __init__(self, cipher: CbcCipher, key: Secret) -> None:
        self.cipher: Final = cipher
        self.key: Final = key
        self.block_octets: Final = CBC_CIPHERS[cipher].block_octets
        self._encryptor: CipherContext | None = None
        self._decryptor: CipherContext | None = None
        self._sealed = self._opened = b""

    def encrypt(self, iv: bytes, plaintext: bytes) -> bytes:
        """CBC over whole blocks, at least one. Raises ValueError for anything else, and for an IV of another length."""
        self._require_blocks(iv, plaintext)
        if self._encryptor is None:
            self._encryptor, self._sealed = self._cipher(iv).encryptor(), iv
        octets = self.block_octets
        head = _combined(plaintext[:octets], self._sealed, iv)
        ciphertext = self._encryptor.update(head + plaintext[octets:])
        self._sealed = ciphertext[-octets:]
        return ciphertext

    def decrypt(self, iv: bytes, ciphertext: bytes) -> bytes:
        """The inverse of `encrypt`. Raises ValueError as it does."""
        self._require_blocks(iv, ciphertext)
        if self._decryptor is None:
            self._decryptor, self._opened = self._cipher(iv).decryptor(), iv
        octets = self.block_octets
        plaintext = self._decryptor.update(ciphertext)
        head = _combined(plaintext[:octets], self._opened, iv)
        self._opened = ciphertext[-octets:]
        return head + plaintext[octets:]

    def wipe(self) -> None:
        """Overwrite the key, and let go what was expanded from it."""
        self.key.wipe()
        self._encryptor = self._decryptor = None

    def _cipher(self, iv: bytes) -> Cipher[modes.CBC]:
        return Cipher(CBC_CIPHERS[self.cipher].primitive(self.key.reveal()), modes.CBC(iv))

    def _require_blocks(self, iv: bytes, octets: bytes) -> None:
        if len(iv) != self.block_octets:
            raise ValueError(f"an IV of {len(iv)} octets, not {self.block_octets}")
        if not octets or len(octets) % self.block_octets:
            raise ValueError(f"{len(octets)} octets are not whole blocks of {self.block_octets}")


def _combined(block: bytes, last: bytes, iv: bytes) -> bytes:
    """The exclusive or of all three."""
    if last == iv:
        return block
    return (int.from_bytes(block) ^ int.from_bytes(last) ^ int.from_bytes(iv)).to_bytes(len(block))


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
