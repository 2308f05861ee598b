"""Transforms of Data-Security SAs by name, independent of the protocol that carries them.

Each key management protocol maps its own numbers to these (`agent/gdoi/translate.py`), each data path maps them
to its own names (`agent/datapath/kernel.py`), configuration files spell them as the enum values do.
Key lengths and layouts: RFC 3602, 4106, 4868; KEYMAT is key then salt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = [
    "CIPHERS",
    "INTEGRITIES",
    "TRANSFORMS",
    "Cipher",
    "CipherFacts",
    "Integrity",
    "IntegrityFacts",
    "Transform",
]


class Cipher(Enum):
    """A cipher of ESP; the value is its name in configuration files."""

    NULL = "null"
    AES_CBC = "aes-cbc"
    AES_GCM_8 = "aes-gcm-8"
    AES_GCM_12 = "aes-gcm-12"
    AES_GCM_16 = "aes-gcm-16"


class Integrity(Enum):
    """An integrity algorithm of ESP or AH; the value is its name in configuration files."""

    HMAC_SHA2_256 = "hmac-sha2-256"
    HMAC_SHA2_384 = "hmac-sha2-384"
    HMAC_SHA2_512 = "hmac-sha2-512"


@dataclass(frozen=True, slots=True)
class CipherFacts:
    """What is fixed for a cipher. Units are in the names.

    `key_bits`: the key lengths allowed, without salt; empty where there is no key.
    `combined`: it authenticates too (AEAD), so no integrity algorithm goes with it.
    `counter_mode`: nonce uniqueness is on the senders (RFC 6054).
    """

    key_bits: tuple[int, ...]
    salt_octets: int = 0
    icv_bits: int = 0
    combined: bool = False
    counter_mode: bool = False


@dataclass(frozen=True, slots=True)
class IntegrityFacts:
    """What is fixed for an integrity algorithm: key length and the truncated ICV (RFC 4868 2.1.1, 2.3)."""

    key_bits: int
    icv_bits: int


_AES = (128, 192, 256)

CIPHERS: Final[dict[Cipher, CipherFacts]] = {
    Cipher.NULL: CipherFacts(()),
    Cipher.AES_CBC: CipherFacts(_AES),
    Cipher.AES_GCM_8: CipherFacts(_AES, salt_octets=4, icv_bits=64, combined=True, counter_mode=True),
    Cipher.AES_GCM_12: CipherFacts(_AES, salt_octets=4, icv_bits=96, combined=True, counter_mode=True),
    Cipher.AES_GCM_16: CipherFacts(_AES, salt_octets=4, icv_bits=128, combined=True, counter_mode=True),
}

INTEGRITIES: Final[dict[Integrity, IntegrityFacts]] = {
    Integrity.HMAC_SHA2_256: IntegrityFacts(key_bits=256, icv_bits=128),
    Integrity.HMAC_SHA2_384: IntegrityFacts(key_bits=384, icv_bits=192),
    Integrity.HMAC_SHA2_512: IntegrityFacts(key_bits=512, icv_bits=256),
}


@dataclass(frozen=True, slots=True)
class Transform:
    """One legal combination of cipher, key length and integrity; `str()` gives its configuration name.

    `cipher`: None for AH. `key_bits`: the cipher key without salt, 0 where the cipher has none.
    Raises ValueError for a combination that protects nothing or that its RFC forbids
    (ESP_NULL without integrity: RFC 4303 3.2; combined mode with integrity: RFC 4106).
    """

    cipher: Cipher | None
    key_bits: int
    integrity: Integrity | None

    def __post_init__(self) -> None:
        if self.cipher is None:
            if self.integrity is None or self.key_bits:
                raise ValueError("AH needs an integrity algorithm and has no cipher key")
            return
        facts = CIPHERS[self.cipher]
        if facts.key_bits and self.key_bits not in facts.key_bits:
            raise ValueError(f"{self.cipher.value} takes keys of {facts.key_bits} bits, not {self.key_bits}")
        if not facts.key_bits and self.key_bits:
            raise ValueError(f"{self.cipher.value} takes no key")
        if facts.combined and self.integrity is not None:
            raise ValueError(f"{self.cipher.value} authenticates by itself: no integrity algorithm with it")
        if not facts.combined and self.integrity is None:
            raise ValueError(f"{self.cipher.value} needs an integrity algorithm")

    @property
    def cipher_key_octets(self) -> int:
        """Octets of KEYMAT for the cipher, salt included."""
        if self.cipher is None:
            return 0
        return self.key_bits // 8 + CIPHERS[self.cipher].salt_octets

    @property
    def integrity_key_octets(self) -> int:
        """Octets of the integrity key, 0 without one."""
        return INTEGRITIES[self.integrity].key_bits // 8 if self.integrity else 0

    @property
    def counter_mode(self) -> bool:
        """Whether senders need Sender-IDs (RFC 6054)."""
        return self.cipher is not None and CIPHERS[self.cipher].counter_mode

    def __str__(self) -> str:
        parts = []
        if self.cipher is not None:
            parts.append(f"{self.cipher.value}-{self.key_bits}" if self.key_bits else self.cipher.value)
        if self.integrity is not None:
            parts.append(self.integrity.value)
        return "+".join(parts)

    @classmethod
    def parse(cls, text: str) -> Transform:
        """The transform that `str()` spelled, e.g. `aes-gcm-16-256` or `aes-cbc-128+hmac-sha2-256`.

        Raises ValueError with what is allowed.
        """
        try:
            return _BY_NAME[text]
        except KeyError:
            raise ValueError(f"{text!r} is none of {', '.join(_BY_NAME)}") from None


def _all_transforms() -> dict[str, Transform]:
    every = [Transform(None, 0, integrity) for integrity in Integrity]
    for cipher, facts in CIPHERS.items():
        for bits in facts.key_bits or (0,):
            for integrity in (None,) if facts.combined else tuple(Integrity):
                every.append(Transform(cipher, bits, integrity))
    return {str(transform): transform for transform in every}


_BY_NAME: Final = _all_transforms()
TRANSFORMS: Final = tuple(_BY_NAME.values())
"""Every legal transform."""
