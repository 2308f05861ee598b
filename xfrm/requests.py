"""Requests: what is asked of the kernel, as values ready to send.

Each function makes one Request of typed values; a list of them, mixed, goes to `XfrmSocket.request_many`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

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


class Request:
    """One request. `verb`, `subject`: what it does to what, for people; `body`: struct and attributes, keys too.

    `octets`: of the body; `is_dump`: whether it asks for all entries, and the answer is multipart.

    An SA, a policy or the name of one needs no `body`: it is what the subject encodes to. That is kept until the
    request is sent (`hand_over`) and made again where it is asked for later, so that requests that were done, and
    outcomes, hold no octets of keys. Raises EncodeError.
    """

    __slots__ = ("_body", "_given", "flags", "is_dump", "octets", "subject", "type", "verb")
    __hash__ = None  # type: ignore[assignment]  # a hash table would compare keys in variable time

    def __init__(self, type_: MessageType, flags: int, verb: str, subject: Subject, body: bytes | None = None) -> None:
        self.type: Final = type_
        self.flags: Final = flags
        self.verb: Final = verb
        self.subject: Final = subject
        self.is_dump: Final = flags & _DUMP == _DUMP  # NLM_F_DUMP is two bits
        self._given: Final = body is not None
        made = _encoded(subject) if body is None else body
        self._body: bytes | None = made
        self.octets: Final = len(made)

    @property
    def body(self) -> bytes:
        """Struct and attributes. Raises EncodeError."""
        return _encoded(self.subject) if self._body is None else self._body

    def hand_over(self) -> bytes:
        """The body, to be sent: no longer kept here where the subject can make it again. Raises EncodeError."""
        body = self._body
        if body is None:
            return _encoded(self.subject)
        if not self._given:
            self._body = None
        return body

    def describe(self) -> str:
        """One line for people, without keys."""
        return f"{self.verb} {self.subject}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        mine = (self.type, self.flags, self.verb, self.subject)
        return mine == (other.type, other.flags, other.verb, other.subject) and self.body == other.body

    def __repr__(self) -> str:
        return f"<Request: {self.describe()}>"


def _encoded(subject: Subject) -> bytes:
    if isinstance(subject, _ENCODABLE):
        return subject.encode()
    raise TypeError(f"a request about {subject} needs a body")


_ENCODABLE: Final = (SecurityAssociation, Policy, SaId, PolicyId)


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


def add_sa(sa: SecurityAssociation) -> Request:
    """NEWSA: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_NEWSA, _NEW, "add SA", sa)


def update_sa(sa: SecurityAssociation) -> Request:
    """UPDSA: ESRCH where none of its name is there. The kernel keeps the key it has. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_UPDSA, _REPLACE, "update SA", sa)


def delete_sa(sa_id: SaId) -> Request:
    """DELSA: ESRCH where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_DELSA, _PLAIN, "delete SA", sa_id)


def get_sa(sa_id: SaId) -> Request:
    """GETSA: answered by NEWSA; ESRCH where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_GETSA, _PLAIN, "get SA", sa_id)


def dump_sas(*, protocol: int | None = None, addresses: AddressFilter | None = None) -> Request:
    """GETSA as a dump: every SA, or those of a protocol and between certain addresses. Raises EncodeError."""
    # As a dump request it has attributes only, no struct.
    body = b"" if protocol is None else PROTO.encode(protocol)
    if addresses is not None:
        body += ADDRESS_FILTER.encode(addresses.to_uapi())
    return Request(MessageType.XFRM_MSG_GETSA, _DUMP, "dump", "SAs" if addresses is None else addresses, body)


def flush_sas(protocol: int = Protocol.IPSEC_PROTO_ANY) -> Request:
    """FLUSHSA: every SA of a protocol, none being there is no error. Raises EncodeError."""
    body = USERSA_FLUSH.pack(XfrmUsersaFlush(protocol))
    return Request(MessageType.XFRM_MSG_FLUSHSA, _PLAIN, "flush", "SAs", body)


def add_policy(policy: Policy) -> Request:
    """NEWPOLICY: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_NEWPOLICY, _NEW, "add policy", policy)


def update_policy(policy: Policy) -> Request:
    """UPDPOLICY: replaces the one of its name, or adds it. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_UPDPOLICY, _REPLACE, "update policy", policy)


def delete_policy(policy_id: PolicyId) -> Request:
    """DELPOLICY: ENOENT where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_DELPOLICY, _PLAIN, "delete policy", policy_id)


def get_policy(policy_id: PolicyId) -> Request:
    """GETPOLICY: answered by NEWPOLICY; ENOENT where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_GETPOLICY, _PLAIN, "get policy", policy_id)


def dump_policies() -> Request:
    """GETPOLICY as a dump: every policy; those of sockets have directions above FWD."""
    return Request(MessageType.XFRM_MSG_GETPOLICY, _DUMP, "dump", "policies", b"")


def flush_policies(type_: int = PolicyType.MAIN) -> Request:
    """FLUSHPOLICY: every policy of a type, MAIN or SUB. Raises EncodeError."""
    body = POLICY_TYPE.encode(XfrmUserpolicyType(type_))
    return Request(MessageType.XFRM_MSG_FLUSHPOLICY, _PLAIN, "flush", "policies", body)


def allocate_spi(wanted: SpiRequest) -> Request:
    """ALLOCSPI: answered by NEWSA, a larval SA; ENOENT where no SPI of the range is free. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_ALLOCSPI, _PLAIN, "allocate SPI for", wanted, wanted.encode())


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
    return Request(MessageType.XFRM_MSG_ACQUIRE, _PLAIN, "acquire for", policy, body)


def expire_sa(sa_id: SaId, *, hard: bool) -> Request:
    """EXPIRE: the kernel reports it, `hard` removes the SA; ENOENT where there is none. Raises EncodeError."""
    info = XfrmUsersaInfo(
        id=XfrmId(sa_id.destination.octets, sa_id.spi, sa_id.protocol), family=sa_id.destination.family
    )
    body = USER_EXPIRE.pack(XfrmUserExpire(info, hard))
    if sa_id.mark is not None:
        body += MARK.encode(sa_id.mark.to_uapi())
    return Request(MessageType.XFRM_MSG_EXPIRE, _PLAIN, "expire SA", sa_id, body)


def expire_policy(policy_id: PolicyId, *, hard: bool) -> Request:
    """POLEXPIRE: the kernel reports it, `hard` removes the policy; ENOENT where there is none. Raises EncodeError."""
    record = XfrmUserpolicyInfo(sel=policy_id.selector.to_uapi(), index=policy_id.index, dir=policy_id.direction)
    body = USER_POLEXPIRE.pack(XfrmUserPolexpire(record, hard)) + policy_id.encode_attributes()
    return Request(MessageType.XFRM_MSG_POLEXPIRE, _PLAIN, "expire policy", policy_id, body)


def get_aevent(sa_id: SaId) -> Request:
    """GETAE: answered by NEWAE with counters and thresholds; ESRCH where there is no such SA. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_GETAE, _PLAIN, "get counters of SA", sa_id, encode_query(sa_id))


def update_aevent(aevent: Aevent) -> Request:
    """NEWAE: sets counters, sequence numbers or thresholds; EINVAL where it has none of them. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_NEWAE, _REPLACE, "update counters of SA", aevent, aevent.encode())


def migrate(migration: Migration) -> Request:
    """MIGRATE: ENOENT where no such policy is there, ENODATA where nothing of it moves. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_MIGRATE, _PLAIN, "migrate policy", migration, migration.encode())


def migrate_sa(migration: SaMigration) -> Request:
    """MIGRATE_STATE: ESRCH without the SA, EEXIST where the name is taken, EINVAL before 7.2. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_MIGRATE_STATE, _PLAIN, "migrate SA", migration, migration.encode())


def get_sad_info() -> Request:
    """GETSADINFO: answered by NEWSADINFO."""
    return Request(MessageType.XFRM_MSG_GETSADINFO, _PLAIN, "get info of", "SAD", encode_info_query())


def get_spd_info() -> Request:
    """GETSPDINFO: answered by NEWSPDINFO."""
    return Request(MessageType.XFRM_MSG_GETSPDINFO, _PLAIN, "get info of", "SPD", encode_info_query())


def set_spd_thresholds(*, ipv4: HashThreshold | None = None, ipv6: HashThreshold | None = None) -> Request:
    """NEWSPDINFO: from which prefix lengths on policies are hashed; EINVAL beyond the address. Raises EncodeError."""
    body = encode_thresholds(ipv4, ipv6)
    return Request(MessageType.XFRM_MSG_NEWSPDINFO, _PLAIN, "set hash thresholds of", "SPD", body)


def get_default() -> Request:
    """GETDEFAULT: answered by GETDEFAULT; EINVAL before Linux 5.15."""
    return Request(MessageType.XFRM_MSG_GETDEFAULT, _PLAIN, "get", "default policy", DefaultPolicy().encode())


def set_default(default: DefaultPolicy) -> Request:
    """SETDEFAULT: what happens to packets without a policy; UNSPEC leaves a direction as is. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_SETDEFAULT, _PLAIN, "set default policy", default, default.encode())
