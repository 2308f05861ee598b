"""Suites: what protects a Phase 1 SA, by the names configuration files use (RFC 2409 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm

from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher, encrypt_cbc
from agent.crypto.dh import DhGroup, generate
from agent.crypto.prf import HashAlgorithm, hash_octets
from agent.errors import LocalError
from agent.secret import Secret

__all__ = ["DEFAULT_SUITES", "Suite"]


@dataclass(frozen=True, slots=True)
class Suite:
    """Cipher, key length, hash (also the prf) and group of a Phase 1 SA; `str()` is the configuration's form.

    Raises ValueError for a key length the cipher has not.
    """

    cipher: CbcCipher
    key_bits: int
    hash: HashAlgorithm
    group: DhGroup

    def __post_init__(self) -> None:
        allowed = CBC_CIPHERS[self.cipher].key_bits
        if self.key_bits not in allowed:
            raise ValueError(f"{self.cipher.value} takes keys of {allowed} bits, not {self.key_bits}")

    def __str__(self) -> str:
        return f"{_cipher_name(self.cipher, self.key_bits)}/{self.hash.value}/{self.group.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `cipher/hash/group`, e.g. `aes-cbc-128/sha2-256/modp-2048`.

        Raises ValueError with what is allowed.
        """
        parts = text.split("/")
        if len(parts) != 3:
            raise ValueError(f"{text!r} is not of the form cipher/hash/group, as in {DEFAULT_SUITES[0]}")
        if parts[0] not in _CIPHERS:
            raise ValueError(f"cipher {parts[0]!r} is none of {', '.join(_CIPHERS)}")
        return cls(*_CIPHERS[parts[0]], _named(HashAlgorithm, parts[1], "hash"), _named(DhGroup, parts[2], "group"))

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What is weak about it, in words for an operator; empty for a suite of today."""
        return tuple(_WEAK[part] for part in (self.cipher, self.hash, self.group) if part in _WEAK)

    def missing(self) -> str | None:
        """Why this host cannot use it, None when it can: old algorithms leave libraries, and FIPS modes bar more."""
        facts = CBC_CIPHERS[self.cipher]
        try:
            encrypt_cbc(self.cipher, _probe_key(self.key_bits), bytes(facts.block_octets), bytes(facts.block_octets))
            hash_octets(self.hash, b"")
            pair = generate(self.group, _Zeros())
            pair.shared(pair.public)
        except (LocalError, UnsupportedAlgorithm, ValueError) as error:
            return f"{self} cannot be used here: {error}"
        return None


class _Zeros:
    """Entropy for a key pair that is only made to see whether it can be."""

    def octets(self, count: int) -> bytes:
        return bytes(count)


def _probe_key(key_bits: int) -> Secret:
    """A key of different octets, as 3DES is refused with equal halves."""
    return Secret(bytes(range(key_bits // 8)))


def _cipher_name(cipher: CbcCipher, key_bits: int) -> str:
    return cipher.value if CBC_CIPHERS[cipher].fixed_key else f"{cipher.value}-{key_bits}"


_CIPHERS: Final = {
    _cipher_name(cipher, key_bits): (cipher, key_bits)
    for cipher, facts in CBC_CIPHERS.items()
    for key_bits in facts.key_bits
}

_WEAK: Final[dict[Enum, str]] = {
    CbcCipher.TRIPLE_DES_CBC: "3des-cbc has blocks of 64 bits and is withdrawn",
    HashAlgorithm.SHA1: "sha1 is withdrawn",
    DhGroup.MODP_1024: "modp-1024 can be broken by those who have the means",
    DhGroup.MODP_1536: "modp-1536 is below today's strength of 112 bits",
}

_E = TypeVar("_E", bound=Enum)


def _named(kind: type[_E], value: str, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{what} {value!r} is none of {', '.join(member.value for member in kind)}") from None


DEFAULT_SUITES: Final = (
    Suite(CbcCipher.AES_CBC, 128, HashAlgorithm.SHA2_256, DhGroup.ECP_256),
    Suite(CbcCipher.AES_CBC, 256, HashAlgorithm.SHA2_384, DhGroup.ECP_384),
    Suite(CbcCipher.AES_CBC, 128, HashAlgorithm.SHA2_256, DhGroup.MODP_2048),
)
"""What is offered and accepted when nothing else is configured; the quickest first."""
