"""Phase 1 policy: suites and authentication methods, and the transforms that offer them (RFC 2409 5, appendix A).

An offer of ours is one SA with one Proposal whose Transforms are the suites in order of preference, for each method.
Of a peer's offer everything is read that can be understood: several Proposals, Transforms in odd forms. The responder
answers with one Transform octet for octet as it was offered; the initiator takes no altered one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher
from agent.crypto.dh import DhGroup
from agent.crypto.prf import HashAlgorithm
from agent.crypto.signatures import SignatureAlgorithm
from agent.crypto.suites import DEFAULT_SUITES, Suite
from agent.errors import Malformed
from agent.gdoi.isakmp import constants
from agent.gdoi.isakmp.attributes import Attribute, basic, variable
from agent.gdoi.isakmp.constants import (
    AuthenticationMethod,
    Doi,
    EncryptionAlgorithm,
    GroupDescription,
    LifeType,
    NotifyType,
    OakleyAttribute,
    ProtocolId,
    TransformId,
    name_of,
)
from agent.gdoi.isakmp.proposal import Proposal, SecurityAssociation, Transform

__all__ = [
    "DEFAULT_SUITES",
    "Lifetime",
    "Method",
    "Offer",
    "Offered",
    "Suite",
    "answer",
    "attributes_of",
    "offer",
    "offered_in",
    "read_transform",
    "same_attributes",
]


class Method(Enum):
    """A Phase 1 authentication method; the value is its name in events and configuration."""

    __hash__ = object.__hash__  # Enum's hashes the name: a call in Python for each look-up

    PRE_SHARED_KEY = "psk"
    RSA = "rsa"
    ECDSA_256 = "ecdsa-256"
    ECDSA_384 = "ecdsa-384"
    ECDSA_521 = "ecdsa-521"

    @property
    def signature(self) -> SignatureAlgorithm | None:
        """The kind of signature that authenticates, None for the pre-shared key."""
        return _SIGNATURES.get(self)

    @classmethod
    def of_signature(cls, algorithm: SignatureAlgorithm) -> Method:
        """The method whose signatures are of this kind."""
        return next(method for method, signature in _SIGNATURES.items() if signature is algorithm)


_SIGNATURES: Final = {
    Method.RSA: SignatureAlgorithm.RSA,
    Method.ECDSA_256: SignatureAlgorithm.ECDSA_256,
    Method.ECDSA_384: SignatureAlgorithm.ECDSA_384,
    Method.ECDSA_521: SignatureAlgorithm.ECDSA_521,
}


_ENCRYPTION: Final = {
    CbcCipher.AES_CBC: EncryptionAlgorithm.AES_CBC,
    CbcCipher.TRIPLE_DES_CBC: EncryptionAlgorithm.TRIPLE_DES_CBC,
}
_HASH: Final = {
    HashAlgorithm.SHA1: constants.HashAlgorithm.SHA,
    HashAlgorithm.SHA2_256: constants.HashAlgorithm.SHA2_256,
    HashAlgorithm.SHA2_384: constants.HashAlgorithm.SHA2_384,
    HashAlgorithm.SHA2_512: constants.HashAlgorithm.SHA2_512,
}
_METHOD: Final = {
    Method.PRE_SHARED_KEY: AuthenticationMethod.PRE_SHARED_KEY,
    Method.RSA: AuthenticationMethod.RSA_SIGNATURE,
    Method.ECDSA_256: AuthenticationMethod.ECDSA_256,
    Method.ECDSA_384: AuthenticationMethod.ECDSA_384,
    Method.ECDSA_521: AuthenticationMethod.ECDSA_521,
}
_GROUP: Final = {
    DhGroup.MODP_1024: GroupDescription.MODP_1024,
    DhGroup.MODP_1536: GroupDescription.MODP_1536,
    DhGroup.MODP_2048: GroupDescription.MODP_2048,
    DhGroup.MODP_3072: GroupDescription.MODP_3072,
    DhGroup.MODP_4096: GroupDescription.MODP_4096,
    DhGroup.MODP_6144: GroupDescription.MODP_6144,
    DhGroup.MODP_8192: GroupDescription.MODP_8192,
    DhGroup.ECP_256: GroupDescription.ECP_256,
    DhGroup.ECP_384: GroupDescription.ECP_384,
    DhGroup.ECP_521: GroupDescription.ECP_521,
}


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a Phase 1 SA lasts: `seconds`, and the `kilobytes` it may protect, None for any (RFC 2409 A)."""

    seconds: int
    kilobytes: int | None = None

    def least(self, offer: Offer) -> Lifetime:
        """The shorter of this and what an offer says, unit by unit; what the offer leaves out is ours to say."""
        given = [value for value in (self.kilobytes, offer.lifetime_kb) if value is not None]
        return Lifetime(min(self.seconds, offer.lifetime_s or self.seconds), min(given, default=None))


@dataclass(frozen=True, slots=True)
class Offer:
    """What one Transform says, understood. `lifetime_s`, `lifetime_kb`: None when it names none in that unit."""

    suite: Suite
    method: Method
    lifetime_s: int | None
    lifetime_kb: int | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """A Transform of a peer's offer with the Proposal it stands in."""

    proposal: Proposal
    transform: Transform


def attributes_of(suite: Suite, method: Method, lifetime: Lifetime) -> tuple[Attribute, ...]:
    """The attributes that offer a suite; a life duration has four octets, as deployed peers write it.

    A cipher with one key length has no Key Length (RFC 2409 appendix A).
    """
    fixed = CBC_CIPHERS[suite.cipher].fixed_key
    durations = {LifeType.SECONDS: lifetime.seconds, LifeType.KILOBYTES: lifetime.kilobytes}
    return (
        basic(OakleyAttribute.ENCRYPTION_ALGORITHM, _ENCRYPTION[suite.cipher]),
        *(() if fixed else (basic(OakleyAttribute.KEY_LENGTH, suite.key_bits),)),
        basic(OakleyAttribute.HASH_ALGORITHM, _HASH[suite.hash]),
        basic(OakleyAttribute.AUTHENTICATION_METHOD, _METHOD[method]),
        basic(OakleyAttribute.GROUP_DESCRIPTION, _GROUP[suite.group]),
        *(
            attribute
            for unit, duration in durations.items()
            if duration is not None
            for attribute in (
                basic(OakleyAttribute.LIFE_TYPE, unit),
                variable(OakleyAttribute.LIFE_DURATION, duration.to_bytes(4)),
            )
        ),
    )


def offer(
    suites: Sequence[Suite], methods: Sequence[Method], lifetime: Lifetime, doi: int = Doi.GDOI
) -> SecurityAssociation:
    """The SA payload of message 1: one Proposal, a Transform for each suite and method (RFC 2409 5, RFC 6407 2.1)."""
    wanted = [(suite, method) for suite in suites for method in methods]
    transforms = tuple(
        Transform(number, TransformId.KEY_IKE, attributes_of(suite, method, lifetime))
        for number, (suite, method) in enumerate(wanted, 1)
    )
    return SecurityAssociation(doi, 0, (Proposal(1, ProtocolId.ISAKMP, b"", transforms),))


def answer(offered: SecurityAssociation, chosen: Offered) -> SecurityAssociation:
    """The SA payload that answers: the Proposal chosen with nothing but the Transform chosen, both untouched."""
    proposal = chosen.proposal
    sole = Proposal(proposal.number, proposal.protocol, proposal.spi, (chosen.transform,))
    return SecurityAssociation(offered.doi, offered.situation, (sole,))


def offered_in(sa: SecurityAssociation, dois: frozenset[int]) -> tuple[Offered, ...]:
    """The transforms of an SA of Phase 1, in order: those of its Proposals for PROTO_ISAKMP.

    RFC 2409 5 has one Proposal; peers that send several mean them as further choices. Situation 0 and 1
    (SIT_IDENTITY_ONLY) both occur. Raises Malformed with the notify number of RFC 2408 5.4 and 5.5.
    """
    if sa.doi not in dois:
        raise Malformed(f"SA: DOI {name_of(Doi, sa.doi)} is not acceptable", notify=NotifyType.DOI_NOT_SUPPORTED)
    if sa.situation not in (0, 1):
        raise Malformed(f"SA: situation {sa.situation}", notify=NotifyType.SITUATION_NOT_SUPPORTED)
    ours = [proposal for proposal in sa.proposals if proposal.protocol == ProtocolId.ISAKMP]
    if not ours:
        protocols = ", ".join(str(proposal.protocol) for proposal in sa.proposals)
        raise Malformed(f"SA: proposal for protocol {protocols}", notify=NotifyType.INVALID_PROTOCOL_ID)
    for proposal in ours:
        if len(proposal.spi) > _MAX_SPI_OCTETS:
            raise Malformed(f"SA: an SPI of {len(proposal.spi)} octets", notify=NotifyType.INVALID_SPI)
    return tuple(Offered(proposal, transform) for proposal in ours for transform in proposal.transforms)


_MAX_SPI_OCTETS: Final = 16
"""An ISAKMP proposal's SPI is two cookies at most, and its content is ignored (RFC 2408 3.5)."""

_CHOICES: Final = frozenset(
    {
        OakleyAttribute.ENCRYPTION_ALGORITHM,
        OakleyAttribute.HASH_ALGORITHM,
        OakleyAttribute.AUTHENTICATION_METHOD,
        OakleyAttribute.GROUP_DESCRIPTION,
    }
)
"""What every Transform names exactly once (RFC 2409 4); a cipher of several key lengths wants Key Length besides."""
_LIFETIME: Final = frozenset({OakleyAttribute.LIFE_TYPE, OakleyAttribute.LIFE_DURATION})


def read_transform(transform: Transform) -> Offer | None:
    """What a Transform offers, or None when it names anything we do not know: such are skipped (RFC 2408 5.6).

    A Basic attribute sent as variable is against RFC 2409 appendix A, but says the same.
    """
    if transform.transform_id != TransformId.KEY_IKE:
        return None
    choices = [attribute for attribute in transform.attributes if attribute.type not in _LIFETIME]
    try:
        values = {attribute.type: attribute.number for attribute in choices}
        lifetimes = _lifetimes([attribute for attribute in transform.attributes if attribute.type in _LIFETIME])
    except Malformed:
        return None
    # Twice the same, or a Group attribute beside a defined group, which is forbidden (RFC 2409 4).
    if len(values) != len(choices) or values.keys() - {OakleyAttribute.KEY_LENGTH} != _CHOICES:
        return None
    suite = _suite_of(values)
    method = _METHODS.get(values[OakleyAttribute.AUTHENTICATION_METHOD])
    if suite is None or method is None:
        return None
    return Offer(suite, method, lifetimes.get(LifeType.SECONDS), lifetimes.get(LifeType.KILOBYTES))


_K = TypeVar("_K")


def _inverse(table: Mapping[_K, int]) -> dict[int, _K]:
    return {number: value for value, number in table.items()}


_CIPHERS: Final = _inverse(_ENCRYPTION)
_HASHES: Final = _inverse(_HASH)
_METHODS: Final = _inverse(_METHOD)
_GROUPS: Final = _inverse(_GROUP)


def _suite_of(values: Mapping[int, int]) -> Suite | None:
    cipher = _CIPHERS.get(values[OakleyAttribute.ENCRYPTION_ALGORITHM])
    hash_ = _HASHES.get(values[OakleyAttribute.HASH_ALGORITHM])
    group = _GROUPS.get(values[OakleyAttribute.GROUP_DESCRIPTION])
    if cipher is None or hash_ is None or group is None:
        return None
    facts = CBC_CIPHERS[cipher]
    named = values.get(OakleyAttribute.KEY_LENGTH)
    key_bits = facts.key_bits[0] if facts.fixed_key and named is None else named
    if key_bits not in facts.key_bits or (facts.fixed_key and named is not None):
        return None
    return Suite(cipher, key_bits, hash_, group)


def _lifetimes(attributes: Sequence[Attribute]) -> dict[int, int]:
    """Life Type to Life Duration. Raises Malformed for a broken or double pair."""
    if len(attributes) % 2:
        raise Malformed("Life Type and Life Duration do not pair")
    lifetimes: dict[int, int] = {}
    for unit, duration in zip(attributes[::2], attributes[1::2], strict=True):
        if (unit.type, duration.type) != (OakleyAttribute.LIFE_TYPE, OakleyAttribute.LIFE_DURATION):
            raise Malformed("Life Duration does not follow its Life Type")
        if unit.number in lifetimes or unit.number not in tuple(LifeType) or not duration.number:
            raise Malformed("lifetime given twice, zero, or of no known unit")
        lifetimes[unit.number] = duration.number
    return lifetimes


def same_attributes(offered: Transform, answered: Transform) -> bool:
    """Whether an answer has the attributes of the offer: none changed, added or missing (RFC 2409 5).

    The order may differ, and a life duration may come back in another encoding, as some peers send it.
    """

    def normal(transform: Transform) -> list[tuple[int, bool, bytes]]:
        return sorted(
            (attribute.type, False, attribute.octets.lstrip(b"\0"))
            if attribute.type == OakleyAttribute.LIFE_DURATION
            else (attribute.type, attribute.basic, attribute.octets)
            for attribute in transform.attributes
        )

    return offered.transform_id == answered.transform_id and normal(offered) == normal(answered)
