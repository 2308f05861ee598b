"""The kernel's names of transforms (net/xfrm/xfrm_algo.c), both ways; ICVs as RFC 4106 and RFC 4868 have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.gsa.algorithms import CIPHERS, INTEGRITIES, TRANSFORMS, Cipher, Integrity, Transform

__all__ = ["KERNEL_TRANSFORMS", "KernelNames", "NotInKernelError", "names_of", "transform_of"]


class NotInKernelError(ValueError):
    """No Linux kernel has a transform: its AH takes no GMAC (net/ipv4/ah4.c wants a hash, not an AEAD)."""


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
    Cipher.TRIPLE_DES_CBC: "cbc(des3_ede)",
    Cipher.AES_CBC: "cbc(aes)",
    Cipher.CAMELLIA_CBC: "cbc(camellia)",
    Cipher.AES_CTR: "rfc3686(ctr(aes))",
    Cipher.AES_CCM_8: "rfc4309(ccm(aes))",
    Cipher.AES_CCM_12: "rfc4309(ccm(aes))",
    Cipher.AES_CCM_16: "rfc4309(ccm(aes))",
    Cipher.AES_GCM_8: "rfc4106(gcm(aes))",
    Cipher.AES_GCM_12: "rfc4106(gcm(aes))",
    Cipher.AES_GCM_16: "rfc4106(gcm(aes))",
    Cipher.AES_GMAC: "rfc4543(gcm(aes))",
}
_INTEGRITIES: Final = {
    Integrity.HMAC_SHA1: "hmac(sha1)",
    Integrity.AES_XCBC: "xcbc(aes)",
    Integrity.HMAC_SHA2_256: "hmac(sha256)",
    Integrity.HMAC_SHA2_384: "hmac(sha384)",
    Integrity.HMAC_SHA2_512: "hmac(sha512)",
}


def names_of(transform: Transform) -> KernelNames:
    """A transform's names. Raises NotInKernelError."""
    cipher, integrity = transform.cipher, transform.integrity
    if integrity is not None and integrity not in _INTEGRITIES:
        raise NotInKernelError(f"no Linux kernel has {transform}")
    combined = cipher is not None and CIPHERS[cipher].combined
    return KernelNames(
        aead=_CIPHERS[cipher] if cipher is not None and combined else None,
        aead_icv_bits=CIPHERS[cipher].icv_bits if cipher is not None and combined else 0,
        encryption=_CIPHERS[cipher] if cipher is not None and not combined else None,
        integrity=None if integrity is None else _INTEGRITIES[integrity],
        icv_bits=0 if integrity is None else INTEGRITIES[integrity].icv_bits,
    )


KERNEL_TRANSFORMS: Final = tuple(
    transform for transform in TRANSFORMS if transform.integrity is None or transform.integrity in _INTEGRITIES
)
"""Every transform that a Linux kernel may have; which of them this one has, a probe tells."""
_BY_NAMES: Final = {(names_of(transform), transform.cipher_key_octets): transform for transform in KERNEL_TRANSFORMS}


def transform_of(names: KernelNames, cipher_key_octets: int) -> Transform:
    """The transform with these names and a cipher key of that length, salt included. Raises KeyError for any other."""
    return _BY_NAMES[names, cipher_key_octets]
