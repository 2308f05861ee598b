"""Events: what the kernel reports by itself, to the multicast groups of NETLINK_XFRM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from xfrm import structs
from xfrm.address import Address
from xfrm.attributes import IF_ID, MARK, POLICY, POLICY_TYPE, SA
from xfrm.constants import MessageType, PolicyType, Protocol, known
from xfrm.errors import DecodeError
from xfrm.frame import Frame
from xfrm.messages import Message
from xfrm.policy import Policy
from xfrm.selector import Selector
from xfrm.state import SaId, SecurityAssociation
from xfrm.values import Mark

__all__ = [
    "Acquire",
    "Change",
    "Event",
    "Expire",
    "Origin",
    "Overrun",
    "PolicyChange",
    "PolicyExpire",
    "PolicyFlush",
    "SaChange",
    "SaFlush",
    "Unknown",
    "read_event",
]


class Change(Enum):
    """What happened to an entry."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose request an event reports: port id and sequence number of its header, 0 and 0 for the kernel's own."""

    port: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Acquire:
    """XFRM_MSG_ACQUIRE: a packet matched `policy` and no SA fits. `sa_id`: its SPI is 0 unless the template pins one.

    `source`, `selector`: of the packet's flow. `sequence`: what an SA that answers it may carry.
    """

    sa_id: SaId
    source: Address
    selector: Selector
    policy: Policy
    sequence: int
    if_id: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """XFRM_MSG_EXPIRE: an SA reached its soft limit, or its hard one and is gone. Keys are not reported."""

    sa: SecurityAssociation
    hard: bool


@dataclass(frozen=True, slots=True)
class PolicyExpire:
    """XFRM_MSG_POLEXPIRE: a policy reached its soft limit, or its hard one and is gone: its traffic is in clear."""

    policy: Policy
    hard: bool


@dataclass(frozen=True, slots=True)
class SaChange:
    """An SA was added, updated or deleted. `sa`: None where a deletion reports its name only."""

    change: Change
    sa_id: SaId
    sa: SecurityAssociation | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A policy was added, updated or deleted. `policy`: None where a deletion reports its name only."""

    change: Change
    direction: int
    selector: Selector
    policy: Policy | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class SaFlush:
    """XFRM_MSG_FLUSHSA: every SA of a protocol was removed, IPSEC_PROTO_ANY for all."""

    protocol: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class PolicyFlush:
    """XFRM_MSG_FLUSHPOLICY: every policy of a type was removed."""

    type: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost here, to the kernel's buffer or to ours: dump and compare. `lost`: how many, None if unknown."""

    lost: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message this library does not know or cannot read. `reason`: why."""

    type: int
    reason: str


Event: TypeAlias = Acquire | Expire | PolicyExpire | SaChange | PolicyChange | SaFlush | PolicyFlush | Overrun | Unknown
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
        return PolicyChange(Change.DELETED, record.dir, Selector.from_uapi(record.sel), None, _origin(message))
    # With XFRMA_POLICY the kernel leaves the id's selector empty.
    policy = Policy.decode(info, message.attributes.excluding(POLICY))
    return PolicyChange(Change.DELETED, policy.direction, policy.selector, policy, _origin(message))


def _sa_flush(message: Message) -> SaFlush:
    return SaFlush(known(Protocol, message.read(structs.USERSA_FLUSH).proto), _origin(message))


def _policy_flush(message: Message) -> PolicyFlush:
    type_ = message.attributes.get(POLICY_TYPE)
    return PolicyFlush(PolicyType.MAIN if type_ is None else known(PolicyType, type_.type), _origin(message))


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
}
