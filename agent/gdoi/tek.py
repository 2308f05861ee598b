"""Data-Security SAs between the wire and the GSA: SAT and TEK key packet (RFC 6407 5.5.1, 5.6.1, RFC 2407 4.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from agent.errors import Malformed
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
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import LifeType, NotifyType, name_of
from agent.gdoi.kd import KeyAttribute, KeyPacket
from agent.gdoi.sa import SAT, IpsecPolicy
from agent.gdoi.selectors import block_of_prefix, flow_of
from agent.gsa.algorithms import CIPHERS, Cipher, Integrity, Transform
from agent.gsa.flow import Flow
from agent.gsa.sa import AddressPreservation, DataSA, Direction, Mode, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = ["DEFAULT_LIFETIME_S", "OfferedTek", "data_sa_of", "packet_of", "sat_of", "tek_of"]

DEFAULT_LIFETIME_S: Final = 28800
"""The lifetime of an SA whose policy names none: eight hours (RFC 2407 4.5)."""

_MAX_LIFETIME = 0xFFFFFFFF
"""Seconds or kilobytes: what the four octets of deployed peers hold. One who names more has no end in mind."""
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


_PROTOCOLS: Final = {
    SatProtocol.GDOI_PROTO_IPSEC_ESP: SecurityProtocol.ESP,
    SatProtocol.GDOI_PROTO_IPSEC_AH: SecurityProtocol.AH,
}
_CIPHERS: Final = {
    EspTransform.ESP_NULL: Cipher.NULL,
    EspTransform.ESP_AES_CBC: Cipher.AES_CBC,
    EspTransform.ESP_AES_GCM_8: Cipher.AES_GCM_8,
    EspTransform.ESP_AES_GCM_12: Cipher.AES_GCM_12,
    EspTransform.ESP_AES_GCM_16: Cipher.AES_GCM_16,
}
_INTEGRITIES: Final = {
    AuthenticationAlgorithm.HMAC_SHA2_256: Integrity.HMAC_SHA2_256,
    AuthenticationAlgorithm.HMAC_SHA2_384: Integrity.HMAC_SHA2_384,
    AuthenticationAlgorithm.HMAC_SHA2_512: Integrity.HMAC_SHA2_512,
}
_AH_TRANSFORMS: Final[dict[AhTransform, Integrity | None]] = {
    AhTransform.AH_SHA2_256: Integrity.HMAC_SHA2_256,
    AhTransform.AH_SHA2_384: Integrity.HMAC_SHA2_384,
    AhTransform.AH_SHA2_512: Integrity.HMAC_SHA2_512,
}
_MODES: Final = {EncapsulationMode.TUNNEL: Mode.TUNNEL, EncapsulationMode.TRANSPORT: Mode.TRANSPORT}
_DIRECTIONS: Final = {
    SaDirection.SENDER_ONLY: Direction.SENDER_ONLY,
    SaDirection.RECEIVER_ONLY: Direction.RECEIVER_ONLY,
    SaDirection.SYMMETRIC: Direction.SYMMETRIC,
}
_PRESERVATIONS: Final = {
    AddressPreservationValue.NONE: AddressPreservation.NONE,
    AddressPreservationValue.SOURCE_ONLY: AddressPreservation.SOURCE,
    AddressPreservationValue.DESTINATION_ONLY: AddressPreservation.DESTINATION,
    AddressPreservationValue.SOURCE_AND_DESTINATION: AddressPreservation.BOTH,
}
_ESN_64_BIT: Final = 1

_SINGLE_VALUED: Final = frozenset(
    {
        IpsecAttribute.ENCAPSULATION_MODE,
        IpsecAttribute.AUTHENTICATION_ALGORITHM,
        IpsecAttribute.KEY_LENGTH,
        IpsecAttribute.EXTENDED_SEQUENCE_NUMBER,
        IpsecAttribute.ADDRESS_PRESERVATION,
        IpsecAttribute.SA_DIRECTION,
    }
)
"""Supported Basic attributes besides the lifetime; all others but Group Description end the exchange."""

K = TypeVar("K", bound=int)
V = TypeVar("V")


def _unsupported(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.ATTRIBUTES_NOT_SUPPORTED)


def _no_proposal(text: str) -> Malformed:
    return Malformed(text, notify=NotifyType.NO_PROPOSAL_CHOSEN)


@dataclass(slots=True)
class _Attributes:
    """A SAT's attributes while they are read: single values by class, lifetimes by unit."""

    values: dict[int, int]
    lifetimes: dict[int, int]

    @classmethod
    def read(cls, attributes: Iterable[Attribute]) -> _Attributes:
        """All of them, or Malformed: unknown, conflicting, or a duration without its type (RFC 2407 4.5)."""
        found, unit = cls({}, {}), None
        for attribute in attributes:
            if unit is not None and attribute.type != IpsecAttribute.SA_LIFE_DURATION:
                raise Malformed("an SA Life Type without its SA Life Duration")
            if attribute.type == IpsecAttribute.GROUP_DESCRIPTION:
                continue  # never sent in GDOI, ignored when it comes (RFC 6407 5.5.1)
            if attribute.type == IpsecAttribute.SA_LIFE_TYPE:
                unit = _basic_number(attribute)
            elif attribute.type == IpsecAttribute.SA_LIFE_DURATION:
                found._add_lifetime(unit, attribute.number)
                unit = None
            elif attribute.type in _SINGLE_VALUED:
                found._add(found.values, attribute.type, _basic_number(attribute), attribute.type)
            else:
                raise _unsupported(f"SAT attribute {name_of(IpsecAttribute, attribute.type)}")
        if unit is not None:
            raise Malformed("an SA Life Type without its SA Life Duration")
        return found

    def _add_lifetime(self, unit: int | None, duration: int) -> None:
        if unit is None:
            raise Malformed("an SA Life Duration without its SA Life Type")
        if unit not in LifeType.__members__.values():
            raise _unsupported(f"SA Life Type {name_of(LifeType, unit)}")
        if not duration:
            raise Malformed("a lifetime of nothing")
        self._add(self.lifetimes, unit, min(duration, _MAX_LIFETIME), IpsecAttribute.SA_LIFE_DURATION)

    @staticmethod
    def _add(into: dict[int, int], key: int, value: int, type_: int) -> None:
        if into.setdefault(key, value) != value:
            raise _unsupported(f"conflicting values of {name_of(IpsecAttribute, type_)}")

    def pick(self, type_: IpsecAttribute, table: dict[K, V], default: V | None = None) -> V:
        """The value of an attribute through its table. Raises Malformed when unknown, or absent without default."""
        value = self.values.get(type_)
        if value is None:
            if default is None:
                raise _unsupported(f"no {type_.name}")
            return default
        for known, meaning in table.items():
            if known == value:
                return meaning
        raise _unsupported(f"{type_.name} {value}")


def _basic_number(attribute: Attribute) -> int:
    if not attribute.basic:
        raise Malformed(f"Basic attribute {name_of(IpsecAttribute, attribute.type)} in variable form")
    return attribute.number


def tek_of(sat: SAT) -> OfferedTek:
    """What a SAT says. Raises Malformed with the notify that RFC 2407 4.5.3 or 2408 5 names for the reason."""
    if isinstance(sat.policy, bytes):
        raise Malformed(
            f"SAT Protocol-ID {name_of(SatProtocol, sat.protocol_id)}; ESP and AH are supported",
            notify=NotifyType.INVALID_PROTOCOL_ID,
        )
    policy = sat.policy
    if policy.spi < _LOWEST_SPI:
        raise Malformed(f"SPI 0x{policy.spi:08x} is reserved", notify=NotifyType.INVALID_SPI)
    protocol = _PROTOCOLS[SatProtocol(sat.protocol_id)]
    attributes = _Attributes.read(policy.attributes)
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


def _transform_of(protocol: SecurityProtocol, transform_id: int, attributes: _Attributes) -> Transform:
    """The transform, with key length and integrity as its RFC demands. Raises Malformed."""
    key_bits = attributes.values.get(IpsecAttribute.KEY_LENGTH)
    named = attributes.values.get(IpsecAttribute.AUTHENTICATION_ALGORITHM)
    integrity = attributes.pick(IpsecAttribute.AUTHENTICATION_ALGORITHM, _INTEGRITIES) if named is not None else None
    cipher = None
    if protocol is SecurityProtocol.AH:
        expected = _AH_TRANSFORMS.get(AhTransform(transform_id)) if transform_id in _AH_TRANSFORMS else None
        if expected is None:
            raise _no_proposal(f"AH transform {name_of(AhTransform, transform_id)}")
        if integrity is not expected:
            raise Malformed(f"AH transform {name_of(AhTransform, transform_id)} without its Authentication Algorithm")
    else:
        if transform_id not in _CIPHERS:
            raise _no_proposal(f"ESP transform {name_of(EspTransform, transform_id)}")
        cipher = _CIPHERS[EspTransform(transform_id)]
    variable_key = cipher is not None and bool(CIPHERS[cipher].key_bits)
    if (key_bits is not None) != variable_key:
        raise Malformed(f"Key Length {'missing' if variable_key else 'where the transform has none'}")
    try:
        return Transform(cipher, key_bits or 0, integrity)
    except ValueError as error:
        raise _no_proposal(str(error)) from error


def _number_for(table: dict[K, V], meaning: V) -> K:
    return next(number for number, known in table.items() if known == meaning)


def sat_of(sa: DataSA, now: float) -> SAT:
    """The SAT of a Data-Security SA, with the lifetime it has left, in whole seconds and at least one.

    Raises ValueError for what a SAT cannot say: a flow of one ICMP type, a lifetime over 32 bits.
    """
    if sa.flow.icmp_type is not None:
        raise ValueError(f"a SAT selects no ICMP type: {sa.flow}")
    transform = sa.transform
    attributes: list[Attribute] = []
    if sa.expires is not None:
        attributes += _lifetime(LifeType.SECONDS, max(1, int(sa.expires - now)))
    if sa.lifetime_kilobytes is not None:
        attributes += _lifetime(LifeType.KILOBYTES, sa.lifetime_kilobytes)
    attributes.append(basic(IpsecAttribute.ENCAPSULATION_MODE, _number_for(_MODES, sa.mode)))
    if transform.integrity is not None:
        number = _number_for(_INTEGRITIES, transform.integrity)
        attributes.append(basic(IpsecAttribute.AUTHENTICATION_ALGORITHM, number))
    if transform.key_bits:
        attributes.append(basic(IpsecAttribute.KEY_LENGTH, transform.key_bits))
    if sa.esn:
        attributes.append(basic(IpsecAttribute.EXTENDED_SEQUENCE_NUMBER, _ESN_64_BIT))
    attributes += (
        basic(IpsecAttribute.ADDRESS_PRESERVATION, _number_for(_PRESERVATIONS, sa.address_preservation)),
        basic(IpsecAttribute.SA_DIRECTION, _number_for(_DIRECTIONS, sa.direction)),
    )
    if transform.cipher is not None:
        transform_id: int = _number_for(_CIPHERS, transform.cipher)
    else:
        transform_id = _number_for(_AH_TRANSFORMS, transform.integrity)
    policy = IpsecPolicy(
        sa.flow.protocol,
        block_of_prefix(sa.flow.source, sa.flow.source_port),
        block_of_prefix(sa.flow.destination, sa.flow.destination_port),
        transform_id,
        sa.spi,
        tuple(attributes),
    )
    return SAT(_number_for(_PROTOCOLS, sa.protocol), policy)


def _lifetime(unit: LifeType, duration: int) -> tuple[Attribute, Attribute]:
    if duration > _MAX_LIFETIME:
        raise ValueError(f"a lifetime of {duration} {unit.name.lower()} does not fit 32 bits")
    return (
        basic(IpsecAttribute.SA_LIFE_TYPE, unit),
        variable(IpsecAttribute.SA_LIFE_DURATION, duration.to_bytes(4)),
    )


def packet_of(sa: DataSA) -> KeyPacket:
    """The TEK key packet of a Data-Security SA: one attribute for each key its transform has (RFC 6407 5.6.1)."""
    keys = ((TekKeyAttribute.TEK_ALGORITHM_KEY, sa.cipher_key), (TekKeyAttribute.TEK_INTEGRITY_KEY, sa.integrity_key))
    attributes = tuple(KeyAttribute(type_, key) for type_, key in keys if len(key))
    return KeyPacket(KdType.TEK, sa.spi.to_bytes(_SPI_OCTETS), attributes)


def data_sa_of(tek: OfferedTek, packet: KeyPacket, *, received: float, send_from: float) -> DataSA:
    """The Data-Security SA of a SAT and the key packet with its SPI.

    `received`: monotonic seconds at which the SAT came. Raises Malformed unless the packet holds exactly the keys
    that the transform implies, each as long as its RFC says (RFC 6407 5.6.1).
    """
    wanted = {
        TekKeyAttribute.TEK_ALGORITHM_KEY: tek.transform.cipher_key_octets,
        TekKeyAttribute.TEK_INTEGRITY_KEY: tek.transform.integrity_key_octets,
    }
    keys: dict[int, Secret] = {}
    for attribute in packet.attributes:
        if attribute.type in keys:
            raise Malformed(f"two {name_of(TekKeyAttribute, attribute.type)} for SPI 0x{tek.spi:08x}")
        keys[attribute.type] = attribute.value
    for type_ in keys.keys() - {type_ for type_, octets in wanted.items() if octets}:
        raise Malformed(f"{name_of(TekKeyAttribute, type_)} for SPI 0x{tek.spi:08x}, which {tek.transform} has not")
    for kind, octets in wanted.items():
        have = len(keys.setdefault(kind, Secret(b"")))
        if have != octets:
            raise Malformed(
                f"{kind.name} for SPI 0x{tek.spi:08x} has {have} octets, {tek.transform} wants {octets}",
                notify=NotifyType.INVALID_KEY_INFORMATION,
            )
    return DataSA(
        protocol=tek.protocol,
        spi=tek.spi,
        flow=tek.flow,
        mode=tek.mode,
        transform=tek.transform,
        cipher_key=keys[TekKeyAttribute.TEK_ALGORITHM_KEY],
        integrity_key=keys[TekKeyAttribute.TEK_INTEGRITY_KEY],
        direction=tek.direction,
        address_preservation=tek.address_preservation,
        expires=received + tek.lifetime_s,
        lifetime_kilobytes=tek.lifetime_kilobytes,
        send_from=send_from,
        esn=tek.esn,
    )
