"""Where rekeys leave: gckd's own port or one of their own, to the group or to a member, acknowledgements back to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from netaddr import IPAddress

from agent.errors import LocalError
from agent.gcks.delivery import RekeyDelivery
from agent.gcks.push_ports import PushPorts
from agent.service.udp import DatagramPort, PortSet
from agent.wire.endpoint import Datagram, Endpoint
from tests.unit.gcks.rekey_support import at, listener, policy
from tests.unit.gcks.support import free_port, until

_IP_RECVTTL = 12  # linux/in.h; the socket module has no name for it
LOOPBACK = IPAddress("127.0.0.1")
Received = list[tuple[bytes, Endpoint, Endpoint]]


def run(body: Callable[[PushPorts, PortSet, Received], Awaitable[None]], *, natt: bool = False) -> None:
    async def inside() -> None:
        shared = PortSet([DatagramPort.bind([LOOPBACK], 0), DatagramPort.bind([LOOPBACK], 0)])
        received: Received = []
        number = shared.endpoints[1].port if natt else None
        ports = PushPorts(shared, lambda *datagram: received.append(datagram), natt_port=number)
        try:
            await body(ports, shared, received)
        finally:
            ports.close()
            ports.close()
            shared.close()

    asyncio.run(inside())


def test_a_port_of_gckds_own_is_shared_and_another_is_opened(caplog: pytest.LogCaptureFixture) -> None:
    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        ports.adopt([policy(port=shared.endpoints[0].port)])
        assert ports.endpoints == []
        other = policy(port=free_port())
        ports.adopt([other])
        assert ports.endpoints == [at("127.0.0.1", other.port)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
            member.sendto(b"ack", ("127.0.0.1", other.port))

            async def there() -> bool:
                return bool(received)

            await until(there)
        assert received[0][0] == b"ack"
        ports.adopt([])
        assert ports.endpoints == [at("127.0.0.1", other.port)]
        ports.adopt([])
        assert ports.endpoints == []

    run(body)
    assert not caplog.records


def test_an_address_that_the_host_lacks_is_refused_with_the_next_step() -> None:
    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        with pytest.raises(LocalError, match=r"192\.0\.2\.1:848 is no address of this host"):
            ports.adopt([policy(source="192.0.2.1")])
        with pytest.raises(OSError, match="assign"):
            ports.cast(b"rekey", policy(source="192.0.2.1"))

    run(body)


def test_to_the_group_with_its_ttl_from_the_port_acknowledgements_come_back_to() -> None:
    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        kek = policy(RekeyDelivery(hops=7, interface="lo"), port=shared.endpoints[0].port, destination="239.9.9.9")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            member.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            member.bind(("239.9.9.9", kek.port))
            group = struct.pack("=4s4si", socket.inet_aton("239.9.9.9"), bytes(4), socket.if_nametoindex("lo"))
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            member.settimeout(5)
            ports.cast(b"rekey", kek)
            payload, ((_, _, ttl),), _, source = member.recvmsg(100, 100)
        assert (payload, struct.unpack("=i", ttl)[0], source) == (b"rekey", 7, ("127.0.0.1", kek.port))

    run(body)


def test_over_ipv6_by_the_interface_that_has_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Datagram, int | None, int]] = []

    def emit(_port: DatagramPort, datagram: Datagram, *, hops: int | None = None, interface: int = 0) -> None:
        sent.append((datagram, hops, interface))

    monkeypatch.setattr(DatagramPort, "emit", emit)

    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        kek = policy(RekeyDelivery(hops=3), source="::1", destination="ff3e::9", port=free_port(socket.AF_INET6))
        ports.adopt([kek])
        ports.cast(b"rekey", kek)
        ((datagram, hops, interface),) = sent
        assert (datagram.to, datagram.source) == (at("ff3e::9", kek.port), at("::1", kek.port))
        assert (hops, interface) == (3, socket.if_nametoindex("lo"))

    run(body)


@pytest.mark.parametrize("natt", [False, True])
def test_to_a_member_from_the_port_that_it_registered_at(natt: bool) -> None:
    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        kek = policy(port=shared.endpoints[0].port, destination=None)
        here = shared.endpoints[1 if natt else 0].port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
            member.bind(("127.0.0.1", 0))
            member.settimeout(5)
            ports.tell(b"rekey", kek, listener("one", "127.0.0.1", member.getsockname()[1], local_port=here))
            payload, source = member.recvfrom(100)
        assert (payload, source) == (bytes(4) * natt + b"rekey", ("127.0.0.1", here))
        with pytest.raises(ValueError, match="no group address"):
            ports.cast(b"rekey", kek)

    run(body, natt=natt)


def test_an_interface_that_is_gone_is_an_error_of_the_network() -> None:
    async def body(ports: PushPorts, shared: PortSet, received: Received) -> None:
        kek = policy(RekeyDelivery(interface="nosuch0"), port=shared.endpoints[0].port)
        with pytest.raises(OSError, match="interface"):
            ports.cast(b"rekey", kek)

    run(body)
