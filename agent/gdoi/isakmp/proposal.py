"""The Security Association payload of ISAKMP with its proposals and transforms (RFC 2408 3.4 to 3.6).

This is the form of Phase 1. GDOI's SA payload, which has the same type number, is `agent.gdoi.sa`.
Building what was parsed gives the same octets, so a responder returns a chosen transform as it was offered
(RFC 2409 5) and `SecurityAssociation.build` is SAi_b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Self

from agent.errors import Malformed
from agent.gdoi.isakmp.attributes import Attribute, build_attributes, parse_attributes
from agent.gdoi.isakmp.chain import build_frames, framed
from agent.gdoi.isakmp.constants import Doi, NotifyType, PayloadType, name_of
from agent.wire.layout import U8, U16, U32, Layout, Row
from agent.wire.reader import Reader, reading

__all__ = ["MAX_PROPOSALS", "Proposal", "SecurityAssociation", "Transform"]

MAX_PROPOSALS: Final = 16
"""Proposals read of one SA; Phase 1 allows one (RFC 2409 5), so the bound is generous."""

_SA = Layout("SA", (Row("doi", U32, "2 GDOI, 1 IPsec"), Row("situation", U32, "0, or SIT_IDENTITY_ONLY under DOI 1")))

_PROPOSAL = Layout(
    "Proposal",
    (
        Row("number", U8, "Proposal #"),
        Row("protocol", U8, "Protocol-Id"),
        Row("spi_size", U8, "0 to 16 for ISAKMP"),
        Row("transform_count", U8, "# of Transforms"),
    ),
)

_TRANSFORM = Layout(
    "Transform",
    (
        Row("number", U8, "Transform #"),
        Row("transform_id", U8, "1 KEY_IKE"),
        Row("RESERVED2", U16, constant=0, notify=NotifyType.BAD_PROPOSAL_SYNTAX),
    ),
)

_KNOWN_DOIS: Final = frozenset(Doi)
"""Domains of Interpretation whose situation is one word."""


@dataclass(frozen=True, slots=True)
class Transform:
    """A Transform payload: `number`, `transform_id`, and its attributes in the order sent (RFC 2408 3.6)."""

    TYPE: ClassVar = PayloadType.TRANSFORM

    number: int
    transform_id: int
    attributes: tuple[Attribute, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed."""
        with reading(body, "Transform") as reader:
            number, transform_id = _TRANSFORM.read(reader)
            return cls(number, transform_id, parse_attributes(reader))

    def build(self) -> bytes:
        """The body."""
        return _TRANSFORM.build(self.number, self.transform_id) + build_attributes(self.attributes)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A Proposal payload with its transforms (RFC 2408 3.5). `protocol`: ProtocolId; `spi`: ignored in Phase 1."""

    TYPE: ClassVar = PayloadType.PROPOSAL

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> Self:
        """From the body. Raises Malformed when the count is not that of the transforms."""
        with reading(body, "Proposal") as reader:
            number, protocol, spi_size, count = _PROPOSAL.read(reader)
            spi = reader.take(spi_size, "SPI of a proposal")
            transforms = tuple(Transform.parse(inner) for inner in _nested(reader, PayloadType.TRANSFORM, 255))
            if len(transforms) != count:
                raise reader.malformed(
                    f"{count} transforms announced, {len(transforms)} present", notify=NotifyType.BAD_PROPOSAL_SYNTAX
                )
            return cls(number, protocol, spi, transforms)

    def build(self) -> bytes:
        """The body."""
        return (
            _PROPOSAL.build(self.number, self.protocol, len(self.spi), len(self.transforms))
            + self.spi
            + build_frames([(PayloadType.TRANSFORM, transform.build()) for transform in self.transforms])
        )


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """The SA payload of Phase 1 (RFC 2408 3.4). `doi`: 2 for GDOI (RFC 6407 2.1); `situation`: one word."""

    TYPE: ClassVar = PayloadType.SA

    doi: int
    situation: int
    proposals: tuple[Proposal, ...]

    @classmethod
    def parse(cls, body: Reader | bytes) -> SecurityAssociation:
        """From the body. Raises Malformed, DOI-NOT-SUPPORTED for a DOI whose situation cannot be read."""
        with reading(body, "SA") as reader:
            if reader.remaining > _REMEMBERED_OCTETS:
                return _parsed(reader)
            try:
                known = _remembered(reader.ahead())
            except Malformed:
                return _parsed(reader)  # once more, for an error that names the place in the whole message
            reader.rest()
            return known

    def build(self) -> bytes:
        """The body."""
        return _SA.build(self.doi, self.situation) + build_frames(
            [(PayloadType.PROPOSAL, proposal.build()) for proposal in self.proposals]
        )


_REMEMBERED_OCTETS: Final = 2048
_REMEMBERED: Final = 64


@lru_cache(maxsize=_REMEMBERED)
def _remembered(body: bytes) -> SecurityAssociation:
    """An offer has nothing of its exchange in it: all members of a site send the same, again and again."""
    with reading(body, "SA") as reader:
        return _parsed(reader)


def _parsed(reader: Reader) -> SecurityAssociation:
    doi, situation = _SA.read(reader)
    if doi not in _KNOWN_DOIS:
        raise Malformed(f"DOI {name_of(Doi, doi)}", notify=NotifyType.DOI_NOT_SUPPORTED)
    proposals = tuple(Proposal.parse(inner) for inner in _nested(reader, PayloadType.PROPOSAL, MAX_PROPOSALS))
    return SecurityAssociation(doi, situation, proposals)


def _nested(reader: Reader, type_: PayloadType, limit: int) -> list[Reader]:
    """The bodies of the payloads of one type up to the reader's bound: at least one, at most `limit`."""
    bodies: list[Reader] = []
    following: int = type_
    while following == type_:
        if len(bodies) == limit:
            raise reader.malformed(f"more than {limit} {type_.name} payloads")
        following, body = framed(reader, type_.name)
        bodies.append(body)
    if following != PayloadType.NONE:
        raise reader.malformed(
            f"{name_of(PayloadType, following)} follows {type_.name}", notify=NotifyType.BAD_PROPOSAL_SYNTAX
        )
    return bodies
