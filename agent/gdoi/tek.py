"""Data-Security SAs between the wire and the GSA: SAT and TEK key packet (RFC 6407 5.5.1, 5.6.1, RFC 2407 4.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.errors import Malformed
from agent.gdoi.attribute_values import no_proposal, number_for, unsupported
from agent.gdoi.constants import (
    AddressPreservationValue,
    AhTransform,
    AuthenticationAlgorithm,
    EncapsulationMode,
    EspTransform,
    IpsecAttribute,
    KdType,
    SaDirection,
    SatProtocol,
    TekKeyAttribute,
)
from agent.gdoi.ipsec_attributes import IpsecAttributes, lifetime
from agent.gdoi.isakmp.attributes import Attribute, basic
from agent.gdoi.isakmp.constants import LifeType, NotifyType, name_of
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.sa import SAT, IpsecPolicy
from agent.gdoi.selectors import block_of_prefix, flow_of
from agent.gdoi.tolerances import Tolerances
from agent.gsa.algorithms import CIPHERS, INTEGRITIES, Cipher, Integrity, Transform
from agent.gsa.flow import Flow
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = ["DEFAULT_LIFETIME_S", "OfferedTek", "data_sa_of", "key_packet", "packet_of", "sat_of", "tek_keys", "tek_of"]

DEFAULT_LIFETIME_S: Final = 28800
"""The lifetime of an SA whose policy names none: eight hours (RFC 2407 4.5)."""

_LOWEST_SPI = 256
_SPI_OCTETS = 4


@dataclass(frozen=True, slots=True)
class OfferedTek:
    """A SAT's policy in the GSA's words; its keys come later. Fields as in DataSA; `lifetime_s` counts from receipt."""

    protocol: SecurityProtocol
    spi: Spi
    flow: Flow
    mode: Mode
    transform: Transform
    direction: Direction
    address_preservation: AddressPreservation
    lifetime_s: int
    lifetime_kilobytes: int | None
    esn: bool

    def sa(self, cipher_key: Secret, integrity_key: Secret, *, received: float, send_from: float = 0.0) -> DataSA:
        """The Data-Security SA with those keys; `received`: monotonic seconds at which the SAT came."""
        return DataSA(
            protocol=self.protocol,
            spi=self.spi,
            flow=self.flow,
            mode=self.mode,
            transform=self.transform,
            cipher_key=cipher_key,
            integrity_key=integrity_key,
            direction=self.direction,
            address_preservation=self.address_preservation,
            expires=received + self.lifetime_s,
            lifetime_kilobytes=self.lifetime_kilobytes,
            send_from=send_from,
            esn=self.esn,
        )


_PROTOCOLS: Final[dict[int, SecurityProtocol]] = {
    SatProtocol.GDOI_PROTO_IPSEC_ESP: SecurityProtocol.ESP,
    SatProtocol.GDOI_PROTO_IPSEC_AH: SecurityProtocol.AH,
}
_CIPHERS: Final[dict[int, Cipher]] = {
    EspTransform.ESP_3DES: Cipher.TRIPLE_DES_CBC,
    EspTransform.ESP_NULL: Cipher.NULL,
    EspTransform.ESP_AES_CBC: Cipher.AES_CBC,
    EspTransform.ESP_AES_CTR: Cipher.AES_CTR,
    EspTransform.ESP_AES_CCM_8: Cipher.AES_CCM_8,
    EspTransform.ESP_AES_CCM_12: Cipher.AES_CCM_12,
    EspTransform.ESP_AES_CCM_16: Cipher.AES_CCM_16,
    EspTransform.ESP_AES_GCM_8: Cipher.AES_GCM_8,
    EspTransform.ESP_AES_GCM_12: Cipher.AES_GCM_12,
    EspTransform.ESP_AES_GCM_16: Cipher.AES_GCM_16,
    EspTransform.ESP_CAMELLIA: Cipher.CAMELLIA_CBC,
    EspTransform.ESP_NULL_AUTH_AES_GMAC: Cipher.AES_GMAC,
}
_INTEGRITIES: Final[dict[int, Integrity]] = {
    AuthenticationAlgorithm.HMAC_SHA: Integrity.HMAC_SHA1,
    AuthenticationAlgorithm.HMAC_SHA2_256: Integrity.HMAC_SHA2_256,
    AuthenticationAlgorithm.HMAC_SHA2_384: Integrity.HMAC_SHA2_384,
    AuthenticationAlgorithm.HMAC_SHA2_512: Integrity.HMAC_SHA2_512,
    AuthenticationAlgorithm.AES_XCBC_MAC: Integrity.AES_XCBC,
    AuthenticationAlgorithm.AES_128_GMAC: Integrity.AES_128_GMAC,
    AuthenticationAlgorithm.AES_192_GMAC: Integrity.AES_192_GMAC,
    AuthenticationAlgorithm.AES_256_GMAC: Integrity.AES_256_GMAC,
}
_AH_TRANSFORMS: Final[dict[int, Integrity | None]] = {
    AhTransform.AH_SHA: Integrity.HMAC_SHA1,
    AhTransform.AH_SHA2_256: Integrity.HMAC_SHA2_256,
    AhTransform.AH_SHA2_384: Integrity.HMAC_SHA2_384,
    AhTransform.AH_SHA2_512: Integrity.HMAC_SHA2_512,
    AhTransform.AH_AES_XCBC_MAC: Integrity.AES_XCBC,
    AhTransform.AH_AES_128_GMAC: Integrity.AES_128_GMAC,
    AhTransform.AH_AES_192_GMAC: Integrity.AES_192_GMAC,
    AhTransform.AH_AES_256_GMAC: Integrity.AES_256_GMAC,
}
"""The rest is left out: DES and MD5 (RFC 6407 6.1, RFC 8221), and what no data path has."""
_MODES: Final[dict[int, Mode]] = {
    EncapsulationMode.TUNNEL: Mode.TUNNEL,
    EncapsulationMode.TRANSPORT: Mode.TRANSPORT,
}
_DIRECTIONS: Final[dict[int, Direction]] = {
    SaDirection.SENDER_ONLY: Direction.SENDER_ONLY,
    SaDirection.RECEIVER_ONLY: Direction.RECEIVER_ONLY,
    SaDirection.SYMMETRIC: Direction.SYMMETRIC,
}
_PRESERVATIONS: Final[dict[int, AddressPreservation]] = {
    AddressPreservationValue.NONE: AddressPreservation.NONE,
    AddressPreservationValue.SOURCE_ONLY: AddressPreservation.SOURCE,
    AddressPreservationValue.DESTINATION_ONLY: AddressPreservation.DESTINATION,
    AddressPreservationValue.SOURCE_AND_DESTINATION: AddressPreservation.BOTH,
}
_ESN_64_BIT: Final = 1


def tek_of(sat: SAT, tolerances: Tolerances | None = None) -> OfferedTek:
    """What a SAT for ESP or AH says.

    Raises Malformed with the notify that RFC 2407 4.5.3 or 2408 5 names for the reason.
    """
    policy = sat.policy
    if not isinstance(policy, IpsecPolicy):
        raise Malformed(
            f"SAT Protocol-ID {name_of(SatProtocol, sat.protocol_id)} is not supported",
            notify=NotifyType.INVALID_PROTOCOL_ID,
        )
    if policy.spi < _LOWEST_SPI:
        raise Malformed(f"SPI 0x{policy.spi:08x} is reserved", notify=NotifyType.INVALID_SPI)
    protocol = _PROTOCOLS[sat.protocol_id]
    attributes = IpsecAttributes.read(policy.attributes, tolerances or Tolerances())
    return OfferedTek(
        protocol=protocol,
        spi=Spi(policy.spi),
        flow=flow_of(policy),
        mode=attributes.pick(IpsecAttribute.ENCAPSULATION_MODE, _MODES),
        transform=_transform_of(protocol, policy.transform_id, attributes),
        direction=attributes.pick(IpsecAttribute.SA_DIRECTION, _DIRECTIONS, Direction.SYMMETRIC),
        address_preservation=attributes.pick(
            IpsecAttribute.ADDRESS_PRESERVATION, _PRESERVATIONS, AddressPreservation.BOTH
        ),
        lifetime_s=attributes.lifetimes.get(LifeType.SECONDS, DEFAULT_LIFETIME_S),
        lifetime_kilobytes=attributes.lifetimes.get(LifeType.KILOBYTES),
        esn=attributes.pick(IpsecAttribute.EXTENDED_SEQUENCE_NUMBER, {_ESN_64_BIT: True}, False),
    )


def _transform_of(protocol: SecurityProtocol, transform_id: int, attributes: IpsecAttributes) -> Transform:
    """The transform, with key length and integrity as its RFC demands. Raises Malformed."""
    key_bits = attributes.values.get(IpsecAttribute.KEY_LENGTH)
    named = attributes.values.get(IpsecAttribute.AUTHENTICATION_ALGORITHM)
    integrity = attributes.pick(IpsecAttribute.AUTHENTICATION_ALGORITHM, _INTEGRITIES) if named is not None else None
    cipher = None
    if protocol is SecurityProtocol.AH:
        expected = _AH_TRANSFORMS.get(transform_id)
        if expected is None:
            raise no_proposal(f"AH transform {name_of(AhTransform, transform_id)}")
        if integrity is not expected:
            raise Malformed(f"AH transform {name_of(AhTransform, transform_id)} without its Authentication Algorithm")
    else:
        if transform_id not in _CIPHERS:
            raise no_proposal(f"ESP transform {name_of(EspTransform, transform_id)}")
        cipher = _CIPHERS[transform_id]
    if (key_bits is not None) != _says_key_length(cipher):
        raise Malformed(f"Key Length {'where the transform has none' if key_bits is not None else 'missing'}")
    try:
        transform = Transform(cipher, key_bits or _fixed_key_bits(cipher), integrity)
    except ValueError as error:
        raise no_proposal(str(error)) from error
    _check_integrity_key(transform, attributes)
    return transform


def _says_key_length(cipher: Cipher | None) -> bool:
    """Whether its policy has a Key Length: ciphers with several do, others must not (RFC 2407 4.5, RFC 3602 5.3)."""
    return cipher is not None and bool(CIPHERS[cipher].key_bits) and not CIPHERS[cipher].fixed_key


def _fixed_key_bits(cipher: Cipher | None) -> int:
    return CIPHERS[cipher].key_bits[0] if cipher is not None and CIPHERS[cipher].fixed_key else 0


def _check_integrity_key(transform: Transform, attributes: IpsecAttributes) -> None:
    """Authentication Key Length says what the algorithm has anyhow, or something that no algorithm here has."""
    said = attributes.values.get(IpsecAttribute.AUTHENTICATION_KEY_LENGTH)
    if said is None:
        return
    has = INTEGRITIES[transform.integrity].key_bits if transform.integrity is not None else 0
    if said != has:
        raise unsupported(f"AUTHENTICATION_KEY_LENGTH {said}, {transform} has {has}")


def sat_of(sa: DataSA, now: float, tolerances: Tolerances | None = None) -> SAT:
    """The SAT of a Data-Security SA, with the lifetime it has left, in whole seconds and at least one.

    Raises ValueError for what a SAT cannot say: a flow of one ICMP type, a lifetime over 32 bits.
    """
    tolerances = tolerances or Tolerances()
    if sa.flow.icmp_type is not None:
        raise ValueError(f"a SAT selects no ICMP type: {sa.flow}")
    transform = sa.transform
    if transform.cipher is not None:
        transform_id = number_for(_CIPHERS, transform.cipher)
    else:
        transform_id = number_for(_AH_TRANSFORMS, transform.integrity)
    policy = IpsecPolicy(
        sa.flow.protocol,
        block_of_prefix(sa.flow.source, sa.flow.source_port),
        block_of_prefix(sa.flow.destination, sa.flow.destination_port),
        transform_id,
        sa.spi,
        tuple(_attributes_of(sa, now, tolerances)),
        tolerances.id_length_octets,
    )
    return SAT(number_for(_PROTOCOLS, sa.protocol), policy)


def _attributes_of(sa: DataSA, now: float, tolerances: Tolerances) -> Iterator[Attribute]:
    transform = sa.transform
    if sa.expires is not None:
        yield from lifetime(LifeType.SECONDS, max(1, int(sa.expires - now)))
    if sa.lifetime_kilobytes is not None:
        yield from lifetime(LifeType.KILOBYTES, sa.lifetime_kilobytes)
    yield basic(IpsecAttribute.ENCAPSULATION_MODE, number_for(_MODES, sa.mode))
    if transform.integrity is not None:
        yield basic(IpsecAttribute.AUTHENTICATION_ALGORITHM, number_for(_INTEGRITIES, transform.integrity))
    if _says_key_length(transform.cipher):
        yield basic(IpsecAttribute.KEY_LENGTH, transform.key_bits)
    if sa.esn:
        yield basic(IpsecAttribute.EXTENDED_SEQUENCE_NUMBER, _ESN_64_BIT)
    # RFC 3547 has neither of these two; its peers take them for the defaults, or give up when they come.
    if not tolerances.rfc3547 or sa.address_preservation is not AddressPreservation.BOTH:
        yield basic(IpsecAttribute.ADDRESS_PRESERVATION, number_for(_PRESERVATIONS, sa.address_preservation))
    if not tolerances.rfc3547 or sa.direction is not Direction.SYMMETRIC:
        yield basic(IpsecAttribute.SA_DIRECTION, number_for(_DIRECTIONS, sa.direction))


def packet_of(sa: DataSA) -> KeyPacket:
    """The TEK key packet of a Data-Security SA."""
    return key_packet(sa.spi, sa.cipher_key, sa.integrity_key)


def key_packet(spi: int, cipher_key: Secret, integrity_key: Secret) -> KeyPacket:
    """A TEK key packet: one attribute for each key that there is (RFC 6407 5.6.1)."""
    keys = ((TekKeyAttribute.TEK_ALGORITHM_KEY, cipher_key), (TekKeyAttribute.TEK_INTEGRITY_KEY, integrity_key))
    attributes = tuple(KeyAttribute(type_, key) for type_, key in keys if len(key))
    return KeyPacket(KdType.TEK, spi.to_bytes(_SPI_OCTETS), attributes)


def data_sa_of(tek: OfferedTek, packet: KeyPacket, *, received: float, send_from: float) -> DataSA:
    """The Data-Security SA of a SAT and the key packet with its SPI.

    `received`: monotonic seconds at which the SAT came. Raises Malformed unless the packet holds exactly the keys
    that the transform implies, each as long as its RFC says (RFC 6407 5.6.1).
    """
    transform = tek.transform
    if transform.cipher is Cipher.AES_GMAC:
        packet = _as_cipher_key(packet)
    keys = tek_keys(packet, transform.cipher_key_octets, transform.integrity_key_octets, str(transform))
    return tek.sa(*keys, received=received, send_from=send_from)


def _as_cipher_key(packet: KeyPacket) -> KeyPacket:
    """The packet of a cipher that only authenticates: RFC 6407 5.6.1.2 makes its key an integrity key."""
    if [attribute.type for attribute in packet.attributes] != [TekKeyAttribute.TEK_INTEGRITY_KEY]:
        return packet
    key = KeyAttribute(TekKeyAttribute.TEK_ALGORITHM_KEY, packet.attributes[0].value)
    return KeyPacket(packet.kd_type, packet.spi, (key,))


def tek_keys(packet: KeyPacket, cipher_octets: int, integrity_octets: int, transform: str) -> tuple[Secret, Secret]:
    """TEK_ALGORITHM_KEY and TEK_INTEGRITY_KEY of a packet, empty where there is none (RFC 6407 5.6.1).

    `cipher_octets`, `integrity_octets`: what `transform` takes; a 0 is the word for no key. Raises Malformed for one
    that is missing, too much, there twice or of another length.
    """
    place = f"for SPI 0x{packet.spi.hex()}"
    keys: dict[int, Secret] = {}
    for attribute in packet.attributes:
        if attribute.type in keys:
            raise Malformed(f"two {name_of(TekKeyAttribute, attribute.type)} {place}")
        keys[attribute.type] = attribute.value
    wanted = {
        TekKeyAttribute.TEK_ALGORITHM_KEY: cipher_octets,
        TekKeyAttribute.TEK_INTEGRITY_KEY: integrity_octets,
    }
    for type_ in keys.keys() - {type_ for type_, octets in wanted.items() if octets}:
        raise Malformed(f"{name_of(TekKeyAttribute, type_)} {place}, which {transform} has not")
    for kind, octets in wanted.items():
        have = len(keys.setdefault(kind, Secret(b"")))
        if have != octets:
            raise Malformed(
                f"{kind.name} {place} has {have} octets, {transform} wants {octets}",
                notify=NotifyType.INVALID_KEY_INFORMATION,
            )
    return keys[TekKeyAttribute.TEK_ALGORITHM_KEY], keys[TekKeyAttribute.TEK_INTEGRITY_KEY]
