"""Security associations: entries of the SAD (RFC 4301 4.4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from xfrm import attributes as rows
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm.attributes import Attribute, AttributeSet, RawAttribute, numbers_of
from xfrm.constants import Mode, Protocol, SaDirection, known, word_of
from xfrm.errors import EncodeError
from xfrm.replay import NO_REPLAY_CHECK, NO_SEQUENCE, ReplayWindow, SequenceState, read_replay
from xfrm.selector import Selector
from xfrm.structs import (
    USERSA_ID,
    USERSA_INFO,
    XfrmEncapTmpl,
    XfrmId,
    XfrmSelector,
    XfrmUsersaId,
    XfrmUsersaInfo,
)
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Usage

__all__ = ["Encapsulation", "SaId", "SecurityAssociation", "Statistics"]

_OWN_ROWS: Final[tuple[Attribute[Any], ...]] = (
    *(rows.ALG_CRYPT, rows.ALG_AEAD, rows.ALG_AUTH_TRUNC, rows.ENCAP, rows.LASTUSED, rows.REPLAY_VAL),
    *(rows.MARK, rows.TFCPAD, rows.REPLAY_ESN_VAL, rows.SA_EXTRA_FLAGS, rows.SET_MARK, rows.SET_MARK_MASK),
    *(rows.IF_ID, rows.SA_DIR),
)
_OWN: Final = numbers_of(_OWN_ROWS)
# The kernel reports integrity twice; XFRMA_ALG_AUTH adds nothing to XFRMA_ALG_AUTH_TRUNC.
_OWN_WITH_BOTH: Final = numbers_of((*_OWN_ROWS, rows.ALG_AUTH))
_ALL_BITS: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SaId:
    """What names an SA: destination, SPI, protocol and mark; never its source.

    `spi`: 32 bits; an SA added unmarked is in the way of every marked one.
    """

    destination: Address
    spi: int
    protocol: int = Protocol.ESP
    mark: Mark | None = None

    def encode(self) -> bytes:
        """The body of a DELSA or GETSA request. Raises EncodeError."""
        head = USERSA_ID.pack(XfrmUsersaId(self.destination.octets, self.spi, self.destination.family, self.protocol))
        return head if self.mark is None else head + rows.MARK.encode(self.mark.to_uapi())

    @classmethod
    def decode(cls, record: XfrmUsersaId, attributes: AttributeSet) -> SaId:
        """From the uapi record and its attributes. Raises DecodeError."""
        return cls(
            Address.from_wire(record.family, record.daddr),
            record.spi,
            known(Protocol, record.proto),
            Mark.from_uapi(attributes.get(rows.MARK)),
        )

    def __str__(self) -> str:
        mark = "" if self.mark is None else f" mark {self.mark}"
        return f"dst {self.destination} {word_of(Protocol, self.protocol)} spi 0x{self.spi:08x}{mark}"


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """UDP encapsulation of ESP (RFC 3948), struct xfrm_encap_tmpl. `type`: UDP_ENCAP_*, 2 for ESP in UDP."""

    type: int
    source_port: int
    destination_port: int
    original: Address

    def to_uapi(self) -> XfrmEncapTmpl:
        """The uapi record."""
        return XfrmEncapTmpl(self.type, self.source_port, self.destination_port, self.original.octets)

    @classmethod
    def from_uapi(cls, record: XfrmEncapTmpl, family: int) -> Encapsulation:
        """From the uapi record and the SA's family. Raises DecodeError."""
        address = Address.from_wire(family, record.encap_oa)
        return cls(record.encap_type, record.encap_sport, record.encap_dport, address)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Packets an SA refused, struct xfrm_stats: outside the replay window, replayed, of wrong integrity."""

    replay_window: int = 0
    replay: int = 0
    integrity_failed: int = 0


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """An SA, struct xfrm_usersa_info with its attributes.

    `source`: unspecified for any source, which a tunnel's sender cannot have (it would be the outer source);
    `destination`, `spi`, `protocol`, `mark`: its name. `reqid`: must equal that of the template which uses it.
    `aead`, or `encryption` with `integrity`, or `integrity` alone for AH. `selector`: packets it accepts, None for all
    of its family. `replay`; `lifetime`. `flags`: SaFlag bits but ESN, which `replay` has; `extra_flags`: SaExtraFlag.
    `direction`: XFRMA_SA_DIR, None for an SA that serves both ways. `output_mark`: of packets it made.
    `tfc_padding_octets`: RFC 4303 2.7. `acquire_sequence`: of the ACQUIRE it answers.
    `sequence`: where it starts, or stands. `usage`, `statistics`, `last_used_utc_s`: what a kernel reported.
    `other`: attributes this library does not know, kept as they came.
    Raises EncodeError where source and destination differ in family.
    """

    source: Address
    destination: Address
    spi: int
    protocol: int = Protocol.ESP
    mode: int = Mode.TRANSPORT
    reqid: int = 0
    aead: AeadAlgorithm | None = None
    encryption: Algorithm | None = None
    integrity: AuthAlgorithm | None = None
    replay: ReplayWindow = NO_REPLAY_CHECK
    lifetime: Lifetime = NO_LIFETIME
    selector: Selector | None = None
    mark: Mark | None = None
    if_id: int = 0
    flags: int = 0
    extra_flags: int = 0
    direction: int | None = None
    output_mark: Mark | None = None
    encapsulation: Encapsulation | None = None
    tfc_padding_octets: int = 0
    acquire_sequence: int = 0
    sequence: SequenceState = NO_SEQUENCE
    usage: Usage | None = None
    statistics: Statistics | None = None
    last_used_utc_s: int | None = None
    other: tuple[RawAttribute, ...] = ()

    def __post_init__(self) -> None:
        if self.source.family is not self.destination.family:
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")

    @property
    def id(self) -> SaId:
        """What names it."""
        return SaId(self.destination, self.spi, self.protocol, self.mark)

    def configuration(self) -> SecurityAssociation:
        """It without what changes by itself, so that desired and dumped SAs compare."""
        return SecurityAssociation(
            source=self.source,
            destination=self.destination,
            spi=self.spi,
            protocol=self.protocol,
            mode=self.mode,
            reqid=self.reqid,
            aead=self.aead,
            encryption=self.encryption,
            integrity=self.integrity,
            replay=self.replay,
            lifetime=self.lifetime,
            selector=self.selector,
            mark=self.mark,
            if_id=self.if_id,
            flags=self.flags,
            extra_flags=self.extra_flags,
            direction=self.direction,
            output_mark=self.output_mark,
            encapsulation=self.encapsulation,
            tfc_padding_octets=self.tfc_padding_octets,
        )

    def encode(self) -> bytes:
        """The body of a NEWSA or UPDSA request: it holds the keys. Raises EncodeError."""
        return USERSA_INFO.pack(self.to_uapi()) + b"".join(self._attributes())

    def to_uapi(self) -> XfrmUsersaInfo:
        """The uapi record."""
        return XfrmUsersaInfo(
            sel=_ANY_SELECTOR if self.selector is None else self.selector.to_uapi(),
            id=XfrmId(self.destination.octets, self.spi, self.protocol),
            saddr=self.source.octets,
            lft=self.lifetime.to_uapi(),
            seq=self.acquire_sequence,
            reqid=self.reqid,
            family=self.destination.family,
            mode=self.mode,
            replay_window=self.replay.struct_packets,
            flags=self.flags | self.replay.flag,
        )

    def _attributes(self) -> Iterator[bytes]:
        if self.aead is not None:
            yield rows.ALG_AEAD.encode(self.aead)
        if self.encryption is not None:
            yield rows.ALG_CRYPT.encode(self.encryption)
        if self.integrity is not None:
            yield rows.ALG_AUTH_TRUNC.encode(self.integrity)
        yield from self.replay.encode(self.sequence)
        if self.mark is not None:
            yield rows.MARK.encode(self.mark.to_uapi())
        if self.encapsulation is not None:
            yield rows.ENCAP.encode(self.encapsulation.to_uapi())
        if self.output_mark is not None:
            yield rows.SET_MARK.encode(self.output_mark.value)
            if self.output_mark.mask != _ALL_BITS:
                yield rows.SET_MARK_MASK.encode(self.output_mark.mask)
        for row, number in (
            (rows.SA_EXTRA_FLAGS, self.extra_flags),
            (rows.TFCPAD, self.tfc_padding_octets),
            (rows.IF_ID, self.if_id),
        ):
            if number:
                yield row.encode(number)
        if self.direction is not None:
            yield rows.SA_DIR.encode(self.direction)
        for attribute in self.other:
            yield attribute.encode()

    @classmethod
    def decode(cls, record: XfrmUsersaInfo, attributes: AttributeSet) -> SecurityAssociation:
        """From the uapi record and its attributes. Raises DecodeError."""
        replay, sequence = read_replay(record, attributes)
        encapsulation = attributes.get(rows.ENCAP)
        direction = attributes.get(rows.SA_DIR)
        return cls(
            source=Address.from_wire(record.family, record.saddr),
            destination=Address.from_wire(record.family, record.id.daddr),
            spi=record.id.spi,
            protocol=known(Protocol, record.id.proto),
            mode=known(Mode, record.mode),
            reqid=record.reqid,
            aead=attributes.get(rows.ALG_AEAD),
            encryption=attributes.get(rows.ALG_CRYPT),
            integrity=attributes.get(rows.ALG_AUTH_TRUNC),
            replay=replay,
            lifetime=Lifetime.from_uapi(record.lft),
            selector=_selector(record.sel, record.family),
            mark=Mark.from_uapi(attributes.get(rows.MARK)),
            if_id=attributes.get(rows.IF_ID) or 0,
            flags=record.flags & ~replay.flag,
            extra_flags=attributes.get(rows.SA_EXTRA_FLAGS) or 0,
            direction=None if direction is None else known(SaDirection, direction),
            output_mark=_output_mark(attributes),
            encapsulation=None if encapsulation is None else Encapsulation.from_uapi(encapsulation, record.family),
            tfc_padding_octets=attributes.get(rows.TFCPAD) or 0,
            acquire_sequence=record.seq,
            sequence=sequence,
            usage=Usage.from_uapi(record.curlft),
            statistics=Statistics(*record.stats),
            last_used_utc_s=attributes.get(rows.LASTUSED),
            other=attributes.without(_OWN_WITH_BOTH if rows.ALG_AUTH_TRUNC in attributes else _OWN),
        )

    def __str__(self) -> str:
        return f"src {self.source} {self.id}"


_ANY_SELECTOR: Final = XfrmSelector()


def _selector(record: XfrmSelector, family: int) -> Selector | None:
    # The kernel fills an absent selector with the SA's family: any packet of it is what both mean.
    if record._replace(family=0, daddr=b"", saddr=b"") == _ANY_SELECTOR and not any(record.daddr + record.saddr):
        return None
    return Selector.from_uapi(record, family)


def _output_mark(attributes: AttributeSet) -> Mark | None:
    value, mask = attributes.get(rows.SET_MARK), attributes.get(rows.SET_MARK_MASK)
    if value is None:
        return None
    return Mark(value, _ALL_BITS if mask is None else mask)
