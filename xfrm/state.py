"""Security associations: entries of the SAD (RFC 4301 4.4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from xfrm import attributes as rows
from xfrm.address import AF_OF_OCTETS, Address, demand_one_family
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm.attributes import Attribute, AttributeSet, RawAttribute, numbers_of
from xfrm.constants import EncapsulationType, Family, Mode, Protocol, SaDirection, SaFlag, known, word_of
from xfrm.errors import EncodeError
from xfrm.iptfs import IPTFS_ROWS, Iptfs
from xfrm.record import record
from xfrm.replay import NO_REPLAY_CHECK, NO_SEQUENCE, ReplayWindow, SequenceState, read_replay
from xfrm.selector import Selector
from xfrm.structs import (
    USERSA_ID,
    USERSA_INFO,
    XfrmAddress,
    XfrmEncapTmpl,
    XfrmSelector,
    XfrmUsersaId,
    XfrmUsersaInfo,
)
from xfrm.thresholds import Thresholds
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Offload, SecurityContext, Usage

__all__ = ["Encapsulation", "SaId", "SecurityAssociation", "Statistics", "read_output_mark", "read_selector"]

_ALGORITHMS: Final[tuple[Attribute[Any], ...]] = (rows.ALG_CRYPT, rows.ALG_AEAD, rows.ALG_AUTH, rows.ALG_AUTH_TRUNC)
_OWN_ROWS: Final[tuple[Attribute[Any], ...]] = (
    *(*_ALGORITHMS, rows.ENCAP, rows.LASTUSED, rows.REPLAY_VAL),
    *(rows.MARK, rows.TFCPAD, rows.REPLAY_ESN_VAL, rows.SA_EXTRA_FLAGS, rows.SET_MARK, rows.SET_MARK_MASK),
    *(rows.IF_ID, rows.SA_DIR, rows.ALG_COMP, rows.OFFLOAD_DEV, rows.SEC_CTX, rows.SA_PCPU),
    *(rows.NAT_KEEPALIVE_INTERVAL, rows.MTIMER_THRESH, rows.COADDR, rows.REPLAY_THRESH, rows.ETIMER_THRESH),
    *(rows.LTIME_VAL, *IPTFS_ROWS),
)
_OWN: Final = numbers_of(_OWN_ROWS)
_USUAL: Final = numbers_of((*_ALGORITHMS, rows.LASTUSED, rows.REPLAY_VAL, rows.REPLAY_ESN_VAL))
_ALL_BITS: Final = 0xFFFFFFFF
_NAMED_BY_ADDRESSES: Final = frozenset({int(Protocol.IPPROTO_ROUTING), int(Protocol.IPPROTO_DSTOPTS)})


@record
class SaId:
    """What names an SA: destination, SPI, protocol and mark; never its source.

    `spi`: 32 bits; an SA added unmarked is in the way of every marked one. `source`: for Mobile IPv6's transforms only,
    which have no SPI and are named by their two addresses.
    """

    destination: Address
    spi: int
    protocol: int = Protocol.ESP
    mark: Mark | None = None
    source: Address | None = None

    def encode(self) -> bytes:
        """The body of a DELSA or GETSA request. Raises EncodeError."""
        body = USERSA_ID.pack(self.to_uapi())
        if self.mark is not None:
            body += rows.MARK.encode(self.mark.to_uapi())
        if self.source is not None:
            demand_one_family(source=self.source, destination=self.destination)
            body += rows.SRCADDR.encode(XfrmAddress(self.source.octets))
        return body

    def to_uapi(self) -> XfrmUsersaId:
        """The uapi record."""
        return XfrmUsersaId(self.destination.octets, self.spi, self.destination.family, self.protocol)

    @classmethod
    def decode(cls, record: XfrmUsersaId, attributes: AttributeSet) -> SaId:
        """From the uapi record and its attributes. Raises DecodeError."""
        source = attributes.get(rows.SRCADDR)
        return cls(
            Address.from_wire(record.family, record.daddr),
            record.spi,
            known(Protocol, record.proto),
            Mark.from_uapi(attributes.get(rows.MARK)),
            None if source is None else Address.from_wire(record.family, source.octets),
        )

    def __str__(self) -> str:
        mark = "" if self.mark is None else f" mark {self.mark}"
        return f"dst {self.destination} {word_of(Protocol, self.protocol)} spi 0x{self.spi:08x}{mark}"


@record
class Encapsulation:
    """UDP or TCP encapsulation of ESP (RFC 3948, 8229), struct xfrm_encap_tmpl. `type`: EncapsulationType."""

    type: int
    source_port: int
    destination_port: int
    original: Address

    def to_uapi(self, family: int) -> XfrmEncapTmpl:
        """The uapi record for an SA of this family. Raises EncodeError where `original` is of another."""
        demand_one_family(SA=Address.any(family), original=self.original)
        return XfrmEncapTmpl(self.type, self.source_port, self.destination_port, self.original.octets)

    @classmethod
    def from_uapi(cls, record: XfrmEncapTmpl, family: int) -> Encapsulation:
        """From the uapi record and the SA's family. Raises DecodeError."""
        address = Address.from_wire(family, record.encap_oa)
        return cls(known(EncapsulationType, record.encap_type), record.encap_sport, record.encap_dport, address)


@record
class Statistics:
    """Packets an SA refused, struct xfrm_stats: outside the replay window, replayed, of wrong integrity."""

    replay_window: int = 0
    replay: int = 0
    integrity_failed: int = 0


@record
class SecurityAssociation:
    """An SA, struct xfrm_usersa_info with its attributes.

    `source`: unspecified for any source, which a tunnel's sender cannot have (it would be the outer source);
    `destination`, `spi`, `protocol`, `mark`: its name. `reqid`: must equal that of the template which uses it. `aead`,
    or `encryption` with `integrity`, or `integrity` alone for AH, or `compression` for IPComp. An `integrity` without
    length is XFRMA_ALG_AUTH: the kernel takes its default, for SHA-256 96 bits, not RFC 4868's 128. `selector`: packets
    it accepts, None for all of its family. `replay`; `lifetime`. `flags`: SaFlag bits but ESN, which `replay` has;
    `extra_flags`: SaExtraFlag. `direction`: XFRMA_SA_DIR, None for an SA that serves both ways; with one, kernels
    answer EINVAL to what is of the other way, and to a 32-bit number in `sequence` that is used up (0xFFFFFFFF).
    `output_mark`: of packets it made. `tfc_padding_octets`: RFC 4303 2.7. `acquire_sequence`: of the ACQUIRE it
    answers. `offload`: the interface that does its work. `security_context`: label of a security module. `cpu`:
    XFRMA_SA_PCPU, the only one whose packets it takes (Linux 6.13), None for all; it needs a direction. `iptfs`: for
    mode IPTFS. `nat_keepalive_s`: seconds between keepalives of an encapsulated outbound SA (Linux 6.11), 0 for none.
    `mapping_max_age_s`: XFRMA_MTIMER_THRESH, seconds between two MAPPING events at least. `care_of`: XFRMA_COADDR
    (Mobile IPv6). `sequence`: where it starts, or stands. `thresholds`, `initial_usage` (XFRMA_LTIME_VAL): only on the
    way in.
    `usage`, `statistics`, `last_used_utc_s`: what a kernel reported. `other`: attributes this library does not know,
    kept as they came.
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
    integrity: AuthAlgorithm | Algorithm | None = None
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
    compression: Algorithm | None = None
    offload: Offload | None = None
    security_context: SecurityContext | None = None
    cpu: int | None = None
    iptfs: Iptfs | None = None
    nat_keepalive_s: int = 0
    mapping_max_age_s: int = 0
    care_of: Address | None = None
    acquire_sequence: int = 0
    sequence: SequenceState = NO_SEQUENCE
    thresholds: Thresholds | None = None
    initial_usage: Usage | None = None
    usage: Usage | None = None
    statistics: Statistics | None = None
    last_used_utc_s: int | None = None
    other: tuple[RawAttribute, ...] = ()

    def __post_init__(self) -> None:
        if len(self.source.octets) != len(self.destination.octets):
            raise EncodeError(f"source {self.source} and destination {self.destination} differ in family")

    @property
    def id(self) -> SaId:
        """What names it."""
        source = self.source if self.protocol in _NAMED_BY_ADDRESSES else None
        return SaId(self.destination, self.spi, self.protocol, self.mark, source)

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
            compression=self.compression,
            offload=self.offload,
            security_context=self.security_context,
            cpu=self.cpu,
            iptfs=self.iptfs,
            nat_keepalive_s=self.nat_keepalive_s,
            mapping_max_age_s=self.mapping_max_age_s,
            care_of=self.care_of,
        )

    def encode(self) -> bytes:
        """The body of a NEWSA or UPDSA request: it holds the keys. Raises EncodeError."""
        return b"".join([self._encode_info(), *self._attributes()])

    def to_uapi(self) -> XfrmUsersaInfo:
        """The uapi record."""
        return USERSA_INFO.unpack(self._encode_info())

    def _encode_info(self) -> bytes:
        destination, replay = self.destination.octets, self.replay
        return _pack_info()(
            b"" if self.selector is None else self.selector.encode(),
            destination,
            self.spi,
            self.protocol,
            self.source.octets,
            self.lifetime.encode(),
            self.acquire_sequence,
            self.reqid,
            AF_OF_OCTETS[len(destination)],
            self.mode,
            replay.struct_packets,
            self.flags | replay.flag,
        )

    def _attributes(self) -> list[bytes]:
        found: list[bytes] = []
        if self.aead is not None:
            found.append(rows.ALG_AEAD.encode(self.aead))
        if self.encryption is not None:
            found.append(rows.ALG_CRYPT.encode(self.encryption))
        if isinstance(self.integrity, AuthAlgorithm):
            found.append(rows.ALG_AUTH_TRUNC.encode(self.integrity))
        elif self.integrity is not None:
            found.append(rows.ALG_AUTH.encode(self.integrity))
        if self.replay is not NO_REPLAY_CHECK or self.sequence is not NO_SEQUENCE:
            found.append(self.replay.encode(self.sequence))
        if self._has_unusual():
            found.extend(self._unusual())
        return found

    def _has_unusual(self) -> bool:
        """Whether `_unusual` finds something, which in most SAs it does not."""
        return bool(
            self.mark
            or self.if_id
            or self.extra_flags
            or self.direction is not None
            or self.output_mark
            or self.encapsulation
            or self.tfc_padding_octets
            or self.compression
            or self.offload
            or self.security_context
            or self.cpu is not None
            or self.iptfs
            or self.nat_keepalive_s
            or self.mapping_max_age_s
            or self.care_of
            or self.thresholds
            or self.initial_usage
            or self.other
        )

    def _unusual(self) -> Iterator[bytes]:
        if self.compression is not None:
            yield rows.ALG_COMP.encode(self.compression)
        if self.mark is not None:
            yield rows.MARK.encode(self.mark.to_uapi())
        if self.encapsulation is not None:
            yield rows.ENCAP.encode(self.encapsulation.to_uapi(self.destination.family))
        if self.output_mark is not None:
            yield rows.SET_MARK.encode(self.output_mark.value)
            if self.output_mark.mask != _ALL_BITS:
                yield rows.SET_MARK_MASK.encode(self.output_mark.mask)
        for row, number in (
            (rows.SA_EXTRA_FLAGS, self.extra_flags),
            (rows.TFCPAD, self.tfc_padding_octets),
            (rows.IF_ID, self.if_id),
            (rows.NAT_KEEPALIVE_INTERVAL, self.nat_keepalive_s),
            (rows.MTIMER_THRESH, self.mapping_max_age_s),
        ):
            if number:
                yield row.encode(number)
        for row, value in ((rows.SA_DIR, self.direction), (rows.SA_PCPU, self.cpu)):
            if value is not None:
                yield row.encode(value)
        if self.offload is not None:
            yield rows.OFFLOAD_DEV.encode(self.offload.to_uapi())
        if self.security_context is not None:
            yield rows.SEC_CTX.encode(self.security_context)
        if self.iptfs is not None:
            yield from self.iptfs.encode()
        if self.care_of is not None:
            demand_one_family(destination=self.destination, care_of=self.care_of)
            yield rows.COADDR.encode(XfrmAddress(self.care_of.octets))
        if self.thresholds is not None:
            yield from self.thresholds.encode()
        if self.initial_usage is not None:
            yield rows.LTIME_VAL.encode(self.initial_usage.to_uapi())
        for attribute in self.other:
            yield attribute.encode()

    @classmethod
    def decode(cls, record: XfrmUsersaInfo, attributes: AttributeSet) -> SecurityAssociation:
        """From the uapi record and its attributes. Raises DecodeError."""
        replay, sequence = read_replay(record, attributes)
        family = record.family
        return cls(
            source=Address.from_wire(family, record.saddr),
            destination=Address.from_wire(family, record.id.daddr),
            spi=record.id.spi,
            protocol=known(Protocol, record.id.proto),
            mode=known(Mode, record.mode),
            reqid=record.reqid,
            aead=attributes.get(rows.ALG_AEAD),
            encryption=attributes.get(rows.ALG_CRYPT),
            integrity=attributes.get(rows.ALG_AUTH_TRUNC) or attributes.get(rows.ALG_AUTH),
            replay=replay,
            lifetime=Lifetime.from_uapi(record.lft),
            selector=read_selector(record.sel, family, record.flags),
            flags=record.flags & ~replay.flag,
            acquire_sequence=record.seq,
            sequence=sequence,
            usage=Usage.from_uapi(record.curlft),
            statistics=Statistics(*record.stats) if any(record.stats) else _NO_STATISTICS,
            last_used_utc_s=attributes.get(rows.LASTUSED),
            **({} if attributes.within(_USUAL) else _read_unusual(attributes, family)),
        )

    def __str__(self) -> str:
        return f"src {self.source} {self.id}"


_ANY_SELECTOR: Final = XfrmSelector()
_NO_STATISTICS: Final = Statistics()
_ZEROS: Final = bytes(16)


@cache
def _pack_info() -> Callable[..., bytes]:
    return USERSA_INFO.packer(octets=("sel", "lft"), zeros=("curlft", "stats"))


def read_selector(record: XfrmSelector, family: int, flags: int = 0) -> Selector | None:
    """The selector of an SA of this family with these flags, None where it says nothing. Raises DecodeError."""
    if record.daddr == record.saddr == _ZEROS:
        # The kernel fills an absent selector with the SA's family, unless it is told to leave it open.
        filled = Family.AF_UNSPEC if flags & SaFlag.XFRM_STATE_AF_UNSPEC.value else family
        says_nothing = record._replace(family=0, daddr=b"", saddr=b"") == _ANY_SELECTOR
        if says_nothing and record.family in (Family.AF_UNSPEC, filled):
            return None
    return Selector.from_uapi(record, family)


def read_output_mark(attributes: AttributeSet) -> Mark | None:
    """XFRMA_SET_MARK with its mask, None where there is none. Raises DecodeError."""
    value, mask = attributes.get(rows.SET_MARK), attributes.get(rows.SET_MARK_MASK)
    if value is None:
        return None
    return Mark(value, _ALL_BITS if mask is None else mask)


def _read_unusual(attributes: AttributeSet, family: int) -> dict[str, Any]:
    """The fields whose attributes most SAs do not have. Raises DecodeError."""
    encapsulation = attributes.get(rows.ENCAP)
    direction = attributes.get(rows.SA_DIR)
    care_of = attributes.get(rows.COADDR)
    initial_usage = attributes.get(rows.LTIME_VAL)
    return {
        "mark": Mark.from_uapi(attributes.get(rows.MARK)),
        "if_id": attributes.get(rows.IF_ID) or 0,
        "extra_flags": attributes.get(rows.SA_EXTRA_FLAGS) or 0,
        "direction": None if direction is None else known(SaDirection, direction),
        "output_mark": read_output_mark(attributes),
        "encapsulation": None if encapsulation is None else Encapsulation.from_uapi(encapsulation, family),
        "tfc_padding_octets": attributes.get(rows.TFCPAD) or 0,
        "compression": attributes.get(rows.ALG_COMP),
        "offload": Offload.from_uapi(attributes.get(rows.OFFLOAD_DEV)),
        "security_context": attributes.get(rows.SEC_CTX),
        "cpu": attributes.get(rows.SA_PCPU),
        "iptfs": Iptfs.decode(attributes),
        "nat_keepalive_s": attributes.get(rows.NAT_KEEPALIVE_INTERVAL) or 0,
        "mapping_max_age_s": attributes.get(rows.MTIMER_THRESH) or 0,
        "care_of": None if care_of is None else Address.from_wire(family, care_of.octets),
        "thresholds": Thresholds.decode(attributes),
        "initial_usage": None if initial_usage is None else Usage.from_uapi(initial_usage),
        "other": attributes.without(_OWN),
    }
