"""The Rekey SA between the wire and the GSA: SAK, KEK and LKH key packets (RFC 6407 5.3, 5.6.2, 5.6.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from netaddr import IPAddress

from agent.errors import Malformed
from agent.gdoi.attribute_values import number_for, single_values, unsupported
from agent.gdoi.constants import (
    KdType,
    KekAcknowledgement,
    KekAlgorithm,
    KekAttribute,
    KekKeyAttribute,
    KekManagement,
    LkhAttribute,
    SignatureAlgorithm,
    SignatureHash,
)
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.lkh import DownloadArray, download_array_of, lkh_of
from agent.gdoi.sa import SAK
from agent.gdoi.selectors import address_of, block_of_address
from agent.gdoi.signature_key import encoded, key_bits, subject_public_key_info
from agent.gdoi.tolerances import Tolerances
from agent.gsa.rekey import KEK_CIPHERS, Acknowledgement, KekCipher, LkhKey
from agent.gsa.sa import RekeySA
from agent.secret import Secret

__all__ = [
    "KEY_TYPES",
    "DownloadedKeys",
    "OfferedRekey",
    "downloaded_keys",
    "packet_of",
    "rekey_of",
    "rekey_sa_of",
    "sak_of",
    "verify_key_of",
]

_UDP = 17
_LIFETIME_OCTETS = 4
_PRIVATE: Final = range(128, 256)
"""KEK attributes for private use (RFC 6407 9)."""

_FIXED_KEY: Final[dict[int, str]] = {KekAlgorithm.KEK_ALG_3DES: "3des-cbc"}
_VARIABLE_KEY: Final[dict[tuple[int, int], str]] = {
    (KekAlgorithm.KEK_ALG_AES, 128): "aes-cbc-128",
    (KekAlgorithm.KEK_ALG_AES, 192): "aes-cbc-192",
    (KekAlgorithm.KEK_ALG_AES, 256): "aes-cbc-256",
}
"""Ciphers by KEK_ALGORITHM, and KEK_KEY_LENGTH where the key has none of its own. DES is left out (RFC 6407 6.1)."""
_NUMBERS: Final[dict[str, tuple[int, int | None]]] = {
    **{name: (algorithm, None) for algorithm, name in _FIXED_KEY.items()},
    **{name: pair for pair, name in _VARIABLE_KEY.items()},
}
KEY_TYPES: Final[dict[str, int]] = {name: number for name, (number, _) in _NUMBERS.items()}
"""The Key Type of an LKH key, which is a KekAlgorithm, by the cipher's name (RFC 6407 5.6.3.1)."""
_SIGNATURES: Final[dict[int, str]] = {
    SignatureAlgorithm.SIG_ALG_RSA: "rsa",
    SignatureAlgorithm.SIG_ALG_ECDSA_256: "ecdsa-256",
    SignatureAlgorithm.SIG_ALG_ECDSA_384: "ecdsa-384",
    SignatureAlgorithm.SIG_ALG_ECDSA_521: "ecdsa-521",
}
_HASHES: Final[dict[int, str]] = {
    SignatureHash.SIG_HASH_SHA1: "sha1",
    SignatureHash.SIG_HASH_SHA256: "sha2-256",
    SignatureHash.SIG_HASH_SHA384: "sha2-384",
    SignatureHash.SIG_HASH_SHA512: "sha2-512",
}
_IMPLIED_HASHES: Final = {"ecdsa-256": "sha2-256", "ecdsa-384": "sha2-384", "ecdsa-521": "sha2-512"}
"""The hash that an ECDSA signature has by its own name (RFC 6407 5.3.5)."""
_ACKNOWLEDGEMENTS: Final[dict[int, Acknowledgement]] = {
    KekAcknowledgement.REKEY_ACK_KEK_SHA256: Acknowledgement.KEK_SHA256,
    KekAcknowledgement.REKEY_ACK_LKH_SHA256: Acknowledgement.LKH_SHA256,
    KekAcknowledgement.REKEY_ACK_KEK_SHA512: Acknowledgement.KEK_SHA512,
    KekAcknowledgement.REKEY_ACK_LKH_SHA512: Acknowledgement.LKH_SHA512,
}

_BASIC: Final = frozenset(
    {
        KekAttribute.KEK_ALGORITHM,
        KekAttribute.KEK_KEY_LENGTH,
        KekAttribute.SIG_HASH_ALGORITHM,
        KekAttribute.SIG_ALGORITHM,
        KekAttribute.SIG_KEY_LENGTH,
        KekAttribute.KEK_ACK_REQUESTED,
    }
)


@dataclass(frozen=True, slots=True)
class OfferedRekey:
    """A SAK's policy in the GSA's words; its keys come later. Fields as in RekeySA.

    `lifetime_s`: None where the SAK names none. `signature_key_bits`: None likewise. `acknowledgement`: None also for
    a type that is not known: the member then goes on without (RFC 8263 4).
    """

    spi: bytes
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    cipher: KekCipher
    signature_algorithm: str
    signature_hash: str | None
    signature_key_bits: int | None
    lifetime_s: int | None
    acknowledgement: Acknowledgement | None = None

    def sa(
        self,
        key: Secret,
        iv: bytes,
        verify_key: bytes,
        *,
        received: float,
        sequence: int = 0,
        lkh: tuple[LkhKey, ...] = (),
    ) -> RekeySA:
        """The Rekey SA with those keys; `received`: monotonic seconds at which the SAK came."""
        return RekeySA(
            spi=self.spi,
            source=self.source,
            destination=self.destination,
            source_port=self.source_port,
            destination_port=self.destination_port,
            key_algorithm=self.cipher.name,
            key=key,
            iv=iv,
            signature_algorithm=self.signature_algorithm,
            signature_hash=self.signature_hash,
            verify_key=verify_key,
            sequence=sequence,
            expires=None if self.lifetime_s is None else received + self.lifetime_s,
            acknowledgement=self.acknowledgement,
            lkh=lkh,
        )


def _values(attributes: Sequence[Attribute], tolerances: Tolerances) -> dict[int, int]:
    """Each attribute's value. Raises Malformed for one not understood, or given twice with different values."""
    for attribute in attributes:
        if attribute.type == KekAttribute.KEK_KEY_LIFETIME and len(attribute.octets) > _LIFETIME_OCTETS:
            raise Malformed(f"KEK_KEY_LIFETIME has {len(attribute.octets)} octets, not {_LIFETIME_OCTETS}")
    return single_values(
        attributes,
        KekAttribute,
        "SAK attribute {}",
        basic=_BASIC,
        either={KekAttribute.KEK_KEY_LIFETIME},
        # To be ignored in a GROUPKEY-PULL (RFC 6407 5.3).
        ignored={KekAttribute.KEK_MANAGEMENT_ALGORITHM, *tolerances.ignored(_PRIVATE)},
    )


def rekey_of(sak: SAK, tolerances: Tolerances | None = None) -> OfferedRekey:
    """What a SAK says. Raises Malformed, ATTRIBUTES-NOT-SUPPORTED for what is not understood (RFC 6407 5.3.2)."""
    tolerances = tolerances or Tolerances()
    if sak.protocol != _UDP:
        raise Malformed(f"a GROUPKEY-PUSH over IP protocol {sak.protocol}, not UDP")
    if sak.reserved and not tolerances.rfc3547:
        raise Malformed(f"SAK: RESERVED2 is {sak.reserved}, not 0")
    source, destination = address_of(sak.source), address_of(sak.destination)
    if source.version != destination.version:
        raise Malformed(
            f"GROUPKEY-PUSH from {source} to {destination}: families differ", notify=NotifyType.INVALID_ID_INFORMATION
        )
    if not any(sak.spi):
        raise Malformed("the Rekey SA's SPI is zero", notify=NotifyType.INVALID_SPI)
    values = _values(sak.attributes, tolerances)
    if values.get(KekAttribute.KEK_KEY_LIFETIME) == 0:
        raise Malformed("a KEK lifetime of nothing")
    signature, digest = _signature_of(values)
    requested = values.get(KekAttribute.KEK_ACK_REQUESTED)
    return OfferedRekey(
        spi=sak.spi,
        source=source,
        destination=destination,
        source_port=sak.source.port,
        destination_port=sak.destination.port,
        cipher=_cipher_of(values),
        signature_algorithm=signature,
        signature_hash=digest,
        signature_key_bits=values.get(KekAttribute.SIG_KEY_LENGTH),
        lifetime_s=values.get(KekAttribute.KEK_KEY_LIFETIME),
        acknowledgement=None if requested is None else _ACKNOWLEDGEMENTS.get(requested),
    )


def _cipher_of(values: dict[int, int]) -> KekCipher:
    number = values.get(KekAttribute.KEK_ALGORITHM)
    if number is None:
        raise Malformed("a SAK without KEK_ALGORITHM")
    bits = values.get(KekAttribute.KEK_KEY_LENGTH)
    algorithm = name_of(KekAlgorithm, number)
    if number in _FIXED_KEY:
        cipher = KEK_CIPHERS[_FIXED_KEY[number]]
        if bits not in (None, 8 * cipher.key_octets):
            raise unsupported(f"KEK_KEY_LENGTH {bits} with {algorithm}")
        return cipher
    if number not in {variable_number for variable_number, _ in _VARIABLE_KEY}:
        raise unsupported(f"KEK_ALGORITHM {algorithm}")
    if bits is None:
        raise Malformed(f"{algorithm} without KEK_KEY_LENGTH")
    if (number, bits) not in _VARIABLE_KEY:
        raise unsupported(f"KEK_KEY_LENGTH {bits}")
    return KEK_CIPHERS[_VARIABLE_KEY[number, bits]]


def _signature_of(values: dict[int, int]) -> tuple[str, str | None]:
    """The names of signature algorithm and hash; no hash where the algorithm implies it."""
    number = values.get(KekAttribute.SIG_ALGORITHM)
    if number is None:
        raise Malformed("a SAK without SIG_ALGORITHM")
    if number not in _SIGNATURES:
        raise unsupported(f"SIG_ALGORITHM {name_of(SignatureAlgorithm, number)}")
    algorithm = _SIGNATURES[number]
    implied = _IMPLIED_HASHES.get(algorithm)
    hash_number = values.get(KekAttribute.SIG_HASH_ALGORITHM)
    if hash_number is None:
        if implied is None:
            raise Malformed(f"SIG_ALGORITHM {algorithm} without SIG_HASH_ALGORITHM")
        return algorithm, None
    if hash_number not in _HASHES:
        raise unsupported(f"SIG_HASH_ALGORITHM {name_of(SignatureHash, hash_number)}")
    digest = _HASHES[hash_number]
    if implied is None:
        return algorithm, digest
    if digest != implied:
        raise unsupported(f"SIG_HASH_ALGORITHM {digest} with SIG_ALGORITHM {algorithm}")
    return algorithm, None


def sak_of(
    rekey: RekeySA, now: float, tolerances: Tolerances | None = None, management: KekManagement | None = None
) -> SAK:
    """The SAK of a Rekey SA with the lifetime it has left. Raises ValueError for addresses of two families.

    `management`: KEK_MANAGEMENT_ALGORITHM, which has no place in a GROUPKEY-PULL (RFC 6407 5.3).
    """
    tolerances = tolerances or Tolerances()
    if rekey.source.version != rekey.destination.version:
        raise ValueError(f"GROUPKEY-PUSH from {rekey.source} to {rekey.destination}: families differ")
    algorithm, bits = _NUMBERS[rekey.key_algorithm]
    attributes = [] if management is None else [basic(KekAttribute.KEK_MANAGEMENT_ALGORITHM, management)]
    attributes.append(basic(KekAttribute.KEK_ALGORITHM, algorithm))
    if bits is not None:
        attributes.append(basic(KekAttribute.KEK_KEY_LENGTH, bits))
    if rekey.expires is not None:
        left = max(1, int(rekey.expires - now))
        attributes.append(variable(KekAttribute.KEK_KEY_LIFETIME, left.to_bytes(_LIFETIME_OCTETS)))
    if rekey.signature_hash is not None:
        attributes.append(basic(KekAttribute.SIG_HASH_ALGORITHM, number_for(_HASHES, rekey.signature_hash)))
    attributes += (
        basic(KekAttribute.SIG_ALGORITHM, number_for(_SIGNATURES, rekey.signature_algorithm)),
        basic(KekAttribute.SIG_KEY_LENGTH, key_bits(rekey.verify_key)),
    )
    if rekey.acknowledgement is not None and not tolerances.rfc3547:
        number = number_for(_ACKNOWLEDGEMENTS, rekey.acknowledgement)
        attributes.append(basic(KekAttribute.KEK_ACK_REQUESTED, number))
    return SAK(
        _UDP,
        block_of_address(rekey.source, rekey.source_port),
        block_of_address(rekey.destination, rekey.destination_port),
        rekey.spi,
        tuple(attributes),
        id_length_octets=tolerances.id_length_octets,
    )


def packet_of(rekey: RekeySA, tolerances: Tolerances | None = None) -> KeyPacket:
    """The key packet of a Rekey SA, with the public key that verifies.

    IV then key in a KEK packet (RFC 6407 5.6.2); the member's path in an LKH packet where there is a hierarchy, whose
    root is the KEK (RFC 6407 5.6.3).
    """
    form = (tolerances or Tolerances()).signature_key
    verify_key = Secret(encoded(rekey.verify_key, form))
    if rekey.lkh:
        array = download_array_of(rekey.lkh, KEY_TYPES[rekey.key_algorithm])
        attributes = (
            KeyAttribute(LkhAttribute.LKH_DOWNLOAD_ARRAY, Secret(array.build())),
            KeyAttribute(LkhAttribute.SIG_ALGORITHM_KEY, verify_key),
        )
        return KeyPacket(KdType.LKH, rekey.spi, attributes)
    return KeyPacket(
        KdType.KEK,
        rekey.spi,
        (
            KeyAttribute(KekKeyAttribute.KEK_ALGORITHM_KEY, Secret(rekey.iv + rekey.key.reveal())),
            KeyAttribute(KekKeyAttribute.SIG_ALGORITHM_KEY, verify_key),
        ),
    )


@dataclass(frozen=True, slots=True)
class DownloadedKeys:
    """What a key packet has of a Rekey SA. `signature_key`: as sent, None where it has none; `lkh`: leaf first."""

    iv: bytes
    key: Secret
    signature_key: bytes | None
    lkh: tuple[LkhKey, ...] = ()


def rekey_sa_of(offered: OfferedRekey, packets: Sequence[KeyPacket], *, sequence: int, received: float) -> RekeySA:
    """The Rekey SA of a SAK and the key packets with its SPI: one KEK or one LKH packet, or one of each.

    `sequence`: of the SEQ payload; `received`: monotonic seconds at which the SAK came.
    Raises Malformed unless they have exactly the keys that the policy asks for (RFC 6407 5.6.2, 5.6.3).
    """
    found = [downloaded_keys(offered, packet) for packet in packets]
    if any(not packet_keys.signature_key and not packet_keys.lkh for packet_keys in found):
        raise Malformed("a KEK packet without SIG_ALGORITHM_KEY")
    last = found[-1]
    if any(other.key != last.key or other.iv != last.iv for other in found):
        raise Malformed(
            "KEK_ALGORITHM_KEY is not the root of LKH_DOWNLOAD_ARRAY", notify=NotifyType.INVALID_KEY_INFORMATION
        )
    signature_keys = {item.signature_key for item in found if item.signature_key is not None}
    if len(signature_keys) != 1:
        raise Malformed(f"{len(signature_keys)} different SIG_ALGORITHM_KEYs where one belongs")
    return offered.sa(
        last.key,
        last.iv,
        verify_key_of(offered, signature_keys.pop()),
        received=received,
        sequence=sequence,
        lkh=next((item.lkh for item in found if item.lkh), ()),
    )


def _keys_of(packet: KeyPacket, kinds: type[IntEnum]) -> dict[int, Secret]:
    """The attributes by type, each once. Raises Malformed."""
    keys: dict[int, Secret] = {}
    for attribute in packet.attributes:
        if attribute.type in keys or attribute.type not in list(kinds):
            place = name_of(KdType, packet.kd_type)
            raise Malformed(f"{name_of(kinds, attribute.type)} twice or out of place in a {place} packet")
        keys[attribute.type] = attribute.value
    return keys


def _of_kek_packet(offered: OfferedRekey, packet: KeyPacket) -> DownloadedKeys:
    keys = _keys_of(packet, KekKeyAttribute)
    if KekKeyAttribute.KEK_ALGORITHM_KEY not in keys:
        raise Malformed("a KEK packet without KEK_ALGORITHM_KEY")
    cipher = offered.cipher
    material = keys[KekKeyAttribute.KEK_ALGORITHM_KEY].reveal()
    if len(material) != cipher.block_octets + cipher.key_octets:
        raise Malformed(
            f"KEK_ALGORITHM_KEY has {len(material)} octets, not {cipher.block_octets} of IV and"
            f" {cipher.key_octets} of key",
            notify=NotifyType.INVALID_KEY_INFORMATION,
        )
    signature_key = keys.get(KekKeyAttribute.SIG_ALGORITHM_KEY)
    return DownloadedKeys(
        material[: cipher.block_octets],
        Secret(material[cipher.block_octets :]),
        None if signature_key is None else signature_key.reveal(),
    )


def _of_lkh_packet(offered: OfferedRekey, packet: KeyPacket) -> DownloadedKeys:
    keys = _keys_of(packet, LkhAttribute)
    if LkhAttribute.LKH_UPDATE_ARRAY in keys:
        raise Malformed("LKH_UPDATE_ARRAY in a GROUPKEY-PULL, which gives a member its keys whole")
    if LkhAttribute.LKH_DOWNLOAD_ARRAY not in keys:
        raise Malformed("an LKH packet without LKH_DOWNLOAD_ARRAY")
    array = DownloadArray.parse(keys[LkhAttribute.LKH_DOWNLOAD_ARRAY].reveal())
    lkh = lkh_of(array, offered.cipher, KEY_TYPES[offered.cipher.name])
    signature_key = keys.get(LkhAttribute.SIG_ALGORITHM_KEY)
    return DownloadedKeys(lkh[-1].iv, lkh[-1].key, None if signature_key is None else signature_key.reveal(), lkh)


_READERS: Final[dict[int, Callable[[OfferedRekey, KeyPacket], DownloadedKeys]]] = {
    KdType.KEK: _of_kek_packet,
    KdType.LKH: _of_lkh_packet,
}


def downloaded_keys(offered: OfferedRekey, packet: KeyPacket) -> DownloadedKeys:
    """What a KEK packet, or an LKH packet with an LKH_DOWNLOAD_ARRAY, has. Raises Malformed unless it fits the SAK."""
    return _READERS[packet.kd_type](offered, packet)


def verify_key_of(offered: OfferedRekey, octets: bytes) -> bytes:
    """The public key as DER SubjectPublicKeyInfo. Raises Malformed, INVALID-KEY-INFORMATION."""
    try:
        verify_key = subject_public_key_info(offered.signature_algorithm, octets)
        bits = key_bits(verify_key)
    except ValueError as error:
        raise Malformed(f"SIG_ALGORITHM_KEY: {error}", notify=NotifyType.INVALID_KEY_INFORMATION) from error
    if offered.signature_key_bits not in (None, bits):
        raise Malformed(
            f"SIG_ALGORITHM_KEY has {bits} bits, SIG_KEY_LENGTH says {offered.signature_key_bits}",
            notify=NotifyType.INVALID_KEY_INFORMATION,
        )
    return verify_key
