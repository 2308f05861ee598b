"""Requests: what is asked of the kernel, as values ready to send.

Each function makes one Request of typed values; a list of them, mixed, goes to `XfrmSocket.request_many`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from xfrm.attributes import POLICY_TYPE
from xfrm.constants import MessageType, NetlinkFlag, PolicyType, Protocol
from xfrm.errors import KernelRefused
from xfrm.policy import Policy, PolicyId
from xfrm.state import SaId, SecurityAssociation
from xfrm.structs import USERSA_FLUSH, XfrmUserpolicyType, XfrmUsersaFlush

__all__ = [
    "Outcome",
    "Request",
    "add_policy",
    "add_sa",
    "delete_policy",
    "delete_sa",
    "dump_policies",
    "dump_sas",
    "flush_policies",
    "flush_sas",
    "get_policy",
    "get_sa",
    "update_policy",
    "update_sa",
]

_NEW: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_CREATE | NetlinkFlag.NLM_F_EXCL)
_REPLACE: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_CREATE | NetlinkFlag.NLM_F_REPLACE)
_PLAIN: Final = int(NetlinkFlag.NLM_F_REQUEST)
_DUMP: Final = int(NetlinkFlag.NLM_F_REQUEST | NetlinkFlag.NLM_F_DUMP)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `verb`, `subject`: what it does to what, for people; `body`: struct and attributes, keys too."""

    type: MessageType
    flags: int
    verb: str
    subject: SecurityAssociation | SaId | Policy | PolicyId | str
    body: bytes = field(repr=False)

    def describe(self) -> str:
        """One line for people, without keys."""
        return f"{self.verb} {self.subject}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request of a list: `refusal` is None where the kernel did it."""

    request: Request
    refusal: KernelRefused | None = None

    @property
    def ok(self) -> bool:
        """Whether the kernel did it."""
        return self.refusal is None


def add_sa(sa: SecurityAssociation) -> Request:
    """NEWSA: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_NEWSA, _NEW, "add SA", sa, sa.encode())


def update_sa(sa: SecurityAssociation) -> Request:
    """UPDSA: ESRCH where none of its name is there. The kernel keeps the key it has. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_UPDSA, _REPLACE, "update SA", sa, sa.encode())


def delete_sa(sa_id: SaId) -> Request:
    """DELSA: ESRCH where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_DELSA, _PLAIN, "delete SA", sa_id, sa_id.encode())


def get_sa(sa_id: SaId) -> Request:
    """GETSA: answered by NEWSA; ESRCH where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_GETSA, _PLAIN, "get SA", sa_id, sa_id.encode())


def dump_sas() -> Request:
    """GETSA as a dump: every SA."""
    return Request(MessageType.XFRM_MSG_GETSA, _DUMP, "dump", "SAs", b"")


def flush_sas(protocol: int = Protocol.IPSEC_PROTO_ANY) -> Request:
    """FLUSHSA: every SA of a protocol, none being there is no error. Raises EncodeError."""
    body = USERSA_FLUSH.pack(XfrmUsersaFlush(protocol))
    return Request(MessageType.XFRM_MSG_FLUSHSA, _PLAIN, "flush", "SAs", body)


def add_policy(policy: Policy) -> Request:
    """NEWPOLICY: EEXIST where one of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_NEWPOLICY, _NEW, "add policy", policy, policy.encode())


def update_policy(policy: Policy) -> Request:
    """UPDPOLICY: replaces the one of its name, or adds it. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_UPDPOLICY, _REPLACE, "update policy", policy, policy.encode())


def delete_policy(policy_id: PolicyId) -> Request:
    """DELPOLICY: ENOENT where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_DELPOLICY, _PLAIN, "delete policy", policy_id, policy_id.encode())


def get_policy(policy_id: PolicyId) -> Request:
    """GETPOLICY: answered by NEWPOLICY; ENOENT where none of its name is there. Raises EncodeError."""
    return Request(MessageType.XFRM_MSG_GETPOLICY, _PLAIN, "get policy", policy_id, policy_id.encode())


def dump_policies() -> Request:
    """GETPOLICY as a dump: every policy; those of sockets have directions above FWD."""
    return Request(MessageType.XFRM_MSG_GETPOLICY, _DUMP, "dump", "policies", b"")


def flush_policies(type_: int = PolicyType.MAIN) -> Request:
    """FLUSHPOLICY: every policy of a type. Raises EncodeError."""
    body = POLICY_TYPE.encode(XfrmUserpolicyType(type_))
    return Request(MessageType.XFRM_MSG_FLUSHPOLICY, _PLAIN, "flush", "policies", body)
