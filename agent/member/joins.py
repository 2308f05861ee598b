"""Multicast membership on an interface: the kernel sends IGMP and MLD reports while a socket of ours holds the join.

A single-source flow is joined with its source (RFC 3376, RFC 3810), any other without. The calls are the
protocol-independent ones of RFC 3678 5.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Final

from netaddr import IPAddress

from agent.gdoi.constants import GDOI_PORT
from agent.gsa.flow import Flow
from agent.logs import get_logger
from agent.member.interfaces import HostMembership, host_memberships

__all__ = ["Joins", "Membership", "join", "own_addresses", "why_not"]

_MCAST_JOIN_GROUP: Final = 42  # linux/in.h; the socket module has no names for these two
_MCAST_JOIN_SOURCE_GROUP: Final = 46
_INTERFACE: Final = struct.Struct("@I0P")  # gr_interface, padded to the alignment of a sockaddr_storage
_SOCKADDR_STORAGE: Final = 128
_LEVEL: Final = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Membership:
    """A group address on an interface, of one source or (None) of any."""

    interface: str
    address: IPAddress
    source: IPAddress | None

    @classmethod
    def of_flow(cls, interface: str, flow: Flow) -> Membership:
        """The membership that brings a flow's packets here; the flow has one destination address."""
        return cls(interface, flow.destination.ip, flow.source.ip if flow.single_source else None)

    def __str__(self) -> str:
        return f"{self.address} on {self.interface}" + (f" from {self.source}" if self.source is not None else "")


def join(holder: socket.socket, group: IPAddress, source: IPAddress | None, index: int) -> None:
    """Let a socket hold a membership on the interface of that index until it is closed. Raises OSError."""
    request = _INTERFACE.pack(index) + _sockaddr(group)
    option = _MCAST_JOIN_GROUP
    if source is not None:
        option, request = _MCAST_JOIN_SOURCE_GROUP, request + _sockaddr(source)
    holder.setsockopt(_LEVEL[group.version], option, request)


def _hold(membership: Membership, index: int) -> socket.socket:
    """A socket that holds the membership until it is closed. Raises OSError."""
    # A socket each: the kernel bounds the memberships of one socket (net.ipv4.igmp_max_memberships, 20).
    holder = socket.socket(_FAMILY[membership.address.version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        join(holder, membership.address, membership.source, index)
    except OSError:
        holder.close()
        raise
    return holder


def _sockaddr(address: IPAddress) -> bytes:
    if address.version == 4:
        head = struct.pack("=HH4s", socket.AF_INET, 0, address.packed)
    else:
        head = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, address.packed, 0)
    return head.ljust(_SOCKADDR_STORAGE, b"\0")


@dataclass(slots=True)
class _Held:
    index: int
    holder: socket.socket


class Joins:
    """The memberships that gmd holds; `want` says which, `refresh` follows interfaces that come and go."""

    def __init__(
        self,
        hold: Callable[[Membership, int], socket.socket] = _hold,
        index_of: Callable[[str], int] = socket.if_nametoindex,
        in_force: Callable[[], Container[HostMembership] | None] = host_memberships,
    ) -> None:
        self._hold = hold
        self._index_of = index_of
        self._in_force = in_force
        self._wanted: tuple[Membership, ...] = ()
        self._held: dict[Membership, _Held] = {}
        self._troubles: dict[Membership, str] = {}

    def want(self, memberships: Iterable[Membership]) -> None:
        """Hold these and no others. What cannot be joined now is logged, and tried again by `refresh`."""
        self._wanted = tuple(dict.fromkeys(memberships))
        self._troubles = {
            membership: self._troubles[membership] for membership in self._wanted if membership in self._troubles
        }
        for membership in set(self._held) - set(self._wanted):
            self._leave(membership)
        self.refresh()

    def refresh(self) -> None:
        """Join what is missing: the interface was not there before, is another one by now, or lost its memberships."""
        in_force = self._in_force() if self._held else None
        for membership in self._wanted:
            held = self._held.get(membership)
            try:
                index = self._index_of(membership.interface)
                lasts = in_force is None or (index, membership.address, membership.source) in in_force
                if held is not None and held.index == index and lasts:
                    continue
                if held is not None:
                    self._leave(membership)
                self._held[membership] = _Held(index, self._hold(membership, index))
            except OSError as error:
                self._complain(membership, error)
            else:
                self._troubles.pop(membership, None)
                log.info("joined", membership=membership)

    def holds(self, membership: Membership) -> bool:
        """Whether it is joined."""
        return membership in self._held

    def trouble(self, membership: Membership) -> str | None:
        """Why it is not joined; None when it is, or nobody wants it."""
        return self._troubles.get(membership)

    def close(self) -> None:
        """Leave all."""
        self.want(())

    def _leave(self, membership: Membership) -> None:
        self._held.pop(membership).holder.close()
        self._troubles.pop(membership, None)
        log.info("left", membership=membership)

    def _complain(self, membership: Membership, error: OSError) -> None:
        if self._held.get(membership) is not None:
            self._leave(membership)
        reason = why_not(error)
        if self._troubles.get(membership) != reason:
            self._troubles[membership] = reason
            log.warning("not joined, it is tried again", membership=membership, reason=reason)


def why_not(error: OSError) -> str:
    """Why a join failed, in words for people."""
    if error.errno in (errno.ENODEV, errno.ENXIO) or "interface" in str(error):
        return "there is no such interface"
    return os.strerror(error.errno or 0)


def own_addresses(interface: str | None, flows: Iterable[Flow]) -> tuple[IPAddress, ...]:
    """The addresses this host would send the flows' packets from; empty where it has none now."""
    found = (_own_address(interface, flow.destination.ip) for flow in flows)
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _own_address(interface: str | None, group: IPAddress) -> IPAddress | None:
    """The kernel's choice of source, asked by connecting a socket, which sends nothing.

    To the GDOI port, since a policy that blocks the group refuses the connect and that port always passes.
    """
    version = group.version
    try:
        index = 0 if interface is None else socket.if_nametoindex(interface)
        with socket.socket(_FAMILY[version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            if index and version == 4:
                selected = struct.pack("=4s4si", bytes(4), bytes(4), index)
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, selected)
            elif index:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            probe.connect((str(group), GDOI_PORT))
            return IPAddress(probe.getsockname()[0].partition("%")[0])
    except OSError:
        return None
