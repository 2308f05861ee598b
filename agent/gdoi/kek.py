"""The Rekey SA between the wire and the GSA: SAK and KEK key packet (RFC 6407 5.3, 5.6.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.errors import Malformed
from agent.gdoi.constants import (
    KdType,
    KekAlgorithm,
    KekAttribute,
    KekKeyAttribute,
    SignatureAlgorithm,
    SignatureHash,
)
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.sa import SAK
from agent.gdoi.selectors import address_of, block_of_address
from agent.gdoi.signature_key import key_bits, subject_public_key_info
from agent.gsa.sa import RekeySA
from agent.secret import Secret

__all__ = ["OfferedRekey", "packet_of", "rekey_of", "rekey_sa_of", "sak_of"]

_UDP = 17
_AES_BLOCK_OCTETS = 16
_AES_KEY_BITS: Final = (128, 192, 256)
_LIFETIME_OCTETS = 4

_SIGNATURES: Final = {
    SignatureAlgorithm.SIG_ALG_RSA: "rsa",
    SignatureAlgorithm.SIG_ALG_ECDSA_256: "ecdsa-256",
    SignatureAlgorithm.SIG_ALG_ECDSA_384: "ecdsa-384",
    SignatureAlgorithm.SIG_ALG_ECDSA_521: "ecdsa-521",
}
_HASHES: Final = {
    SignatureHash.SIG_HASH_SHA256: "sha2-256",
    SignatureHash.SIG_HASH_SHA384: "sha2-384",
    SignatureHash.SIG_HASH_SHA512: "sha2-512",
}
_IMPLIED_HASHES: Final = {"ecdsa-256": "sha2-256", "ecdsa-384": "sha2-384", "ecdsa-521": "sha2-512"}
"""The hash that an ECDSA signature has by its own name (RFC 6407 5.3.5)."""

_SINGLE_VALUED: Final = frozenset(
    {
        KekAttribute.KEK_ALGORITHM,
        KekAttribute.KEK_KEY_LENGTH,
        KekAttribute.SIG_HASH_ALGORITHM,
        KekAttribute.SIG_ALGORITHM,
        KekAttribute.SIG_KEY_LENGTH,
    }
)


@dataclass(frozen=True, slots=True)
class OfferedRekey:
    """A SAK's policy in the GSA's words; its keys come later. Fields as in RekeySA.

    `lifetime_s`: None where the SAK names none. `signature_key_bits`: None likewise.
    """

    spi: bytes
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    key_bits: int
    signature_algorithm: str
    signature_hash: str | None
    signature_key_bits: int | None
    lifetime_s: int | None


def _unsupported(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)


def _values(attributes: Iterable[Attribute]) -> dict[int, int]:
    """Each attribute's value. Raises Malformed for one not understood, or given twice with different values."""
    values: dict[int, int] = {}
    for attribute in attributes:
        name = name_of(KekAttribute, attribute.type)
        if attribute.type == KekAttribute.KEK_MANAGEMENT_ALGORITHM:
            continue  # to be ignored in a GROUPKEY-PULL (RFC 6407 5.3)
        if attribute.type == KekAttribute.KEK_KEY_LIFETIME:
            if len(attribute.octets) > _LIFETIME_OCTETS:
                raise Malformed(f"{name} has {len(attribute.octets)} octets, not {_LIFETIME_OCTETS}")
        elif attribute.type not in _SINGLE_VALUED:
            raise _unsupported(f"SAK attribute {name}")
        elif not attribute.basic:
            raise Malformed(f"Basic attribute {name} in variable form")
        if values.setdefault(attribute.type, attribute.number) != attribute.number:
            raise _unsupported(f"conflicting values of {name}")
    return values


def rekey_of(sak: SAK) -> OfferedRekey:
    """What a SAK says. Raises Malformed, ATTRIBUTES-NOT-SUPPORTED for what is not understood (RFC 6407 5.3.2)."""
    if sak.protocol != _UDP:
        raise Malformed(f"a GROUPKEY-PUSH over IP protocol {sak.protocol}, not UDP")
    source, destination = address_of(sak.source), address_of(sak.destination)
    if source.version != destination.version:
        raise Malformed(
            f"GROUPKEY-PUSH from {source} to {destination}: families differ", notify=NotifyType.INVALID_ID_INFORMATION
        )
    if not any(sak.spi):
        raise Malformed("the Rekey SA's SPI is zero", notify=NotifyType.INVALID_SPI)
    values = _values(sak.attributes)
    if values.get(KekAttribute.KEK_KEY_LIFETIME) == 0:
        raise Malformed("a KEK lifetime of nothing")
    signature, digest = _signature_of(values)
    return OfferedRekey(
        spi=sak.spi,
        source=source,
        destination=destination,
        source_port=sak.source.port,
        destination_port=sak.destination.port,
        key_bits=_key_bits_of(values),
        signature_algorithm=signature,
        signature_hash=digest,
        signature_key_bits=values.get(KekAttribute.SIG_KEY_LENGTH),
        lifetime_s=values.get(KekAttribute.KEK_KEY_LIFETIME),
    )


def _key_bits_of(values: dict[int, int]) -> int:
    algorithm = values.get(KekAttribute.KEK_ALGORITHM)
    if algorithm is None:
        raise Malformed("a SAK without KEK_ALGORITHM")
    if algorithm != KekAlgorithm.KEK_ALG_AES:
        raise _unsupported(f"KEK_ALGORITHM {name_of(KekAlgorithm, algorithm)}")
    bits = values.get(KekAttribute.KEK_KEY_LENGTH)
    if bits is None:
        raise Malformed("KEK_ALG_AES without KEK_KEY_LENGTH")
    if bits not in _AES_KEY_BITS:
        raise _unsupported(f"KEK_KEY_LENGTH {bits}")
    return bits


def _signature_of(values: dict[int, int]) -> tuple[str, str | None]:
    """The names of signature algorithm and hash; no hash where the algorithm implies it."""
    number = values.get(KekAttribute.SIG_ALGORITHM)
    if number is None:
        raise Malformed("a SAK without SIG_ALGORITHM")
    if number not in _SIGNATURES:
        raise _unsupported(f"SIG_ALGORITHM {name_of(SignatureAlgorithm, number)}")
    algorithm = _SIGNATURES[SignatureAlgorithm(number)]
    implied = _IMPLIED_HASHES.get(algorithm)
    hash_number = values.get(KekAttribute.SIG_HASH_ALGORITHM)
    if hash_number is None:
        if implied is None:
            raise Malformed(f"SIG_ALGORITHM {algorithm} without SIG_HASH_ALGORITHM")
        return algorithm, None
    if hash_number not in _HASHES:
        raise _unsupported(f"SIG_HASH_ALGORITHM {name_of(SignatureHash, hash_number)}")
    digest = _HASHES[SignatureHash(hash_number)]
    if implied is None:
        return algorithm, digest
    if digest != implied:
        raise _unsupported(f"SIG_HASH_ALGORITHM {digest} with SIG_ALGORITHM {algorithm}")
    return algorithm, None


def sak_of(rekey: RekeySA, now: float) -> SAK:
    """The SAK of a Rekey SA with the lifetime it has left. Raises ValueError for names that GDOI has no number for."""
    name, _, bits = rekey.key_algorithm.rpartition("-")
    if name != "aes-cbc" or not bits.isdecimal() or int(bits) not in _AES_KEY_BITS:
        raise ValueError(f"KEK algorithm {rekey.key_algorithm!r}")
    signatures = {known: number for number, known in _SIGNATURES.items()}
    hashes = {known: number for number, known in _HASHES.items()}
    if rekey.signature_algorithm not in signatures:
        raise ValueError(f"signature algorithm {rekey.signature_algorithm!r}")
    if rekey.signature_hash not in (None, *hashes):
        raise ValueError(f"signature hash {rekey.signature_hash!r}")
    attributes = [
        basic(KekAttribute.KEK_ALGORITHM, KekAlgorithm.KEK_ALG_AES),
        basic(KekAttribute.KEK_KEY_LENGTH, int(bits)),
    ]
    if rekey.expires is not None:
        left = max(1, int(rekey.expires - now))
        attributes.append(variable(KekAttribute.KEK_KEY_LIFETIME, left.to_bytes(_LIFETIME_OCTETS)))
    if rekey.signature_hash is not None:
        attributes.append(basic(KekAttribute.SIG_HASH_ALGORITHM, hashes[rekey.signature_hash]))
    attributes += (
        basic(KekAttribute.SIG_ALGORITHM, signatures[rekey.signature_algorithm]),
        basic(KekAttribute.SIG_KEY_LENGTH, key_bits(rekey.verify_key)),
    )
    return SAK(
        _UDP,
        block_of_address(rekey.source, rekey.source_port),
        block_of_address(rekey.destination, rekey.destination_port),
        rekey.spi,
        tuple(attributes),
    )


def packet_of(rekey: RekeySA) -> KeyPacket:
    """The KEK key packet of a Rekey SA: IV then key, and the public key that verifies (RFC 6407 5.6.2)."""
    return KeyPacket(
        KdType.KEK,
        rekey.spi,
        (
            KeyAttribute(KekKeyAttribute.KEK_ALGORITHM_KEY, Secret(rekey.iv + rekey.key.reveal())),
            KeyAttribute(KekKeyAttribute.SIG_ALGORITHM_KEY, Secret(rekey.verify_key)),
        ),
    )


def rekey_sa_of(offered: OfferedRekey, packet: KeyPacket, *, sequence: int, received: float) -> RekeySA:
    """The Rekey SA of a SAK and the key packet with its SPI.

    `sequence`: of the SEQ payload; `received`: monotonic seconds at which the SAK came.
    Raises Malformed unless the packet has exactly both keys and they fit the policy (RFC 6407 5.6.2).
    """
    keys: dict[int, Secret] = {}
    for attribute in packet.attributes:
        if attribute.type in keys or attribute.type not in list(KekKeyAttribute):
            raise Malformed(f"{name_of(KekKeyAttribute, attribute.type)} twice or out of place in a KEK packet")
        keys[attribute.type] = attribute.value
    for kind in KekKeyAttribute:
        if kind not in keys:
            raise Malformed(f"a KEK packet without {kind.name}")
    key_octets = offered.key_bits // 8
    material = keys[KekKeyAttribute.KEK_ALGORITHM_KEY].reveal()
    if len(material) != _AES_BLOCK_OCTETS + key_octets:
        raise Malformed(
            f"KEK_ALGORITHM_KEY has {len(material)} octets, not {_AES_BLOCK_OCTETS} of IV and {key_octets} of key",
            notify=NotifyType.INVALID_KEY_INFORMATION,
        )
    try:
        verify_key = subject_public_key_info(
            offered.signature_algorithm, keys[KekKeyAttribute.SIG_ALGORITHM_KEY].reveal()
        )
        bits = key_bits(verify_key)
    except ValueError as error:
        raise Malformed(f"SIG_ALGORITHM_KEY: {error}", notify=NotifyType.INVALID_KEY_INFORMATION) from error
    if offered.signature_key_bits not in (None, bits):
        raise Malformed(
            f"SIG_ALGORITHM_KEY has {bits} bits, SIG_KEY_LENGTH says {offered.signature_key_bits}",
            notify=NotifyType.INVALID_KEY_INFORMATION,
        )
    return RekeySA(
        spi=offered.spi,
        source=offered.source,
        destination=offered.destination,
        source_port=offered.source_port,
        destination_port=offered.destination_port,
        key_algorithm=f"aes-cbc-{offered.key_bits}",
        key=Secret(material[_AES_BLOCK_OCTETS:]),
        iv=material[:_AES_BLOCK_OCTETS],
        signature_algorithm=offered.signature_algorithm,
        signature_hash=offered.signature_hash,
        verify_key=verify_key,
        sequence=sequence,
        expires=None if offered.lifetime_s is None else received + offered.lifetime_s,
    )
