"""Hash functions and the prf made of them: HMAC of the negotiated hash, untruncated (RFC 2409 4, RFC 4868 2.4)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives import hashes

from agent.secret import Secret

__all__ = ["HASHES", "HashAlgorithm", "HashFacts", "equal", "hash_octets", "prf"]


class HashAlgorithm(Enum):
    """A hash function; the value is its name in configuration files. SHA1 is for peers that have nothing better."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    SHA1 = "sha1"
    SHA2_256 = "sha2-256"
    SHA2_384 = "sha2-384"
    SHA2_512 = "sha2-512"


@dataclass(frozen=True, slots=True)
class HashFacts:
    """What the libraries call a hash function, and its output length in octets. `of`: begins to hash octets."""

    hashlib_name: str
    of: Callable[[bytes], hashlib._Hash]
    octets: int
    primitive: hashes.HashAlgorithm


HASHES: Final[dict[HashAlgorithm, HashFacts]] = {
    HashAlgorithm.SHA1: HashFacts("sha1", hashlib.sha1, 20, hashes.SHA1()),  # noqa: S303  # the prf is HMAC, which needs no collisions
    HashAlgorithm.SHA2_256: HashFacts("sha256", hashlib.sha256, 32, hashes.SHA256()),
    HashAlgorithm.SHA2_384: HashFacts("sha384", hashlib.sha384, 48, hashes.SHA384()),
    HashAlgorithm.SHA2_512: HashFacts("sha512", hashlib.sha512, 64, hashes.SHA512()),
}


def hash_octets(algorithm: HashAlgorithm, data: bytes) -> bytes:
    """The hash of `data`."""
    return HASHES[algorithm].of(data).digest()


def prf(algorithm: HashAlgorithm, key: Secret | bytes, data: bytes) -> bytes:
    """HMAC with the hash named, whole output. Keys longer than the block are hashed first, as HMAC says."""
    octets = key.reveal() if isinstance(key, Secret) else key
    return hmac.digest(octets, data, HASHES[algorithm].hashlib_name)


def equal(mine: bytes, theirs: bytes) -> bool:
    """Whether two HASH values agree, in constant time; different lengths never do."""
    return hmac.compare_digest(mine, theirs)
