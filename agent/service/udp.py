"""UDP ports for engines: datagrams with the local address they came to, and answers from that same address.

IPv4 and IPv6 have one socket each; IP_PKTINFO and IPV6_PKTINFO (RFC 3542 6) tell and set the local address, so a host
with several addresses answers from the one that was asked, which Phase 1 needs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from netaddr import IPAddress

from agent.errors import LocalError
from agent.logs import RateLimit, get_logger
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["MULTICAST_ALL", "DatagramPort", "PortSet", "Receiver", "source_message"]

Receiver = Callable[[bytes, Endpoint, Endpoint], None]
"""What is called with a datagram, the peer's endpoint and the local one."""

_MAX_DATAGRAM: Final = 65535
_PER_WAKE: Final = 64
"""Datagrams taken in one turn of the loop, so that a flood leaves time for everything else."""
_CACHED: Final = 1024
"""Addresses kept in their other forms: a registration is ten datagrams between the same two."""
_IP_PKTINFO: Final = 8  # linux/in.h; the socket module has no name for it
_PROC_UDP: Final = {4: "/proc/thread-self/net/udp", 6: "/proc/thread-self/net/udp6"}
MULTICAST_ALL: Final = {4: 49, 6: 29}
"""IP_MULTICAST_ALL and IPV6_MULTICAST_ALL (linux/in.h, in6.h): off, a socket gets what it has joined, not what others
of this host have. The socket module has no names for them."""
_ANCILLARY: Final = socket.CMSG_SPACE(struct.calcsize("=16sI"))

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Family:
    """How one address family tells and sets a datagram's local address.

    `layout`: struct in_pktinfo or in6_pktinfo; `address_field`: which of its fields holds the address.
    `hops_message`: the ancillary message that sets one datagram's TTL or hop limit; `octets`: of an address.
    """

    version: Literal[4, 6]
    number: socket.AddressFamily
    level: int
    receive_option: int
    message: int
    layout: struct.Struct
    address_field: int
    hops_message: int
    octets: int


_FAMILIES: Final[dict[int, _Family]] = {
    # Interface index, local address (the source when sending), destination of the header.
    4: _Family(
        4, socket.AF_INET, socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, struct.Struct("=I4s4s"), 1, socket.IP_TTL, 4
    ),
    # Address, interface index.
    6: _Family(
        6,
        socket.AF_INET6,
        socket.IPPROTO_IPV6,
        socket.IPV6_RECVPKTINFO,
        socket.IPV6_PKTINFO,
        struct.Struct("=16sI"),
        0,
        socket.IPV6_HOPLIMIT,
        16,
    ),
}


@dataclass(slots=True)
class DatagramPort:
    """The sockets of one UDP port, one for each address given. Use as `with DatagramPort.bind(...)`.

    `dropped`: datagrams that could not be sent; retransmission is the engine's, so nothing queues here.
    """

    _sockets: dict[int, list[tuple[socket.socket, IPAddress]]]
    dropped: int = 0
    _noise: RateLimit = field(default_factory=RateLimit)

    @classmethod
    def bind(cls, addresses: Iterable[IPAddress], port: int) -> DatagramPort:
        """Bind each address; port 0 lets the kernel choose, per socket.

        Raises LocalError (EX_UNAVAILABLE, EX_NOPERM, EX_OSERR) with the next step.
        """
        opened: dict[int, list[tuple[socket.socket, IPAddress]]] = {}
        try:
            for address in addresses:
                opened.setdefault(address.version, []).append((_bound(address, port), address))
        except LocalError:
            for endpoint_socket, _ in (pair for pairs in opened.values() for pair in pairs):
                endpoint_socket.close()
            raise
        return cls(opened)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints as bound, with the ports the kernel chose."""
        return [
            Endpoint(address, bound.getsockname()[1]) for pairs in self._sockets.values() for bound, address in pairs
        ]

    def start(self, receiver: Receiver) -> None:
        """Hand every datagram that comes to `receiver`, in the running loop, until `close`."""
        loop = asyncio.get_running_loop()
        for version, pairs in self._sockets.items():
            for bound, _ in pairs:
                address, port = bound.getsockname()[:2]
                here = Endpoint(IPAddress(address), port)
                loop.add_reader(bound, self._drain, bound, here, _FAMILIES[version], receiver)

    def send(self, datagram: Datagram) -> None:
        """Send without waiting, from `datagram.source` where it is specific. What the kernel refuses is counted."""
        try:
            self.emit(datagram)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                reason = f"no socket for IPv{datagram.to.address.version}: check the listen addresses"
            else:
                reason = os.strerror(error.errno or 0)
            self._refused(datagram, reason)

    def emit(self, datagram: Datagram, *, hops: int | None = None, interface: int = 0) -> None:
        """Send as `send` does, but leave it to the caller what to do about an OSError of the kernel's.

        `hops`: TTL or hop limit, the socket's own when None; `interface`: index of the one to leave by, 0 for the one
        that routing, or a source address of it, chooses. EAFNOSUPPORT stands for no socket of that family.
        """
        family = _FAMILIES[datagram.to.address.version]
        sender = self._sender(datagram)
        if sender is None:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        ancillary = source_message(datagram.source.address, family.version, interface)
        if hops is not None:
            ancillary.append((family.level, family.hops_message, struct.pack("=i", hops)))
        sender.sendmsg([datagram.payload], ancillary, 0, (_host(datagram.to.address), datagram.to.port))

    def close(self) -> None:
        """Close the sockets; safe to call twice."""
        for bound, _ in (pair for pairs in self._sockets.values() for pair in pairs):
            if bound.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(bound)
                bound.close()
        self._sockets.clear()

    def _sender(self, datagram: Datagram) -> socket.socket | None:
        pairs = self._sockets.get(datagram.to.address.version, [])
        for bound, address in pairs:
            if address == datagram.source.address:
                return bound
        return next((bound for bound, address in pairs if not int(address)), pairs[0][0] if pairs else None)

    def _refused(self, datagram: Datagram, reason: str) -> None:
        self.dropped += 1
        held = self._noise.admit(datagram.to.address, asyncio.get_running_loop().time())
        if held is not None:
            log.warning("datagram not sent", peer=datagram.to, reason=reason, repeated=held or None)

    def _drain(self, bound: socket.socket, here: Endpoint, family: _Family, receiver: Receiver) -> None:
        for _ in range(_PER_WAKE):
            try:
                payload, ancillary, _flags, name = bound.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error of an earlier datagram surfaces here; the engine's retransmission deals with it.
                log.debug("socket error", reason=os.strerror(error.errno or 0))
                return
            local = _local_address(family, ancillary) or here.address
            to = here if local == here.address else Endpoint(local, here.port)
            receiver(payload, _endpoint(name[0], name[1]), to)


def source_message(source: IPAddress, version: int, interface: int = 0) -> list[tuple[int, int, bytes]]:
    """The ancillary message that lets a datagram of IP `version` leave with `source`, by the interface of that index.

    None where both are left to the kernel: the source is unspecified or of another version, the index 0.
    """
    family = _FAMILIES[version]
    named = source.version == version and bool(int(source))
    if not named and not interface:
        return []
    packed = _packed(source) if named else bytes(family.octets)
    fields = (interface, packed, bytes(4)) if version == 4 else (packed, interface)
    return [(family.level, family.message, family.layout.pack(*fields))]


class PortSet:
    """Several UDP ports of one engine as one, such as 848 and, behind a NAT, 4500 (RFC 3947 4).

    A datagram goes out from the port that its source names; the first is for those that name none of these.
    """

    def __init__(self, ports: Sequence[DatagramPort]) -> None:
        self._ports: Final = tuple(ports)
        self._by_number = {endpoint.port: port for port in self._ports for endpoint in port.endpoints}

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints as bound, port after port."""
        return [endpoint for port in self._ports for endpoint in port.endpoints]

    @property
    def dropped(self) -> int:
        """Datagrams that could not be sent."""
        return sum(port.dropped for port in self._ports)

    def port_of(self, endpoint: Endpoint) -> DatagramPort | None:
        """The port that datagrams from `endpoint` can leave by; None where none is bound to its address and number."""
        return next((port for port in self._ports if any(_serves(each, endpoint) for each in port.endpoints)), None)

    def start(self, receiver: Receiver) -> None:
        """Hand every datagram that comes to `receiver`, in the running loop, until `close`."""
        for port in self._ports:
            port.start(receiver)

    def send(self, datagram: Datagram) -> None:
        """Send without waiting, from the port that the datagram's source names."""
        self._by_number.get(datagram.source.port, self._ports[0]).send(datagram)

    def close(self) -> None:
        """Close all; safe to call twice."""
        for port in self._ports:
            port.close()


def _serves(bound: Endpoint, endpoint: Endpoint) -> bool:
    same = bound.address == endpoint.address or not int(bound.address)
    return bound.port == endpoint.port and bound.address.version == endpoint.address.version and same


def _local_address(family: _Family, ancillary: Iterable[tuple[int, int, bytes]]) -> IPAddress | None:
    for level, kind, data in ancillary:
        if (level, kind) == (family.level, family.message) and len(data) >= family.layout.size:
            return _address(family.layout.unpack_from(data)[family.address_field], family.version)
    return None


@lru_cache(maxsize=_CACHED)
def _address(octets: bytes, version: Literal[4, 6]) -> IPAddress:
    return IPAddress(int.from_bytes(octets), version)


@lru_cache(maxsize=_CACHED)
def _endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(IPAddress(host.partition("%")[0]), port)


@lru_cache(maxsize=_CACHED)
def _packed(address: IPAddress) -> bytes:
    return address.packed


@lru_cache(maxsize=_CACHED)
def _host(address: IPAddress) -> str:
    return str(address)


_NEXT_STEPS: Final[dict[int, tuple[str, int]]] = {
    errno.EADDRINUSE: ("is in use: stop the other program, or set another port", os.EX_UNAVAILABLE),
    errno.EADDRNOTAVAIL: ("is no address of this host: correct the listen address", os.EX_CONFIG),
    errno.EACCES: ("needs CAP_NET_BIND_SERVICE: grant it, or set a port above 1023", os.EX_NOPERM),
    errno.EAFNOSUPPORT: ("is of a family this kernel lacks: remove the address", os.EX_OSERR),
}


def _bound(address: IPAddress, port: int) -> socket.socket:
    family = _FAMILIES[address.version]
    try:
        fresh = socket.socket(family.number, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _refusal(address, port, error) from error
    try:
        if address.version == 6:
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        fresh.setsockopt(family.level, family.receive_option, 1)
        fresh.setsockopt(family.level, MULTICAST_ALL[address.version], 0)
        _bind(fresh, address, port)
    except OSError as error:
        fresh.close()
        raise _refusal(address, port, error) from error
    return fresh


def _bind(fresh: socket.socket, address: IPAddress, port: int) -> None:
    """Bind, but beside sockets that are bound to group addresses, which get no datagram of ours. Raises OSError.

    For those to come, a well-known port is shared once it is bound: who may bind one is trusted, so none is stolen.
    """
    try:
        fresh.bind((str(address), port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not port or not _only_groups_use(address.version, port):
            raise
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fresh.bind((str(address), port))
    fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 < port < socket.IPPORT_RESERVED)


def _only_groups_use(version: int, port: int) -> bool:
    """Whether every socket that is bound to a port of this host is bound to a group address."""
    try:
        lines = Path(_PROC_UDP[version]).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    bound = (line.split()[1].split(":") for line in lines)
    held = [address for address, number in bound if int(number, 16) == port]
    return all(_from_proc(address).is_multicast() for address in held)


def _from_proc(text: str) -> IPAddress:
    """An address of /proc/net: 32-bit words in the host's byte order."""
    words = (int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return IPAddress(int.from_bytes(b"".join(words)), 4 if len(text) == 8 else 6)


def _refusal(address: IPAddress, port: int, error: OSError) -> LocalError:
    step, status = _NEXT_STEPS.get(error.errno or 0, (f"cannot be bound: {error.strerror}", os.EX_OSERR))
    where = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    return LocalError(f"UDP {where} {step}", exit_status=status)
