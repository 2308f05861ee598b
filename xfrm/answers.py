"""Answers: what the kernel replies to a request that asks for something, read by the type of the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from xfrm.aevent import Aevent
from xfrm.constants import MessageType, name_of
from xfrm.control_structs import AEVENT_ID, USERPOLICY_DEFAULT
from xfrm.errors import DecodeError
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy, SadInfo, SpdInfo
from xfrm.messages import Message
from xfrm.policy import Policy
from xfrm.state import SecurityAssociation
from xfrm.structs import USERPOLICY_INFO, USERSA_INFO

__all__ = ["Answer", "read_answer"]

Answer: TypeAlias = SecurityAssociation | Policy | Aevent | SadInfo | SpdInfo | DefaultPolicy
"""What a request may be answered with."""


def read_answer(frame: Frame) -> Answer:
    """The answer in a frame: one reply, or one entry of a dump. Raises DecodeError."""
    read = _READERS.get(frame.type)
    if read is None:
        raise DecodeError(f"no answer is of type {name_of(MessageType, frame.type)}")
    return read(Message.parse(frame))


def _sa(message: Message) -> SecurityAssociation:
    return SecurityAssociation.decode(message.read(USERSA_INFO), message.attributes)


def _policy(message: Message) -> Policy:
    return Policy.decode(message.read(USERPOLICY_INFO), message.attributes)


def _aevent(message: Message) -> Aevent:
    return Aevent.decode(message.read(AEVENT_ID), message.attributes)


_READERS: Final[dict[int, Callable[[Message], Answer]]] = {
    MessageType.XFRM_MSG_NEWSA: _sa,
    MessageType.XFRM_MSG_NEWPOLICY: _policy,
    MessageType.XFRM_MSG_NEWAE: _aevent,
    MessageType.XFRM_MSG_NEWSADINFO: lambda message: SadInfo.decode(message.attributes),
    MessageType.XFRM_MSG_NEWSPDINFO: lambda message: SpdInfo.decode(message.attributes),
    MessageType.XFRM_MSG_GETDEFAULT: lambda message: DefaultPolicy.decode(message.read(USERPOLICY_DEFAULT)),
}
