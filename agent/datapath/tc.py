"""Filters at the ingress of interfaces, over NETLINK_ROUTE (linux/rtnetlink.h, pkt_cls.h, tc_act/tc_skbedit.h).

Only what marks by source need: u32 filters whose action sets bits of a packet's mark and leaves it to the filters after
them. They are read back octet by octet, which pyroute2 0.9 cannot: it takes a filter's keys from the wrong place.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent.errors import KernelError

__all__ = ["Filter", "Key", "TcSocket"]

_NLMSGHDR: Final = struct.Struct("=IHHII")
_TCMSG: Final = struct.Struct("=BxxxiIII")  # family, interface index, handle, parent, info
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_SELECTOR: Final = struct.Struct("=BBBx2sHhh4s")  # struct tc_u32_sel: flags, shift, number of keys, and offsets
_KEY: Final = struct.Struct("=4s4sii")  # struct tc_u32_key: mask and value in network order
_GENERIC: Final = struct.Struct("=IIiii")  # tc_gen: index, capabilities, what comes after, two counts
_U32: Final = struct.Struct("=I")
_ERROR: Final = struct.Struct("=i")

_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400 | 0x200  # NLM_F_*; creation is exclusive
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEW_LINK, _GET_LINK = 16, 18
_NEW_QDISC, _GET_QDISC = 36, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_IFLA_IFNAME: Final = 3
_TCA_KIND, _TCA_OPTIONS, _TCA_CHAIN = 1, 2, 11
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_SKBEDIT_PARMS, _TCA_SKBEDIT_MARK, _TCA_SKBEDIT_MASK = 2, 5, 8
_TYPE: Final = 0x3FFF  # NLA_TYPE_MASK
_TERMINAL: Final = 1  # TC_U32_TERMINAL
_CONTINUE: Final = -1  # TC_ACT_UNSPEC: the filters after this one have their turn
_CLSACT_HANDLE, _CLSACT, _INGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_MESSAGE: Final = 1  # NLMSGERR_ATTR_MSG
_ANSWER_S: Final = 5.0
_BUFFER_OCTETS: Final = 64 * 1024

Key: TypeAlias = tuple[int, int, int]
"""A comparison of 32 bits of a packet: their offset from its IP header, mask, value."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter at an interface's ingress: packets that all `keys` match get `mark` in the bits `mask` of their mark.

    `interface`: index; `priority`: lower comes first, and all with one are of one EtherType, `ethertype`. `handle`: the
    kernel's name for it, 0 for one that is not there yet.
    """

    interface: int
    priority: int
    ethertype: int
    keys: tuple[Key, ...]
    mark: int
    mask: int
    handle: int = 0


class TcSocket:
    """A socket to the filters of the network namespace in which it was made.

    The kernel answers a request before `send` returns, so no call waits. Calls raise KernelError with the kernel's
    words, or OSError where there is no way to it.
    """

    def __init__(self) -> None:
        self._number = 0
        self._socket: Final = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(_ANSWER_S)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def index_of(self, interface: str) -> int:
        """The index of an interface."""
        body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, interface.encode() + b"\0")
        (link,) = self._ask(_GET_LINK, 0, body)
        return int(_IFINFOMSG.unpack_from(link)[2])

    def name_of(self, index: int) -> str:
        """The name of an interface."""
        (link,) = self._ask(_GET_LINK, 0, _IFINFOMSG.pack(0, 0, index, 0, 0))
        return _text(_attributes(link[_IFINFOMSG.size :]).get(_IFLA_IFNAME, b""))

    def with_ingress(self) -> list[int]:
        """The interfaces that have a place for filters at their ingress."""
        found = []
        for qdisc in self._ask(_GET_QDISC, _DUMP, _TCMSG.pack(0, 0, 0, 0, 0)):
            if _text(_attributes(qdisc[_TCMSG.size :]).get(_TCA_KIND, b"")) in ("clsact", "ingress"):
                found.append(int(_TCMSG.unpack_from(qdisc)[1]))
        return found

    def make_ingress(self, index: int) -> None:
        """Give an interface a place for filters, which a kernel keeps for all who want some; one is enough."""
        body = _TCMSG.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + _attribute(_TCA_KIND, b"clsact\0")
        try:
            self._ask(_NEW_QDISC, _CREATE | _ACK, body)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise

    def filters(self, index: int, priority: int) -> list[Filter]:
        """The filters with a priority at an interface's ingress, of those that are as `add` makes them."""
        body = _TCMSG.pack(0, index, 0, _INGRESS, priority << 16)
        every = (_filter_of(message) for message in self._ask(_GET_FILTER, _DUMP, body))
        return [one for one in every if one is not None and (one.interface, one.priority) == (index, priority)]

    def add(self, wanted: Filter) -> None:
        """Add a filter, beside any that are there."""
        body = _head(wanted, 0) + _attribute(_TCA_KIND, b"u32\0") + _attribute(_TCA_OPTIONS, _options(wanted))
        self._ask(_NEW_FILTER, _CREATE | _ACK, body)

    def delete(self, there: Filter) -> None:
        """Delete a filter that was read; its absence is success."""
        try:
            self._ask(_DELETE_FILTER, _ACK, _head(there, there.handle) + _attribute(_TCA_KIND, b"u32\0"))
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
                raise

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Bodies of the answers. A request that is only acknowledged has none."""
        self._number += 1
        header = _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, _REQUEST | flags, self._number, 0)
        self._socket.send(header + body)
        answers: list[bytes] = []
        while True:
            for number, answer, content in _messages(self._socket.recv(_BUFFER_OCTETS)):
                if number != self._number:
                    continue  # of a request before that was given up
                if answer == _NLMSG_ERROR:
                    _raise_refusal(content)
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    return answers
                answers.append(content)
                if not flags & (_DUMP | _ACK):
                    return answers


def _raise_refusal(content: bytes) -> None:
    (number,) = _ERROR.unpack_from(content)
    if number:
        said = _attributes(content[_ERROR.size + _NLMSGHDR.size :]).get(_MESSAGE)
        raise KernelError(os.strerror(-number) if said is None else _text(said), errno=-number)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _NLMSGHDR.size <= len(datagram):
        length, kind, _, number, _ = _NLMSGHDR.unpack_from(datagram, at)
        yield number, kind, datagram[at + _NLMSGHDR.size : at + length]
        at += (max(length, _NLMSGHDR.size) + 3) & ~3


def _attribute(kind: int, content: bytes) -> bytes:
    octets = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content
    return octets + bytes(-len(octets) % 4)


def _attributes(octets: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE] = octets[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _text(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("ascii", "replace")


def _head(of: Filter, handle: int) -> bytes:
    return _TCMSG.pack(0, of.interface, handle, _INGRESS, of.priority << 16 | socket.htons(of.ethertype))


def _options(of: Filter) -> bytes:
    edit = _attribute(_TCA_SKBEDIT_PARMS, _GENERIC.pack(0, 0, _CONTINUE, 0, 0))
    edit += _attribute(_TCA_SKBEDIT_MARK, _U32.pack(of.mark)) + _attribute(_TCA_SKBEDIT_MASK, _U32.pack(of.mask))
    action = _attribute(_TCA_ACT_KIND, b"skbedit\0") + _attribute(_TCA_ACT_OPTIONS, edit)
    return _attribute(_TCA_U32_SEL, _selector(of.keys)) + _attribute(_TCA_U32_ACT, _attribute(1, action))


def _selector(keys: Sequence[Key]) -> bytes:
    octets = _SELECTOR.pack(_TERMINAL, 0, len(keys), bytes(2), 0, 0, 0, bytes(4))
    for offset, mask, value in keys:
        octets += _KEY.pack(mask.to_bytes(4, "big"), value.to_bytes(4, "big"), offset, 0)
    return octets


def _filter_of(message: bytes) -> Filter | None:
    """None for what is none of `_options`."""
    _, index, handle, _, info = _TCMSG.unpack_from(message)
    attributes = _attributes(message[_TCMSG.size :])
    if _text(attributes.get(_TCA_KIND, b"")) != "u32" or any(attributes.get(_TCA_CHAIN, b"")):
        return None
    options = _attributes(attributes.get(_TCA_OPTIONS, b""))
    keys = _keys_of(options.get(_TCA_U32_SEL, b""))
    edit = _edit_of(_attributes(options.get(_TCA_U32_ACT, b"")))
    if keys is None or edit is None:
        return None
    return Filter(index, info >> 16, socket.ntohs(info & 0xFFFF), keys, *edit, handle)


def _keys_of(selector: bytes) -> tuple[Key, ...] | None:
    keys = []
    for at in range(_SELECTOR.size, len(selector) - _KEY.size + 1, _KEY.size):
        mask, value, offset, _ = _KEY.unpack_from(selector, at)
        keys.append((offset, int.from_bytes(mask, "big"), int.from_bytes(value, "big")))
    return tuple(keys) if keys and _selector(keys) == selector else None


def _edit_of(actions: Mapping[int, bytes]) -> tuple[int, int] | None:
    """Mark and mask of the one action that a filter has."""
    if len(actions) != 1:
        return None
    action = _attributes(next(iter(actions.values())))
    edit = _attributes(action.get(_TCA_ACT_OPTIONS, b""))
    generic, mark, mask = (edit.get(kind) for kind in (_TCA_SKBEDIT_PARMS, _TCA_SKBEDIT_MARK, _TCA_SKBEDIT_MASK))
    if _text(action.get(_TCA_ACT_KIND, b"")) != "skbedit" or generic is None or mark is None or mask is None:
        return None
    if _GENERIC.unpack(generic)[2] != _CONTINUE:
        return None
    return _U32.unpack(mark)[0], _U32.unpack(mask)[0]
