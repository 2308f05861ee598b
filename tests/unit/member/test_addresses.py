import socket
import struct
from typing import Any

import pytest
from netaddr import IPAddress

from agent.member.addresses import host_addresses


def attribute(name: int, octets: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(octets), name) + octets + bytes(-len(octets) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def address(family: int, flags: int, *attributes: bytes) -> bytes:
    return message(20, struct.pack("=BBBBI", family, 24, flags, 0, 1) + b"".join(attributes))


class Netlink:
    def __init__(self, *datagrams: bytes) -> None:
        self.datagrams = list(datagrams)
        self.asked: list[bytes] = []

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def sendto(self, request: bytes, _: Any) -> None:
        self.asked.append(request)

    def recv(self, _: int) -> bytes:
        if not self.datagrams:
            raise TimeoutError
        return self.datagrams.pop(0)


def answered(monkeypatch: pytest.MonkeyPatch, *datagrams: bytes) -> frozenset[IPAddress] | None:
    monkeypatch.setattr(socket, "socket", lambda *_: Netlink(*datagrams))
    return host_addresses()


DONE = message(3, bytes(4))


def test_every_address_in_use_is_one() -> None:
    found = host_addresses()
    assert found is not None
    assert IPAddress("127.0.0.1") in found


def test_the_near_end_of_a_link_counts_and_a_tentative_address_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    found = answered(
        monkeypatch,
        address(socket.AF_INET, 0, attribute(3, b"eth0\0"), attribute(1, far), attribute(2, near))
        + address(socket.AF_INET6, 0, attribute(1, IPAddress("fd09::1").packed)),
        address(socket.AF_INET6, 0x40, attribute(1, IPAddress("fd09::2").packed)) + address(99, 0) + DONE,
    )
    assert found == frozenset({IPAddress("10.0.0.1"), IPAddress("fd09::1")})


@pytest.mark.parametrize("datagrams", [(), (message(2, bytes(4)),), (address(socket.AF_INET, 0),)])
def test_what_the_kernel_does_not_say_is_not_known(
    monkeypatch: pytest.MonkeyPatch, datagrams: tuple[bytes, ...]
) -> None:
    assert answered(monkeypatch, *datagrams) is None


def test_a_broken_answer_is_read_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = address(socket.AF_INET, 0, struct.pack("=HH", 1, 2))
    assert answered(monkeypatch, broken + struct.pack("=IHHII", 3, 20, 0, 1, 0), DONE) == frozenset()
