"""Requests: what is asked of the kernel, as values ready to send.

Each function makes one Request of typed values; a list of them, mixed, goes to `XfrmSocket.request_many`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from xfrm.address import demand_one_family
from xfrm.aevent import Aevent, encode_query
from xfrm.answers import Answer, read_answer
from xfrm.attributes import ADDRESS_FILTER, MARK, POLICY_TYPE, PROTO, SA_PCPU
from xfrm.constants import MessageType, NetlinkFlag, PolicyType, Protocol
from xfrm.errors import KernelRefused
from xfrm.events import Acquire
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy, HashThreshold, encode_info_query, encode_thresholds
from xfrm.migration import Migration, SaMigration
from xfrm.policy import ALL_ALGORITHMS, Policy, PolicyId
from xfrm.record import record
from xfrm.selector import AddressFilter
from xfrm.spi import SpiRequest
from xfrm.state import SaId, SecurityAssociation
from xfrm.structs import (
    USER_ACQUIRE,
    USER_EXPIRE,
    USER_POLEXPIRE,
    USERSA_FLUSH,
    XfrmId,
    XfrmUserAcquire,
    XfrmUserExpire,
    XfrmUserPolexpire,
    XfrmUserpolicyInfo,
    XfrmUserpolicyType,
    XfrmUsersaFlush,
    XfrmUsersaInfo,
)

__all__ = [
    "Outcome",
    "Request",
    "RequestKind",
    "acquire",
    "add_policy",
    "add_sa",
    "allocate_spi",
    "delete_policy",
    "delete_sa",
    "dump_policies",
    "dump_sas",
    "expire_policy",
    "expire_sa",
    "flush_policies",
    "flush_sas",
    "get_aevent",
    "get_default",
    "get_policy",
    "get_sa",
    "get_sad_info",
    "get_spd_info",
    "migrate",
    "migrate_sa",
    "set_default",
    "set_spd_thresholds",
    "update_aevent",
    "update_policy",
    "update_sa",
]

_NEW: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_CREATE | NetlinkFlag.NLM_F_EXCL)
_REPLACE: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_CREATE | NetlinkFlag.NLM_F_REPLACE)
_PLAIN: Final = int(NetlinkFlag.NLM_F_REQUEST)
_DUMP: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_DUMP)


Subject: TypeAlias = (
    Acquire
    | Aevent
    | AddressFilter
    | DefaultPolicy
    | Migration
    | Policy
    | PolicyId
    | SaId
    | SaMigration
    | SecurityAssociation
    | SpiRequest
    | str
)
"""What a request is about."""


@record
class RequestKind:
    """What requests of one kind have in common, so that thousands of them need not say it each.

    `type`: MessageType; `flags`: NetlinkFlag bits; `verb`: for people. `is_dump`: whether it asks for all entries, and
    the answer is multipart. `by_subject`: whether the body is what the subject encodes to. `cost`: what one takes of
    the time that a window may take; a policy's is 1.
    """

    type: int
    flags: int
    verb: str
    is_dump: bool
    by_subject: bool
    cost: int

    @classmethod
    def of(cls, type_: MessageType, flags: int, verb: str, *, by_subject: bool = False, cost: int = 1) -> RequestKind:
        """A kind of request with such a message type, flags and verb."""
        return cls(type_.value, flags, verb, flags & _DUMP == _DUMP, by_subject, cost)  # NLM_F_DUMP is two bits


class Request:
    """One request. `kind`: what is done; `subject`: to what, for people; `body`: struct and attributes, keys too.

    `kept`: the body; where it is what the subject encodes to only until the request is sent (`hand_over`), and None
    afterwards: it is made again where it is asked for, so that requests that were done, and outcomes, hold no octets of
    keys.
    """

    __slots__ = ("kept", "kind", "subject")
    __hash__ = None  # type: ignore[assignment]  # a hash table would compare keys in variable time

    def __init__(self, kind: RequestKind, subject: Subject, body: bytes) -> None:
        self.kind: Final = kind
        self.subject: Final = subject
        self.kept: bytes | None = body

    @property
    def type(self) -> MessageType:
        """Its message type."""
        return MessageType(self.kind.type)

    @property
    def flags(self) -> int:
        """NetlinkFlag bits."""
        return self.kind.flags

    @property
    def is_dump(self) -> bool:
        """Whether it asks for all entries, and the answer is multipart."""
        return self.kind.is_dump

    @property
    def body(self) -> bytes:
        """Struct and attributes. Raises EncodeError."""
        body = self.kept
        return _encoded(self.subject) if body is None else body

    def hand_over(self) -> bytes:
        """The body, to be sent: no longer kept here where the subject can make it again. Raises EncodeError."""
        body = self.kept
        if body is None:
            return _encoded(self.subject)
        if self.kind.by_subject:
            self.kept = None
        return body

    def describe(self) -> str:
        """One line for people, without keys."""
        return f"{self.kind.verb} {self.subject}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return (self.kind, self.subject) == (other.kind, other.subject) and self.body == other.body

    def __repr__(self) -> str:
        return f"<Request: {self.describe()}>"


def _encoded(subject: Any) -> bytes:
    body: bytes = subject.encode()
    return body


@record
class Outcome:
    """What became of one request of a list: `refusal` is None where the kernel did it.

    `replies`: what it answered, one for a request that gets something, one for each entry of a dump.
    """

    request: Request
    refusal: KernelRefused | None = None
    replies: tuple[Frame, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the kernel did it."""
        return self.refusal is None

    def answers(self) -> list[Answer]:
        """The replies as records. Raises DecodeError."""
        return [read_answer(reply) for reply in self.replies]


_ADD_SA: Final = RequestKind.of(MessageType.XFRM_MSG_NEWSA, _NEW, "add SA", by_subject=True, cost=2)
_UPDATE_SA: Final = RequestKind.of(MessageType.XFRM_MSG_UPDSA, _REPLACE, "update SA", by_subject=True, cost=2)
_DELETE_SA: Final = RequestKind.of(MessageType.XFRM_MSG_DELSA, _PLAIN, "delete SA", by_subject=True)
_GET_SA: Final = RequestKind.of(MessageType.XFRM_MSG_GETSA, _PLAIN, "get SA", by_subject=True)
_DUMP_SAS: Final = RequestKind.of(MessageType.XFRM_MSG_GETSA, _DUMP, "dump")
_FLUSH_SAS: Final = RequestKind.of(MessageType.XFRM_MSG_FLUSHSA, _PLAIN, "flush")
_ADD_POLICY: Final = RequestKind.of(MessageType.XFRM_MSG_NEWPOLICY, _NEW, "add policy", by_subject=True)
_UPDATE_POLICY: Final = RequestKind.of(MessageType.XFRM_MSG_UPDPOLICY, _REPLACE, "update policy", by_subject=True)
_DELETE_POLICY: Final = RequestKind.of(MessageType.XFRM_MSG_DELPOLICY, _PLAIN, "delete policy", by_subject=True)
_GET_POLICY: Final = RequestKind.of(MessageType.XFRM_MSG_GETPOLICY, _PLAIN, "get policy", by_subject=True)
_DUMP_POLICIES: Final = RequestKind.of(MessageType.XFRM_MSG_GETPOLICY, _DUMP, "dump")
_FLUSH_POLICIES: Final = RequestKind.of(MessageType.XFRM_MSG_FLUSHPOLICY, _PLAIN, "flush")
_ALLOCATE_SPI: Final = RequestKind.of(MessageType.XFRM_MSG_ALLOCSPI, _PLAIN, "allocate SPI for")
_ACQUIRE: Final = RequestKind.of(MessageType.XFRM_MSG_ACQUIRE, _PLAIN, "acquire for")
_EXPIRE_SA: Final = RequestKind.of(MessageType.XFRM_MSG_EXPIRE, _PLAIN, "expire SA")
_EXPIRE_POLICY: Final = RequestKind.of(MessageType.XFRM_MSG_POLEXPIRE, _PLAIN, "expire policy")
_GET_AEVENT: Final = RequestKind.of(MessageType.XFRM_MSG_GETAE, _PLAIN, "get counters of SA")
_UPDATE_AEVENT: Final = RequestKind.of(MessageType.XFRM_MSG_NEWAE, _REPLACE, "update counters of SA")
_MIGRATE: Final = RequestKind.of(MessageType.XFRM_MSG_MIGRATE, _PLAIN, "migrate policy")
_MIGRATE_SA: Final = RequestKind.of(MessageType.XFRM_MSG_MIGRATE_STATE, _PLAIN, "migrate SA")
_GET_SAD_INFO: Final = RequestKind.of(MessageType.XFRM_MSG_GETSADINFO, _PLAIN, "get info of")
_GET_SPD_INFO: Final = RequestKind.of(MessageType.XFRM_MSG_GETSPDINFO, _PLAIN, "get info of")
_SET_SPD_THRESHOLDS: Final = RequestKind.of(MessageType.XFRM_MSG_NEWSPDINFO, _PLAIN, "set hash thresholds of")
_GET_DEFAULT: Final = RequestKind.of(MessageType.XFRM_MSG_GETDEFAULT, _PLAIN, "get")
_SET_DEFAULT: Final = RequestKind.of(MessageType.XFRM_MSG_SETDEFAULT, _PLAIN, "set default policy")


def add_sa(sa: SecurityAssociation) -> Request:
    """NEWSA: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(_ADD_SA, sa, sa.encode())


def update_sa(sa: SecurityAssociation) -> Request:
    """UPDSA: ESRCH where none of its name is there. The kernel keeps the key it has. Raises EncodeError."""
    return Request(_UPDATE_SA, sa, sa.encode())


def delete_sa(sa_id: SaId) -> Request:
    """DELSA: ESRCH where none of its name is there. Raises EncodeError."""
    return Request(_DELETE_SA, sa_id, sa_id.encode())


def get_sa(sa_id: SaId) -> Request:
    """GETSA: answered by NEWSA; ESRCH where none of its name is there. Raises EncodeError."""
    return Request(_GET_SA, sa_id, sa_id.encode())


def dump_sas(*, protocol: int | None = None, addresses: AddressFilter | None = None) -> Request:
    """GETSA as a dump: every SA, or those of a protocol and between certain addresses. Raises EncodeError."""
    # As a dump request it has attributes only, no struct.
    body = b"" if protocol is None else PROTO.encode(protocol)
    if addresses is not None:
        body += ADDRESS_FILTER.encode(addresses.to_uapi())
    return Request(_DUMP_SAS, "SAs" if addresses is None else addresses, body)


def flush_sas(protocol: int = Protocol.IPSEC_PROTO_ANY) -> Request:
    """FLUSHSA: every SA of a protocol, none being there is no error. Raises EncodeError."""
    body = USERSA_FLUSH.pack(XfrmUsersaFlush(protocol))
    return Request(_FLUSH_SAS, "SAs", body)


def add_policy(policy: Policy) -> Request:
    """NEWPOLICY: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(_ADD_POLICY, policy, policy.encode())


def update_policy(policy: Policy) -> Request:
    """UPDPOLICY: replaces the one of its name, or adds it. Raises EncodeError."""
    return Request(_UPDATE_POLICY, policy, policy.encode())


def delete_policy(policy_id: PolicyId) -> Request:
    """DELPOLICY: ENOENT where none of its name is there. Raises EncodeError."""
    return Request(_DELETE_POLICY, policy_id, policy_id.encode())


def get_policy(policy_id: PolicyId) -> Request:
    """GETPOLICY: answered by NEWPOLICY; ENOENT where none of its name is there. Raises EncodeError."""
    return Request(_GET_POLICY, policy_id, policy_id.encode())


def dump_policies() -> Request:
    """GETPOLICY as a dump: every policy; those of sockets have directions above FWD."""
    return Request(_DUMP_POLICIES, "policies", b"")


def flush_policies(type_: int = PolicyType.MAIN) -> Request:
    """FLUSHPOLICY: every policy of a type, MAIN or SUB. Raises EncodeError."""
    body = POLICY_TYPE.encode(XfrmUserpolicyType(type_))
    return Request(_FLUSH_POLICIES, "policies", body)


def allocate_spi(wanted: SpiRequest) -> Request:
    """ALLOCSPI: answered by NEWSA, a larval SA; ENOENT where no SPI of the range is free. Raises EncodeError."""
    return Request(_ALLOCATE_SPI, wanted, wanted.encode())


def acquire(asked: Acquire) -> Request:
    """ACQUIRE: has the kernel ask key management for SAs, as if a packet had; needs templates. Raises EncodeError."""
    demand_one_family(source=asked.source, destination=asked.sa_id.destination)
    policy = asked.policy
    record = XfrmUserAcquire(
        id=XfrmId(asked.sa_id.destination.octets, asked.sa_id.spi, asked.sa_id.protocol),
        saddr=asked.source.octets,
        sel=asked.selector.to_uapi(),
        policy=policy.to_uapi(),
        aalgos=ALL_ALGORITHMS,
        ealgos=ALL_ALGORITHMS,
        calgos=ALL_ALGORITHMS,
        seq=asked.sequence,
    )
    body = USER_ACQUIRE.pack(record) + policy.encode_attributes()
    if asked.cpu is not None:
        body += SA_PCPU.encode(asked.cpu)
    return Request(_ACQUIRE, policy, body)


def expire_sa(sa_id: SaId, *, hard: bool) -> Request:
    """EXPIRE: the kernel reports it, `hard` removes the SA; ENOENT where there is none. Raises EncodeError."""
    info = XfrmUsersaInfo(
        id=XfrmId(sa_id.destination.octets, sa_id.spi, sa_id.protocol), family=sa_id.destination.family
    )
    body = USER_EXPIRE.pack(XfrmUserExpire(info, hard))
    if sa_id.mark is not None:
        body += MARK.encode(sa_id.mark.to_uapi())
    return Request(_EXPIRE_SA, sa_id, body)


def expire_policy(policy_id: PolicyId, *, hard: bool) -> Request:
    """POLEXPIRE: the kernel reports it, `hard` removes the policy; ENOENT where there is none. Raises EncodeError."""
    record = XfrmUserpolicyInfo(sel=policy_id.selector.to_uapi(), index=policy_id.index, dir=policy_id.direction)
    body = USER_POLEXPIRE.pack(XfrmUserPolexpire(record, hard)) + policy_id.encode_attributes()
    return Request(_EXPIRE_POLICY, policy_id, body)


def get_aevent(sa_id: SaId) -> Request:
    """GETAE: answered by NEWAE with counters and thresholds; ESRCH where there is no such SA. Raises EncodeError."""
    return Request(_GET_AEVENT, sa_id, encode_query(sa_id))


def update_aevent(aevent: Aevent) -> Request:
    """NEWAE: sets counters, sequence numbers or thresholds; EINVAL where it has none of them. Raises EncodeError."""
    return Request(_UPDATE_AEVENT, aevent, aevent.encode())


def migrate(migration: Migration) -> Request:
    """MIGRATE: ENOENT where no such policy is there, ENODATA where nothing of it moves. Raises EncodeError."""
    return Request(_MIGRATE, migration, migration.encode())


def migrate_sa(migration: SaMigration) -> Request:
    """MIGRATE_STATE: ESRCH without the SA, EEXIST where the name is taken, EINVAL before 7.2. Raises EncodeError."""
    return Request(_MIGRATE_SA, migration, migration.encode())


def get_sad_info() -> Request:
    """GETSADINFO: answered by NEWSADINFO."""
    return Request(_GET_SAD_INFO, "SAD", encode_info_query())


def get_spd_info() -> Request:
    """GETSPDINFO: answered by NEWSPDINFO."""
    return Request(_GET_SPD_INFO, "SPD", encode_info_query())


def set_spd_thresholds(*, ipv4: HashThreshold | None = None, ipv6: HashThreshold | None = None) -> Request:
    """NEWSPDINFO: from which prefix lengths on policies are hashed; EINVAL beyond the address. Raises EncodeError."""
    body = encode_thresholds(ipv4, ipv6)
    return Request(_SET_SPD_THRESHOLDS, "SPD", body)


def get_default() -> Request:
    """GETDEFAULT: answered by GETDEFAULT; EINVAL before Linux 5.15."""
    return Request(_GET_DEFAULT, "default policy", DefaultPolicy().encode())


def set_default(default: DefaultPolicy) -> Request:
    """SETDEFAULT: what happens to packets without a policy; UNSPEC leaves a direction as is. Raises EncodeError."""
    return Request(_SET_DEFAULT, default, default.encode())
