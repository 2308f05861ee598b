"""Phase 1 policy: suites and authentication methods, and the transforms that offer them (RFC 2409 5, appendix A).

An offer is one SA with one Proposal whose Transforms are the suites in order of preference, for each method. The
responder answers with one Transform octet for octet as it was offered; the initiator takes no altered one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self, TypeVar

from agent.crypto.ciphers import CBC_CIPHERS, CbcCipher
from agent.crypto.dh import DhGroup
from agent.crypto.prf import HashAlgorithm
from agent.crypto.signatures import SignatureAlgorithm
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
    "Method",
    "Offer",
    "Suite",
    "answer",
    "attributes_of",
    "offer",
    "read_transform",
    "same_attributes",
    "sole_transforms",
]


class Method(Enum):
    """A Phase 1 authentication method; the value is its name in events and configuration."""

    PRE_SHARED_KEY = "psk"
    RSA = "rsa"
    ECDSA_256 = "ecdsa-256"
    ECDSA_384 = "ecdsa-384"

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
}


@dataclass(frozen=True, slots=True)
class Suite:
    """Cipher, key length, hash and group of a Phase 1 SA; `str()` is the configuration's form.

    Raises ValueError for a key length the cipher has not.
    """

    cipher: CbcCipher
    key_bits: int
    hash: HashAlgorithm
    group: DhGroup

    def __post_init__(self) -> None:
        allowed = CBC_CIPHERS[self.cipher].key_bits
        if self.key_bits not in allowed:
            raise ValueError(f"{self.cipher.value} takes keys of {allowed} bits, not {self.key_bits}")

    def __str__(self) -> str:
        return f"{self.cipher.value}-{self.key_bits}/{self.hash.value}/{self.group.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `cipher-bits/hash/group`, e.g. `aes-cbc-128/sha2-256/modp-2048`.

        Raises ValueError with what is allowed.
        """
        parts = text.split("/")
        if len(parts) != 3:
            raise ValueError(f"{text!r} is not of the form cipher-bits/hash/group, as in {DEFAULT_SUITES[0]}")
        cipher_name, _, bits = parts[0].rpartition("-")
        allowed = [f"{cipher.value}-{length}" for cipher, facts in CBC_CIPHERS.items() for length in facts.key_bits]
        if parts[0] not in allowed:
            raise ValueError(f"cipher {parts[0]!r} is none of {', '.join(allowed)}")
        return cls(
            CbcCipher(cipher_name),
            int(bits),
            _named(HashAlgorithm, parts[1], "hash"),
            _named(DhGroup, parts[2], "group"),
        )


_E = TypeVar("_E", bound=Enum)


def _named(kind: type[_E], value: str, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{what} {value!r} is none of {', '.join(member.value for member in kind)}") from None


DEFAULT_SUITES: Final = (
    Suite(CbcCipher.AES_CBC, 128, HashAlgorithm.SHA2_256, DhGroup.ECP_256),
    Suite(CbcCipher.AES_CBC, 256, HashAlgorithm.SHA2_384, DhGroup.ECP_384),
    Suite(CbcCipher.AES_CBC, 128, HashAlgorithm.SHA2_256, DhGroup.MODP_2048),
)
"""What is offered and accepted when nothing else is configured; the quickest first."""

_ENCRYPTION: Final = {CbcCipher.AES_CBC: EncryptionAlgorithm.AES_CBC}
_HASH: Final = {
    HashAlgorithm.SHA2_256: constants.HashAlgorithm.SHA2_256,
    HashAlgorithm.SHA2_384: constants.HashAlgorithm.SHA2_384,
    HashAlgorithm.SHA2_512: constants.HashAlgorithm.SHA2_512,
}
_METHOD: Final = {
    Method.PRE_SHARED_KEY: AuthenticationMethod.PRE_SHARED_KEY,
    Method.RSA: AuthenticationMethod.RSA_SIGNATURE,
    Method.ECDSA_256: AuthenticationMethod.ECDSA_256,
    Method.ECDSA_384: AuthenticationMethod.ECDSA_384,
}
_GROUP: Final = {
    DhGroup.MODP_2048: GroupDescription.MODP_2048,
    DhGroup.ECP_256: GroupDescription.ECP_256,
    DhGroup.ECP_384: GroupDescription.ECP_384,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What one Transform says, understood. `lifetime_s`: None when it names no lifetime in seconds."""

    suite: Suite
    method: Method
    lifetime_s: int | None


def attributes_of(suite: Suite, method: Method, lifetime_s: int) -> tuple[Attribute, ...]:
    """The attributes that offer a suite; the life duration has four octets, as deployed peers write it."""
    return (
        basic(OakleyAttribute.ENCRYPTION_ALGORITHM, _ENCRYPTION[suite.cipher]),
        basic(OakleyAttribute.KEY_LENGTH, suite.key_bits),
        basic(OakleyAttribute.HASH_ALGORITHM, _HASH[suite.hash]),
        basic(OakleyAttribute.AUTHENTICATION_METHOD, _METHOD[method]),
        basic(OakleyAttribute.GROUP_DESCRIPTION, _GROUP[suite.group]),
        basic(OakleyAttribute.LIFE_TYPE, LifeType.SECONDS),
        variable(OakleyAttribute.LIFE_DURATION, lifetime_s.to_bytes(4)),
    )


def offer(
    suites: Sequence[Suite], methods: Sequence[Method], lifetime_s: int, doi: int = Doi.GDOI
) -> SecurityAssociation:
    """The SA payload of message 1: one Proposal, a Transform for each suite and method (RFC 2409 5, RFC 6407 2.1)."""
    wanted = [(suite, method) for suite in suites for method in methods]
    transforms = tuple(
        Transform(number, TransformId.KEY_IKE, attributes_of(suite, method, lifetime_s))
        for number, (suite, method) in enumerate(wanted, 1)
    )
    return SecurityAssociation(doi, 0, (Proposal(1, ProtocolId.ISAKMP, b"", transforms),))


def answer(offered: SecurityAssociation, chosen: Transform) -> SecurityAssociation:
    """The SA payload of message 2: the Proposal offered with nothing but the Transform chosen, untouched."""
    proposal = offered.proposals[0]
    sole = Proposal(proposal.number, proposal.protocol, proposal.spi, (chosen,))
    return SecurityAssociation(offered.doi, offered.situation, (sole,))


def sole_transforms(sa: SecurityAssociation, dois: frozenset[int]) -> tuple[Transform, ...]:
    """The transforms of an SA that has the form of Phase 1: DOI, Situation, one Proposal of PROTO_ISAKMP.

    Situation 0 and 1 (SIT_IDENTITY_ONLY) both occur. Raises Malformed with the notify number of RFC 2408 5.4 and 5.5.
    """
    if sa.doi not in dois:
        raise Malformed(f"SA: DOI {name_of(Doi, sa.doi)} is not acceptable", notify=NotifyType.DOI_NOT_SUPPORTED)
    if sa.situation not in (0, 1):
        raise Malformed(f"SA: situation {sa.situation}", notify=NotifyType.SITUATION_NOT_SUPPORTED)
    if len(sa.proposals) != 1:
        raise Malformed(f"SA: {len(sa.proposals)} proposals, Phase 1 has one", notify=NotifyType.BAD_PROPOSAL_SYNTAX)
    proposal = sa.proposals[0]
    if proposal.protocol != ProtocolId.ISAKMP:
        raise Malformed(f"SA: proposal for protocol {proposal.protocol}", notify=NotifyType.INVALID_PROTOCOL_ID)
    if len(proposal.spi) > _MAX_SPI_OCTETS:
        raise Malformed(f"SA: an SPI of {len(proposal.spi)} octets", notify=NotifyType.INVALID_SPI)
    return proposal.transforms


_MAX_SPI_OCTETS: Final = 16
"""An ISAKMP proposal's SPI is two cookies at most, and its content is ignored (RFC 2408 3.5)."""

_ONCE: Final = frozenset(
    {
        OakleyAttribute.ENCRYPTION_ALGORITHM,
        OakleyAttribute.KEY_LENGTH,
        OakleyAttribute.HASH_ALGORITHM,
        OakleyAttribute.AUTHENTICATION_METHOD,
        OakleyAttribute.GROUP_DESCRIPTION,
    }
)
"""What every Transform of ours names exactly once, as Basic attributes."""


def read_transform(transform: Transform) -> Offer | None:
    """What a Transform offers, or None when it names anything we do not know: such are skipped (RFC 2408 5.6)."""
    if transform.transform_id != TransformId.KEY_IKE:
        return None
    lifetime = [attribute for attribute in transform.attributes if attribute.type in _LIFETIME]
    choices = [attribute for attribute in transform.attributes if attribute.type not in _LIFETIME]
    values = {attribute.type: attribute.number for attribute in choices if attribute.basic}
    # Group attributes beside a defined group are forbidden (RFC 2409 4), and so is a Basic attribute sent as variable.
    if values.keys() != _ONCE or len(choices) != len(_ONCE):
        return None
    cipher = _inverse(_ENCRYPTION).get(values[OakleyAttribute.ENCRYPTION_ALGORITHM])
    hash_ = _inverse(_HASH).get(values[OakleyAttribute.HASH_ALGORITHM])
    method = _inverse(_METHOD).get(values[OakleyAttribute.AUTHENTICATION_METHOD])
    group = _inverse(_GROUP).get(values[OakleyAttribute.GROUP_DESCRIPTION])
    if cipher is None or hash_ is None or method is None or group is None:
        return None
    key_bits = values[OakleyAttribute.KEY_LENGTH]
    if key_bits not in CBC_CIPHERS[cipher].key_bits:
        return None
    try:
        return Offer(Suite(cipher, key_bits, hash_, group), method, _lifetime_s(lifetime))
    except Malformed:
        return None


_LIFETIME: Final = frozenset({OakleyAttribute.LIFE_TYPE, OakleyAttribute.LIFE_DURATION})

_K = TypeVar("_K")


def _inverse(table: Mapping[_K, int]) -> dict[int, _K]:
    return {number: value for value, number in table.items()}


def _lifetime_s(attributes: Sequence[Attribute]) -> int | None:
    """The lifetime in seconds of Life Type and Life Duration pairs. Raises Malformed for a broken or double pair."""
    if len(attributes) % 2:
        raise Malformed("Life Type and Life Duration do not pair")
    lifetimes: dict[int, int] = {}
    for unit, duration in zip(attributes[::2], attributes[1::2], strict=True):
        if (unit.type, duration.type) != (OakleyAttribute.LIFE_TYPE, OakleyAttribute.LIFE_DURATION):
            raise Malformed("Life Duration does not follow its Life Type")
        if unit.number in lifetimes or unit.number not in tuple(LifeType) or not duration.number:
            raise Malformed("lifetime given twice, zero, or of no known unit")
        lifetimes[unit.number] = duration.number
    return lifetimes.get(LifeType.SECONDS)


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
