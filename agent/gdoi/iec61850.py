"""SAs of IEC 61850 between the wire and the GSA: SAT and TEK key packet (RFC 8052 2.2, 2.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.errors import Malformed
from agent.gdoi.attribute_values import MAX_LIFETIME, no_proposal, number_for, single_values
from agent.gdoi.constants import (
    IecAttribute,
    IecAuthenticationValue,
    IecConfidentialityValue,
    SatProtocol,
)
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import NotifyType, name_of
from agent.gdoi.kd import KeyPacket
from agent.gdoi.sa import SAT, Iec61850Policy
from agent.gdoi.tek import key_packet, tek_keys
from agent.gdoi.tolerances import Tolerances
from agent.gsa.iec61850 import Iec61850SA, IecAuthentication, IecConfidentiality, IecTransform
from agent.gsa.oid import OidSelector, decode_oid, encode_oid
from agent.secret import Secret

__all__ = ["OfferedIec", "iec_of", "iec_sa_of", "packet_of", "sat_of"]

_PRIVATE: Final = range(28672, 32768)
"""GDOI SA TEK Attributes for private use (RFC 8052 4)."""
_MOST_PERCENT: Final = 100
_DELAY_OCTETS: Final = 4

_AUTHENTICATIONS: Final[dict[int, IecAuthentication]] = {
    IecAuthenticationValue.NONE: IecAuthentication.NONE,
    IecAuthenticationValue.HMAC_SHA256_128: IecAuthentication.HMAC_SHA256_128,
    IecAuthenticationValue.HMAC_SHA256: IecAuthentication.HMAC_SHA256,
    IecAuthenticationValue.AES_GMAC_128: IecAuthentication.AES_GMAC_128,
    IecAuthenticationValue.AES_GMAC_256: IecAuthentication.AES_GMAC_256,
}
_CONFIDENTIALITIES: Final[dict[int, IecConfidentiality]] = {
    IecConfidentialityValue.NONE: IecConfidentiality.NONE,
    IecConfidentialityValue.AES_CBC_128: IecConfidentiality.AES_CBC_128,
    IecConfidentialityValue.AES_CBC_256: IecConfidentiality.AES_CBC_256,
    IecConfidentialityValue.AES_GCM_128: IecConfidentiality.AES_GCM_128,
    IecConfidentialityValue.AES_GCM_256: IecConfidentiality.AES_GCM_256,
}


@dataclass(frozen=True, slots=True)
class OfferedIec:
    """A SAT's policy in the GSA's words; its keys come later. Fields as in Iec61850SA.

    `lifetime_s`: from receipt, None for no end; `activation_delay_s`: SA_ATD, None where it is not said.
    """

    spi: int
    selector: OidSelector
    transform: IecTransform
    lifetime_s: int | None
    activation_delay_s: int | None
    key_delivery_assurance: int | None

    def sa(
        self, confidentiality_key: Secret, authentication_key: Secret, *, received: float, send_from: float = 0.0
    ) -> Iec61850SA:
        """The SA with those keys. `received`: monotonic seconds at which the SAT came; `send_from`: as in Iec61850SA,
        unless SA_ATD overrules it (RFC 8052 2.2.4.1).
        """
        activates = 0.0
        if self.activation_delay_s is not None:
            activates = send_from = received + self.activation_delay_s
        return Iec61850SA(
            spi=self.spi,
            selector=self.selector,
            transform=self.transform,
            confidentiality_key=confidentiality_key,
            authentication_key=authentication_key,
            expires=None if self.lifetime_s is None else received + self.lifetime_s,
            activates=activates,
            send_from=send_from,
            key_delivery_assurance=self.key_delivery_assurance,
        )


def iec_of(sat: SAT, tolerances: Tolerances | None = None) -> OfferedIec:
    """What a SAT for IEC 61850 says. Raises Malformed for what is wrong, forbidden or not understood."""
    policy = sat.policy
    if not isinstance(policy, Iec61850Policy):
        raise Malformed(
            f"SAT Protocol-ID {name_of(SatProtocol, sat.protocol_id)} is not supported",
            notify=NotifyType.INVALID_PROTOCOL_ID,
        )
    if not policy.spi:
        raise Malformed("SPI 0 of IEC 61850 is reserved", notify=NotifyType.INVALID_SPI)
    delay, assurance = _attributes_of(policy.attributes, tolerances or Tolerances())
    try:
        selector = OidSelector(decode_oid(policy.oid), policy.specific)
    except ValueError as error:
        raise Malformed(f"SAT: {error}", notify=NotifyType.INVALID_ID_INFORMATION) from error
    return OfferedIec(
        spi=policy.spi,
        selector=selector,
        transform=_transform_of(policy),
        lifetime_s=policy.lifetime_s or None,
        activation_delay_s=delay,
        key_delivery_assurance=assurance,
    )


def _transform_of(policy: Iec61850Policy) -> IecTransform:
    authentication = _AUTHENTICATIONS.get(policy.authentication)
    confidentiality = _CONFIDENTIALITIES.get(policy.confidentiality)
    if authentication is None or confidentiality is None:
        raise no_proposal(
            f"IEC 61850 with authentication {name_of(IecAuthenticationValue, policy.authentication)} and"
            f" confidentiality {name_of(IecConfidentialityValue, policy.confidentiality)}"
        )
    try:
        return IecTransform(authentication, confidentiality)
    except ValueError as error:
        raise no_proposal(str(error)) from error


def _attributes_of(attributes: Iterable[Attribute], tolerances: Tolerances) -> tuple[int | None, int | None]:
    """SA_ATD and SA_KDA. Raises Malformed for others, wrong values, and two that differ (RFC 8052 2.2.4)."""
    values = single_values(
        attributes,
        IecAttribute,
        "SAT attribute {} of IEC 61850",
        basic={IecAttribute.SA_KDA},
        either={IecAttribute.SA_ATD},
        ignored=tolerances.ignored(_PRIVATE),
    )
    delay, assurance = values.get(IecAttribute.SA_ATD), values.get(IecAttribute.SA_KDA)
    if assurance is not None and assurance > _MOST_PERCENT:
        raise Malformed(f"SA_KDA of {assurance} percent")
    return None if delay is None else min(delay, MAX_LIFETIME), assurance


def iec_sa_of(offered: OfferedIec, packet: KeyPacket, *, received: float, send_from: float) -> Iec61850SA:
    """The SA of a SAT and the key packet with its SPI; `send_from`: what the group's ATD makes of it.

    Raises Malformed unless the packet holds exactly the keys of its algorithms.
    """
    transform = offered.transform
    keys = tek_keys(
        packet, transform.confidentiality_key_octets, transform.authentication_key_octets, f"IEC 61850 {transform}"
    )
    return offered.sa(*keys, received=received, send_from=send_from)


def sat_of(sa: Iec61850SA, now: float) -> SAT:
    """The SAT of an SA with the lifetime it has left, in whole seconds and at least one; 0 says that it has no end.

    SA_ATD is sent while it has not passed. Raises ValueError for a lifetime or delay over 32 bits.
    """
    left = 0 if sa.expires is None else max(1, int(sa.expires - now))
    delay = math.ceil(sa.activates - now)
    if max(left, delay) > MAX_LIFETIME:
        raise ValueError(f"a lifetime of {left} s after a delay of {delay} s does not fit 32 bits")
    attributes: list[Attribute] = []
    if delay > 0:
        attributes.append(variable(IecAttribute.SA_ATD, delay.to_bytes(_DELAY_OCTETS)))
    if sa.key_delivery_assurance is not None:
        attributes.append(basic(IecAttribute.SA_KDA, sa.key_delivery_assurance))
    policy = Iec61850Policy(
        encode_oid(sa.selector.oid),
        sa.selector.specific,
        sa.spi,
        number_for(_AUTHENTICATIONS, sa.transform.authentication),
        number_for(_CONFIDENTIALITIES, sa.transform.confidentiality),
        left,
        tuple(attributes),
    )
    return SAT(SatProtocol.GDOI_PROTO_IEC_61850, policy)


def packet_of(sa: Iec61850SA) -> KeyPacket:
    """The TEK key packet of an SA (RFC 8052 2.3)."""
    return key_packet(sa.spi, sa.confidentiality_key, sa.authentication_key)
