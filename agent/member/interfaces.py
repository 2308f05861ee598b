"""Interfaces of this host: word of their changes, which one leads somewhere, and which groups each is a member of.

Asked of the kernel over NETLINK_ROUTE (linux/rtnetlink.h) and in /proc/net. Word of a change only makes a look come
sooner: whoever is told looks from time to time all the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from netaddr import IPAddress

from agent.logs import get_logger

__all__ = ["HostMembership", "InterfaceWatch", "host_memberships", "interface_towards"]

_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_NLMSGHDR: Final = struct.Struct("=IHHII")
_RTMSG: Final = struct.Struct("=8BI")
_RTATTR: Final = struct.Struct("=HH")
_TYPE_OFFSET: Final = 7  # rtm_type
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTN_LOCAL: Final = 2
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROC: Final = Path("/proc/thread-self/net")

HostMembership: TypeAlias = tuple[int, IPAddress, IPAddress | None]
"""A multicast membership as a kernel has it: interface index, group address, source, None for any."""

log = get_logger(__name__)


class InterfaceWatch:
    """Calls `on_change` soon after an interface or an address of this host changed; changes in a row make one call."""

    _SETTLE_S: Final = 0.1

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._socket: socket.socket | None = None
        self._due: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen, in the running loop, until `close`. A host that does not let us is looked at without it."""
        try:
            opened = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
        except OSError as error:
            log.info("no word of interfaces that change", reason=os.strerror(error.errno or 0))
            return
        try:
            opened.bind((0, _GROUPS))
        except OSError as error:
            opened.close()
            log.info("no word of interfaces that change", reason=os.strerror(error.errno or 0))
            return
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._drain, opened)

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _drain(self, opened: socket.socket) -> None:
        try:
            while opened.recv(65536):
                pass
        except OSError:
            pass  # nothing more, or more than the socket holds: a change it is in both cases
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(self._SETTLE_S, self._tell)

    def _tell(self) -> None:
        self._due = None
        self._on_change()


def interface_towards(address: IPAddress, group: IPAddress) -> int | None:
    """Index of the interface by which `address` is reached, so where its packets to `group` should come in.

    An address of this host itself is reached by no interface: its packets go where the route to the group leads.
    None where there is no route.
    """
    found = _route(address)
    if found is None:
        return None
    kind, index = found
    if kind == _RTN_LOCAL and not address.is_loopback():
        towards_group = _route(group)
        return None if towards_group is None else towards_group[1]
    return index


def _route(address: IPAddress) -> tuple[int, int] | None:
    """Type and outgoing interface of the route to an address."""
    octets = address.packed
    body = _RTMSG.pack(_FAMILY[address.version], 8 * len(octets), 0, 0, 0, 0, 0, 0, 0)
    body += _RTATTR.pack(_RTATTR.size + len(octets), _RTA_DST) + octets
    request = _NLMSGHDR.pack(_NLMSGHDR.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(1.0)  # the answer is there when the question was taken
            asked.sendto(request, (0, 0))
            answer = asked.recv(65536)
    except OSError as error:
        log.debug("no route asked", reason=str(error))
        return None
    _, kind, *_ = _NLMSGHDR.unpack_from(answer)
    if kind != _RTM_NEWROUTE:
        return None
    index = next((value for name, value in _attributes(answer) if name == _RTA_OIF), None)
    return None if index is None else (answer[_NLMSGHDR.size + _TYPE_OFFSET], int.from_bytes(index, sys.byteorder))


def _attributes(answer: bytes) -> Iterator[tuple[int, bytes]]:
    at = _NLMSGHDR.size + _RTMSG.size
    while at + _RTATTR.size <= len(answer):
        length, name = _RTATTR.unpack_from(answer, at)
        if length < _RTATTR.size:
            return
        yield name, answer[at + _RTATTR.size : at + length]
        at += (length + 3) & ~3


def host_memberships() -> frozenset[HostMembership] | None:
    """The multicast memberships of this host; None where it does not say.

    A kernel forgets those of an interface that is taken to another namespace and back, and the sources of those that
    have some when an interface goes down, while the socket that joined knows nothing of it.
    """
    try:
        tables = {name: (_PROC / name).read_text(encoding="ascii") for name in ("igmp", "mcfilter")}
        # A host without IPv6 has no tables of it.
        tables |= {name: path.read_text() for name in ("igmp6", "mcfilter6") if (path := _PROC / name).exists()}
    except OSError:
        return None
    found = (row for name, text in tables.items() for row in _READERS[name](text))
    return frozenset(found)


def _igmp(text: str) -> Iterator[HostMembership]:
    """A line for each interface, and indented ones below it for its groups, in the host's byte order."""
    index = 0
    for line in text.splitlines()[1:]:
        word = line.split(maxsplit=1)[0]
        if line[0].isdigit():
            index = int(word)
        else:
            yield index, IPAddress(int.from_bytes(int(word, 16).to_bytes(4, sys.byteorder)), 4), None


def _igmp6(text: str) -> Iterator[HostMembership]:
    for line in text.splitlines():
        index, _, address, *_ = line.split()
        yield int(index), IPAddress(int(address, 16), 6), None


def _mcfilter(text: str, version: Literal[4, 6]) -> Iterator[HostMembership]:
    """A line for each source: of how many sockets it is one of those to be heard, and of those not to be."""
    for line in text.splitlines()[1:]:
        index, _, address, source, heard, _ = line.split()
        if int(heard):
            yield int(index), IPAddress(int(address, 16), version), IPAddress(int(source, 16), version)


_READERS: Final[dict[str, Callable[[str], Iterator[HostMembership]]]] = {
    "igmp": _igmp,
    "igmp6": _igmp6,
    "mcfilter": partial(_mcfilter, version=4),
    "mcfilter6": partial(_mcfilter, version=6),
}
