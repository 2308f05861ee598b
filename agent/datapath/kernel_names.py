"""The kernel's names of transforms (net/xfrm/xfrm_algo.c), both ways; ICVs as RFC 4106 and RFC 4868 have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.gsa.algorithms import CIPHERS, INTEGRITIES, TRANSFORMS, Cipher, Integrity, Transform

__all__ = ["KernelNames", "names_of", "transform_of"]


@dataclass(frozen=True, slots=True)
class KernelNames:
    """A transform in the kernel's words: `aead` with `aead_icv_bits`, or `encryption`, `integrity` with `icv_bits`."""

    aead: str | None = None
    aead_icv_bits: int = 0
    encryption: str | None = None
    integrity: str | None = None
    icv_bits: int = 0


_CIPHERS: Final = {
    Cipher.NULL: "ecb(cipher_null)",
    Cipher.AES_CBC: "cbc(aes)",
    Cipher.AES_GCM_8: "rfc4106(gcm(aes))",
    Cipher.AES_GCM_12: "rfc4106(gcm(aes))",
    Cipher.AES_GCM_16: "rfc4106(gcm(aes))",
}
_INTEGRITIES: Final = {
    Integrity.HMAC_SHA2_256: "hmac(sha256)",
    Integrity.HMAC_SHA2_384: "hmac(sha384)",
    Integrity.HMAC_SHA2_512: "hmac(sha512)",
}


def names_of(transform: Transform) -> KernelNames:
    """A transform's names."""
    cipher, integrity = transform.cipher, transform.integrity
    combined = cipher is not None and CIPHERS[cipher].combined
    return KernelNames(
        aead=_CIPHERS[cipher] if cipher is not None and combined else None,
        aead_icv_bits=CIPHERS[cipher].icv_bits if cipher is not None and combined else 0,
        encryption=_CIPHERS[cipher] if cipher is not None and not combined else None,
        integrity=None if integrity is None else _INTEGRITIES[integrity],
        icv_bits=0 if integrity is None else INTEGRITIES[integrity].icv_bits,
    )


_BY_NAMES: Final = {(names_of(transform), transform.cipher_key_octets): transform for transform in TRANSFORMS}


def transform_of(names: KernelNames, cipher_key_octets: int) -> Transform:
    """The transform with these names and a cipher key of that length, salt included. Raises KeyError for any other."""
    return _BY_NAMES[names, cipher_key_octets]
