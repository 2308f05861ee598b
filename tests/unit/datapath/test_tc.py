"""Requests to NETLINK_ROUTE and what is made of its answers, without a kernel."""

import errno
import socket
import struct
from dataclasses import replace

import pytest

from agent.datapath import tc
from agent.datapath.tc import Filter, TcSocket
from agent.errors import KernelError

WANTED = Filter(3, 0x4D44, 0x0800, ((0, 0xFF000000, 0x45000000), (20, 0xFFFFFFFF, 0x1234)), 0x10000, 0xFFFF0000)
HEADER = struct.Struct("=IHHII")
NEW_LINK, NEW_QDISC, NEW_FILTER, DELETE_FILTER = 16, 36, 44, 45
ERROR, DONE = 2, 3


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


class FakeNetlink:
    """Answers each request with the next of `answers`: type and body; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[list[tuple[int, bytes]]] = []
        self.asked: list[bytes] = []
        self.stale = False
        self.closed = False

    def settimeout(self, _: float) -> None: ...

    def setsockopt(self, *_: int) -> None: ...

    def close(self) -> None:
        self.closed = True

    def send(self, octets: bytes) -> None:
        self.asked.append(octets)

    def recv(self, _: int) -> bytes:
        number = struct.unpack_from("=I", self.asked[-1], 8)[0]
        octets = HEADER.pack(HEADER.size + 4, ERROR, 0, number - 1, 0) + struct.pack("=i", -1) if self.stale else b""
        for kind, body in self.answers.pop(0):
            octets += HEADER.pack(HEADER.size + len(body), kind, 0, number, 0) + body + bytes(-len(body) % 4)
        return octets


@pytest.fixture
def netlink(monkeypatch: pytest.MonkeyPatch) -> FakeNetlink:
    fake = FakeNetlink()
    monkeypatch.setattr("agent.datapath.tc.socket.socket", lambda *_: fake)
    return fake


def acknowledgement(number: int = 0, text: str = "") -> list[tuple[int, bytes]]:
    body = struct.pack("=i", -number) + bytes(HEADER.size)
    return [(ERROR, body + (attribute(1, text.encode() + b"\0") if text else b""))]


def body_of(request: bytes) -> bytes:
    return request[HEADER.size :]


def shown(request: bytes, handle: int = 0x80000800) -> bytes:
    """A filter as the kernel shows it that was asked for it: with its handle."""
    body = body_of(request)
    return body[:8] + struct.pack("=I", handle) + body[12:]


def test_a_filter_reads_back_as_it_was_added(netlink: FakeNetlink) -> None:
    opened = TcSocket()
    netlink.answers = [acknowledgement()]
    opened.add(WANTED)
    (asked,) = netlink.asked
    netlink.answers = [[(NEW_FILTER, shown(asked)), (DONE, bytes(4))]]
    assert opened.filters(3, 0x4D44) == [replace(WANTED, handle=0x80000800)]
    assert b"u32\0" in asked
    assert b"skbedit\0" in asked
    # Of another interface or priority: a kernel that does not choose by them.
    for other in (replace(WANTED, interface=4), replace(WANTED, priority=7)):
        netlink.answers = [acknowledgement()]
        opened.add(other)
        netlink.answers = [[(NEW_FILTER, shown(netlink.asked[-1])), (DONE, bytes(4))]]
        assert opened.filters(3, 0x4D44) == []


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (b"u32\0", b"fw\0\0"),
        (b"skbedit\0", b"mirred\0\0"),
        (
            struct.pack("=HHIIi", 24, 2, 0, 0, -1),
            struct.pack("=HHIIi", 24, 2, 0, 0, 3),
        ),  # what comes after: nothing more
        (struct.pack("=HHI", 8, 8, 0xFFFF0000), struct.pack("=HHI", 8, 3, 0xFFFF0000)),  # a priority, no mask
        (struct.pack("=BBB", 1, 0, 2), struct.pack("=BBB", 0, 0, 2)),  # goes to another table
        (struct.pack("=BBB", 1, 0, 2), struct.pack("=BBB", 1, 0, 3)),
        (struct.pack(">II", 0xFF000000, 0x45000000) + bytes(8), bytes(15) + b"\1"),
    ],
)
def test_what_is_made_in_another_way_is_somebody_elses(netlink: FakeNetlink, mine: bytes, theirs: bytes) -> None:
    opened = TcSocket()
    netlink.answers = [acknowledgement()]
    opened.add(WANTED)
    body = shown(netlink.asked[-1])
    assert body.count(mine) == 1
    netlink.answers = [[(NEW_FILTER, body.replace(mine, theirs)), (DONE, bytes(4))]]
    assert opened.filters(3, 0x4D44) == []


def test_a_filter_of_a_chain_or_with_more_actions_is_somebody_elses(netlink: FakeNetlink) -> None:
    opened = TcSocket()
    netlink.answers = [acknowledgement()]
    opened.add(WANTED)
    body = shown(netlink.asked[-1])
    netlink.answers = [[(NEW_FILTER, body + attribute(11, struct.pack("=I", 1))), (DONE, bytes(4))]]
    assert opened.filters(3, 0x4D44) == []
    netlink.answers = [[(NEW_FILTER, body + attribute(11, bytes(4))), (DONE, bytes(4))]]
    assert len(opened.filters(3, 0x4D44)) == 1
    table = body[:20] + attribute(1, b"u32\0") + attribute(2, attribute(4, struct.pack("=I", 1)))
    netlink.answers = [[(NEW_FILTER, table), (NEW_FILTER, body[:20]), (DONE, bytes(4))]]
    assert opened.filters(3, 0x4D44) == []


def test_interfaces_have_names_and_places_for_filters(netlink: FakeNetlink) -> None:
    opened = TcSocket()
    link = struct.pack("=BxHiII", 0, 1, 3, 0, 0) + attribute(3, b"eth0\0")
    netlink.answers = [[(NEW_LINK, link)], [(NEW_LINK, link)]]
    assert opened.index_of("eth0") == 3
    assert opened.name_of(3) == "eth0"
    qdiscs = [
        (NEW_QDISC, struct.pack("=BxxxiIII", 0, index, 0, 0, 0) + attribute(1, kind))
        for index, kind in ((3, b"clsact\0"), (4, b"fq\0"), (5, b"ingress\0"))
    ]
    netlink.answers = [[*qdiscs, (DONE, bytes(4))]]
    assert opened.with_ingress() == [3, 5]


def test_a_place_that_is_there_is_enough_and_a_filter_that_is_gone_too(netlink: FakeNetlink) -> None:
    opened = TcSocket()
    netlink.answers = [acknowledgement(errno.EEXIST), acknowledgement(errno.ENOENT), acknowledgement()]
    opened.make_ingress(3)
    opened.delete(WANTED)
    opened.delete(WANTED)
    assert struct.unpack_from("=IH", netlink.asked[-1])[1] == DELETE_FILTER
    netlink.answers = [acknowledgement(errno.ENOENT, "Specified qdisc kind is unknown")]
    with pytest.raises(KernelError, match="kind is unknown") as caught:
        opened.make_ingress(3)
    assert caught.value.errno == errno.ENOENT
    netlink.answers = [acknowledgement(errno.EPERM)]
    with pytest.raises(KernelError, match="not permitted"):
        opened.delete(WANTED)


def test_answers_to_earlier_questions_are_passed_over(netlink: FakeNetlink) -> None:
    opened = TcSocket()
    netlink.stale = True
    netlink.answers = [acknowledgement()]
    opened.add(WANTED)
    netlink.answers = [[(NEW_FILTER, shown(netlink.asked[-1]))], [(DONE, bytes(4))]]
    assert len(opened.filters(3, 0x4D44)) == 1
    opened.close()
    assert netlink.closed


def test_attributes_that_are_cut_end_there() -> None:
    assert tc._attributes(struct.pack("=HHI", 8, 1, 7) + struct.pack("=HH", 2, 1)) == {1: struct.pack("=I", 7)}


def test_this_kernel_answers() -> None:
    opened = TcSocket()
    try:
        index = opened.index_of("lo")
        assert opened.name_of(index) == "lo"
        assert index == socket.if_nametoindex("lo")
        with pytest.raises(KernelError):
            opened.index_of("no-such-one")
    finally:
        opened.close()
