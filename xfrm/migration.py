"""Migration: SAs and policies that move to other addresses and keep their keys and sequence numbers.

XFRM_MSG_MIGRATE moves a policy's templates and the SAs they use together (Mobile IPv6, MOBIKE of RFC 4555);
XFRM_MSG_MIGRATE_STATE moves one SA, named by its SPI (Linux 7.2). Both need CONFIG_XFRM_MIGRATE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xfrm import attributes as rows
from xfrm.address import Address, demand_one_family
from xfrm.attributes import AttributeSet
from xfrm.constants import Direction, Mode, PolicyType, Protocol, SaDirection, known, word_of
from xfrm.control_structs import (
    USER_MIGRATE_STATE,
    XfrmUserKmaddress,
    XfrmUserMigrate,
    XfrmUserMigrateState,
)
from xfrm.policy import read_policy_type
from xfrm.record import record
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId, read_output_mark, read_selector
from xfrm.structs import USERPOLICY_ID, XfrmMark, XfrmSelector, XfrmUserpolicyId, XfrmUserpolicyType, XfrmUsersaId
from xfrm.values import Mark, Offload

__all__ = ["NO_ENCAPSULATION_TYPE", "KmAddress", "Migration", "MigrationStep", "SaMigration"]

NO_ENCAPSULATION_TYPE: Final = 0
"""The type of an Encapsulation that takes an SA's encapsulation away when it moves."""


@record
class KmAddress:
    """struct xfrm_user_kmaddress: where key management reaches its peer from now on, passed on to its listeners.

    Raises EncodeError where the families differ.
    """

    local: Address
    remote: Address

    def __post_init__(self) -> None:
        demand_one_family(local=self.local, remote=self.remote)

    def to_uapi(self) -> XfrmUserKmaddress:
        """The uapi record."""
        return XfrmUserKmaddress(self.local.octets, self.remote.octets, 0, self.local.family)

    @classmethod
    def from_uapi(cls, record: XfrmUserKmaddress) -> KmAddress:
        """From the uapi record. Raises DecodeError."""
        return cls(Address.from_wire(record.family, record.local), Address.from_wire(record.family, record.remote))


@record
class MigrationStep:
    """struct xfrm_user_migrate: SAs and templates between the old addresses, which get the new ones.

    `protocol`, `mode`, `reqid`: of the SAs meant; reqid 0 for any. The new addresses may be of another family than the
    old ones. Raises EncodeError where source and destination differ in family.
    """

    old_source: Address
    old_destination: Address
    new_source: Address
    new_destination: Address
    protocol: int = Protocol.ESP
    mode: int = Mode.TUNNEL
    reqid: int = 0

    def __post_init__(self) -> None:
        demand_one_family(source=self.old_source, destination=self.old_destination)
        demand_one_family(source=self.new_source, destination=self.new_destination)

    def to_uapi(self) -> XfrmUserMigrate:
        """The uapi record."""
        return XfrmUserMigrate(
            self.old_destination.octets,
            self.old_source.octets,
            self.new_destination.octets,
            self.new_source.octets,
            self.protocol,
            self.mode,
            0,
            self.reqid,
            self.old_destination.family,
            self.new_destination.family,
        )

    @classmethod
    def from_uapi(cls, record: XfrmUserMigrate) -> MigrationStep:
        """From the uapi record. Raises DecodeError."""
        return cls(
            Address.from_wire(record.old_family, record.old_saddr),
            Address.from_wire(record.old_family, record.old_daddr),
            Address.from_wire(record.new_family, record.new_saddr),
            Address.from_wire(record.new_family, record.new_daddr),
            known(Protocol, record.proto),
            known(Mode, record.mode),
            record.reqid,
        )


@record
class Migration:
    """XFRM_MSG_MIGRATE: a policy, by its selector, direction, type and `if_id`, and what moves with it.

    `steps`: at most six. `encapsulation`, `offload`: of the SAs afterwards, None keeps them (offload: Linux 6.14).
    """

    selector: Selector
    direction: int
    steps: tuple[MigrationStep, ...]
    type: int = PolicyType.MAIN
    km_address: KmAddress | None = None
    encapsulation: Encapsulation | None = None
    offload: Offload | None = None
    if_id: int = 0

    @property
    def _family(self) -> int:
        return _family_of(self.steps, self.selector)

    def encode(self) -> bytes:
        """The body of a MIGRATE request. Raises EncodeError."""
        return USERPOLICY_ID.pack(XfrmUserpolicyId(self.selector.to_uapi(), 0, self.direction)) + b"".join(
            self._attributes()
        )

    def _attributes(self) -> Iterator[bytes]:
        yield rows.MIGRATE.encode(tuple(step.to_uapi() for step in self.steps))
        if self.type != PolicyType.MAIN:
            yield rows.POLICY_TYPE.encode(XfrmUserpolicyType(self.type))
        if self.km_address is not None:
            yield rows.KMADDRESS.encode(self.km_address.to_uapi())
        if self.encapsulation is not None:
            yield rows.ENCAP.encode(self.encapsulation.to_uapi(self._family))
        if self.offload is not None:
            yield rows.OFFLOAD_DEV.encode(self.offload.to_uapi())
        if self.if_id:
            yield rows.IF_ID.encode(self.if_id)

    @classmethod
    def decode(cls, record: XfrmUserpolicyId, attributes: AttributeSet) -> Migration:
        """From the uapi record and its attributes. Raises DecodeError."""
        # A request has its steps in one attribute, a report of the kernel has one attribute for each.
        steps = tuple(MigrationStep.from_uapi(step) for part in attributes.every(rows.MIGRATE) for step in part)
        km_address, encapsulation = attributes.get(rows.KMADDRESS), attributes.get(rows.ENCAP)
        selector = Selector.from_uapi(record.sel)
        return cls(
            selector,
            known(Direction, record.dir),
            steps,
            read_policy_type(attributes),
            None if km_address is None else KmAddress.from_uapi(km_address),
            None if encapsulation is None else Encapsulation.from_uapi(encapsulation, _family_of(steps, selector)),
            Offload.from_uapi(attributes.get(rows.OFFLOAD_DEV)),
            attributes.get(rows.IF_ID) or 0,
        )

    def __str__(self) -> str:
        return f"{word_of(Direction, self.direction)} {self.selector}"


@record
class SaMigration:
    """XFRM_MSG_MIGRATE_STATE: one SA and what it is afterwards (Linux 7.2).

    Taken as they are: `source`, `destination`, `reqid`, and `selector`, None for all packets of the new family, unless
    XFRM_MIGRATE_STATE_UPDATE_H2H_SEL in `flags` has it made of the new addresses. Kept where None: `mark`, Mark(0, 0)
    takes it away; `encapsulation`, of type NO_ENCAPSULATION_TYPE to take it away; `offload`, which
    XFRM_MIGRATE_STATE_CLEAR_OFFLOAD takes away; `output_mark`; `nat_keepalive_s` and `mapping_max_age_s`, seconds, 0
    for none. `direction`: reported only. An SA must not send while it moves: block its traffic meanwhile.
    Raises EncodeError where source and destination differ in family.
    """

    sa_id: SaId
    source: Address
    destination: Address
    reqid: int = 0
    selector: Selector | None = None
    flags: int = 0
    mark: Mark | None = None
    encapsulation: Encapsulation | None = None
    offload: Offload | None = None
    output_mark: Mark | None = None
    nat_keepalive_s: int | None = None
    mapping_max_age_s: int | None = None
    direction: int | None = None

    def __post_init__(self) -> None:
        demand_one_family(source=self.source, destination=self.destination)

    def encode(self) -> bytes:
        """The body of a MIGRATE_STATE request. Raises EncodeError."""
        old_mark = XfrmMark() if self.sa_id.mark is None else self.sa_id.mark.to_uapi()
        # Without a family the kernel would match no packet.
        any_selector = XfrmSelector(family=self.destination.family)
        record = XfrmUserMigrateState(
            self.sa_id.to_uapi(),
            self.destination.octets,
            self.source.octets,
            old_mark,
            any_selector if self.selector is None else self.selector.to_uapi(),
            self.reqid,
            self.flags,
            self.destination.family,
        )
        return USER_MIGRATE_STATE.pack(record) + b"".join(self._attributes())

    def _attributes(self) -> Iterator[bytes]:
        if self.mark is not None:
            yield rows.MARK.encode(self.mark.to_uapi())
        if self.encapsulation is not None:
            yield rows.ENCAP.encode(self.encapsulation.to_uapi(self.destination.family))
        if self.offload is not None:
            yield rows.OFFLOAD_DEV.encode(self.offload.to_uapi())
        if self.output_mark is not None:
            yield rows.SET_MARK.encode(self.output_mark.value)
            yield rows.SET_MARK_MASK.encode(self.output_mark.mask)
        if self.nat_keepalive_s is not None:
            yield rows.NAT_KEEPALIVE_INTERVAL.encode(self.nat_keepalive_s)
        if self.mapping_max_age_s is not None:
            yield rows.MTIMER_THRESH.encode(self.mapping_max_age_s)

    @classmethod
    def decode(cls, record: XfrmUserMigrateState, attributes: AttributeSet) -> SaMigration:
        """From the uapi record and its attributes. Raises DecodeError."""
        mark, encapsulation = attributes.get(rows.MARK), attributes.get(rows.ENCAP)
        direction = attributes.get(rows.SA_DIR)
        family = record.new_family
        return cls(
            _read_id(record.id, record.old_mark),
            Address.from_wire(family, record.new_saddr),
            Address.from_wire(family, record.new_daddr),
            record.new_reqid,
            read_selector(record.new_sel, family),
            record.flags,
            None if mark is None else Mark(mark.v, mark.m),
            None if encapsulation is None else Encapsulation.from_uapi(encapsulation, family),
            Offload.from_uapi(attributes.get(rows.OFFLOAD_DEV)),
            read_output_mark(attributes),
            attributes.get(rows.NAT_KEEPALIVE_INTERVAL),
            attributes.get(rows.MTIMER_THRESH),
            None if direction is None else known(SaDirection, direction),
        )

    def __str__(self) -> str:
        return f"{self.sa_id} to src {self.source} dst {self.destination}"


def _family_of(steps: tuple[MigrationStep, ...], selector: Selector) -> int:
    """The family of the SAs that were moved; the selector's is that of the packets inside."""
    return steps[0].new_source.family if steps else selector.family


def _read_id(record: XfrmUsersaId, mark: XfrmMark) -> SaId:
    destination = Address.from_wire(record.family, record.daddr)
    return SaId(destination, record.spi, known(Protocol, record.proto), Mark.from_uapi(mark))
