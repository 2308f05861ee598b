"""Messages of NETLINK_XFRM taken apart for people: of either direction, requests and replies and events alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xfrm import control_structs, structs
from xfrm.aevent import Aevent
from xfrm.attributes import ADDRESS_FILTER, PROTO
from xfrm.constants import MessageType, NetlinkControl, NetlinkFlag, Protocol, known, name_of
from xfrm.errors import DecodeError
from xfrm.events import Event, Unknown, read_event
from xfrm.frame import HEADER, Frame, read_done, read_error, split
from xfrm.info import DefaultPolicy, SadInfo, SpdInfo
from xfrm.messages import MESSAGES, Message
from xfrm.migration import Migration, SaMigration
from xfrm.policy import Policy, PolicyId, read_policy_type
from xfrm.record import record
from xfrm.selector import AddressFilter
from xfrm.spi import SpiRequest
from xfrm.state import SaId, SecurityAssociation

__all__ = ["Acknowledgement", "Dissected", "Done", "PolicyDump", "SaDump", "dissect"]


@record
class Acknowledgement:
    """NLMSG_ERROR: what became of a request. `errno`: 0 where it was done; `extack`: the kernel's words or empty.

    `request`, `request_sequence`: type and number of the request that it answers.
    """

    errno: int
    extack: str
    request: int
    request_sequence: int


@record
class Done:
    """NLMSG_DONE: the end of a dump. `errno`: 0 where it is whole; `extack`: the kernel's words or empty."""

    errno: int
    extack: str


@record
class SaDump:
    """XFRM_MSG_GETSA as a dump. `protocol`: of the SAs asked for, None for any; `addresses`: theirs, None for any."""

    protocol: int | None
    addresses: AddressFilter | None


@record
class PolicyDump:
    """XFRM_MSG_GETPOLICY as a dump. `type`: of the policies asked for."""

    type: int


@record
class Dissected:
    """One message. `type`, `flags`, `sequence`, `port`: of struct nlmsghdr; `to_kernel`: whether it is a request.

    `content`: its record, None where it has none or cannot be read, and `reason` says why. `attributes`: names of its
    attributes, in order; a number for one that has no name here. Keys are in `content` only, as a record has them.
    """

    type: int
    flags: int
    sequence: int
    port: int
    to_kernel: bool
    content: object | None
    attributes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """The uapi name of its type."""
        return name_of(MessageType if self.type >= MessageType.XFRM_MSG_NEWSA else NetlinkControl, self.type)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The uapi names of its flags. A bit's meaning depends on the kind of message."""
        names: list[str] = []
        rest = self.flags
        for bits, name in (*_COMMON_FLAGS, *_flags_of(self.type)):
            if rest & bits == bits:
                names.append(name)
                rest &= ~bits
        return (*names, *([f"unknown(0x{rest:x})"] if rest else []))


def dissect(datagram: bytes) -> list[Dissected]:
    """The messages of a datagram. One that cannot be read has a reason. Raises DecodeError where it does not split.

    A message is to the kernel where it has NLM_F_REQUEST: the kernel heeds no other, and sets it in none of its own.
    """
    return [_dissect(frame) for frame in split(datagram)]


def _dissect(frame: Frame) -> Dissected:
    to_kernel = bool(frame.flags & NetlinkFlag.NLM_F_REQUEST)
    content: object | None = None
    attributes: tuple[str, ...] = ()
    reason = ""
    try:
        control = _CONTROLS.get(frame.type)
        if control is not None:
            content = control(frame)
        else:
            message = Message.parse(frame)
            numbers = MESSAGES[frame.type].numbers
            attributes = tuple(name_of(numbers, attribute.number) for attribute in message.attributes)
            content = _content(frame, message, to_kernel)
    except DecodeError as error:
        reason = str(error)
    return Dissected(frame.type, frame.flags, frame.sequence, frame.port, to_kernel, content, attributes, reason)


def _content(frame: Frame, message: Message, to_kernel: bool) -> object | None:
    dump = frame.flags & NetlinkFlag.NLM_F_DUMP == NetlinkFlag.NLM_F_DUMP
    table = _REQUESTS if to_kernel else _REPLIES
    reader = (_DUMPS if to_kernel and dump else table).get(frame.type) or table.get(frame.type)
    if reader is not None:
        return reader(message)
    event: Event = read_event(frame)
    if isinstance(event, Unknown):
        raise DecodeError(event.reason)
    return event


def _acknowledgement(frame: Frame) -> Acknowledgement:
    reply = read_error(frame)
    if len(frame.body) < 4 + HEADER.size:
        raise DecodeError("an error reply without the header it answers", offset=len(frame.body))
    _, type_, _, sequence, _ = HEADER.unpack_from(frame.body, 4)
    return Acknowledgement(reply.errno, reply.extack, known(MessageType, type_), sequence)


def _done(frame: Frame) -> Done:
    return Done(*read_done(frame))


_CONTROLS: Final[dict[int, Callable[[Frame], object | None]]] = {
    NetlinkControl.NLMSG_NOOP: lambda frame: None,
    NetlinkControl.NLMSG_ERROR: _acknowledgement,
    NetlinkControl.NLMSG_DONE: _done,
    NetlinkControl.NLMSG_OVERRUN: lambda frame: None,
}


def _sa(message: Message) -> SecurityAssociation:
    return SecurityAssociation.decode(message.read(structs.USERSA_INFO), message.attributes)


def _sa_id(message: Message) -> SaId:
    return SaId.decode(message.read(structs.USERSA_ID), message.attributes)


def _policy(message: Message) -> Policy:
    return Policy.decode(message.read(structs.USERPOLICY_INFO), message.attributes)


def _policy_id(message: Message) -> PolicyId:
    return PolicyId.decode(message.read(structs.USERPOLICY_ID), message.attributes)


def _aevent(message: Message) -> Aevent:
    return Aevent.decode(message.read(control_structs.AEVENT_ID), message.attributes)


def _spi(message: Message) -> SpiRequest:
    return SpiRequest.decode(message.read(control_structs.USERSPI_INFO), message.attributes)


def _default(message: Message) -> DefaultPolicy:
    return DefaultPolicy.decode(message.read(control_structs.USERPOLICY_DEFAULT))


def _migration(message: Message) -> Migration:
    return Migration.decode(message.read(structs.USERPOLICY_ID), message.attributes)


def _sa_migration(message: Message) -> SaMigration:
    return SaMigration.decode(message.read(control_structs.USER_MIGRATE_STATE), message.attributes)


def _sa_dump(message: Message) -> SaDump:
    protocol, addresses = message.attributes.get(PROTO), message.attributes.get(ADDRESS_FILTER)
    return SaDump(
        None if protocol is None else known(Protocol, protocol),
        None if addresses is None else AddressFilter.from_uapi(addresses),
    )


def _policy_dump(message: Message) -> PolicyDump:
    return PolicyDump(read_policy_type(message.attributes))


_M: Final = MessageType
_GETS: Final = frozenset(
    {_M.XFRM_MSG_GETSA, _M.XFRM_MSG_GETPOLICY, _M.XFRM_MSG_GETAE, _M.XFRM_MSG_GETSADINFO, _M.XFRM_MSG_GETSPDINFO}
)
_DELETES: Final = frozenset({_M.XFRM_MSG_DELSA, _M.XFRM_MSG_DELPOLICY, _M.XFRM_MSG_FLUSHSA, _M.XFRM_MSG_FLUSHPOLICY})
_Flags = tuple[tuple[int, str], ...]
# linux/netlink.h: the same bits mean something else in each kind of request.
_COMMON_FLAGS: Final[_Flags] = (
    *((0x1, "NLM_F_REQUEST"), (0x2, "NLM_F_MULTI"), (0x4, "NLM_F_ACK"), (0x8, "NLM_F_ECHO")),
    *((0x10, "NLM_F_DUMP_INTR"), (0x20, "NLM_F_DUMP_FILTERED")),
)
_REPLY_FLAGS: Final[_Flags] = ((0x100, "NLM_F_CAPPED"), (0x200, "NLM_F_ACK_TLVS"))
_GET_FLAGS: Final[_Flags] = (
    (0x300, "NLM_F_DUMP"),
    (0x100, "NLM_F_ROOT"),
    (0x200, "NLM_F_MATCH"),
    (0x400, "NLM_F_ATOMIC"),
)
_DELETE_FLAGS: Final[_Flags] = ((0x100, "NLM_F_NONREC"), (0x200, "NLM_F_BULK"))
_NEW_FLAGS: Final[_Flags] = (
    (0x100, "NLM_F_REPLACE"),
    (0x200, "NLM_F_EXCL"),
    (0x400, "NLM_F_CREATE"),
    (0x800, "NLM_F_APPEND"),
)


def _flags_of(type_: int) -> _Flags:
    if type_ < MessageType.XFRM_MSG_NEWSA:
        return _REPLY_FLAGS
    if type_ in _GETS:
        return _GET_FLAGS
    return _DELETE_FLAGS if type_ in _DELETES else _NEW_FLAGS


_Readers = dict[int, Callable[[Message], object | None]]
# What is in neither table reads the same in both directions, as an event.
_BOTH: Final[_Readers] = {
    _M.XFRM_MSG_NEWSA: _sa,
    _M.XFRM_MSG_UPDSA: _sa,
    _M.XFRM_MSG_NEWPOLICY: _policy,
    _M.XFRM_MSG_UPDPOLICY: _policy,
    _M.XFRM_MSG_NEWAE: _aevent,
    _M.XFRM_MSG_MIGRATE: _migration,
    _M.XFRM_MSG_MIGRATE_STATE: _sa_migration,
    _M.XFRM_MSG_GETDEFAULT: _default,
    _M.XFRM_MSG_NEWSADINFO: lambda message: SadInfo.decode(message.attributes),
    _M.XFRM_MSG_NEWSPDINFO: lambda message: SpdInfo.decode(message.attributes),
}
_REQUESTS: Final[_Readers] = {
    **_BOTH,
    _M.XFRM_MSG_DELSA: _sa_id,
    _M.XFRM_MSG_GETSA: _sa_id,
    _M.XFRM_MSG_DELPOLICY: _policy_id,
    _M.XFRM_MSG_GETPOLICY: _policy_id,
    _M.XFRM_MSG_ALLOCSPI: _spi,
    _M.XFRM_MSG_GETAE: _aevent,
    _M.XFRM_MSG_SETDEFAULT: _default,
    _M.XFRM_MSG_GETSADINFO: lambda message: None,
    _M.XFRM_MSG_GETSPDINFO: lambda message: None,
}
_REPLIES: Final[_Readers] = _BOTH
_DUMPS: Final[_Readers] = {_M.XFRM_MSG_GETSA: _sa_dump, _M.XFRM_MSG_GETPOLICY: _policy_dump}
