"""The IKEv1 key schedule (RFC 2409 5 and appendix B), which GDOI's Phase 1 is.

`ni`, `nr`: nonce bodies; `gxi`, `gxr`: KE bodies as sent; `shared`: g^xy, padded to the group's size;
`cookies`: initiator cookie then responder cookie, 16 octets.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.crypto.prf import HashAlgorithm, hash_octets, prf
from agent.secret import Secret

__all__ = [
    "Skeyids",
    "cipher_key",
    "derive_skeyids",
    "first_iv",
    "hash_initiator",
    "hash_responder",
    "phase2_iv",
    "skeyid_of_pre_shared_key",
    "skeyid_of_signatures",
]


@dataclass(frozen=True, slots=True)
class Skeyids:
    """SKEYID and what is derived from it, each prf output long. GDOI uses no SKEYID_d but derives _a by it."""

    skeyid: Secret
    skeyid_d: Secret
    skeyid_a: Secret
    skeyid_e: Secret

    def wipe(self) -> None:
        """Overwrite all four."""
        for secret in (self.skeyid, self.skeyid_d, self.skeyid_a, self.skeyid_e):
            secret.wipe()


def skeyid_of_pre_shared_key(algorithm: HashAlgorithm, key: Secret, ni: bytes, nr: bytes) -> Secret:
    """SKEYID = prf(pre-shared-key, Ni_b | Nr_b)."""
    return Secret(prf(algorithm, key, ni + nr))


def skeyid_of_signatures(algorithm: HashAlgorithm, ni: bytes, nr: bytes, shared: Secret) -> Secret:
    """SKEYID = prf(Ni_b | Nr_b, g^xy)."""
    return Secret(prf(algorithm, ni + nr, shared.reveal()))


def derive_skeyids(algorithm: HashAlgorithm, skeyid: Secret, shared: Secret, cookies: bytes) -> Skeyids:
    """SKEYID_d, _a and _e, each over its predecessor, g^xy, both cookies and one octet 0, 1 or 2."""
    derived: list[Secret] = []
    before = b""
    for label in (b"\0", b"\1", b"\2"):
        before = prf(algorithm, skeyid, before + shared.reveal() + cookies + label)
        derived.append(Secret(before))
    return Skeyids(skeyid, *derived)


def cipher_key(algorithm: HashAlgorithm, skeyid_e: Secret, octets: int) -> Secret:
    """The cipher's key: the head of SKEYID_e, or of Ka = K1 | K2 | ... when that is too short (appendix B).

    SKEYID_e itself is no part of Ka: K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1).
    """
    material = skeyid_e.reveal()
    if len(material) < octets:
        block = prf(algorithm, skeyid_e, b"\0")
        material = block
        while len(material) < octets:
            block = prf(algorithm, skeyid_e, block)
            material += block
    return Secret(material[:octets])


def first_iv(algorithm: HashAlgorithm, gxi: bytes, gxr: bytes, block_octets: int) -> bytes:
    """The IV of Phase 1's first encrypted message: hash(g^xi | g^xr), cut; the hash, not the prf."""
    return hash_octets(algorithm, gxi + gxr)[:block_octets]


def phase2_iv(algorithm: HashAlgorithm, last_block: bytes, message_id: int, block_octets: int) -> bytes:
    """The IV of a Phase 2 exchange's first message: hash(last Phase 1 ciphertext block | M-ID), cut."""
    return hash_octets(algorithm, last_block + message_id.to_bytes(4))[:block_octets]


def hash_initiator(
    algorithm: HashAlgorithm, skeyid: Secret, gxi: bytes, gxr: bytes, cookies: bytes, sa_body: bytes, id_body: bytes
) -> bytes:
    """HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b)."""
    return prf(algorithm, skeyid, gxi + gxr + cookies + sa_body + id_body)


def hash_responder(
    algorithm: HashAlgorithm, skeyid: Secret, gxi: bytes, gxr: bytes, cookies: bytes, sa_body: bytes, id_body: bytes
) -> bytes:
    """HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b)."""
    return prf(algorithm, skeyid, gxr + gxi + cookies[8:] + cookies[:8] + sa_body + id_body)
