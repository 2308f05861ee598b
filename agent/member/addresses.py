"""The addresses of this host, asked of the kernel over NETLINK_ROUTE (linux/rtnetlink.h)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from netaddr import IPAddress

from agent.logs import get_logger

__all__ = ["host_addresses"]

_NLMSGHDR: Final = struct.Struct("=IHHII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_RTATTR: Final = struct.Struct("=HH")
_RTM_NEWADDR, _RTM_GETADDR, _NLMSG_DONE = 20, 22, 3
_NLM_F_REQUEST_DUMP: Final = 0x1 | 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_TENTATIVE: Final = 0x40
_VERSIONS: Final = {socket.AF_INET: 4, socket.AF_INET6: 6}

log = get_logger(__name__)


def host_addresses() -> frozenset[IPAddress] | None:
    """Every address of this host that is in use, of all interfaces; None where the kernel does not say."""
    request = _NLMSGHDR.pack(_NLMSGHDR.size + _IFADDRMSG.size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0)
    request += _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    found: set[IPAddress] = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(1.0)  # the answer is there when the question was taken
            asked.sendto(request, (0, 0))
            while True:
                for kind, body in _messages(asked.recv(65536)):
                    if kind != _RTM_NEWADDR:
                        return frozenset(found) if kind == _NLMSG_DONE else None
                    address = _address(body)
                    if address is not None:
                        found.add(address)
    except OSError as error:
        log.debug("own addresses not told", reason=os.strerror(error.errno or 0))
        return None


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message."""
    at = 0
    while at + _NLMSGHDR.size <= len(datagram):
        length, kind, *_ = _NLMSGHDR.unpack_from(datagram, at)
        if length < _NLMSGHDR.size:
            return
        yield kind, datagram[at + _NLMSGHDR.size : at + length]
        at += (length + 3) & ~3


def _address(body: bytes) -> IPAddress | None:
    """The address of an RTM_NEWADDR: on a point-to-point link IFA_ADDRESS is the other end's, IFA_LOCAL ours."""
    family, _, flags, *_ = _IFADDRMSG.unpack_from(body)
    if family not in _VERSIONS or flags & _IFA_F_TENTATIVE:
        return None
    values: dict[int, bytes] = {}
    at = _IFADDRMSG.size
    while at + _RTATTR.size <= len(body):
        length, name = _RTATTR.unpack_from(body, at)
        if length < _RTATTR.size:
            break
        values[name] = body[at + _RTATTR.size : at + length]
        at += (length + 3) & ~3
    octets = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
    return None if octets is None else IPAddress(int.from_bytes(octets), 4 if family == socket.AF_INET else 6)
