"""The message table: each XFRM_MSG_* number with its struct and the attributes that go with it, and parsed messages."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias, TypeVar

from xfrm import attributes as rows
from xfrm import control_structs, structs
from xfrm.attributes import Attribute, AttributeSet
from xfrm.constants import AttributeType, MessageType, NetlinkFlag, SadAttributeType, SpdAttributeType, name_of
from xfrm.errors import DecodeError
from xfrm.frame import Frame, aligned
from xfrm.iptfs import IPTFS_ROWS
from xfrm.layout import Layout
from xfrm.record import field, record

__all__ = ["MESSAGES", "Message", "MessageSpec"]

R = TypeVar("R", bound=tuple[Any, ...])
_Enumeration: TypeAlias = type[IntEnum]
_Rows: TypeAlias = tuple[Attribute[Any], ...]


@record
class MessageSpec:
    """A row of the message table: `layout` of the struct it begins with, None for none, and its `attributes`.

    `attributes`: those that requests, answers and events of this type may have. `numbers`: their enumeration.
    `bare_dump`: as a dump request it has no struct before them.
    """

    type: MessageType
    layout: Layout[Any] | None
    attributes: tuple[Attribute[Any], ...] = ()
    numbers: _Enumeration = AttributeType
    bare_dump: bool = False

    def struct_octets(self, flags: int) -> int:
        """Octets of the struct in a message of this type with these flags of struct nlmsghdr."""
        dumps = self.bare_dump and flags & NetlinkFlag.NLM_F_DUMP == NetlinkFlag.NLM_F_DUMP
        return 0 if self.layout is None or dumps else self.layout.size


_SA_ATTRIBUTES: Final[_Rows] = (
    *(rows.ALG_AUTH, rows.ALG_CRYPT, rows.ALG_COMP, rows.ENCAP, rows.SEC_CTX, rows.LTIME_VAL, rows.REPLAY_VAL),
    *(rows.REPLAY_THRESH, rows.ETIMER_THRESH, rows.SRCADDR, rows.COADDR, rows.LASTUSED, rows.ALG_AEAD),
    *(rows.ALG_AUTH_TRUNC, rows.MARK, rows.TFCPAD, rows.REPLAY_ESN_VAL, rows.SA_EXTRA_FLAGS, rows.OFFLOAD_DEV),
    *(rows.SET_MARK, rows.SET_MARK_MASK, rows.IF_ID, rows.MTIMER_THRESH, rows.SA_DIR, rows.NAT_KEEPALIVE_INTERVAL),
    *(rows.SA_PCPU, *IPTFS_ROWS),
)
_POLICY_ATTRIBUTES: Final[_Rows] = (
    *(rows.TMPL, rows.SEC_CTX, rows.LASTUSED, rows.POLICY_TYPE, rows.MARK, rows.OFFLOAD_DEV, rows.IF_ID),
)
_SA_NAME: Final[_Rows] = (rows.MARK, rows.SRCADDR)
_POLICY_NAME: Final[_Rows] = (rows.SEC_CTX, rows.POLICY_TYPE, rows.MARK, rows.IF_ID)
_AEVENT_ATTRIBUTES: Final[_Rows] = (
    *(rows.LTIME_VAL, rows.REPLAY_VAL, rows.REPLAY_THRESH, rows.ETIMER_THRESH, rows.MARK, rows.REPLAY_ESN_VAL),
    *(rows.IF_ID, rows.SA_DIR, rows.SA_PCPU),
)
_MIGRATE_ATTRIBUTES: Final[_Rows] = (
    *(rows.ENCAP, rows.POLICY_TYPE, rows.MIGRATE, rows.KMADDRESS, rows.OFFLOAD_DEV, rows.IF_ID),
)
_MIGRATE_STATE_ATTRIBUTES: Final[_Rows] = (
    *(rows.ENCAP, rows.MARK, rows.OFFLOAD_DEV, rows.SET_MARK, rows.SET_MARK_MASK, rows.MTIMER_THRESH, rows.SA_DIR),
    rows.NAT_KEEPALIVE_INTERVAL,
)
_M: Final = MessageType

MESSAGES: Final[dict[int, MessageSpec]] = {
    spec.type: spec
    for spec in (
        MessageSpec(_M.XFRM_MSG_NEWSA, structs.USERSA_INFO, _SA_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_DELSA, structs.USERSA_ID, (rows.SA, *_SA_ATTRIBUTES)),
        MessageSpec(_M.XFRM_MSG_GETSA, structs.USERSA_ID, (*_SA_NAME, rows.PROTO, rows.ADDRESS_FILTER), bare_dump=True),
        MessageSpec(_M.XFRM_MSG_NEWPOLICY, structs.USERPOLICY_INFO, _POLICY_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_DELPOLICY, structs.USERPOLICY_ID, (rows.POLICY, *_POLICY_ATTRIBUTES)),
        MessageSpec(_M.XFRM_MSG_GETPOLICY, structs.USERPOLICY_ID, _POLICY_NAME, bare_dump=True),
        MessageSpec(
            _M.XFRM_MSG_ALLOCSPI,
            control_structs.USERSPI_INFO,
            (rows.MARK, rows.IF_ID, rows.SA_DIR, rows.SA_PCPU),
        ),
        MessageSpec(_M.XFRM_MSG_ACQUIRE, structs.USER_ACQUIRE, (*_POLICY_ATTRIBUTES, rows.SA_DIR, rows.SA_PCPU)),
        MessageSpec(_M.XFRM_MSG_EXPIRE, structs.USER_EXPIRE, (rows.MARK, rows.IF_ID, rows.SA_DIR, rows.SA_PCPU)),
        MessageSpec(_M.XFRM_MSG_UPDPOLICY, structs.USERPOLICY_INFO, _POLICY_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_UPDSA, structs.USERSA_INFO, _SA_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_POLEXPIRE, structs.USER_POLEXPIRE, _POLICY_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_FLUSHSA, structs.USERSA_FLUSH),
        MessageSpec(_M.XFRM_MSG_FLUSHPOLICY, None, (rows.POLICY_TYPE,)),
        MessageSpec(_M.XFRM_MSG_NEWAE, control_structs.AEVENT_ID, _AEVENT_ATTRIBUTES),
        MessageSpec(_M.XFRM_MSG_GETAE, control_structs.AEVENT_ID, (rows.MARK,)),
        MessageSpec(_M.XFRM_MSG_REPORT, control_structs.USER_REPORT, (rows.COADDR,)),
        MessageSpec(_M.XFRM_MSG_MIGRATE, structs.USERPOLICY_ID, _MIGRATE_ATTRIBUTES),
        MessageSpec(
            _M.XFRM_MSG_NEWSADINFO, control_structs.INFO_FLAGS, (rows.SAD_CNT, rows.SAD_HINFO), SadAttributeType
        ),
        MessageSpec(_M.XFRM_MSG_GETSADINFO, control_structs.INFO_FLAGS),
        MessageSpec(
            _M.XFRM_MSG_NEWSPDINFO,
            control_structs.INFO_FLAGS,
            (rows.SPD_INFO, rows.SPD_HINFO, rows.SPD_IPV4_HTHRESH, rows.SPD_IPV6_HTHRESH),
            SpdAttributeType,
        ),
        MessageSpec(_M.XFRM_MSG_GETSPDINFO, control_structs.INFO_FLAGS),
        MessageSpec(_M.XFRM_MSG_MAPPING, control_structs.USER_MAPPING),
        MessageSpec(_M.XFRM_MSG_SETDEFAULT, control_structs.USERPOLICY_DEFAULT),
        MessageSpec(_M.XFRM_MSG_GETDEFAULT, control_structs.USERPOLICY_DEFAULT),
        MessageSpec(_M.XFRM_MSG_MIGRATE_STATE, control_structs.USER_MIGRATE_STATE, _MIGRATE_STATE_ATTRIBUTES),
    )
}
"""The table by number."""


@record
class Message:
    """A message of XFRM: `type`, `sequence` and `port` of the request it answers or reports, and content."""

    type: int
    sequence: int
    port: int
    body: bytes = field(repr=False)
    attributes: AttributeSet

    @classmethod
    def parse(cls, frame: Frame) -> Message:
        """From a frame. Raises DecodeError for a type that is not in the table, or contents that contradict it."""
        spec = MESSAGES.get(frame.type)
        if spec is None:
            raise DecodeError(f"no message of XFRM is {name_of(MessageType, frame.type)}")
        size = spec.struct_octets(frame.flags)
        if len(frame.body) < size:
            raise DecodeError(f"{spec.type.name} has at least {size} octets, not {len(frame.body)}")
        return cls(spec.type, frame.sequence, frame.port, frame.body, AttributeSet.parse(frame.body, aligned(size)))

    def read(self, layout: Layout[R]) -> R:
        """The struct it begins with; `layout` is its row's. Raises DecodeError."""
        return layout.unpack(self.body)
