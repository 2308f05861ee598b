import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from netaddr import IPAddress

from agent.errors import LocalError
from agent.service.udp import DatagramPort, PortSet
from agent.wire.endpoint import Datagram, Endpoint

LOCALHOST = {4: IPAddress("127.0.0.1"), 6: IPAddress("::1")}
ANY = {4: IPAddress("0.0.0.0"), 6: IPAddress("::")}


class Host:
    """A port with what came to it."""

    def __init__(self, address: IPAddress) -> None:
        self.port = DatagramPort.bind([address], 0)
        self.got: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue()
        self.port.start(lambda *datagram: self.got.put_nowait(datagram))

    @property
    def number(self) -> int:
        return self.port.endpoints[0].port

    async def next(self) -> tuple[bytes, Endpoint, Endpoint]:
        return await asyncio.wait_for(self.got.get(), 5)


def run(body: Callable[[], Awaitable[Any]]) -> None:
    async def whole() -> None:
        await body()

    asyncio.run(whole())


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_comes_with_both_endpoints_and_the_answer_from_the_one_asked(version: int) -> None:
    async def body() -> None:
        one, other = Host(LOCALHOST[version]), Host(ANY[version])
        there = Endpoint(LOCALHOST[version], other.number)
        one.port.send(Datagram(b"ask", there, Endpoint(ANY[version], one.number)))
        payload, peer, local = await other.next()
        assert (payload, peer, local) == (b"ask", Endpoint(LOCALHOST[version], one.number), there)
        other.port.send(Datagram(b"answer", peer, local))
        assert await one.next() == (b"answer", there, peer)
        one.port.close()
        other.port.close()
        other.port.close()

    run(body)


def test_a_host_with_several_addresses_answers_from_the_one_that_was_asked() -> None:
    async def body() -> None:
        one, other = Host(IPAddress("127.0.0.1")), Host(ANY[4])
        one.port.send(Datagram(b"ask", Endpoint(IPAddress("127.0.0.9"), other.number), one.port.endpoints[0]))
        _, peer, local = await other.next()
        assert local.address == IPAddress("127.0.0.9")
        other.port.send(Datagram(b"answer", peer, local))
        _, answered_from, _ = await one.next()
        assert answered_from.address == IPAddress("127.0.0.9")
        one.port.close()
        other.port.close()

    run(body)


def test_what_the_kernel_refuses_is_counted_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        host = Host(LOCALHOST[4])
        broadcast = Endpoint(IPAddress("255.255.255.255"), 9)
        for _ in range(3):
            host.port.send(Datagram(b"x", broadcast, host.port.endpoints[0]))
        host.port.send(Datagram(b"x", Endpoint(LOCALHOST[6], 9), Endpoint(ANY[6], 0)))
        assert host.port.dropped == 4
        host.port.close()

    run(body)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_port_in_use_says_what_to_do(version: int) -> None:
    async def body() -> None:
        host = Host(LOCALHOST[version])
        with pytest.raises(LocalError, match="is in use: stop the other program") as caught:
            DatagramPort.bind([LOCALHOST[10 - version], LOCALHOST[version]], host.number)
        assert caught.value.exit_status == os.EX_UNAVAILABLE
        host.port.close()

    run(body)


@pytest.mark.parametrize(
    ("number", "says", "status"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE", os.EX_NOPERM),
        (errno.EADDRNOTAVAIL, "no address of this host", os.EX_CONFIG),
        (errno.EIO, "cannot be bound", os.EX_OSERR),
    ],
)
def test_other_refusals_say_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int, says: str, status: int) -> None:
    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("agent.service.udp.socket.socket", Refusing)
    with pytest.raises(LocalError, match=says) as caught:
        DatagramPort.bind([LOCALHOST[6]], 848)
    assert caught.value.exit_status == status
    assert "[::1]:848" in str(caught.value)


def test_a_family_that_the_kernel_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "no")

    monkeypatch.setattr("agent.service.udp.socket.socket", lacking)
    with pytest.raises(LocalError, match="family this kernel lacks"):
        DatagramPort.bind([LOCALHOST[6]], 848)


def test_several_ports_are_one_and_the_source_names_which() -> None:
    async def body() -> None:
        both = PortSet([DatagramPort.bind([LOCALHOST[4]], 0), DatagramPort.bind([LOCALHOST[4]], 0)])
        got: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue()
        both.start(lambda *datagram: got.put_nowait(datagram))
        host = Host(LOCALHOST[4])
        there = host.port.endpoints[0]
        for source in [*both.endpoints, Endpoint(LOCALHOST[4], 9)]:
            both.send(Datagram(b"from", there, source))
        heard = [(await host.next())[1] for _ in range(3)]
        assert heard == [*both.endpoints, both.endpoints[0]]
        for endpoint in both.endpoints:
            host.port.send(Datagram(b"to", endpoint, there))
        assert {(await asyncio.wait_for(got.get(), 5))[2] for _ in range(2)} == set(both.endpoints)
        assert both.dropped == 0
        both.close()
        both.close()
        host.port.close()

    run(body)


def test_what_others_of_this_host_joined_is_not_taken() -> None:
    async def body() -> None:
        host = Host(ANY[4])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, bytes([239, 66, 7, 8, 127, 0, 0, 1]))
            member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes([127, 0, 0, 1]))
            member.sendto(b"to the group", ("239.66.7.8", host.number))
            member.sendto(b"to us", ("127.0.0.1", host.number))
        assert (await host.next())[0] == b"to us"
        host.port.close()

    run(body)


@pytest.mark.parametrize(("version", "group"), [(4, "239.66.7.8"), (6, "ff15::667:8")])
def test_a_port_that_only_groups_use_is_free(version: int, group: str) -> None:
    """So a key server starts beside a member that hears its rekeys."""

    async def body() -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as ear, socket.socket(family, socket.SOCK_DGRAM) as other:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ear.bind((group, 0))
            port = ear.getsockname()[1]
            bound = DatagramPort.bind([ANY[version]], port)
            assert bound.endpoints[0].port == port
            bound.close()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((str(LOCALHOST[version]), port))
            with pytest.raises(LocalError, match="is in use"):
                DatagramPort.bind([ANY[version]], port)

    run(body)
