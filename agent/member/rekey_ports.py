"""Where rekeys come in: a UDP socket for each address and port that the live Rekey SAs name, joined where they arrive.

A socket is bound to the group address itself and hears what it has joined alone: from the source that the SAK names,
where it names one (IGMPv3, MLDv2), on one interface. So it takes nothing from other programs, and several may have the
port. Acknowledgements leave by it: its port is the one that the GROUPKEY-PUSH came to (RFC 8263 3).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from netaddr import IPAddress

from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.natt import MARKER
from agent.gsa.identity import GroupId
from agent.gsa.sa import RekeySA
from agent.logs import RateLimit, get_logger
from agent.member.interfaces import HostMembership, host_memberships, interface_towards
from agent.member.joins import join, why_not
from agent.service.udp import MULTICAST_ALL, Receiver, source_message
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["RekeyListening", "RekeyPorts", "push_within"]

_MAX_DATAGRAM: Final = 65535
_PER_WAKE: Final = 64
"""Datagrams taken in one turn of the loop, so that a flood leaves time for everything else."""
_QUEUE_OCTETS: Final = 1 << 20
"""Asked of the kernel for what waits meanwhile; it gives what net.core.rmem_max allows."""
_SO_RXQ_OVFL: Final = 40  # asm-generic/socket.h; the socket module has no name for it
_ANCILLARY: Final = socket.CMSG_SPACE(4)
_EXCHANGE_TYPE_AT: Final = 18  # RFC 2408 3.1
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_LEVEL: Final = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_NEEDS_SCOPE: Final = frozenset({1, 2})
"""Scopes of IPv6 group addresses that mean something on one interface only (RFC 4291 2.7)."""

_REASONS: Final = {
    errno.EADDRINUSE: "another program has the port for itself: stop it, or let the key server name another port",
    errno.ENETUNREACH: "no route leads to the key server",
}

log = get_logger(__name__)


def push_within(payload: bytes, *, natt: bool) -> bytes | None:
    """The GROUPKEY-PUSH in a datagram that came to a port for other exchanges; None when it is none.

    `natt`: the port is the one for NAT traversal, where a non-ESP marker comes first (RFC 3948 2.2), and goes here.
    """
    if natt:
        if not payload.startswith(MARKER):
            return None
        payload = payload[len(MARKER) :]
    is_push = len(payload) > _EXCHANGE_TYPE_AT and payload[_EXCHANGE_TYPE_AT] == ExchangeType.GROUPKEY_PUSH
    return payload if is_push else None


@dataclass(frozen=True, slots=True)
class RekeyListening:
    """Rekeys of a group to listen for: to a group address and port, from `source`, or (None) from anybody.

    `interface`: its name; None for the one that leads to `key_server`.
    """

    group: GroupId
    destination: IPAddress
    port: int
    source: IPAddress | None
    interface: str | None
    key_server: IPAddress

    @classmethod
    def of(cls, group: GroupId, rekey: RekeySA, interface: str | None, key_server: IPAddress) -> Self | None:
        """What a Rekey SA says; None where its rekeys are sent to each member, so come to gmd's own port."""
        if not rekey.destination.is_multicast() or not rekey.destination_port:
            return None
        named = int(rekey.source) != 0 and rekey.source.version == rekey.destination.version
        source = rekey.source if named and not rekey.source.is_multicast() else None
        return cls(group, rekey.destination, rekey.destination_port, source, interface, key_server)

    def __str__(self) -> str:
        where = self.interface or f"the interface towards {self.key_server}"
        by = f" from {self.source}" if self.source is not None else ""
        return f"{Endpoint(self.destination, self.port)} on {where}{by}"


@dataclass(frozen=True, slots=True)
class _Place:
    """What one socket listens to, with the index of the interface."""

    endpoint: Endpoint
    source: IPAddress | None
    index: int


@dataclass(slots=True)
class _Ear:
    """A socket, and how many datagrams its kernel says it had no room for."""

    socket: socket.socket
    lost: int = 0


@dataclass(slots=True)
class _Host:
    """What this host is asked; a test has another."""

    index_of: Callable[[str], int] = socket.if_nametoindex
    towards: Callable[[IPAddress, IPAddress], int | None] = interface_towards
    in_force: Callable[[], Container[HostMembership] | None] = host_memberships


@dataclass(slots=True)
class RekeyPorts:
    """The sockets for rekeys; `want` says which, `refresh` follows interfaces and routes that come and go.

    `on_datagram` is called with a datagram, its sender and the endpoint that it was sent to. `otherwise` sends an
    acknowledgement of what came in elsewhere. `received`; `overflowed`: datagrams that a kernel's queue had no room
    for; `unsent`: acknowledgements that the kernel refused. For use in the running loop.
    """

    on_datagram: Receiver
    otherwise: Callable[[Datagram], None]
    host: _Host = field(default_factory=_Host)
    received: int = 0
    overflowed: int = 0
    unsent: int = 0
    _wanted: tuple[RekeyListening, ...] = ()
    _places: dict[RekeyListening, _Place] = field(default_factory=dict)
    _ears: dict[_Place, _Ear] = field(default_factory=dict)
    _troubles: dict[RekeyListening, str] = field(default_factory=dict)
    _noise: RateLimit = field(default_factory=RateLimit)

    def want(self, listenings: Iterable[RekeyListening]) -> None:
        """Listen to these and no others. What cannot be listened to now is logged, and tried again by `refresh`."""
        self._wanted = tuple(dict.fromkeys(listenings))
        self._places = {each: place for each, place in self._places.items() if each in self._wanted}
        self._troubles = {each: trouble for each, trouble in self._troubles.items() if each in self._wanted}
        self.refresh()

    def refresh(self) -> None:
        """Listen where it is missing: an interface came, or lost its memberships, or a route leads elsewhere."""
        in_force = self.host.in_force() if self._ears else None
        for each in self._wanted:
            try:
                place = self._place(each)
                if not self._hears(place, in_force):
                    self._open(place, each)
            except OSError as error:
                self._places.pop(each, None)
                self._complain(each, error)
            else:
                self._places[each] = place
                self._troubles.pop(each, None)
        # Only now: where a place gave way to another, the new socket hears already what the old one no longer does.
        for place in self._ears.keys() - set(self._places.values()):
            self._close(self._ears.pop(place))

    def holds(self, listening: RekeyListening) -> bool:
        """Whether it is listened to."""
        return self._places.get(listening) in self._ears

    def troubles(self, group: GroupId) -> tuple[str, ...]:
        """Why a group's rekeys are not listened to, in words for people; empty when they are, or there are none."""
        return tuple(
            f"rekeys to {each} are not heard: {trouble}"
            for each, trouble in self._troubles.items()
            if each.group == group
        )

    def send(self, datagram: Datagram) -> None:
        """Send without waiting, from the port that the source names, and its address where it is specific."""
        version = datagram.to.address.version
        wanted = (datagram.source.port, version)
        place = next(
            (each for each in self._ears if (each.endpoint.port, each.endpoint.address.version) == wanted), None
        )
        if place is None:
            self.otherwise(datagram)
            return
        on_link = version == 6 and datagram.to.address.is_link_local()
        message = source_message(datagram.source.address, version, place.index if on_link else 0)
        try:
            self._ears[place].socket.sendmsg(
                [datagram.payload], message, 0, (str(datagram.to.address), datagram.to.port)
            )
        except OSError as error:
            self.unsent += 1
            self._warn("acknowledgement not sent", datagram.to, os.strerror(error.errno or 0))

    def close(self) -> None:
        """Leave all; safe to call twice."""
        self.want(())

    def _place(self, listening: RekeyListening) -> _Place:
        """Where it is to be listened to now. Raises OSError when there is no such interface."""
        if listening.interface is not None:
            index = self.host.index_of(listening.interface)
        else:
            index = self.host.towards(listening.key_server, listening.destination) or self._last(listening)
        return _Place(Endpoint(listening.destination, listening.port), listening.source, index)

    def _last(self, listening: RekeyListening) -> int:
        """Where it was listened to before its route was gone, for as long as the interface is there."""
        place = self._places.get(listening)
        if place is None:
            raise OSError(errno.ENETUNREACH, f"no route to {listening.key_server}")
        socket.if_indextoname(place.index)
        return place.index

    def _hears(self, place: _Place, in_force: Container[HostMembership] | None) -> bool:
        if place not in self._ears:
            return False
        if in_force is None or (place.index, place.endpoint.address, place.source) in in_force:
            return True
        self._close(self._ears.pop(place))
        return False

    def _open(self, place: _Place, listening: RekeyListening) -> None:
        ear = _Ear(_listening(place))
        self._ears[place] = ear
        asyncio.get_running_loop().add_reader(ear.socket, self._drain, ear, place.endpoint)
        log.info("listening for rekeys", group=listening.group, rekeys=listening)

    def _close(self, ear: _Ear) -> None:
        asyncio.get_running_loop().remove_reader(ear.socket)
        ear.socket.close()

    def _complain(self, listening: RekeyListening, error: OSError) -> None:
        reason = _REASONS.get(error.errno or 0) or why_not(error)
        if self._troubles.get(listening) != reason:
            self._troubles[listening] = reason
            facts = log.bind(group=listening.group)
            facts.warning("rekeys are not heard, it is tried again", rekeys=listening, reason=reason)

    def _drain(self, ear: _Ear, here: Endpoint) -> None:
        for _ in range(_PER_WAKE):
            if ear.socket.fileno() < 0:
                return  # what came before took it away
            try:
                payload, ancillary, _flags, name = ear.socket.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error of an acknowledgement surfaces here; the key server sends again.
                log.debug("socket error", reason=os.strerror(error.errno or 0))
                return
            self.received += 1
            self._count_lost(ear, here, ancillary)
            self.on_datagram(payload, Endpoint(IPAddress(name[0].partition("%")[0]), name[1]), here)

    def _count_lost(self, ear: _Ear, here: Endpoint, ancillary: Iterable[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                lost = int.from_bytes(data, sys.byteorder)
                if lost != ear.lost:
                    self.overflowed += (lost - ear.lost) & 0xFFFFFFFF
                    ear.lost = lost
                    self._warn("rekey datagrams lost", here, "they come faster than they are looked at")

    def _warn(self, sentence: str, endpoint: Endpoint, reason: str) -> None:
        held = self._noise.admit((sentence, endpoint.address), asyncio.get_running_loop().time())
        if held is not None:
            log.warning(sentence, endpoint=endpoint, reason=reason, repeated=held or None)


def _listening(place: _Place) -> socket.socket:
    """A socket that is bound and joined. Raises OSError."""
    address, port = place.endpoint.address, place.endpoint.port
    level = _LEVEL[address.version]
    fresh = socket.socket(_FAMILY[address.version], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_OCTETS)
        fresh.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        fresh.setsockopt(level, MULTICAST_ALL[address.version], 0)
        if address.version == 6:
            fresh.setsockopt(level, socket.IPV6_V6ONLY, 1)
            scope = place.index if address.packed[1] & 0xF in _NEEDS_SCOPE else 0
            fresh.bind((str(address), port, 0, scope))
        else:
            fresh.bind((str(address), port))
        join(fresh, address, place.source, place.index)
    except OSError:
        fresh.close()
        raise
    return fresh
