"""Events: what the kernel reports by itself, to the multicast groups of NETLINK_XFRM."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, TypeAlias

from xfrm import control_structs, structs
from xfrm.address import Address
from xfrm.aevent import Aevent
from xfrm.attributes import COADDR, IF_ID, MARK, POLICY, SA, SA_DIR, SA_PCPU
from xfrm.constants import Direction, MessageType, Protocol, SaDirection, known
from xfrm.errors import DecodeError
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy
from xfrm.messages import Message
from xfrm.migration import Migration, SaMigration
from xfrm.policy import Policy, read_policy_type
from xfrm.record import record
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Mark

__all__ = [
    "Acquire",
    "AeventReport",
    "Change",
    "DefaultChange",
    "Event",
    "Expire",
    "Mapping",
    "Origin",
    "Overrun",
    "PolicyChange",
    "PolicyExpire",
    "PolicyFlush",
    "PolicyMigrated",
    "Report",
    "SaChange",
    "SaFlush",
    "SaMigrated",
    "Unknown",
    "read_event",
]


class Change(Enum):
    """What happened to an entry."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


@record
class Origin:
    """Whose request an event reports: port id and sequence number of its header, 0 and 0 for the kernel's own."""

    port: int
    sequence: int


@record
class Acquire:
    """XFRM_MSG_ACQUIRE: a packet matched `policy` and no SA fits. `sa_id`: its SPI is 0 unless the template pins one.

    `source`, `selector`: of the packet's flow. `sequence`: what an SA that answers it may carry. `direction`: of the
    larval SA (Linux 6.10). `cpu`: whose SA is wanted, where the policy has one each (XFRM_POLICY_CPU_ACQUIRE).
    """

    sa_id: SaId
    source: Address
    selector: Selector
    policy: Policy
    sequence: int
    if_id: int = 0
    direction: int | None = None
    cpu: int | None = None


@record
class Expire:
    """XFRM_MSG_EXPIRE: an SA reached its soft limit, or its hard one and is gone. Keys are not reported."""

    sa: SecurityAssociation
    hard: bool


@record
class PolicyExpire:
    """XFRM_MSG_POLEXPIRE: a policy reached its soft limit, or its hard one and is gone: its traffic is in clear."""

    policy: Policy
    hard: bool


@record
class SaChange:
    """An SA was added, updated or deleted. `sa`: None where a deletion reports its name only."""

    change: Change
    sa_id: SaId
    sa: SecurityAssociation | None
    origin: Origin


@record
class PolicyChange:
    """A policy was added, updated or deleted. `policy`: None where a deletion reports its name only."""

    change: Change
    direction: int
    selector: Selector
    policy: Policy | None
    origin: Origin


@record
class SaFlush:
    """XFRM_MSG_FLUSHSA: every SA of a protocol was removed, IPSEC_PROTO_ANY for all."""

    protocol: int
    origin: Origin


@record
class PolicyFlush:
    """XFRM_MSG_FLUSHPOLICY: every policy of a type was removed."""

    type: int
    origin: Origin


@record
class AeventReport:
    """XFRM_MSG_NEWAE: an SA's counters reached a threshold, or somebody set them: `aevent.flags` says which."""

    aevent: Aevent
    origin: Origin


@record
class Report:
    """XFRM_MSG_REPORT: Mobile IPv6 refused a packet of `selector`. `care_of`: the address it came with, if it had one.

    `protocol`: the transform that refused it (IPPROTO_ROUTING or IPPROTO_DSTOPTS).
    """

    protocol: int
    selector: Selector
    care_of: Address | None = None


@record
class PolicyMigrated:
    """XFRM_MSG_MIGRATE: a policy and its SAs moved to other addresses."""

    migration: Migration


@record
class SaMigrated:
    """XFRM_MSG_MIGRATE_STATE: one SA moved to other addresses (Linux 7.2)."""

    migration: SaMigration
    origin: Origin


@record
class Mapping:
    """XFRM_MSG_MAPPING: packets of an encapsulated SA come from another address or port: a NAT changed its mapping.

    The kernel reports only: SAs of the other direction keep the old mapping until somebody changes them.
    """

    sa_id: SaId
    reqid: int
    old_source: Address
    old_port: int
    new_source: Address
    new_port: int


@record
class DefaultChange:
    """XFRM_MSG_GETDEFAULT: what happens to packets without a policy was set (Linux 5.15)."""

    default: DefaultPolicy
    origin: Origin


@record
class Overrun:
    """Events were lost here, to the kernel's buffer or to ours: dump and compare. `lost`: how many, None if unknown."""

    lost: int | None = None


@record
class Unknown:
    """A message this library does not know or cannot read. `reason`: why."""

    type: int
    reason: str


Event: TypeAlias = (
    Acquire
    | AeventReport
    | DefaultChange
    | Expire
    | Mapping
    | Overrun
    | PolicyChange
    | PolicyExpire
    | PolicyFlush
    | PolicyMigrated
    | Report
    | SaChange
    | SaFlush
    | SaMigrated
    | Unknown
)
"""Anything a monitor yields."""


def read_event(frame: Frame) -> Event:
    """The event of a frame; what does not parse is an Unknown that says why. Raises nothing."""
    reader = _READERS.get(frame.type)
    if reader is None:
        return Unknown(frame.type, "no event of this library")
    try:
        return reader(Message.parse(frame))
    except DecodeError as error:
        return Unknown(frame.type, str(error))


def _origin(message: Message) -> Origin:
    return Origin(message.port, message.sequence)


def _direction(message: Message) -> int | None:
    value = message.attributes.get(SA_DIR)
    return None if value is None else known(SaDirection, value)


def _acquire(message: Message) -> Acquire:
    record = message.read(structs.USER_ACQUIRE)
    policy = Policy.decode(record.policy, message.attributes)
    family = _acquire_family(record, policy)
    return Acquire(
        SaId(
            Address.from_wire(family, record.id.daddr),
            record.id.spi,
            known(Protocol, record.id.proto),
            Mark.from_uapi(message.attributes.get(MARK)),
        ),
        Address.from_wire(family, record.saddr),
        Selector.from_uapi(record.sel, family),
        policy,
        record.seq,
        message.attributes.get(IF_ID) or 0,
        _direction(message),
        message.attributes.get(SA_PCPU),
    )


def _acquire_family(record: structs.XfrmUserAcquire, policy: Policy) -> int:
    # The id's family is that of the template that asked; the selector's may differ, in a tunnel of the other family.
    for template in policy.templates:
        if template.protocol == record.id.proto:
            return template.destination.family
    return record.sel.family


def _expire(message: Message) -> Expire:
    record = message.read(structs.USER_EXPIRE)
    return Expire(SecurityAssociation.decode(record.state, message.attributes), bool(record.hard))


def _policy_expire(message: Message) -> PolicyExpire:
    record = message.read(structs.USER_POLEXPIRE)
    return PolicyExpire(Policy.decode(record.pol, message.attributes), bool(record.hard))


def _sa_change(change: Change) -> Callable[[Message], SaChange]:
    def read(message: Message) -> SaChange:
        sa = SecurityAssociation.decode(message.read(structs.USERSA_INFO), message.attributes)
        return SaChange(change, sa.id, sa, _origin(message))

    return read


def _sa_deleted(message: Message) -> SaChange:
    sa_id = SaId.decode(message.read(structs.USERSA_ID), message.attributes)
    info = message.attributes.get(SA)
    sa = None if info is None else SecurityAssociation.decode(info, message.attributes.excluding(SA))
    return SaChange(Change.DELETED, sa_id, sa, _origin(message))


def _policy_change(change: Change) -> Callable[[Message], PolicyChange]:
    def read(message: Message) -> PolicyChange:
        policy = Policy.decode(message.read(structs.USERPOLICY_INFO), message.attributes)
        return PolicyChange(change, policy.direction, policy.selector, policy, _origin(message))

    return read


def _policy_deleted(message: Message) -> PolicyChange:
    record = message.read(structs.USERPOLICY_ID)
    info = message.attributes.get(POLICY)
    if info is None:
        direction, selector = known(Direction, record.dir), Selector.from_uapi(record.sel)
        return PolicyChange(Change.DELETED, direction, selector, None, _origin(message))
    # The id's selector is empty where it was deleted by its index.
    policy = Policy.decode(info, message.attributes.excluding(POLICY))
    return PolicyChange(Change.DELETED, policy.direction, policy.selector, policy, _origin(message))


def _sa_flush(message: Message) -> SaFlush:
    return SaFlush(known(Protocol, message.read(structs.USERSA_FLUSH).proto), _origin(message))


def _policy_flush(message: Message) -> PolicyFlush:
    return PolicyFlush(read_policy_type(message.attributes), _origin(message))


def _aevent(message: Message) -> AeventReport:
    return AeventReport(Aevent.decode(message.read(control_structs.AEVENT_ID), message.attributes), _origin(message))


def _report(message: Message) -> Report:
    record = message.read(control_structs.USER_REPORT)
    selector = Selector.from_uapi(record.sel)
    care_of = message.attributes.get(COADDR)
    return Report(
        known(Protocol, record.proto),
        selector,
        None if care_of is None else Address.from_wire(selector.family, care_of.octets),
    )


def _policy_migrated(message: Message) -> PolicyMigrated:
    return PolicyMigrated(Migration.decode(message.read(structs.USERPOLICY_ID), message.attributes))


def _sa_migrated(message: Message) -> SaMigrated:
    record = message.read(control_structs.USER_MIGRATE_STATE)
    return SaMigrated(SaMigration.decode(record, message.attributes), _origin(message))


def _mapping(message: Message) -> Mapping:
    record = message.read(control_structs.USER_MAPPING)
    family = record.id.family
    return Mapping(
        SaId.decode(record.id, message.attributes),
        record.reqid,
        Address.from_wire(family, record.old_saddr),
        record.old_sport,
        Address.from_wire(family, record.new_saddr),
        record.new_sport,
    )


def _default_change(message: Message) -> DefaultChange:
    return DefaultChange(DefaultPolicy.decode(message.read(control_structs.USERPOLICY_DEFAULT)), _origin(message))


_READERS: Final[dict[int, Callable[[Message], Event]]] = {
    MessageType.XFRM_MSG_ACQUIRE: _acquire,
    MessageType.XFRM_MSG_EXPIRE: _expire,
    MessageType.XFRM_MSG_POLEXPIRE: _policy_expire,
    MessageType.XFRM_MSG_NEWSA: _sa_change(Change.ADDED),
    MessageType.XFRM_MSG_UPDSA: _sa_change(Change.UPDATED),
    MessageType.XFRM_MSG_DELSA: _sa_deleted,
    MessageType.XFRM_MSG_FLUSHSA: _sa_flush,
    MessageType.XFRM_MSG_NEWPOLICY: _policy_change(Change.ADDED),
    MessageType.XFRM_MSG_UPDPOLICY: _policy_change(Change.UPDATED),
    MessageType.XFRM_MSG_DELPOLICY: _policy_deleted,
    MessageType.XFRM_MSG_FLUSHPOLICY: _policy_flush,
    MessageType.XFRM_MSG_NEWAE: _aevent,
    MessageType.XFRM_MSG_REPORT: _report,
    MessageType.XFRM_MSG_MIGRATE: _policy_migrated,
    MessageType.XFRM_MSG_MIGRATE_STATE: _sa_migrated,
    MessageType.XFRM_MSG_MAPPING: _mapping,
    MessageType.XFRM_MSG_GETDEFAULT: _default_change,
}
