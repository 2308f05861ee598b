"""Transforms of Data-Security SAs by name, independent of the protocol that carries them.

Each key management protocol maps its own numbers to these (`agent/gdoi/translate.py`), each data path maps them
to its own names (`agent/datapath/kernel.py`), configuration files spell them as the enum values do.
Key lengths and layouts: RFC 2404, 2451, 3566, 3602, 3686, 4106, 4309, 4312, 4543, 4868; KEYMAT is key then salt.
Left out for good: DES and MD5 (RFC 6407 6.1, RFC 8221).
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

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    NULL = "null"
    TRIPLE_DES_CBC = "3des-cbc"
    AES_CBC = "aes-cbc"
    CAMELLIA_CBC = "camellia-cbc"
    AES_CTR = "aes-ctr"
    AES_CCM_8 = "aes-ccm-8"
    AES_CCM_12 = "aes-ccm-12"
    AES_CCM_16 = "aes-ccm-16"
    AES_GCM_8 = "aes-gcm-8"
    AES_GCM_12 = "aes-gcm-12"
    AES_GCM_16 = "aes-gcm-16"
    AES_GMAC = "aes-gmac"


class Integrity(Enum):
    """An integrity algorithm of ESP or AH; the value is its name in configuration files."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    HMAC_SHA1 = "hmac-sha1"
    AES_XCBC = "aes-xcbc"
    HMAC_SHA2_256 = "hmac-sha2-256"
    HMAC_SHA2_384 = "hmac-sha2-384"
    HMAC_SHA2_512 = "hmac-sha2-512"
    AES_128_GMAC = "aes-128-gmac"
    AES_192_GMAC = "aes-192-gmac"
    AES_256_GMAC = "aes-256-gmac"


@dataclass(frozen=True, slots=True)
class CipherFacts:
    """What is fixed for a cipher. Units are in the names.

    `key_bits`: the key lengths allowed, without salt; empty where there is no key. `fixed_key`: there is only one, so
    that neither a SAT nor a name says it. `combined`: it authenticates too (AEAD), so no integrity algorithm goes with
    it. `counter_mode`: nonce uniqueness is on the senders (RFC 6054). `deprecated`: for old peers only (RFC 8221).
    """

    key_bits: tuple[int, ...]
    salt_octets: int = 0
    icv_bits: int = 0
    combined: bool = False
    counter_mode: bool = False
    fixed_key: bool = False
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class IntegrityFacts:
    """What is fixed for an integrity algorithm: key length and the truncated ICV (RFC 4868 2.1.1, 2.3).

    `key_bits`: without salt. `ah_only`: there is no such integrity of ESP (RFC 4543 5.3). `counter_mode`, `deprecated`:
    as in `CipherFacts`.
    """

    key_bits: int
    icv_bits: int
    salt_octets: int = 0
    ah_only: bool = False
    counter_mode: bool = False
    deprecated: bool = False


_AES = (128, 192, 256)

CIPHERS: Final[dict[Cipher, CipherFacts]] = {
    Cipher.NULL: CipherFacts(()),
    Cipher.TRIPLE_DES_CBC: CipherFacts((192,), fixed_key=True, deprecated=True),
    Cipher.AES_CBC: CipherFacts(_AES),
    Cipher.CAMELLIA_CBC: CipherFacts(_AES),
    Cipher.AES_CTR: CipherFacts(_AES, salt_octets=4, counter_mode=True),
    Cipher.AES_CCM_8: CipherFacts(_AES, salt_octets=3, icv_bits=64, combined=True, counter_mode=True),
    Cipher.AES_CCM_12: CipherFacts(_AES, salt_octets=3, icv_bits=96, combined=True, counter_mode=True),
    Cipher.AES_CCM_16: CipherFacts(_AES, salt_octets=3, icv_bits=128, combined=True, counter_mode=True),
    Cipher.AES_GCM_8: CipherFacts(_AES, salt_octets=4, icv_bits=64, combined=True, counter_mode=True),
    Cipher.AES_GCM_12: CipherFacts(_AES, salt_octets=4, icv_bits=96, combined=True, counter_mode=True),
    Cipher.AES_GCM_16: CipherFacts(_AES, salt_octets=4, icv_bits=128, combined=True, counter_mode=True),
    Cipher.AES_GMAC: CipherFacts(_AES, salt_octets=4, icv_bits=128, combined=True, counter_mode=True),
}

INTEGRITIES: Final[dict[Integrity, IntegrityFacts]] = {
    Integrity.HMAC_SHA1: IntegrityFacts(key_bits=160, icv_bits=96, deprecated=True),
    Integrity.AES_XCBC: IntegrityFacts(key_bits=128, icv_bits=96),
    Integrity.HMAC_SHA2_256: IntegrityFacts(key_bits=256, icv_bits=128),
    Integrity.HMAC_SHA2_384: IntegrityFacts(key_bits=384, icv_bits=192),
    Integrity.HMAC_SHA2_512: IntegrityFacts(key_bits=512, icv_bits=256),
    Integrity.AES_128_GMAC: IntegrityFacts(128, 128, salt_octets=4, ah_only=True, counter_mode=True),
    Integrity.AES_192_GMAC: IntegrityFacts(192, 128, salt_octets=4, ah_only=True, counter_mode=True),
    Integrity.AES_256_GMAC: IntegrityFacts(256, 128, salt_octets=4, ah_only=True, counter_mode=True),
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
        if self.integrity is not None and INTEGRITIES[self.integrity].ah_only:
            raise ValueError(f"{self.integrity.value} is an integrity algorithm of AH, not of ESP")

    @property
    def cipher_key_octets(self) -> int:
        """Octets of KEYMAT for the cipher, salt included."""
        if self.cipher is None:
            return 0
        return self.key_bits // 8 + CIPHERS[self.cipher].salt_octets

    @property
    def integrity_key_octets(self) -> int:
        """Octets of the integrity key, salt included; 0 without one."""
        if self.integrity is None:
            return 0
        facts = INTEGRITIES[self.integrity]
        return facts.key_bits // 8 + facts.salt_octets

    @property
    def counter_mode(self) -> bool:
        """Whether senders need Sender-IDs (RFC 6054)."""
        return any(facts.counter_mode for facts in self._facts)

    @property
    def deprecated(self) -> bool:
        """Whether it is for old peers only: 3DES, SHA-1 (RFC 8221)."""
        return any(facts.deprecated for facts in self._facts)

    @property
    def _facts(self) -> tuple[CipherFacts | IntegrityFacts, ...]:
        cipher = () if self.cipher is None else (CIPHERS[self.cipher],)
        return cipher if self.integrity is None else (*cipher, INTEGRITIES[self.integrity])

    def __str__(self) -> str:
        parts = []
        if self.cipher is not None:
            bits = "" if CIPHERS[self.cipher].fixed_key or not self.key_bits else f"-{self.key_bits}"
            parts.append(f"{self.cipher.value}{bits}")
        if self.integrity is not None:
            parts.append(self.integrity.value)
        return "+".join(parts)

    @classmethod
    def parse(cls, text: str) -> Transform:
        """The transform that `str()` spelled, e.g. `aes-gcm-16-256` or `aes-cbc-128+hmac-sha2-256`; of AH, the
        integrity algorithm alone: `hmac-sha2-256`.

        Raises ValueError with what is allowed.
        """
        try:
            return _BY_NAME[text]
        except KeyError:
            raise ValueError(f"{text!r} is none of {_spelling()}") from None


def _all_transforms() -> dict[str, Transform]:
    every = [Transform(None, 0, integrity) for integrity in Integrity]
    of_esp = tuple(integrity for integrity, facts in INTEGRITIES.items() if not facts.ah_only)
    for cipher, facts in CIPHERS.items():
        for bits in facts.key_bits or (0,):
            for integrity in (None,) if facts.combined else of_esp:
                every.append(Transform(cipher, bits, integrity))
    return {str(transform): transform for transform in every}


def _spelling() -> str:
    """The names of all transforms, in few words."""
    combined, plain = (
        ", ".join(
            cipher.value + ("-BITS" if facts.key_bits and not facts.fixed_key else "")
            for cipher, facts in CIPHERS.items()
            if facts.combined is wanted
        )
        for wanted in (True, False)
    )
    of_esp, of_ah = (
        ", ".join(integrity.value for integrity, facts in INTEGRITIES.items() if facts.ah_only is wanted)
        for wanted in (False, True)
    )
    return (
        f"{combined}; CIPHER+INTEGRITY with a CIPHER of {plain} and an INTEGRITY of {of_esp};"
        f" for AH the INTEGRITY alone, also {of_ah}. BITS: 128, 192 or 256"
    )


_BY_NAME: Final = _all_transforms()
TRANSFORMS: Final = tuple(_BY_NAME.values())
"""Every legal transform."""
