"""What a Rekey SA may be made of: ciphers of the KEK, signatures, acknowledgements, keys of a Logical Key Hierarchy.

By name, independent of the protocol that carries them, as `agent.gsa.algorithms` has the transforms of data. Left out
for good: DES and MD5 (RFC 6407 6.1), DSS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.secret import Secret

__all__ = ["KEK_CIPHERS", "REKEY_SIGNATURES", "Acknowledgement", "KekCipher", "LkhKey", "LkhUpdate", "RekeySignature"]

_MAX_NODE: Final = 0xFFFF
_MAX_NUMBER: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class KekCipher:
    """A cipher of the KEK, in CBC mode (RFC 6407 5.3.2). `block_octets`: also those of its IV.

    `deprecated`: for old peers only.
    """

    name: str
    key_octets: int
    block_octets: int
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class RekeySignature:
    """How a GROUPKEY-PUSH is signed (RFC 6407 5.3.5, 5.3.6); `str()` is the name in configuration files.

    `algorithm`: `rsa` or an `ecdsa-` with its field's bits; `hash`: None where the algorithm implies it.
    """

    algorithm: str
    hash: str | None = None
    deprecated: bool = False

    def __str__(self) -> str:
        return self.algorithm if self.hash is None else f"{self.algorithm}+{self.hash}"


KEK_CIPHERS: Final[dict[str, KekCipher]] = {
    cipher.name: cipher
    for cipher in (
        KekCipher("aes-cbc-128", 16, 16),
        KekCipher("aes-cbc-192", 24, 16),
        KekCipher("aes-cbc-256", 32, 16),
        KekCipher("3des-cbc", 24, 8, deprecated=True),
    )
}
"""Every cipher by name."""

REKEY_SIGNATURES: Final[dict[str, RekeySignature]] = {
    str(signature): signature
    for signature in (
        RekeySignature("rsa", "sha2-256"),
        RekeySignature("rsa", "sha2-384"),
        RekeySignature("rsa", "sha2-512"),
        RekeySignature("rsa", "sha1", deprecated=True),
        RekeySignature("ecdsa-256"),
        RekeySignature("ecdsa-384"),
        RekeySignature("ecdsa-521"),
    )
}
"""Every signature by name."""


class Acknowledgement(Enum):
    """The acknowledgement of a GROUPKEY-PUSH that a GCKS asks for (RFC 8263 2), by the name in configuration files.

    The first word says which key the member proves to hold: the KEK, or its own leaf of the key hierarchy.
    """

    KEK_SHA256 = "kek-sha2-256"
    LKH_SHA256 = "lkh-sha2-256"
    KEK_SHA512 = "kek-sha2-512"
    LKH_SHA512 = "lkh-sha2-512"


@dataclass(frozen=True, slots=True)
class LkhKey:
    """A node's key in a Logical Key Hierarchy (RFC 2627 5.4, RFC 6407 5.6.3.1).

    `node`: LKH ID, 16 bits; `handle`: Key Handle, which tells the keys that a node has had apart, 32 bits.
    `created_utc_s`, `expires_utc_s`: seconds since 1970, 0 for unbounded. `iv`: octets that come with the key.
    Raises ValueError for a number that its field does not hold.
    """

    node: int
    handle: int
    iv: bytes
    key: Secret
    created_utc_s: int = 0
    expires_utc_s: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.node <= _MAX_NODE:
            raise ValueError(f"LKH ID {self.node} does not fit 16 bits")
        for number in (self.handle, self.created_utc_s, self.expires_utc_s):
            if not 0 <= number <= _MAX_NUMBER:
                raise ValueError(f"{number} does not fit 32 bits")


@dataclass(frozen=True, slots=True)
class LkhUpdate:
    """New keys for the members below one node of a Logical Key Hierarchy (RFC 2627 5.4.1, RFC 6407 5.6.3.2).

    `under`: the key that they hold, which encrypts the first of `keys`; each further one is encrypted by the one before
    it. `keys`: from that node upwards, the new root, which is the new KEK, last.
    Raises ValueError without keys.
    """

    under: LkhKey
    keys: tuple[LkhKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("an update of a key hierarchy has at least the new root")
