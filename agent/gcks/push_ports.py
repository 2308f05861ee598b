"""The UDP ports that GROUPKEY-PUSH datagrams leave by: those of gckd, or others where the configuration names them.

Acknowledgements come back to the address and port of the message that they answer (RFC 8263 3), so every port listens.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from netaddr import IPAddress

from agent.gcks.kek import KekPolicy
from agent.gcks.listeners import Listener
from agent.gdoi.isakmp.constants import COOKIE_OCTETS, ExchangeType
from agent.gdoi.isakmp.natt import MARKER
from agent.service.udp import DatagramPort, PortSet, Receiver
from agent.wire.endpoint import Datagram, Endpoint

__all__ = ["PushPorts", "ack_within"]

_EXCHANGE_AT: Final = 2 * COOKIE_OCTETS + 2
"""The exchange type in an ISAKMP header (RFC 2408 3.1)."""
_ADDRESSES_V6: Final = Path("/proc/net/if_inet6")


class PushPorts:
    """`shared`: gckd's own ports, `natt_port` the number of the one with the non-ESP marker.

    `receiver` takes what comes to the others.
    """

    def __init__(self, shared: PortSet, receiver: Receiver, *, natt_port: int | None = None) -> None:
        self._shared: Final = shared
        self._receiver: Final = receiver
        self._natt_port: Final = natt_port
        self._own: dict[Endpoint, DatagramPort] = {}
        self._wanted: frozenset[Endpoint] = frozenset()

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that are open beside gckd's own."""
        return sorted(self._own)

    def adopt(self, policies: Iterable[KekPolicy]) -> None:
        """Open what these need; what the ones before needed stays open until the next time, as their KEKs may live.

        Raises LocalError, with the next step, for an endpoint that is not to be had.
        """
        needed = frozenset(Endpoint(policy.source, policy.port) for policy in policies)
        for endpoint in sorted(needed):
            if endpoint not in self._own and self._shared.port_of(endpoint) is None:
                port = DatagramPort.bind([endpoint.address], endpoint.port)
                port.start(self._receiver)
                self._own[endpoint] = port
        for endpoint in self._own.keys() - needed - self._wanted:
            self._own.pop(endpoint).close()
        self._wanted = needed

    def cast(self, payload: bytes, policy: KekPolicy) -> None:
        """Send to the group. Raises OSError."""
        if policy.destination is None:
            raise ValueError("a unicast Rekey SA has no group address")
        source = Endpoint(policy.source, policy.port)
        interface = policy.delivery.interface
        index = socket.if_nametoindex(interface) if interface is not None else _index_of(policy.source)
        datagram = Datagram(payload, Endpoint(policy.destination, policy.port), source)
        self._port(source).emit(datagram, hops=policy.delivery.hops, interface=index)

    def tell(self, payload: bytes, policy: KekPolicy, listener: Listener) -> None:
        """Send to a member, at the endpoint that it registered from. Raises OSError."""
        source = Endpoint(policy.source, policy.port)
        if listener.local_port == self._natt_port:
            # Its NAT lets in what comes from the port that it registered at (RFC 3948 2.2).
            source, payload = Endpoint(policy.source, listener.local_port), MARKER + payload
        self._port(source).emit(Datagram(payload, listener.endpoint, source))

    def close(self) -> None:
        """Close all but gckd's own; safe to call twice."""
        for port in self._own.values():
            port.close()
        self._own.clear()

    def _port(self, source: Endpoint) -> DatagramPort:
        port = self._own.get(source) or self._shared.port_of(source)
        if port is None:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        return port


def ack_within(payload: bytes, *, natt: bool) -> bytes | None:
    """The GROUPKEY-PUSH-ACK in a datagram, by its exchange type alone; None for anything else.

    `natt`: it came to the port where ISAKMP stands behind the non-ESP marker.
    """
    if natt:
        if not payload.startswith(MARKER):
            return None
        payload = payload[len(MARKER) :]
    is_ack = len(payload) > _EXCHANGE_AT and payload[_EXCHANGE_AT] == ExchangeType.GROUPKEY_PUSH_ACK
    return payload if is_ack else None


def _index_of(address: IPAddress) -> int:
    """The interface that has an IPv6 address; 0 where none does. For IPv4 the kernel finds it by the source."""
    if address.version == 4 or not _ADDRESSES_V6.exists():
        return 0
    digits = address.packed.hex()
    for line in _ADDRESSES_V6.read_text(encoding="ascii").splitlines():
        octets, index, *_ = line.split()
        if octets == digits:
            return int(index, 16)
    return 0
