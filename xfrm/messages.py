"""The message table: each XFRM_MSG_* number with its struct and the attributes that go with it, and parsed messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from xfrm import attributes as rows
from xfrm import structs
from xfrm.attributes import Attribute, AttributeSet
from xfrm.constants import MessageType, name_of
from xfrm.errors import DecodeError
from xfrm.frame import Frame, aligned
from xfrm.layout import Layout

__all__ = ["MESSAGES", "Message", "MessageSpec"]

R = TypeVar("R", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """A row of the message table: `layout` of the struct it begins with, None for none, and its usual `attributes`."""

    type: MessageType
    layout: Layout[Any] | None
    attributes: tuple[Attribute[Any], ...]


_SA_ATTRIBUTES: Final = (
    *(rows.ALG_AUTH, rows.ALG_CRYPT, rows.ALG_COMP, rows.ENCAP, rows.SRCADDR, rows.COADDR, rows.LASTUSED),
    *(rows.REPLAY_VAL, rows.ALG_AEAD, rows.ALG_AUTH_TRUNC, rows.MARK, rows.TFCPAD, rows.REPLAY_ESN_VAL),
    *(rows.SA_EXTRA_FLAGS, rows.SET_MARK, rows.SET_MARK_MASK, rows.IF_ID, rows.SA_DIR, rows.LTIME_VAL),
)
_POLICY_ATTRIBUTES: Final = (rows.TMPL, rows.POLICY_TYPE, rows.MARK, rows.IF_ID, rows.LASTUSED)
_SA_NAME: Final = (rows.MARK, rows.SRCADDR)
_POLICY_NAME: Final = (rows.POLICY_TYPE, rows.MARK, rows.IF_ID)

MESSAGES: Final[dict[int, MessageSpec]] = {
    spec.type: spec
    for spec in (
        MessageSpec(MessageType.XFRM_MSG_NEWSA, structs.USERSA_INFO, _SA_ATTRIBUTES),
        MessageSpec(MessageType.XFRM_MSG_UPDSA, structs.USERSA_INFO, _SA_ATTRIBUTES),
        MessageSpec(MessageType.XFRM_MSG_DELSA, structs.USERSA_ID, (*_SA_NAME, rows.SA, *_SA_ATTRIBUTES)),
        MessageSpec(MessageType.XFRM_MSG_GETSA, structs.USERSA_ID, _SA_NAME),
        MessageSpec(MessageType.XFRM_MSG_FLUSHSA, structs.USERSA_FLUSH, ()),
        MessageSpec(MessageType.XFRM_MSG_NEWPOLICY, structs.USERPOLICY_INFO, _POLICY_ATTRIBUTES),
        MessageSpec(MessageType.XFRM_MSG_UPDPOLICY, structs.USERPOLICY_INFO, _POLICY_ATTRIBUTES),
        MessageSpec(
            MessageType.XFRM_MSG_DELPOLICY,
            structs.USERPOLICY_ID,
            (rows.POLICY, rows.TMPL, rows.LASTUSED, *_POLICY_NAME),
        ),
        MessageSpec(MessageType.XFRM_MSG_GETPOLICY, structs.USERPOLICY_ID, _POLICY_NAME),
        MessageSpec(MessageType.XFRM_MSG_FLUSHPOLICY, None, (rows.POLICY_TYPE,)),
        MessageSpec(MessageType.XFRM_MSG_ACQUIRE, structs.USER_ACQUIRE, _POLICY_ATTRIBUTES),
        MessageSpec(MessageType.XFRM_MSG_EXPIRE, structs.USER_EXPIRE, (rows.MARK, rows.IF_ID, rows.SA_DIR)),
        MessageSpec(MessageType.XFRM_MSG_POLEXPIRE, structs.USER_POLEXPIRE, _POLICY_ATTRIBUTES),
    )
}
"""The table by number."""


@dataclass(frozen=True, slots=True)
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
        size = 0 if spec.layout is None else spec.layout.size
        if len(frame.body) < size:
            raise DecodeError(f"{spec.type.name} has at least {size} octets, not {len(frame.body)}")
        return cls(spec.type, frame.sequence, frame.port, frame.body, AttributeSet.parse(frame.body, aligned(size)))

    def read(self, layout: Layout[R]) -> R:
        """The struct it begins with; `layout` is its row's. Raises DecodeError."""
        return layout.unpack(self.body)
